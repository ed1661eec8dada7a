#!/usr/bin/env bash
# Every shipped experiment, as it is: its file is checked, and its network takes two steps of two
# images at full size. The pictures are the built-in ones or, for folders, a few that are written
# here, so no data set is needed; transforms, sizes, optimiser and schedule are the experiment's.
set -uo pipefail
# shellcheck source=tests/support/runs.sh
source tests/support/runs.sh

# A folder of four pictures for each of five classes.
for class in daisy dandelion roses sunflowers tulips; do
    mkdir -p "$dir/photos/$class"
    for i in 1 2 3 4; do
        cp tests/fixtures/images/rgb.jpg "$dir/photos/$class/$i.jpg"
    done
done

small=(--set train.epochs=1 --set train.batch=2 --set eval.batch=2 --set data.limit_train=4
    --set data.limit_test=2 --set schedule.warmup_epochs=0 --set attention.images=0 -q)

for file in experiments/*.yaml experiments/trio/*.yaml experiments/quick/*.yaml; do
    name=${file#experiments/}
    name=${name%.yaml}
    run=${name//\//-}
    check "$name is a sound experiment" "$vitrine" config --check "$name"
    case $("$vitrine" config "$name" | sed -n 's/^ *name: \(cifar10\|cifar100\|folder\|shapes\)$/\1/p') in
    folder) data=(--data-dir "$dir/photos" --set data.test_share=0.25) ;;
    cifar*) data=(--set data.name=shapes) ;;
    *) data=() ;;
    esac
    classes=$("$vitrine" config "$name" | sed -n 's/^ *classes: //p')
    train "$run" "$name" "${small[@]}" "${data[@]}" --set "model.classes=$classes" &&
        equal "$name takes two steps at full size" "$(json "$(folder "$run")/summary.json" step)" 2
    rm -rf "${dir:?}/$run"
done
exit "$status"
