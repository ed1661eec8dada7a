#!/usr/bin/env bash
# `vitrine train` as its user meets it: what it prints, what it leaves, what it does when it is
# called again.
set -uo pipefail
# shellcheck source=tests/support/runs.sh
source tests/support/runs.sh

# files NAME: name and SHA-256 of every file of the run but the lock, whose text names the holder.
files() { (cd "$(folder "$1")" && find . -type f ! -name lock -print0 | sort -z | xargs -0 sha256sum); }
has() { grep -qF -- "$2" "$1"; }
matches() { grep -qE -- "$2" "$1"; }
lacks() { ! grep -qF -- "$2" "$1"; }
larger() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a > b) }'; }

# First lines.
train plain quick/vit --threads 2
err=$dir/plain.err out=$dir/plain.out
check "the first lines say how many images there are to train and to test on" \
    matches "$err" 'train number: 256 .*test number: 128'
check "... and how many batches" matches "$err" 'train_loader: 8  test_loader: 4$'
check "... that the run is new" matches "$err" '^run +[0-9a-f]{12}  quick-vit  seed 0  new$'
check "... the parameters" matches "$err" '^model +vit  [0-9]+ parameters'
check "... the data set and its digest" \
    matches "$err" "^data +shapes $(json "$(folder plain)/summary.json" digests.data | cut -c1-12)"
check "... threads and kernels" matches "$err" '^device +cpu, 2 threads, avx(2|512) kernels'
check "... and the folder" has "$err" "$(folder plain)"

# Epoch lines and closing lines.
line='Train Loss:[0-9]+\.[0-9]{6}  Train Acc:[0-9]+\.[0-9]{2}% '
line+='Test Loss:[0-9]+\.[0-9]{6}  Test Acc:[0-9]+\.[0-9]{2}%  Learning Rate:[0-9]+\.[0-9]{6}$'
check "an epoch line is the article's, character for character" \
    matches "$out" "^Epoch \[  1/  2\]  $line"
check "... and so is the last" matches "$out" "^Epoch \[  2/  2\]  $line"
equal "there is one line an epoch" "$(grep -c '^Epoch' "$out")" 2
check "the run's end is on stdout" matches "$out" '^run .* DONE'
check "... with the last evaluation" \
    matches "$out" '^last +test top1 [0-9.]+ %  loss [0-9.]+  top5 [0-9.]+ %  \(128 images, epoch 2\)$'
check "... and the digest of the weights" has "$out" "weights $(weights plain | cut -c1-16)"
check "a limit on the data is not hidden" \
    has "$out" "trained on 256 and tested on 128 images only"
check "a pipe gets no escape and no carriage return" \
    bash -c "! grep -q $'[\033\r]' '$out' '$err'"
check "progress stays off stdout" bash -c "! grep -q 'Train Epoch\|img/s' '$out'"
if script -qec true /dev/null >/dev/null 2>&1 </dev/null; then
    script -qec "$vitrine train quick/swin --results $dir/terminal >$dir/terminal.out" \
        "$dir/terminal.err" >/dev/null 2>&1 </dev/null
    check "a terminal gets a progress line that redraws itself" \
        bash -c "grep -q $'\rTrain Epoch' '$dir/terminal.err'"
    check "... of the width of the terminal at most, and none of it on stdout" \
        bash -c "! grep -q $'[\033\r]' '$dir/terminal.out' && grep -q '^Epoch' '$dir/terminal.out'"
else
    skip "a terminal gets a progress line that redraws itself" "there is no script(1)"
fi
train quiet quick/vit --quiet
check "--quiet silences the narration" test ! -s "$dir/quiet.err"
check "... and not the results" cmp -s <(grep '^Epoch' "$out") <(grep '^Epoch' "$dir/quiet.out")

# Files.
run=$(folder plain)
summary=$run/summary.json
for file in config.yaml config.origin.txt journal summary.json provenance.json last.safetensors \
    best.safetensors captures run.h5; do
    check "the run's folder has $file" test -s "$run/$file"
done
equal "summary.json: the run is done" "$(json "$summary" state)" "done"
equal "... after two epochs" "$(json "$summary" epoch)/$(json "$summary" epochs)" 2/2
equal "... in sixteen steps" "$(json "$summary" step)" 16
equal "... its run id is the folder's name" "$(json "$summary" run_id)" "$(basename "$run")"
equal "... the digest is that of the weights' file" "$(json "$summary" digests.weights)" \
    "$(weights plain)"
equal "... the best weights are the last, by default" "$(json "$summary" digests.best_weights)" \
    "$(sha256 "$run/best.safetensors")"
equal "... parameters as announced" "$(json "$summary" n_params)" \
    "$(sed -nE 's/^model +vit  ([0-9]+) parameters.*/\1/p' "$err")"
equal "... the test accuracy is the printed one" \
    "$(json "$summary" metrics.last.test.top1 | awk '{ printf "%.2f", 100 * $1 }')" \
    "$(sed -nE 's/^Epoch \[  2.*Test Acc:([0-9.]+)%.*/\1/p' "$out")"
mkdir "$dir/copy"
cp "$run/config.yaml" "$dir/copy/vit.yaml"
start copied "$dir/copy/vit.yaml" --dry-run
check "config.yaml alone makes the same run" has "$dir/copied.err" "$(basename "$run")"

# Again.
files plain >"$dir/before"
start plain quick/vit --threads 1
equal "a second call ends well" "$code" 0
check "... says that the run is done" matches "$dir/plain.err" '^run .* already done$'
check "... repeats the result" matches "$dir/plain.out" '^run .* DONE'
check "... trains nothing" lacks "$dir/plain.out" "Epoch"
files plain >"$dir/after"
check "... and changes nothing" diff "$dir/before" "$dir/after"
old=$(weights plain)
train plain quick/vit --force
equal "--force trains anew, to the same weights" "$(weights plain)" "$old"
check "... says so" matches "$dir/plain.err" '^run .*  new$'
equal "... and keeps the old folder" "$(sha256 "$(folder plain).old-1/last.safetensors")" "$old"
start dry quick/vit --dry-run
equal "--dry-run ends well" "$code" 0
check "... says what would be trained" has "$dir/dry.err" "train number: 256"
check "... and writes nothing" test ! -e "$dir/dry"
start plain quick/vit --seed 1
check "another seed is another run beside it" \
    test "$(find "$dir/plain" -mindepth 2 -maxdepth 2 -type d ! -name '*.old-*' | wc -l)" = 2

# Ways to evaluate and select.
train start quick/vit --set train.epochs=0
equal "without epochs the first weights are written" "$(json "$(folder start)/summary.json" step)" 0
check "... as the last" cmp -s "$(folder start)/last.safetensors" "$(folder start)/w-0.safetensors"
check "... and evaluated once" matches "$dir/start.out" '^last +test top1 .* epoch 0\)$'
check "... without an epoch line" lacks "$dir/start.out" "Epoch ["
whole=$(journal start)
truncate -s -100 "$(folder start)/journal"
train start quick/vit --set train.epochs=0
equal "... killed before the journal's last record and started again: the same journal" \
    "$(journal start)" "$whole"
train article quick/vit --set eval.compat=article --set data.limit_test=100
check "the article's evaluation drops the last batch, and says so" \
    matches "$dir/article.out" '^last +test .*eval\.compat: article; 96 images'
check "... counts its batches alike" matches "$dir/article.err" 'test_loader: 3$'
check "... and is another run" \
    test "$(basename "$(folder article)")" != "$(basename "$(folder plain)")"
equal "... with the same weights" "$(weights article)" "$(weights quiet)"
train sparse quick/vit --set eval.every=2
check "an epoch without evaluation has a line without it" \
    matches "$dir/sparse.out" '^Epoch \[  1/  2\]  Train Loss:[0-9.]+  Train Acc:[0-9.]+%.*Learning'

# The rate grows until it spoils the weights, so the best epoch is not the last.
spoil=(--set train.epochs=6 --set optim.lr=2e-3 --set schedule.name=multistep
    --set "schedule.milestones=[4, 5]" --set schedule.gamma=10)
for part in val test; do
    train "$part" quick/vit "${spoil[@]}" --set data.val=100 --set train.select=$part
    run=$(folder "$part")
    summary=$run/summary.json
    best=$(json "$summary" metrics.best.$part.top1)
    check "selection on $part: the best epoch was better than the last" \
        larger "$best" "$(json "$summary" metrics.last.$part.top1)"
    check "... its weights are not the last" \
        bash -c "! cmp -s '$run/best.safetensors' '$run/last.safetensors'"
    equal "... they are those of its step" "$(sha256 "$run/best.safetensors")" \
        "$(sha256 "$run/w-$((8 * $(json "$summary" metrics.best.$part.epoch))).safetensors")"
    check "... and the report says what selected them" \
        matches "$dir/$part.out" "^best +test .*selected on $part"
done
equal "selection does not change what is learned" "$(weights val)" "$(weights test)"
check "selection on test is called biased" has "$dir/test.out" "biased"

interrupt TERM 3 unselected quick/vit --set train.select=test --set train.epochs=20 \
    --set "checkpoint.every=1 steps"
check "before the first selection there are no best weights" \
    test ! -e "$(folder unselected)/best.safetensors"
equal "... and summary.json names none" \
    "$(json "$(folder unselected)/summary.json" digests.best_weights)" null

# As many outputs as a head may have: 65535^2 counts are in no journal.
train many quick/vit --set model.classes=65535 --set train.epochs=1
check "a run with 65535 outputs has an evaluation" grep -q '^last' "$dir/many.out"
check "... and a run.h5" test -s "$(folder many)/run.h5"

# Totals of the models.
while read -r name total; do
    equal "$name has $total parameters" \
        "$("$vitrine" summary "$name" | awk '$1 == "parameters" { print $2 }')" "$total"
done <<'TOTALS'
swin_cifar_patch2 14373340
swin_cifar_patch4 14380252
vit_lite_7_4 3722250
vit_ti_p4 5362762
TOTALS
equal "a vit_lite_7_4 without biases of queries, keys and values has 3716874" \
    "$("$vitrine" summary vit_lite_7_4 --set model.qkv_bias=false |
        awk '$1 == "parameters" { print $2 }')" 3716874
exit $status
