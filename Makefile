# Vitrine. `make help` lists what can be made.
#
# MODE=release (the default), debug (address and undefined sanitizers), tsan (thread sanitizer) or
# emulated (as debug, with the CUDA kernels compiled for a GPU that the tests bring along); each
# builds in build/MODE. CUDA=no leaves the CUDA backend out where nvcc is installed. ./vitrine and
# ./vitrine-h5 are links to the release build. V=1 shows the compiler's commands.

MODE ?= release
PREFIX ?= /usr/local
CC := $(if $(filter default,$(origin CC)),gcc,$(CC))
BUILD := build/$(MODE)

OPTIMISE_release := -O2 -g
OPTIMISE_debug := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined \
                  -fno-sanitize-recover=all
OPTIMISE_tsan := -O1 -g -fno-omit-frame-pointer -fsanitize=thread
OPTIMISE_emulated := $(OPTIMISE_debug)
ifndef OPTIMISE_$(MODE)
$(error MODE=$(MODE) is not known: it is release, debug, tsan or emulated)
endif

# The same instruction set in every mode, and no contraction of a*b+c: bits must not depend on it.
CFLAGS = $(OPTIMISE_$(MODE)) -std=c11 -D_GNU_SOURCE -march=x86-64-v3 -ffp-contract=off \
         -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes \
         -Wmissing-prototypes -Werror $(EXTRA_CFLAGS)
CPPFLAGS = -I. -Isrc -MMD -MP
# A bundle (scripts/dist) has the libraries beside the program. The old kind of tag holds for what
# those libraries need too.
LDFLAGS = $(OPTIMISE_$(MODE)) -Wl,--as-needed -Wl,--disable-new-dtags \
          -Wl,-rpath,'$$ORIGIN/../lib' $(EXTRA_LDFLAGS)

PACKAGES := yaml-0.1 jansson libcrypto zlib libpng libjpeg
H5_PACKAGES := hdf5-serial
LIBS = $(shell pkg-config --libs $(PACKAGES)) -lm -lpthread -ldl
H5_CPPFLAGS = $(patsubst -I%,-isystem %,$(shell pkg-config --cflags $(H5_PACKAGES)))
H5_LIBS = -lhdf5_hl $(shell pkg-config --libs $(H5_PACKAGES))
TEST_LIBS = -lcmocka

parts := base config graph ops nn data train results report sweep cli
lib_sources := $(filter-out src/cli/main.c,$(wildcard $(parts:%=src/%/*.c) kernels/*.c))
kernel_sources := $(wildcard kernels/cpu/*.c)
h5_sources := $(wildcard src/h5/*.c)
test_sources := $(wildcard tests/test_*.c)
support_sources := $(wildcard tests/support*.c tests/support/*.c)

# The CUDA backend: compiled by nvcc into the release build, or as C++ for the emulated one. Which
# header is its "port.h" is the only difference between the two.
NVCC ?= $(firstword $(shell command -v nvcc 2>/dev/null) $(wildcard /usr/local/cuda/bin/nvcc))
CXX := $(if $(filter default,$(origin CXX)),g++,$(CXX))
CUDA ?= $(if $(NVCC),yes,no)
PYTHON ?= python3
cuda_sources := $(wildcard kernels/cuda/*.c kernels/cuda/*.cu)
cuda_objects :=
ifeq ($(MODE),emulated)
CXXFLAGS = $(OPTIMISE_emulated) -std=c++17 -fno-exceptions -fno-rtti -march=x86-64-v3 \
           -ffp-contract=off -Wall -Wextra -Wshadow -Werror
cuda_objects := $(patsubst %,$(BUILD)/%.o,$(basename $(cuda_sources))) \
                $(patsubst %.cc,$(BUILD)/%.o,$(wildcard tests/cuda/*.cc)) \
                $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/cuda/*.c))
else ifeq ($(MODE)-$(CUDA),release-yes)
NVCCFLAGS = -O3 -std=c++17 -Werror all-warnings \
            -Xcompiler -Wall,-Wextra,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics \
            -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90 \
            -gencode arch=compute_90,code=compute_90
cuda_objects := $(patsubst %,$(BUILD)/%.o,$(basename $(cuda_sources))) \
                $(patsubst %.cu,$(BUILD)/%.o,$(wildcard kernels/cuda/nvcc/*.cu))
LIBS += -L$(dir $(realpath $(NVCC)))../lib64 -lcudart_static -lrt
endif

# Every CPU kernel is compiled once for each vector width; the program picks one when it starts.
lib_objects := $(lib_sources:%.c=$(BUILD)/%.o) \
               $(foreach isa,avx2 avx512,$(kernel_sources:%.c=$(BUILD)/%.$(isa).o)) \
               $(cuda_objects)
h5_objects := $(h5_sources:%.c=$(BUILD)/%.o)
support_objects := $(support_sources:%.c=$(BUILD)/%.o)
test_programs := $(test_sources:tests/%.c=$(BUILD)/tests/%)
tool_programs := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/device_rates.c))
h5_test_programs := $(filter $(BUILD)/tests/test_h5%,$(test_programs))
programs := $(BUILD)/vitrine $(BUILD)/vitrine-h5

# Use every core unless told otherwise, but keep the order of `make clean all`.
ifeq ($(filter -j%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc)
endif
ifneq ($(filter clean,$(MAKECMDGOALS)),)
.NOTPARALLEL:
endif
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.SECONDARY:

say = $(if $(V),,@echo '  $(1)  $(@:$(BUILD)/%=%)';)
link = $(call say,ld) $(CC) $(LDFLAGS) -o $@

##@ Building

.PHONY: all
all: $(programs) ## build ./vitrine and ./vitrine-h5 (the default)
ifeq ($(MODE),release)
all: vitrine vitrine-h5
vitrine vitrine-h5: %: $(BUILD)/%
	@ln -sfn $< $@
endif

.PHONY: tests
tests: $(test_programs) $(tool_programs) ## build the test programs without running them

# Objects, not the library: a name that is defined twice must not link.
$(BUILD)/vitrine: $(BUILD)/src/cli/main.o $(lib_objects) $(BUILD)/sources
	$(link) $(filter %.o,$^) $(LIBS)
	$(if $(cuda_objects)$(filter-out release,$(MODE)),,@echo '  note: without the CUDA \
	backend: $(if $(NVCC),CUDA=$(CUDA),no nvcc; scripts/setup --cuda gets it or says how)')

# The library: these take what they need.
$(BUILD)/vitrine-h5: $(h5_objects) $(BUILD)/libvitrine.a
	$(link) $^ $(H5_LIBS) $(LIBS)

$(BUILD)/libvitrine.a: $(lib_objects) $(BUILD)/sources
	@rm -f $@
	$(call say,ar) ar rcs $@ $(lib_objects)

$(h5_test_programs): $(filter-out %/main.o,$(h5_objects))
$(h5_test_programs): TEST_LIBS += $(H5_LIBS)
$(BUILD)/tests/%: $(BUILD)/tests/%.o $(support_objects) $(BUILD)/libvitrine.a
	$(link) $(filter %.o,$^) $(BUILD)/libvitrine.a $(TEST_LIBS) $(LIBS)

$(h5_objects) $(h5_test_programs:%=%.o): CPPFLAGS += $(H5_CPPFLAGS)
$(BUILD)/tests/%.o: CPPFLAGS += -Itests
$(BUILD)/src/base/version.o: CPPFLAGS += -include $(BUILD)/version_id.h
$(BUILD)/src/base/version.o: $(BUILD)/version_id.h

define compile
@mkdir -p $(@D)
$(call say,cc) $(CC) $(CFLAGS) $(CPPFLAGS) -c -o $@ $<
endef

$(BUILD)/%.o: %.c $(BUILD)/flags
	$(compile)
ifneq ($(cuda_objects),)
$(BUILD)/kernels/backends.o: CPPFLAGS += -DVT_WITH_CUDA
endif
$(BUILD)/%.avx2.o: CPPFLAGS += -DVT_ISA=avx2
$(BUILD)/%.avx2.o: %.c $(BUILD)/flags
	$(compile)
$(BUILD)/%.avx512.o: CPPFLAGS += -DVT_ISA=avx512
$(BUILD)/%.avx512.o: CFLAGS += -mavx512f -mavx512bw -mavx512dq -mavx512vl
$(BUILD)/%.avx512.o: %.c $(BUILD)/flags
	$(compile)

$(BUILD)/%.o: %.cc $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,cxx) $(CXX) $(CXXFLAGS) $(CPPFLAGS) -Itests/cuda -c -o $@ $<
ifeq ($(MODE),emulated)
$(BUILD)/%.o: %.cu $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,cxx) $(CXX) $(CXXFLAGS) $(CPPFLAGS) -Itests/cuda -x c++ -c -o $@ $<
else
$(BUILD)/%.o: %.cu $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,nvcc) $(NVCC) $(NVCCFLAGS) -Xptxas -v $(CPPFLAGS) -Ikernels/cuda/nvcc -c -o $@ $< \
	    2>$(@:.o=.registers) || { cat $(@:.o=.registers) >&2; exit 1; }
endif

# Three small files that are rewritten only when what they hold changes, so that other flags, another
# list of sources or another commit rebuild what depends on them and nothing else.
define write_if_changed
@mkdir -p $(@D); printf '%s\n' $(1) >$@.new; \
if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
endef

# Taken here, because a target's own additions also hold for what it depends on.
all_flags := $(CC) $(CFLAGS) $(CPPFLAGS) $(CXXFLAGS) $(NVCC) $(NVCCFLAGS)
git_version = $(if $(wildcard .git),$(shell GIT_OPTIONAL_LOCKS=0 git describe --always --dirty \
              2>/dev/null))

$(BUILD)/flags: FORCE
	@pkg-config --exists $(PACKAGES) $(H5_PACKAGES) || { \
	    echo 'make: libraries are missing: run scripts/setup first' >&2; exit 1; }
	$(call write_if_changed,'$(all_flags)')

$(BUILD)/sources: FORCE
	$(call write_if_changed,$(lib_sources) $(kernel_sources) $(cuda_objects))

$(BUILD)/version_id.h: FORCE
	$(call write_if_changed,'#define VT_VERSION "$(or $(git_version),unknown)"' \
	    '#define VT_BUILD_FLAGS "$(strip $(CFLAGS))"')

.PHONY: FORCE
FORCE:

##@ Experiments

program := $(if $(filter release,$(MODE)),./vitrine,$(BUILD)/vitrine)

# Said before anything is built; a wrong name is answered by the program.
ifneq ($(filter exp bench sweep,$(MAKECMDGOALS)),)
ifeq ($(EXP),)
$(error $(firstword $(filter exp bench sweep,$(MAKECMDGOALS))): say which experiment, EXP=NAME, from: $(patsubst experiments/%.yaml,%,$(filter-out \
        experiments/base/%,$(wildcard experiments/*.yaml experiments/*/*.yaml))))
endif
endif

.PHONY: exp
exp: all ## run, or resume, one experiment: EXP=NAME [SET="key=value ..."] [ARGS="--threads 2"]
	$(strip $(program) train $(EXP) $(foreach s,$(SET),--set '$(s)') $(ARGS))

.PHONY: sweep
sweep: all ## several settings and seeds: EXP=NAME [GRID="key=a,b ..."] [SEEDS=0..4] [SET=...] [ARGS="-j 2"]
	$(strip $(program) sweep $(EXP) $(foreach g,$(GRID),--grid '$(g)') \
	    $(if $(SEEDS),--seeds $(SEEDS)) $(foreach s,$(SET),--set '$(s)') $(ARGS))

.PHONY: verify
verify: all ## train a finished run once more and compare every bit: RUN=ID [ARGS="--epochs 1"]
	$(strip $(program) verify $(RUN) $(ARGS))

.PHONY: plots
plots: all | $(filter exp,$(MAKECMDGOALS)) ## draw curves of the newest runs: [EXP=NAME] [RUN=ID] [ARGS=...]
	$(strip $(program) plot $(or $(RUN),$(EXP)) $(if $(filter exp,$(MAKECMDGOALS)),,$(ARGS)))

.PHONY: export
export: all ## write runs for other programs: TO=csv|md|tfevents|... [RUN="a b"] [OUT=FILE] [ARGS=...]
	$(strip $(program) export --to $(or $(TO),csv) $(or $(RUN),$(EXP),last) $(if $(OUT),--out $(OUT)) \
	    $(ARGS))

.PHONY: report
report: all ## one page on experiments: [RUNS="a b"] [ARGS="--title ..."]
	$(strip $(program) report $(RUNS) $(ARGS))

.PHONY: regress
regress: all ## check against the baselines: [EXP="name ..."] [ARGS="--no-run"]
	$(strip $(program) regress $(EXP) $(ARGS))

.PHONY: baseline
baseline: all ## accept runs as the baseline: EXP=NAME or RUN=ID, REASON="why" [ARGS=...]; alone: show
	$(if $(EXP)$(RUN),$(strip $(program) baseline accept $(or $(RUN),$(EXP)) --reason '$(REASON)' \
	    $(ARGS)),$(strip $(program) baseline show $(ARGS)))

.PHONY: ls
ls: all ## list the runs and their states: [EXP=NAME] [ARGS="--state dead"]
	$(strip $(program) ls $(EXP) $(ARGS))

.PHONY: gc
gc: all ## say what could be deleted under results/: [ARGS="--state dead --delete"]
	$(strip $(program) gc $(ARGS))

.PHONY: bench
bench: all ## time training steps, op by op: EXP=NAME [SET="key=value ..."] [ARGS="--steps 10"]
	$(strip $(program) bench $(EXP) $(foreach s,$(SET),--set '$(s)') $(ARGS))

.PHONY: compare
compare: all | $(filter exp,$(MAKECMDGOALS)) ## compare experiments over their seeds: [EXPS="a b c"] [ARGS="--md"]
	$(strip $(program) compare $(EXPS) $(if $(filter exp,$(MAKECMDGOALS)),,$(ARGS)))

.PHONY: attn
attn: all ## draw a run's attention over its images: RUN=ID or EXP=NAME [ARGS="--kind maps"]
	$(strip $(program) attn $(or $(RUN),$(EXP),last) $(ARGS))

##@ Documentation

.PHONY: docs
docs: all ## make the pages docs/experiment-file.md and docs/experiments.md again
	scripts/list-keys
	scripts/list-experiments

##@ Checking

.PHONY: check
check: all tests ## run the tests: [MODE=debug|tsan] [TESTS="tests/cli_make.sh ..."] [JOBS=n]
	@scripts/run-tests $(MODE) $(TESTS)

.PHONY: lint
lint: ## check format, style and likely defects, without running anything
	@scripts/lint

.PHONY: format
format: ## bring the C sources into the format that lint asks for
	clang-format -i $(shell find src kernels tests -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' -o -name '*.cc')

.PHONY: gpu-check
gpu-check: all tests ## run the tests on a GPU: [MODE=emulated] [ARGS=--write]
	@VITRINE=$(program) TESTS=$(BUILD)/tests scripts/gpu-check $(ARGS)

.PHONY: gpu-bench
gpu-bench: all tests ## training speed on a GPU beside PyTorch's: [ARGS="swin_t* --write"]
	@$(PYTHON) scripts/gpu-bench --vitrine $(program) --rates $(BUILD)/tests/device_rates $(ARGS)

.PHONY: gpu-registers
gpu-registers: $(cuda_objects) ## print registers, spills and shared memory of the CUDA kernels: [ARGS=--all]
	@scripts/gpu-registers $(BUILD) $(ARGS)

##@ House keeping

.PHONY: dist
dist: all $(if $(filter --tests,$(ARGS)),tests) ## pack the program with its libraries: [ARGS="--gpu-only | --tests"]
	@scripts/dist $(ARGS)

# The program writes these itself, from the tables that its --help prints.
share := $(DESTDIR)$(PREFIX)/share
$(BUILD)/share/vitrine.1: help_words := --man
$(BUILD)/share/vitrine: help_words := --completion bash
$(BUILD)/share/_vitrine: help_words := --completion zsh
shared := vitrine.1 vitrine _vitrine
$(shared:%=$(BUILD)/share/%): $(BUILD)/vitrine
	@mkdir -p $(@D)
	$(call say,help) $< help $(help_words) >$@

.PHONY: install
install: all $(shared:%=$(BUILD)/share/%) ## install the release build: [PREFIX=/usr/local] [DESTDIR=]
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(programs) $(DESTDIR)$(PREFIX)/bin
	install -d $(share)/man/man1 $(share)/bash-completion/completions $(share)/zsh/site-functions
	install -m 644 $(BUILD)/share/vitrine.1 $(share)/man/man1
	install -m 644 $(BUILD)/share/vitrine $(share)/bash-completion/completions
	install -m 644 $(BUILD)/share/_vitrine $(share)/zsh/site-functions
	install -d $(DESTDIR)$(PREFIX)/share/vitrine/plots
	install -m 644 plots/*.gp $(DESTDIR)$(PREFIX)/share/vitrine/plots

.PHONY: uninstall
uninstall: ## remove what install put there
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/bin/,$(notdir $(programs)))
	rm -f $(share)/man/man1/vitrine.1 $(share)/bash-completion/completions/vitrine \
	    $(share)/zsh/site-functions/_vitrine
	rm -rf $(DESTDIR)$(PREFIX)/share/vitrine

.PHONY: clean
clean: ## remove what was built (runs under results/ stay)
	rm -rf build vitrine vitrine-h5

.PHONY: help
help: ## show this list
	@awk 'BEGIN { FS = ":.*## " } \
	    /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	    /^[a-z][a-z0-9-]*:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
