#!/usr/bin/env bash
# `vitrine verify`: a run trained once more has the same bits; one that was tampered with, or that is
# not complete, is told apart; nothing is left behind.
set -uo pipefail
# shellcheck source=tests/support/runs.sh
source tests/support/runs.sh

small=(--set data.limit_train=128 --set data.limit_test=64 --set train.epochs=2)
has() { grep -qF -- "$2" "$1"; }
matches() { grep -qE -- "$2" "$1"; }
export TMPDIR=$dir/temp
mkdir "$TMPDIR"

# verify NAME ARGUMENT...
verify() {
    last_run=$1
    "$vitrine" verify "$(folder "$1")" "${@:2}" >"$dir/$1.out" 2>"$dir/$1.err" </dev/null
    code=$?
}

train good quick/vit_dropout "${small[@]}" --seed 3
before=$(cd "$dir/good" && find . -type f -exec sha256sum {} + | sort)
verify good --threads 1
equal "a run trained once more has the same bits" "$code" 0
check "... to the end" matches "$dir/good.out" '^equal +[0-9]+ records, 2 epochs, to the end'
verify good --epochs 1 --json
equal "its first epoch too" "$code" 0
equal "... as JSON" "$(json "$dir/good.out" same)/$(json "$dir/good.out" epochs)/$(json "$dir/good.out" complete)" \
    true/1/false
equal "the run is not touched" "$(cd "$dir/good" && find . -type f -exec sha256sum {} + | sort)" "$before"
check "nothing is left in the temporary folder" rmdir "$TMPDIR"
mkdir "$TMPDIR"
verify good --epochs 3
equal "more epochs than there are is exit code 66" "$code" 66

# Its configuration says another rate than it was trained with.
cp -r "$dir/good" "$dir/rate"
sed -i 's/^  lr: .*/  lr: 0.00101/' "$(folder rate)/config.yaml"
sed -i 's/limit_test: .*/limit_test: 64/' "$(folder rate)/config.yaml"
verify rate
equal "a run of another learning rate than it says is found out" "$code" 1
check "... at the record that says what it is, which names the rest" has "$dir/rate.out" \
    "record 0 (run, step 0) differs: config.yaml is not the one"

# One bit of the weights.
cp -r "$dir/good" "$dir/bit"
last=$(folder bit)/last.safetensors
cp --remove-destination "$last" "$last.copy" && mv "$last.copy" "$last"
printf '\x55' | dd of="$last" bs=1 seek=$(($(stat -c %s "$last") - 3)) conv=notrunc status=none
verify bit
equal "a changed byte of the weights is found out" "$code" 1
check "... and named" has "$dir/bit.out" "last.safetensors is not the file"
check "the second run is kept to be looked at" test -d "$(sed -n 's/^folder *//p' "$dir/bit.out")"
rm -rf "${TMPDIR:?}"/*

# Interrupted.
long=(quick/swin --set data.limit_train=480 --set train.batch=8 --set train.epochs=2
    --set "checkpoint.every=5 steps")
interrupt TERM 10 part "${long[@]}"
verify part
equal "a run that is not complete is exit code 66" "$code" 66
check "... with what can be done" has "$dir/part.err" "--epochs verifies its first epochs"
train whole "${long[@]}"
"$vitrine" verify "$(folder whole)" >"$dir/stop.out" 2>"$dir/stop.err" </dev/null &
pid=$!
busy() { compgen -G "$TMPDIR/vitrine-*/results/*/*/state-10.bin" >/dev/null; }
await busy
kill -TERM "$pid"
wait "$pid"
equal "a signal ends a verification with 75" "$?" 75
check "... and nothing is left" rmdir "$TMPDIR"
exit $status
