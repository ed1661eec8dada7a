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

# The device does whole steps by itself, with batches that it gathers, or that it is fed; which of
# it, or none, may not be seen in a run. Everything that a step depends on changes here: the rate
# by warm-up and plateau, running statistics, clipping, a last batch that is smaller.
tiny=(quick/hybrid "${few[@]}" --set "model.stem={ dim: 8, stride: 4, act: relu }"
    --set "model.stages=[{ block: mv2, stride: 2, dim: 8, expand: 1 },
        { block: vit, dim: 8, depth: 1, heads: 2, mlp_ratio: 1 }]"
    --set "model.head={ dim: 8, pool: sequence }")
steps=("${tiny[@]}" --set train.batch=12 --set train.epochs=3 --set eval.batch=10
    --set optim.lr=0.1 --set schedule.name=plateau --set schedule.patience=0
    --set schedule.threshold=0.5 --set schedule.warmup_epochs=1 --set optim.clip_norm=0.5
    --set "checkpoint.every=3 steps")
VITRINE_AHEAD=off train one "${steps[@]}" --device cuda
train gathered "${steps[@]}" --device cuda
VITRINE_LANE_ORDER=9 VITRINE_AHEAD=fed train fed "${steps[@]}" --device cuda
interrupt KILL 6 killed "${steps[@]}" --device cuda # of four steps an epoch
train killed "${steps[@]}" --device cuda
interrupt TERM 3 asked "${steps[@]}" --device cuda
equal "a run that does steps ahead stops when it is asked to" "$code" 75
VITRINE_LANE_ORDER=reverse train asked "${steps[@]}" --device cuda
# Behind the last step of an epoch nothing is left to begin.
: >"$dir/phase"
evaluates() { [[ $(od -An -tu1 -N1 "$dir/phase") -eq 2 ]]; }
VITRINE_PHASE_FILE=$dir/phase launch between "${steps[@]}" --device cuda
await evaluates
kill -s TERM "$pid"
wait "$pid"
equal "... also in an evaluation" "$?" 75
train between "${steps[@]}" --device cuda
for name in gathered fed killed asked between; do
    equal "steps on the device alone ($name): the weights of steps one by one" \
        "$(weights $name)" "$(weights one)"
    equal "... and the journal" "$(journal $name)" "$(journal one)"
done

# What comes of a step that is not finite: nothing, nor of the two that the device had begun.
burst=("${tiny[@]}" --set train.batch=6 --set optim.lr=100 --set optim.weight_decay=10
    --set schedule.name=constant --set "checkpoint.every=4 steps")
words() { sed -n "/not finite/s|$dir/$1||p" "$dir/$1.err"; }
VITRINE_AHEAD=off start burst "${burst[@]}" --device cuda
equal "a training that diverges on the GPU has the exit status of one on the CPU" "$code" 3
for ahead in fed gathered; do
    VITRINE_AHEAD=$ahead start burst-$ahead "${burst[@]}" --device cuda
    equal "... also with steps on the device alone ($ahead)" "$code" 3
    equal "... with the same words" "$(words burst-$ahead)" "$(words burst)"
    equal "... the same weights" "$(weights burst-$ahead)" "$(weights burst)"
    equal "... and the same journal" "$(journal burst-$ahead)" "$(journal burst)"
done

# Checkpoints are the CPU's files; a run goes on where it began.
interrupt TERM 3 moved "${steps[@]}" --device cuda
start moved "${steps[@]}" --device cpu
equal "a run that began on the GPU does not go on on the CPU" "$code" 77

# Other precisions: losses near fp32's, the same bits in another order, another experiment.
for name in vit_dropout mobilevit; do
    full=$(json "$(folder "gpu-$name")/summary.json" metrics.last.test.loss)
    for precision in tf32 bf16; do
        rounded=(--set "train.precision=$precision" --device cuda)
        train "$precision-$name" "quick/$name" "${few[@]}" "${rounded[@]}" || continue
        loss=$(json "$(folder "$precision-$name")/summary.json" metrics.last.test.loss)
        check "$name: the loss in $precision is near that in fp32 ($loss, $full)" \
            awk -v a="$loss" -v b="$full" 'BEGIN { exit !(a != b && a > 0.97 * b && a < 1.03 * b) }'
    done
done
VITRINE_LANE_ORDER=7 train bf16-order quick/mobilevit "${few[@]}" "${rounded[@]}" &&
    equal "bf16: the same weights in another order" "$(weights bf16-order)" \
        "$(weights bf16-mobilevit)"
start refused quick/mobilevit "${few[@]}" --set train.precision=bf16 --device cpu
equal "the CPU refuses bf16" "$code" 78
"$vitrine" eval "$(folder bf16-mobilevit)" --device cpu --json >"$dir/eval16.json" 2>"$dir/eval16.err"
equal "... and evaluates in fp32 what was trained in bf16" "$?" 0

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
