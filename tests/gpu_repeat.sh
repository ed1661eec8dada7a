#!/usr/bin/env bash
# On a GPU (scripts/gpu-check runs it): ten runs and runs that were killed have one SHA-256, in every
# precision, and a run goes on only on the numerics that it began with.
#   environment: VITRINE_REPEATS=10, VITRINE_TEST_PRECISION=fp32|tf32|bf16
set -uo pipefail
# shellcheck source=tests/support/runs.sh
source tests/support/runs.sh

repeats=${VITRINE_REPEATS:-10}
precision=${VITRINE_TEST_PRECISION:-fp32}
exp=quick/swin_unmasked
few=(--set data.limit_train=64 --set data.limit_test=32 --set train.batch=16 --set eval.batch=16
    --set train.epochs=2 --set "data.train=[random_crop: { pad: 4 }, flip: 0.5]"
    --set "checkpoint.every=1 step" --device cuda)
# fp32 is what an experiment has that says nothing.
[[ $precision == fp32 ]] || few+=(--set "train.precision=$precision")

if ! "$vitrine" config "$exp" -q "${few[@]:0:${#few[@]}-2}" >"$dir/config" 2>&1 ||
    { [[ $precision != fp32 ]] && ! grep -q "precision: $precision" "$dir/config"; }; then
    skip "runs in $precision" "this program has no train.precision=$precision"
    exit 0
fi

train first "$exp" "${few[@]}" || exit 1
first=$(weights first)
echo "# $precision: SHA-256 of the weights $first"
same=1
for ((i = 2; i <= repeats; i++)); do
    rm -rf "${dir:?}/again"
    train again "$exp" "${few[@]}" || exit 1
    if [[ $(weights again) == "$first" && $(journal again) == "$(journal first)" ]]; then
        same=$((same + 1))
    fi
done
equal "$precision: $repeats runs have the same weights and journal" "$same" "$repeats"

for step in 1 3 6; do
    interrupt KILL "$step" "killed-$step" "$exp" "${few[@]}"
    if [[ $code != 137 ]]; then
        failed "$precision: the run is killed after step $step (exit status $code)"
        continue
    fi
    train "killed-$step" "$exp" "${few[@]}" &&
        equal "$precision: killed after step $step and resumed: the same weights" \
            "$(weights "killed-$step")" "$first"
done

# Numerics: a run goes on only where it began.
started_elsewhere=("${few[@]}")
started_elsewhere[-1]=cpu
if [[ $precision == fp32 ]]; then
    interrupt TERM 2 moved "$exp" "${started_elsewhere[@]}"
    start moved "$exp" "${few[@]}"
    equal "a run that began on the CPU does not go on on the GPU: exit status" "$code" 77
fi
exit $status
