#!/usr/bin/env bash
# The Makefile, scripts/run-tests and scripts/setup, tried on a small source tree of their own.
set -uo pipefail

root=$PWD
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
status=0

# check SENTENCE COMMAND...: one TAP line, and the last command's output after a failure.
check() {
    local sentence=$1
    shift
    if "$@"; then
        echo "ok - $sentence"
    else
        echo "not ok - $sentence"
        sed 's/^/# /' "$tree/out" 2>/dev/null
        status=1
    fi
}

# run COMMAND...: keeps output in $tree/out and the exit status in $rc.
run() {
    "$@" >"$tree/out" 2>&1 </dev/null
    rc=$?
}

says() {
    grep -qE -- "$1" "$tree/out"
}

unset MAKEFLAGS MFLAGS MAKELEVEL MODE TESTS
cp -r Makefile scripts "$tree"
cd "$tree" || exit 1
mkdir -p src/base src/cli src/h5 tests plots experiments/base experiments/quick
touch plots/style.gp
cp "$root"/src/base/version.[ch] src/base
cat >src/cli/main.c <<'END'
#include "base/version.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    printf("%s\n", vt_version());
    for (int i = 1; i < argc; i++)
        printf("[%s]", argv[i]);
    printf("\n");
    return 0;
}
END
printf 'int main(void)\n{\n    return 0;\n}\n' >src/h5/main.c
touch experiments/{quickstart,swin_cifar_patch2,swin_cifar_patch4}.yaml
touch experiments/base/cifar10.yaml experiments/quick/vit.yaml

# write_test NAME BODY: a cmocka program of two cases, the second with that body.
write_test() {
    cat >"tests/$1.c" <<END
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void first(void **state)
{
    (void)state;
    assert_true(1);
}

static void second(void **state)
{
    (void)state;
    $2
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(first), cmocka_unit_test(second)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
END
}

# --- building ---
run make
check "make builds both programs and links them into the root" \
    test "$rc" = 0 -a -x vitrine -a -x vitrine-h5 -a "$(readlink vitrine)" = build/release/vitrine
run make
check "a second make does nothing" test "$rc" = 0 -a ! -s out
check "the version is unknown outside a git checkout" grep -qx unknown <(./vitrine)
touch src/base/version.h
run make
check "a changed header rebuilds what includes it" says 'cc  src/base/version\.o'
rm src/base/version.c
run make
check "a deleted source leaves the library, and the link says what is missing" \
    says 'undefined reference to .vt_version'
cp "$root/src/base/version.c" src/base
run make EXTRA_CFLAGS=-DSOMETHING
check "other flags rebuild everything" says 'cc  src/cli/main\.o'
run make
echo 'const char *vt_version(void);const char *vt_version(void){return "";}' >src/base/twice.c
run make
check "a function defined twice does not link" says 'multiple definition of .vt_version'
rm src/base/twice.c
run make MODE=debug
check "another mode builds in its own folder" \
    test "$rc" = 0 -a -x build/debug/vitrine -a "$(readlink vitrine)" = build/release/vitrine
run make MODE=fast
check "an unknown mode is refused, naming the known ones" says 'fast is not known.*tsan or emulated'
PKG_CONFIG_LIBDIR=$tree run make
check "missing libraries are answered by naming scripts/setup" says 'run scripts/setup'
run make
git init -q . && git -c user.name=a -c user.email=a@localhost commit -q --allow-empty -m first
git tag v1.2
run make
check "a commit rebuilds one object and shows in the version" \
    test "$(grep -c '^  cc' out)" = 1 -a "$(./vitrine | head -n 1)" = "$(git describe --always)"

# --- help, experiments, installation ---
run make help
cp out help
every_target_is_in_help() {
    local target
    for target in $(sed -n 's/^\.PHONY: //p' Makefile); do
        [[ $target == FORCE ]] || grep -qE "^  make $target +[a-z]" help || {
            echo "$target is not in help" >>out
            return 1
        }
    done
}
check "make help lists every target with what it does" every_target_is_in_help
run make exp
check "make exp without EXP fails and lists the experiments, without the shared parts" \
    eval 'test "$rc" = 2 && says "EXP=NAME.*quick/vit" && ! says cifar10'
run make exp EXP=quick/vit 'SET=train.epochs=2 model.heads=[3,6,12]' ARGS=--force
check "make exp shows and runs the one command, one --set a value" eval '
    says "^\./vitrine train quick/vit --set .train.epochs=2. .*--force" &&
    says "\[train\]\[quick/vit\]\[--set\]\[train\.epochs=2\]\[--set\]\[model\.heads=\[3,6,12\]\]\[--force\]"'
run make sweep EXP=quick/vit 'GRID=optim.lr=1e-3,3e-4 model.depths=[2,2],[4]' SEEDS=0..2 SET=train.epochs=1 'ARGS=-j 2'
check "make sweep shows and runs the one command, one --grid a key" eval '
    says "\[sweep\]\[quick/vit\]\[--grid\]\[optim\.lr=1e-3,3e-4\]\[--grid\]\[model\.depths=\[2,2\],\[4\]\]" &&
    says "\[--seeds\]\[0\.\.2\]\[--set\]\[train\.epochs=1\]\[-j\]\[2\]"'
run make plots exp EXP=quickstart
check "exp and plots in one command train first" \
    test "$(grep -o '^\[[a-z]*\]' out | tr -d '\n')" = '[train][plot]'
mkdir stray && for target in $(sed -n 's/^\.PHONY: //p' Makefile); do touch "$target"; done
run make -n check exp plots EXP=quickstart
check "stray files named like targets do no harm" \
    eval 'says run-tests && says "vitrine train" && says "vitrine plot"'
for target in $(sed -n 's/^\.PHONY: //p' Makefile); do [[ -f $target ]] && rm "$target"; done
run make install DESTDIR="$tree/stage" PREFIX=/opt/v
check "make install honours PREFIX and DESTDIR" \
    test "$rc" = 0 -a -x stage/opt/v/bin/vitrine -a -x stage/opt/v/bin/vitrine-h5 -a ! -h stage/opt/v/bin/vitrine \
    -a -f stage/opt/v/share/vitrine/plots/style.gp
check "... with the manual page and completion that the program writes" eval '
    grep -qxF "[help][--man]" stage/opt/v/share/man/man1/vitrine.1 &&
    grep -qxF "[help][--completion][bash]" stage/opt/v/share/bash-completion/completions/vitrine &&
    grep -qxF "[help][--completion][zsh]" stage/opt/v/share/zsh/site-functions/_vitrine'
run make uninstall DESTDIR="$tree/stage" PREFIX=/opt/v
check "make uninstall removes what install put there" \
    test "$rc" = 0 -a -z "$(find stage -type f)"

# --- running tests ---
last_line_is() {
    test "$(grep -v '^make' out | tail -n 1)" = "$1"
}
run make check
check "no test at all is a failure" eval 'test "$rc" != 0 && last_line_is "0 passed, 1 failed"'
write_test test_good 'assert_true(1);'
run make check
check "passing cases are counted" eval 'test "$rc" = 0 && last_line_is "2 passed, 0 failed"'
write_test test_bad 'assert_int_equal(6 * 7, 41);'
run make check
check "a failing case is counted and its message shown" \
    eval 'test "$rc" != 0 && last_line_is "3 passed, 1 failed" && says "0x2a != 0x29"'
write_test test_bad 'exit(0);'
run make check
check "a program that leaves in the middle counts as a failure, whatever its exit status" \
    eval 'test "$rc" != 0 && last_line_is "3 passed, 1 failed"'
write_test test_bad 'abort();'
run make check
check "a program that dies counts as a failure" \
    eval 'test "$rc" != 0 && last_line_is "3 passed, 1 failed"'
write_test test_bad 'volatile int big = 2147483647; big += 1;'
run make check MODE=debug
check "the debug build's sanitizers fail a test that release lets pass" \
    eval 'test "$rc" != 0 && last_line_is "3 passed, 1 failed" && says "signed integer overflow"'
printf '#include <pthread.h>\nstatic int shared;\nstatic void *add(void *unused)\n{\n    (void)unused;\n    shared++;\n    return NULL;\n}\n' >race
write_test test_bad 'pthread_t a, b; pthread_create(&a, NULL, add, NULL); pthread_create(&b, NULL, add, NULL); pthread_join(a, NULL); pthread_join(b, NULL);'
cat race tests/test_bad.c >both && mv both tests/test_bad.c
run make check MODE=tsan
check "the tsan build fails a test with a data race" \
    eval 'test "$rc" != 0 && last_line_is "4 passed, 1 failed" && says "data race"'
write_test test_bad 'skip();'
printf 'echo "ok - one thing"\necho "ok - another # SKIP no such tool"\n' >tests/cli_shell.sh
run make check
check "skipped cases are neither passed nor failed, and said" \
    eval 'test "$rc" = 0 && last_line_is "4 passed, 0 failed" && says "^2 skipped" && says "no such tool"'
rm tests/test_bad.c
printf 'true\n' >tests/cli_shell.sh
run make check
check "a program that reports no case is a failure" \
    eval 'test "$rc" != 0 && last_line_is "2 passed, 1 failed" && says "reported no case"'
printf 'echo "ok - one thing"; exit 3\n' >tests/cli_shell.sh
run make check
check "a non-zero exit status without a failed case is a failure" \
    eval 'test "$rc" != 0 && last_line_is "3 passed, 1 failed" && says "exit status 3"'
run make clean
check "make clean removes everything that was built" \
    test "$rc" = 0 -a ! -e build -a ! -e vitrine -a ! -e vitrine-h5 -a -e experiments

# --- setup, with stand-ins for the system's commands ---
mkdir bin
cat >bin/dpkg-query <<'END'
#!/bin/sh
grep -qx "$4" "$STATE" && printf installed
END
cat >bin/apt-get <<'END'
#!/bin/sh
echo "apt-get $* as ${AS-user}, $DEBIAN_FRONTEND" >>"$CALLS"
case "$*" in *broken*) exit 100 ;; esac
END
printf '#!/bin/sh\necho "${USER_ID-0}"\n' >bin/id
chmod +x bin/*
export STATE=$tree/installed CALLS=$tree/calls
: >"$CALLS"
scripts/setup --list >"$STATE"
PATH=$tree/bin:$PATH
run scripts/setup
check "setup changes nothing when every package is there" \
    test "$rc" = 0 -a ! -s calls
sed -i /gnuplot/d "$STATE"
run scripts/setup
check "setup as root updates the lists and installs what is missing, alone" eval '
    test "$rc" = 0 && says "installed gnuplot-nox$" && test "$(wc -l <calls)" = 2 &&
    grep -q "install -y --no-install-recommends gnuplot-nox as user, noninteractive" calls'
cat >bin/sudo <<'END'
#!/bin/sh
AS=root exec "$@"
END
chmod +x bin/sudo
: >"$CALLS"
USER_ID=1000 run scripts/setup
check "setup goes through sudo when not root" \
    eval 'test "$rc" = 0 && grep -q "gnuplot-nox as root, noninteractive" calls'
rm bin/sudo
for tool in bash env grep mktemp rm tail sed; do ln -s "$(command -v $tool)" bin; done
PATH=$tree/bin USER_ID=1000 run bin/bash scripts/setup
check "setup without root and sudo names what is missing, exit 69" \
    eval 'test "$rc" = 69 && says "root or sudo: gnuplot-nox"'
run scripts/setup --tests
check "setup refuses an unknown option, exit 64" eval 'test "$rc" = 64 && says "unknown option .--tests"'
sed -i 's/^exit 0$//; s/case .*/exit 100/' bin/apt-get
run scripts/setup
check "setup reports a failing package manager, exit 69" \
    eval 'test "$rc" = 69 && says "apt-get failed.*missing: gnuplot-nox"'
exit $status
