#!/usr/bin/env bash
# Whole runs on the CUDA backend, where the emulated GPU stands in for a real one: the losses of the
# CPU, the same bits in any order of the GPU's threads and after any stop, and clear errors.
set -uo pipefail
# shellcheck source=tests/support/runs.sh
source tests/support/runs.sh

# A few steps of each family, all that draws at random included.
few=(--set data.limit_train=40 --set data.limit_test=24 --set train.batch=16 --set eval.batch=16
    --set train.epochs=2 --set "data.train=[random_crop: { pad: 4 }, flip: 0.5]")

# near A B: two losses, relatively within 1e-5.
near() {
    awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; if (d < 0) d = -d
        exit !(a != "" && b != "" && d <= 1e-5 * (b < 0 ? -b : b)) }'
}

# Plain descent: Adam would make as much of the rounding of a gradient that is 0 as of any other.
near=(--set optim.name=sgd --set optim.lr=0.01 --set optim.momentum=0.9)
for name in vit_dropout swin_unmasked mobilevit cct hybrid; do
    train "cpu-$name" "quick/$name" "${few[@]}" "${near[@]}" --device cpu &&
        train "gpu-$name" "quick/$name" "${few[@]}" "${near[@]}" --device cuda || continue
    for where in metrics.train metrics.last.test; do
        on_cpu=$(json "$(folder "cpu-$name")/summary.json" $where.loss)
        on_gpu=$(json "$(folder "gpu-$name")/summary.json" $where.loss)
        check "$name: the loss ($where) on the GPU is the CPU's ($on_gpu, $on_cpu)" \
            near "$on_gpu" "$on_cpu"
    done
done

exp=quick/swin_unmasked
few+=("${near[@]}")
first=$(weights gpu-swin_unmasked)
for order in reverse 7 8; do
    VITRINE_LANE_ORDER=$order train "order-$order" $exp "${few[@]}" --device cuda &&
        equal "GPU threads in order '$order': the same weights" "$(weights "order-$order")" "$first"
done

# Checkpoints and the journal are the CPU's files; a run goes on where it began.
interrupt KILL 2 killed $exp "${few[@]}" --set "checkpoint.every=1 step" --device cuda
train killed $exp "${few[@]}" --set "checkpoint.every=1 step" --device cuda &&
    equal "killed and resumed: the same weights" "$(weights killed)" "$first"
interrupt TERM 2 moved $exp "${few[@]}" --set "checkpoint.every=1 step" --device cuda
start moved $exp "${few[@]}" --set "checkpoint.every=1 step" --device cpu
equal "a run that began on the GPU does not go on on the CPU" "$code" 77

# Weights move freely.
"$vitrine" eval "$(folder gpu-vit_dropout)" --device cpu --json >"$dir/eval.json" 2>"$dir/eval.err"
equal "the CPU evaluates what the GPU trained" "$?" 0

VITRINE_NO_GPU=1 CUDA_VISIBLE_DEVICES="" start absent $exp "${few[@]}" --device cuda
equal "without a GPU --device cuda ends with exit status 69" "$code" 69
check "... and one line that says why" grep -q 'no NVIDIA GPU can be used' "$dir/absent.err"
VITRINE_NO_GPU=1 CUDA_VISIBLE_DEVICES="" train auto $exp "${few[@]}" --device auto &&
    equal "... and auto computes on the CPU" "$(weights auto)" "$(weights cpu-swin_unmasked)"
check "... and says so" grep -q 'computing on the CPU' "$dir/auto.err"

exit $status
