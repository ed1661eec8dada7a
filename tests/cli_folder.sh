#!/usr/bin/env bash
# Training on a folder of pictures: one result at any number of threads, and plain words where the
# folder and the experiment do not fit.
set -uo pipefail
# shellcheck source=tests/support/runs.sh
source tests/support/runs.sh

has() { grep -qF -- "$2" "$1"; }

sets=(quick/vit --set data.name=folder --set data.dir=tests/fixtures/folder --set data.max_bad=1
    --set data.limit_train=0 --set data.limit_test=0 --set 'model={image: 16, classes: 2, patch: 4}'
    --set train.batch=8 --set 'data.test=[resize: 20, center_crop: 16]')
box='data.train=[random_resized_crop: {size: 16, scale: [0.3, 1]}, flip: 0.5]'

train one "${sets[@]}" --set "$box" --threads 1
train three "${sets[@]}" --set "$box" --threads 3
equal "one and three threads give the same weights" "$(weights one)" "$(weights three)"
# Nothing kept: every batch is decoded while the one before it computes.
for threads in 1 3 40; do
    train "ahead$threads" "${sets[@]}" --set "$box" --set data.keep_mib=0 \
        --set "data.threads=$threads"
    equal "decoding ahead with $threads threads gives the same weights" \
        "$(weights one)" "$(weights "ahead$threads")"
    equal "... and the same journal" "$(journal one)" "$(journal "ahead$threads")"
done
ahead=("${sets[@]}" --set "$box" --set data.keep_mib=0 --set checkpoint.every='1 step')
for step in 1 4; do
    interrupt KILL "$step" killed "${ahead[@]}" --set data.threads=3
    check "a run was killed in the middle (step $step)" test "$code" = 137
done
train killed "${ahead[@]}" --set data.threads=1
equal "killed while it decoded ahead and resumed, it ends with the same weights" \
    "$(weights one)" "$(weights killed)"

check "the number of pictures is shown" has "$dir/one.err" 'train number: 19  test number: 5'
check "a file that is left out is named" has "$dir/one.err" 'striped/broken.jpg: damaged JPEG'
check "the journal holds the names of the classes" \
    grep -qaF '"class_names":["plain","striped"]' "$(folder one)/journal"
equal "... and name the same data" \
    "$(json "$(folder one)/summary.json" digests.data)" \
    "$(json "$(folder three)/summary.json" digests.data)"

# refused CODE WORDS ARGUMENT...: exit status and message.
refused() {
    start bad "${sets[@]}" --set "$box" "${@:3}"
    [[ $code == "$1" ]] && has "$dir/bad.err" "$2"
}
check "more unreadable files than let pass are corrupt data" \
    refused 65 '1 files cannot be read, and data.max_bad is 0: ' --set data.max_bad=0
check "another number of classes is a bad experiment" \
    refused 78 'model.classes is 3, and tests/fixtures/folder/ has 2 class folders: plain, striped' \
    --set model.classes=3
check "a folder that is not there is a missing input" \
    refused 66 'nowhere' --set data.dir=tests/fixtures/nowhere
check "sizes that differ are a bad experiment, before anything is read" \
    refused 78 'does not bring the pictures of a folder to one size' --set 'data.test=[resize: 16]' \
    --set data.dir=tests/fixtures/nowhere
check "more pictures than there are cannot be asked for" \
    refused 78 "data.limit_train is 21, and tests/fixtures/folder has 20 training images; 0 takes all" \
    --set data.limit_train=21
check "an evaluation of whole batches needs a whole batch" \
    refused 78 'eval.compat: article leaves no batch: 5 test images / batch of 8 = 0' \
    --set eval.compat=article

exit $status
