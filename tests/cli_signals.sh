#!/usr/bin/env bash
# What a run does when it is stopped, shared, starved of disk, or finds its files or its training
# damaged: each time its exit code, its message, and that the same command ends with the same
# weights once the cause is gone.
set -uo pipefail
# shellcheck source=tests/support/runs.sh
source tests/support/runs.sh

exp=(quick/swin --set data.limit_train=480 --set train.batch=8 --set train.epochs=2
    --set "checkpoint.every=5 steps" --set log.every=10)
has() { grep -qF -- "$2" "$1"; }
matches() { grep -qE -- "$2" "$1"; }
larger() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a > b) }'; }
# sums_up SUM FIRST EACH: EACH, two lines, begins with FIRST and adds up to SUM
sums_up() {
    awk -v sum="$1" -v first="$2" '{ all += $1 } NR == 1 { good = $1 == first }
        END { exit !(good && NR == 2 && all - sum < 1e-6 && sum - all < 1e-6) }' <<<"$3"
}

train whole "${exp[@]}"
whole=$(weights whole) records=$(journal whole)

# goes_on SENTENCE NAME: the same command trains to the end of the undisturbed run.
goes_on() {
    train "$2" "${exp[@]}" --threads 2 || return
    equal "$1: the same weights in the end" "$(weights "$2")" "$whole"
    equal "$1: the same journal" "$(journal "$2")" "$records"
}

# Asked to stop.
for signal in TERM INT; do
    interrupt $signal 10 $signal "${exp[@]}"
    equal "SIG$signal ends a run with its own code" "$code" 75
    check "... it says at which step, and how to go on" \
        matches "$dir/$signal.err" 'stopped at step [0-9]+; run the same command again'
    equal "... a checkpoint of that step is there" "$(newest_step $signal)" \
        "$(sed -nE 's/.*stopped at step ([0-9]+).*/\1/p' "$dir/$signal.err")"
    equal "... summary.json knows" "$(json "$(folder $signal)/summary.json" state)" interrupted
    first_s=$(json "$(folder $signal)/summary.json" perf.wall_s)
    goes_on "after SIG$signal" $signal
    summary=$(folder $signal)/summary.json
    equal "... summary.json counts both attempts" "$(json "$summary" attempts)" 2
    check "... and the time of both" sums_up "$(json "$summary" perf.wall_s)" "$first_s" \
        "$(sed -nE 's/.*"wall_s": ([0-9.]+),?$/\1/p' "$(folder $signal)/provenance.json")"
    check "... and knows the speed" larger "$(json "$summary" perf.images_per_s)" 0
    check "... it says where it resumed" matches "$dir/$signal.err" '  resumed at step [0-9]+$'
done
launch twice "${exp[@]}"
await reached twice 10
kill -STOP "$pid"
kill -TERM "$pid"
kill -INT "$pid"
kill -CONT "$pid"
wait "$pid"
equal "a second signal ends it with the same code" "$?" 75
check "... at once, without another word" bash -c "! grep -q stopped '$dir/twice.err'"
goes_on "after a second signal" twice

# Asked to stop while it evaluates: the record of the small val part is in the journal, the test part
# takes far longer than all the rest.
long=(quick/swin --set data.limit_train=200 --set data.val=20 --set data.limit_test=1000
    --set train.epochs=2 --set train.select=val --set eval.batch=8 --set log.every=1000)
evaluating=2 # see src/base/phase.h
begun() { [[ -e $(folder "$1")/state-0.bin ]]; }
grown() { (($(stat -c %s "$(folder "$1")/journal") > $2)); }
in_phase() { [[ -s $dir/phase && $(od -An -tu1 -N 1 "$dir/phase") -eq $1 ]]; }
breaks_off() {
    kill -TERM "$pid"
    wait "$pid"
    equal "$1: it ends with its own code" "$?" 75
    check "... says where" matches "$dir/eval.err" 'stopped at step 7, in the evaluation of epoch 1;'
    check "... and does not wait for the end of it" test ! -s "$dir/eval.out"
    equal "... the epoch's last step is saved" "$(newest_step eval)" 7
}
train long "${long[@]}"
launch eval "${long[@]}"
await begun eval
await grown eval $(($(stat -c %s "$(folder eval)/journal") + 900))
breaks_off "stopped in an evaluation"
VITRINE_PHASE_FILE=$dir/phase launch eval "${long[@]}"
await in_phase $evaluating
breaks_off "stopped in the same evaluation again"
train eval "${long[@]}"
equal "... it is done anew in the end: the same weights" "$(weights eval)" "$(weights long)"
equal "... the same journal" "$(journal eval)" "$(journal long)"
equal "... the same best weights" "$(sha256 "$(folder eval)/best.safetensors")" \
    "$(sha256 "$(folder long)/best.safetensors")"

# Two at a time.
launch shared "${exp[@]}"
first=$pid
await reached shared 5
kill -STOP "$first"
"$vitrine" train "${exp[@]}" --results "$dir/shared" >"$dir/second.out" 2>"$dir/second.err"
equal "a second process on the same run is turned away" "$?" 76
check "... it names the process that has the run" has "$dir/second.err" "$first"
check "... and its host" has "$dir/second.err" "$(uname -n)"
kill -CONT "$first"
wait "$first"
equal "... the first one trains on" "$?" 0
equal "... to the same weights" "$(weights shared)" "$whole"

# Places that cannot hold a run, and data that is not there.
"$vitrine" train "${exp[@]}" --results "$dir/nowhere/results" >"$dir/none.out" 2>"$dir/none.err"
equal "a results folder without a parent is refused" "$?" 73
check "... and named" has "$dir/none.err" "$dir/nowhere"
start data swin_cifar_patch2 --data-dir "$dir/none"
equal "missing data is its own code" "$code" 66
check "... with a hint how to get it" has "$dir/data.err" "scripts/fetch-data cifar10"
check "... and nothing is written" test ! -e "$dir/data"
touch "$dir/file"
start file "${exp[@]}"
equal "a file in the place of the results folder is refused" "$code" 73

if unshare -rm true 2>/dev/null; then
    mkdir "$dir/ro"
    # shellcheck disable=SC2016 # for the inner shell
    unshare -rm bash -c 'mount -t tmpfs -o ro none "$1/ro" || exit
        "$2" train "${@:3}" --results "$1/ro" >"$1/ro.out" 2>"$1/ro.err"; echo $? >"$1/ro.code"' \
        - "$dir" "$vitrine" "${exp[@]}" 2>/dev/null
    equal "a read-only results folder is refused" "$(cat "$dir/ro.code")" 73
    check "... and named" has "$dir/ro.err" "$dir/ro"

    mkdir "$dir/full"
    # The disk fills at the first checkpoint, at the second, and later.
    for size in 150k 500k 800k; do
        # shellcheck disable=SC2016 # for the inner shell
        unshare -rm bash -c 'mount -t tmpfs -o size="$3" none "$1/full" || exit
            "$2" train "${@:4}" --results "$1/full" >"$1/full.out" 2>"$1/full.err"
            echo $? >"$1/full.code"
            mount -o remount,size=64m "$1/full"
            "$2" train "${@:4}" --results "$1/full" >"$1/full.out" 2>"$1/again.err"
            echo $? >"$1/again.code"
            cat "$1"/full/*/*/last.safetensors | sha256sum | cut -d" " -f1 >"$1/full.sha256"
            find "$1/full" -name ".tmp*" >"$1/full.temps"' - "$dir" "$vitrine" "$size" "${exp[@]}"
        last_run=full
        equal "a disk of $size that fills ends the run" "$(cat "$dir/full.code")" 74
        check "... the message names the folder" has "$dir/full.err" "$dir/full"
        check "... and what is free" matches "$dir/full.err" 'bytes?.* free|free.*bytes?'
        equal "... with space the same command ends" "$(cat "$dir/again.code")" 0
        equal "... with the same weights" "$(cat "$dir/full.sha256")" "$whole"
        check "... and nothing left over" test ! -s "$dir/full.temps"
    done
else
    skip "a read-only results folder is refused" "no mounting in a namespace of one's own here"
    skip "a disk that fills ends the run" "no mounting in a namespace of one's own here"
fi

# Damaged files. flip FILE OFFSET inverts a byte.
flip() {
    local byte
    byte=$(od -An -tu1 -j "$2" -N 1 "$1")
    printf "%b" "\\x$(printf %x $((byte ^ 255)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
newest() { echo "$(folder "$1")/$2-$(newest_step "$1").$3"; }

for file in "w safetensors" "state bin"; do
    read -r stem end <<<"$file"
    interrupt KILL 20 "bad-$stem" "${exp[@]}"
    bad=$(newest "bad-$stem" "$stem" "$end")
    flip "$bad" $(($(stat -c %s "$bad") / 2))
    goes_on "a damaged ${bad##*/} is passed over" "bad-$stem"
    check "... and named in a warning" matches "$dir/bad-$stem.err" "warning: .*${bad##*/}"
done
interrupt KILL 20 worse "${exp[@]}"
for bad in "$(folder worse)"/state-*.bin; do
    truncate -s -1 "$bad"
done
start worse "${exp[@]}"
equal "without a good checkpoint a run does not begin anew by itself" "$code" 65
check "... it names the files" has "$dir/worse.err" "state-"

interrupt KILL 20 torn "${exp[@]}"
printf 'half a record' >>"$(folder torn)/journal"
goes_on "a torn journal is mended" torn
interrupt KILL 20 broken "${exp[@]}"
flip "$(folder broken)/journal" 100
start broken "${exp[@]}"
equal "a journal damaged in the middle is refused" "$code" 65
check "... with its name and the place" matches "$dir/broken.err" 'journal: offset [0-9]+'
start broken "${exp[@]}" --force
equal "... and --force begins anew" "$code" 0
equal "... to the same weights" "$(weights broken)" "$whole"

# Another numerics id in the newest checkpoint, sealed again.
interrupt TERM 20 other "${exp[@]}"
state=$(newest other state bin)
head -c -32 "$state" >"$dir/head"
LC_ALL=C sed -i -E 's/("s:numerics":")[0-9a-f]{4}/\1ffff/' "$dir/head"
printf "%b" "$(sha256 "$dir/head" | sed 's/../\\x&/g')" | cat "$dir/head" - >"$state"
before=$(weights other)
start other "${exp[@]}"
equal "a checkpoint of other numerics is not continued" "$code" 77
check "... both are named" matches "$dir/other.err" 'numerics ffff[0-9a-f]{8}.* has [0-9a-f]{12}'
equal "... and the weights stay" "$(weights other)" "$before"

# A training that diverges.
diverge=(quick/vit --set optim.name=sgd --set optim.lr=100 --set "checkpoint.every=2 steps")
start nan "${diverge[@]}"
equal "a training that diverges has its own code" "$code" 3
check "... it names step and layer" \
    matches "$dir/nan.err" 'step [0-9]+ .*not finite; first in the .*(layer|parameter) [a-z0-9._]+'
check "... the checkpoint before is kept" \
    cmp -s "$(folder nan)/last.safetensors" "$(newest nan w safetensors)"
equal "... summary.json knows" "$(json "$(folder nan)/summary.json" state)" diverged
reason=$(grep 'not finite' "$dir/nan.err")
start nan "${diverge[@]}"
equal "... the same command ends alike" "$code" 3
check "... it went on from the checkpoint" matches "$dir/nan.err" '  resumed at step [0-9]+$'
equal "... to the same step and layer" "$(grep 'not finite' "$dir/nan.err")" "$reason"

# Weights that overflow while every loss is finite: only the head is trained, and decay alone
# multiplies it by -700 a step. The 14th update is the last of an epoch, or lies within one.
grow=(quick/vit --set "train.freeze=[patch_embed*, pos_embed, cls_token, blocks*, norm*]"
    --set optim.lr=100 --set optim.weight_decay=7.01 --set schedule.name=constant
    --set schedule.warmup_epochs=0 --set data.limit_train=8 --set data.limit_test=8
    --set train.epochs=20 --set "checkpoint.every=1 steps" --set log.every=1)
for batch in 4 2; do
    start "inf$batch" "${grow[@]}" --set train.batch=$batch
    equal "an update that makes weights infinite ends the run, batches of $batch" "$code" 3
    check "... it names step and parameter" \
        matches "$dir/inf$batch.err" 'step 14 .*parameter head\.weight that are not finite'
    equal "... the weights before are kept" "$(newest_step "inf$batch")" 13
    start "inf$batch" "${grow[@]}" --set train.batch=$batch
    check "... the same command goes on from them, to the same end" \
        matches "$dir/inf$batch.err" 'step 14 .*parameter head\.weight that are not finite'
done

start overflow "${grow[@]}" --set train.batch=4 --set data.limit_train=4 --set optim.weight_decay=10
equal "weights so large that only the evaluation overflows end the run too" "$code" 3
check "... it says so" matches "$dir/overflow.err" 'step 13 .*loss of the evaluation is not finite'
cp "$(folder whole)/last.safetensors" "$dir/start.safetensors"
printf '\0\0\200\177' | dd of="$dir/start.safetensors" bs=1 conv=notrunc status=none \
    seek=$(($(stat -c %s "$dir/start.safetensors") - 4))
start infinite "${exp[@]}" --set model.weights="$dir/start.safetensors"
equal "a file of weights with an infinite one is refused" "$code" 65
check "... and named" has "$dir/infinite.err" "$dir/start.safetensors: "

# Nobody to talk to.
talk() {
    equal "$1: exit status" "$2" 0
    equal "$1: the weights" "$(weights "$3")" "$whole"
    equal "$1: the journal" "$(journal "$3")" "$records"
}
last_run=
"$vitrine" train "${exp[@]}" --results "$dir/mute" >&- 2>&-
talk "stdout and stderr closed" $? mute
"$vitrine" train "${exp[@]}" --results "$dir/alone" <&- >&- 2>&-
talk "all three closed" $? alone
if [[ -c /dev/full ]]; then
    "$vitrine" train "${exp[@]}" --results "$dir/devfull" >/dev/full 2>/dev/full
    talk "stdout and stderr full" $? devfull
else
    skip "stdout and stderr full" "there is no /dev/full"
fi
"$vitrine" train "${exp[@]}" --results "$dir/pipe" 2>&1 | true
talk "a pipe that nobody reads" "${PIPESTATUS[0]}" pipe
exit $status
