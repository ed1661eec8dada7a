#!/usr/bin/env bash
# Baselines: `vitrine baseline` and `vitrine regress`, in every state and with every exit status, and
# the shipped ones. The runs are those of quick/vit, a second each.
set -uo pipefail
# shellcheck source=tests/support/runs.sh
source tests/support/runs.sh

res=$dir/res
experiments=experiments
# vt VERB ARGUMENT...: output in $dir/said, messages in $dir/errors, exit status in $code.
vt() {
    "$vitrine" "$@" --results "$res" >"$dir/said" 2>"$dir/errors" </dev/null
    code=$?
    return $code
}
says() { grep -qE -- "$1" "$dir/said"; }
warns() { grep -qF -- "$1" "$dir/errors"; }
lacks() { ! grep -qE -- "$1" "$dir/said"; }
said() { json "$dir/said" "$1" | head -n 1; }
# yields CODE VERB ARGUMENT...: the exit status is CODE.
yields() {
    local wanted=$1
    shift
    vt "$@"
    ((code == wanted)) || {
        echo "# exit status $code of: vitrine $*"
        sed 's/^/# | /' "$dir/said" "$dir/errors"
        return 1
    }
}
file=$res/baselines/tiny.json
trained() { find "$res" -name journal | wc -l; }

# A small experiment of its own, so that its file can be changed.
cat >"$dir/tiny.yaml" <<'END'
model: { family: vit, patch: 8, dim: 16, depth: 1, heads: 2, mlp_ratio: 1 }
data: { name: shapes, limit_train: 64, limit_test: 64 }
optim: { name: adamw, lr: 1e-3 }
train: { epochs: 1, batch: 32 }
END
for seed in 0 1 2; do
    train res "$dir/tiny.yaml" --threads 1 --seed $seed
done
check "an experiment with no baseline is NEW" yields 66 regress "$dir/tiny.yaml"
check "... and that is allowed if one says so" yields 0 regress "$dir/tiny.yaml" --allow-missing
check "... and says NEW" says '  NEW  '

# Acceptance.
check "accept needs a reason" yields 64 baseline accept tiny
check "... and runs" yields 64 baseline accept --reason x
check "... that are there" yields 66 baseline accept nothing --reason x
check "a metric without a direction is refused" yields 64 baseline accept tiny --reason x --metric wall_s
check "a metric that no run has is refused" yields 64 baseline accept tiny --reason x --metric val.top1
check "nothing was written by those" test ! -e "$file"
check "finished runs are accepted" yields 0 baseline accept tiny --reason 'the first' --level 0.02 --metric test.loss=0.02
check "... as new ones" says '^tiny  NEW  3 runs'
check "the file holds the reason" grep -q '"reason": "the first"' "$file"
check "... the floor" grep -q '"test.loss": 0.02' "$file"
check "... and sorted keys" python3 -c '
import json, sys
text = open(sys.argv[1]).read()
data = json.loads(text)
sys.exit(list(data) != sorted(data) or len(data["accepted"][0]["runs"]) != 3)' "$file"
check "baseline show lists it" yields 0 baseline show
check "... with its reason" says 'tiny .*the first'
check "show NAME prints its runs" yields 0 baseline show tiny
check "... with their digests" says 'seed 2 .*metrics [0-9a-f]{12}'
check "show --json prints the file" yields 0 baseline show tiny --json
equal "... in a schema" "$(said schema)" 1
check "an unknown baseline is not shown" yields 66 baseline show tinny
check "... and the near name is said" warns "did you mean 'tiny'"

# Found runs of this program: bits.
before=$(trained)
check "the runs that are there pass" yields 0 regress tiny
check "... by their bits" says "^tiny  PASS  the baseline's bits \(3 runs"
equal "... without a new run" "$(trained)" "$before"
check "--json says so too" yields 0 regress tiny --json
equal "... the state" "$(grep -c '"state": "PASS"' "$dir/said")" 2
equal "... and that all passed" "$(said passed)" true
check "train says how its run stands to the baseline" start res "$dir/tiny.yaml" --threads 1 --seed 1
check "... on a line of its own" grep -q "^baseline tiny: PASS  the baseline's bits (1 run" "$dir/res.out"
check "another configuration is told apart there" start res "$dir/tiny.yaml" --threads 1 --set optim.lr=2e-3
check "... with the number of keys" grep -q '^baseline tiny: of another configuration (1 key)' "$dir/res.out"
check "a wrong name does not pass" yields 66 regress tinny
check "a name that cannot be one is refused" yields 64 regress ../tiny
check "--fail-on knows two words" yields 64 regress tiny --fail-on mood

# A baseline from before a key came.
sed -i '/"train.precision"/d' "$file"
check "a baseline without a key that came later passes" yields 0 regress tiny
check "... and the key is no difference" lacks 'train.precision'
check "... nor in training" start res "$dir/tiny.yaml" --threads 1 --seed 1
check "... which says PASS" grep -q "^baseline tiny: PASS" "$dir/res.out"

# Runs that are missing.
check "a seed that is not there is MISSING with --no-run" yields 66 regress tiny --seeds 7 --no-run
check "... in words" says '^tiny  MISSING RUN  seed 7'
check "... allowed if one says so" yields 0 regress tiny --seeds 7 --no-run --allow-missing
check "without it the run is trained, and judged by its metrics" yields 0 regress tiny --seeds 7 --threads 1
check "... inside an interval" says '^tiny  (PASS|BETTER)  test.loss [0-9.]+ (in|outside) \['
check "... and stays for the next check" yields 0 regress tiny --seeds 7 --no-run
rm -rf "$res"/tiny/"$(sed -n 's/.*"run_id": "\(.*\)".*/\1/p' "$file" | head -n 1)"
check "a run of the baseline that was deleted is trained again, with the same bits" yields 0 regress tiny --threads 1
check "... all three" says '3 runs'
check "a checked run that is interrupted is not complete: --no-run says so" bash -c '
    rm -rf "$1"/tiny/*/summary.json' - "$res"
check "a run without its summary is read from its journal" yields 0 regress tiny --no-run

# Runs of another program do not count.
cp "$vitrine" "$dir/other"
printf 'x' >>"$dir/other"
before=$(trained)
ours=$vitrine vitrine=$dir/other
check "another program's runs are MISSING with --no-run" yields 66 regress tiny --no-run
check "... as it says" says 'another program made the run'
check "... unless they are to count" yields 0 regress tiny --no-run --any-program
check "the other program trains its own, beside them" yields 0 regress tiny --threads 1
equal "... three" "$(($(trained) - before))" 3
check "... below the baselines" test -d "$res/baselines/runs"
check "... and finds them the next time" yields 0 regress tiny --no-run
vitrine=$ours

# One changed bit.
cp "$file" "$dir/good.json"
for digest in metrics weights; do
    python3 - "$file" "$digest" <<'END'
import json, sys
data = json.load(open(sys.argv[1]))
digests = data["accepted"][-1]["runs"][1]["digests"]
word = digests[sys.argv[2]]
digests[sys.argv[2]] = word[:20] + format(int(word[20], 16) ^ 1, "x") + word[21:]
json.dump(data, open(sys.argv[1], "w"), indent=2, sort_keys=True)
END
    check "one changed bit of the $digest is a FAIL" yields 1 regress tiny
    check "... and says where" says "FAIL  seed 1 has other bits.*: $digest"
    check "... but not where bits are not looked at" yields 0 regress tiny --statistical
    cp "$dir/good.json" "$file"
done

# edit PYTHON: changes the baseline's file; `runs` are those of the acceptance in force.
edit() {
    cp "$dir/good.json" "$file"
    python3 - "$file" "$1" <<'END'
import json, sys
data = json.load(open(sys.argv[1]))
runs = data["accepted"][-1]["runs"]
exec(sys.argv[2])
json.dump(data, open(sys.argv[1], "w"), indent=2, sort_keys=True)
END
}
numerics='[r["digests"].update(numerics="ab" * 32) for r in runs];'
edit "$numerics"
check "under other numerics the metrics decide" yields 0 regress tiny
check "... PASS" says '^tiny  PASS  test.loss .* in \['
edit "$numerics"'[r["metrics"].update({"test.loss": r["metrics"]["test.loss"] - 0.5}) for r in runs]'
check "a metric that is worse is a FAIL" yields 1 regress tiny
check "... and says by what" says '^tiny  FAIL  test.loss .* outside \['
check "... in train's line too" start res "$dir/tiny.yaml" --threads 1 --seed 1
check "... as words" grep -q '^baseline tiny: FAIL  test.loss' "$dir/res.out"
edit "$numerics"'[r["metrics"].update({"test.loss": r["metrics"]["test.loss"] + 0.5}) for r in runs]'
check "one that is better is BETTER" yields 0 regress tiny
check "... in words" says '^tiny  BETTER  test.loss'
edit "$numerics"'del runs[1:]'
check "one run and other numerics are NOT COMPARABLE" yields 66 regress tiny
check "... in words" says '^tiny  NOT COMPARABLE'
check "... allowed if one says so" yields 0 regress tiny --allow-missing
edit 'runs[0]["digests"]["data"] = "cd" * 32'
check "other data are NOT COMPARABLE" yields 66 regress tiny --no-run
check "... in words" says 'NOT COMPARABLE  seed 0: other data'
edit '[r.update(images_per_s=1e9) for r in runs]'
check "slowness is reported and fails nothing" yields 0 regress tiny
check "... with the factor" says 'times slower than the baseline'
check "... unless it is asked for" yields 1 regress tiny --fail-on speed
edit '
import copy
old = copy.deepcopy(data["accepted"][0])
[r["metrics"].update({"test.loss": r["metrics"]["test.loss"] - 0.5}) for r in old["runs"]]
data["accepted"].insert(0, old)'
check "drift from the oldest baseline is seen" yields 0 regress tiny
check "... beside the PASS" says 'drift: the oldest baseline had'
check "... and fails if it is asked for" yields 1 regress tiny --fail-on drift
cp "$dir/good.json" "$file"

# The configuration.
cp "$dir/tiny.yaml" "$dir/tiny.kept"
sed -i 's/lr: 1e-3/lr: 1.1e-3/' "$dir/tiny.yaml"
before=$(trained)
check "a changed learning rate is a FAIL" yields 1 regress tiny
check "... that names the key" says '^    optim.lr: 0.001 -> 0.0011$'
equal "... before anything is trained" "$(trained)" "$before"
check "accept refuses runs that the file no longer gives" yields 1 baseline accept \
    "$(dirname "$(grep -l '"seed": 1,' "$res"/tiny/*/summary.json | head -n 1)")" --reason x
sed -i 's/lr: 1.1e-3/lrr: 1e-3/' "$dir/tiny.yaml"
check "a file that cannot be loaded is a FAIL" yields 1 regress tiny
cp "$dir/tiny.kept" "$dir/tiny.yaml"

# Acceptance of what has changed, from runs with --set.
rm -rf "$res/tiny"
train res "$dir/tiny.yaml" --threads 1 --seed 0 --set optim.lr=2e-3 --set log.every=1 --set train.threads=1
check "runs with --set become a baseline of their own name" \
    yields 0 baseline accept tiny --reason 'twice the rate' --name tiny-fast
check "... that regress trains again by those settings" bash -c 'rm -rf "$1/tiny"' - "$res"
check "... bit for bit" yields 0 regress tiny-fast --threads 1
check "... keeping the settings that matter, not those of the machine" \
    test "$(grep -c '"optim.lr=2e-3"\|"log.every=1"' "$res/baselines/tiny-fast.json") $(grep -c '"train.threads=' "$res/baselines/tiny-fast.json")" = '2 0'
check "a second acceptance keeps the first" yields 0 baseline accept tiny --reason 'the rate is twice as large' --name tiny
check "... says what changed" says 'config     optim.lr: 0.001 -> 0.002'
equal "... and both are in the file" "$(grep -c '"reason"' "$file")" 2

# Damage.
echo '{"schema": 1, "name": ' >"$file"
check "a damaged file is an error of its own" yields 65 regress tiny
check "... that names the place" warns 'tiny.json:'
check "... and the others are still shown" bash -c '"$1" baseline show --results "$2" 2>/dev/null | grep -q tiny-fast' - "$vitrine" "$res"
edit 'data["accepted"][0]["runs"][0]["run_id"] = "\u001b[2J"'
check "a file with something else than digests is refused" yields 65 regress tiny
check "... and no control character is printed" bash -c '! grep -q "$(printf "\033")" "$1"/said "$1"/errors' - "$dir"
rm "$file"

# All of them, and the shipped ones.
check "without a name all are checked" yields 0 regress --threads 1
check "... the one that is left" says '^tiny-fast  PASS'
check "with a short time to train, it is only looked for" bash -c 'rm -rf "$1/tiny" "$1/baselines/runs"' - "$res"
check "... and nothing is asked for" yields 0 regress --longest 0
check "... but it is reported" says 'MISSING RUN .* name it'
rm -rf "$res"
mkdir -p "$res/baselines"
cp results/baselines/quick-*.json "$res/baselines"
equal "every quick experiment ships a baseline" "$(cd results/baselines && ls quick-*.json)" \
    "$(cd $experiments/quick && for f in *.yaml; do echo "quick-${f%.yaml}.json"; done)"
for name in quick-vit quick-swin; do
    vt regress $name --seeds 0 -q
    if says '  PASS  the baseline.s bits'; then
        echo "ok - $name has the shipped bits"
    elif grep -q "$(sed -n 's/.*"numerics": "\(.*\)".*/\1/p' "results/baselines/$name.json" | head -n 1)" \
        "$res"/*/*/summary.json; then
        failed "$name has the shipped bits"
        sed 's/^/# | /' "$dir/said" "$dir/errors"
    else
        skip "$name has the shipped bits" "other numerics here"
    fi
done
rm -rf "$res"
check "without baselines there is nothing to check" yields 66 regress
exit $status
