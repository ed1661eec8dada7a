#!/usr/bin/env bash
# Runs beside each other: `vitrine compare` and `vitrine diff`.
set -uo pipefail
# shellcheck source=tests/support/runs.sh
source tests/support/runs.sh

few=(--set data.limit_train=64 --set data.limit_test=64 --set train.epochs=1 --threads 1)
for seed in 0 1; do
    train all quick/vit "${few[@]}" --seed "$seed"
    train all quick/swin "${few[@]}" --seed "$seed"
done
train all quick/vit "${few[@]}" --seed 0 --set optim.lr=2e-3
train again quick/vit "${few[@]}" --seed 0
cp -r "$dir/all" "$dir/stopped"
results=$dir/all

# vt VERB ARGUMENT...: output in $dir/said, messages in $dir/errors, exit status in $code.
vt() {
    "$vitrine" "$@" --results "$results" >"$dir/said" 2>"$dir/errors" </dev/null
    code=$?
    return $code
}
says() { grep -qE -- "$1" "$dir/said"; }
warns() { grep -qF -- "$1" "$dir/errors"; }
rows() { grep -cE '^[A-Z]+ ' "$dir/said"; }
# column NAME: of the comma-separated table that was printed
column() {
    awk -F, -v name="$1" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) at = i; next }
        { print $at }' "$dir/said" | paste -sd' '
}

vt compare --wide
equal "every experiment is a row, its configurations too" "$code $(rows)" "0 3"
check "a row is named by what differs" says '^[ABC] quick-vit .* 0.002 '
check "identical keys are summarised" says '^identical: .*data\.\*.*keys\)$'
check "the noise of the test images is said" says 'test sampling: .*points'
vt compare quick/vit quick/swin --cols '=optim.lr, n, test.top1, diff' --reference quick/swin --csv
equal "seeds are folded and n is theirs" "$(column n)" "1 2 2"
equal "differences are by pairs where seeds are shared" "$(column test.top1.diff.pairs | tr ' ' '\n' | sort | paste -sd' ')" "0 0 2"
vt compare "$(folder again)" --cols test.top1 --csv
equal "a mean of one run is its value" "$(column test.top1)" "$(json "$(folder again)/summary.json" metrics.last.test.top1)"
check "one run has no deviation" test -z "$(column test.top1.sd)"
for format in md csv tsv tex json jsonl html; do
    vt compare --format "$format"
    equal "--format $format prints something" "$code $([[ -s $dir/said ]] && echo some)" "0 some"
done
vt compare --json
check "JSON has a schema and its notes" says '"schema": 1'
vt compare --cols 'max test.top1 epoch, last train.loss, first test.loss'
equal "columns read the journal" "$code" 0
vt compare --metric nothing
check "an unknown metric is wrong use, with those there are" warns "there are: test.top1, "
equal "and its exit status is 64" "$code" 64
vt compare --reference nobody
equal "an unknown reference too" "$code" 64
vt compare nowhere
equal "an experiment without runs is missing input" "$code" 66

# Folders that are no good among the others, read-only.
results=$dir/stopped
first=$(find "$results" -mindepth 2 -maxdepth 2 -path '*quick-swin*' | sort | head -n 1)
printf 'VT' >"$first/journal"
rm -f "$first/summary.json"
mkdir -p "$results/quick-vit/hostile"
ln -s /dev/zero "$results/quick-vit/hostile/journal"
chmod -R a-w "$results"
before=$(find "$results" -printf '%p %s %T@\n' | sort | sha256sum)
vt compare --csv
equal "bad folders do not stop the others" "$code $(column exp | wc -w)" "0 3"
check "and are named on stderr" warns "${first##*/}"
equal "nothing is written into the runs" "$(find "$results" -printf '%p %s %T@\n' | sort | sha256sum)" "$before"
chmod -R u+w "$results"
results=$dir/all

here=$(folder again)
there=$(dirname "$(grep -l "\"run_id\": \"${here##*/}\"" "$results"/quick-vit/*/summary.json)")
vt diff "$here" "$there"
equal "two runs of one thing are equal in all" "$code" 0
check "and each part says so" says '^weights: equal$'
vt diff quick-vit@seed=1 "$there"
equal "runs of two seeds differ" "$code" 1
check "config names the seed" says '^  seed +1 +0$'
check "metrics say where it begins" says 'first record that differs is that of step 1$'
check "weights name the first tensor" says '^  first +[a-z_.]+'
check "and the first checkpoint" says 'first checkpoint that differs is that of step 0$'
vt diff --config quick-vit@seed=1 "$there"
check "parts are left out when others are asked for" says '^config: '
equal "only that part is printed" "$(grep -cE '^(metrics|code|env|weights): ' "$dir/said")" 0
vt diff --json quick-vit@seed=1 quick-swin
equal "JSON says that they differ" "$code $(json "$dir/said" equal)" "1 false"

# A run from before a key came: it did what the key's default says.
cp -r "$there" "$dir/older"
sed -i '/^  precision: fp32$/d' "$dir/older/config.yaml"
check "an older run's settings lack a key" eval '! cmp -s "$there/config.yaml" "$dir/older/config.yaml"'
vt diff --config "$dir/older" "$there"
equal "which is no difference while it has its default" "$code" 0

# One bit of the weights.
cp -r "$there" "$dir/bit"
rm "$dir/bit/last.safetensors"
cp "$there/last.safetensors" "$dir/bit/last.safetensors"
size=$(stat -c %s "$dir/bit/last.safetensors")
byte=$(od -An -tu1 -j $((size - 1)) -N 1 "$dir/bit/last.safetensors")
# shellcheck disable=SC2059 # the format is the byte
printf "\\x$(printf %x $((byte ^ 64)))" |
    dd of="$dir/bit/last.safetensors" bs=1 seek=$((size - 1)) conv=notrunc status=none
vt diff --metrics --weights "$dir/bit" "$there"
equal "a changed bit of the weights is a difference" "$code" 1
check "of one element of one tensor" says '^weights: 1 of [0-9]+ tensors differ$'
check "while the metrics are equal" says '^metrics: equal$'
truncate -s 100 "$dir/bit/last.safetensors"
vt diff --weights "$dir/bit" "$there"
equal "weights that cannot be read are damaged data" "$code" 65
exit $status
