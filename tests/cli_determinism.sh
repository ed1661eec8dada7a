#!/usr/bin/env bash
# One result, bit for bit, whatever threads, order of work, capture, logging, checkpoints,
# interruptions and kernel width; and the result that was committed (tests/golden.txt).
#   usage: tests/cli_determinism.sh [--golden]     --golden: write tests/golden.txt anew, test nothing
set -uo pipefail
# shellcheck source=tests/support/runs.sh
source tests/support/runs.sh

if [[ ${1-} == --golden ]]; then
    names=$(sed -n 's/^\(quick[^ ]*\) .*/\1/p' tests/golden.txt)
    {
        grep '^#' tests/golden.txt
        numerics=
        for name in $names; do
            train golden "$name" >&2 || exit 1
            [[ -n $numerics ]] || echo "numerics $(json "$(folder golden)/summary.json" digests.numerics)"
            numerics=written
            echo "$name $(weights golden)"
            rm -rf "$dir/golden"
        done
    } >"$dir/golden.txt" && cp "$dir/golden.txt" tests/golden.txt
    exit
fi

# A swin with padding that attends, shifted windows and merging, and all that draws at random.
exp=quick/swin_unmasked
random=(--set model.drop=0.1 --set model.attn_drop=0.1 --set model.drop_path=0.2
    --set "data.train=[random_crop: { pad: 4 }, flip: 0.5]" --set data.limit_train=250
    --set data.limit_test=70)

train one $exp "${random[@]}" --threads 1
first=$(weights one) records=$(journal one)

# same SENTENCE NAME: weights and journal are those of the first run.
same() {
    equal "$1: the same weights" "$(weights "$2")" "$first"
    equal "$1: the same journal" "$(journal "$2")" "$records"
}

for threads in 2 3 5; do
    train "t$threads" $exp "${random[@]}" --threads $threads && same "$threads threads" "t$threads"
done
for order in 12345 987654321; do
    VITRINE_CHUNK_ORDER=$order train "o$order" $exp "${random[@]}" --threads 2 &&
        same "chunks taken in another order ($order)" "o$order"
done
if VITRINE_KERNELS=avx512 start width $exp --dry-run; then
    for kernels in avx2 avx512; do
        VITRINE_KERNELS=$kernels train $kernels $exp "${random[@]}" &&
            same "$kernels kernels" $kernels
        check "... which were in use" grep -q ", $kernels kernels" "$dir/$kernels.err"
    done
else
    skip "avx2 kernels and avx512 kernels agree" "$(tail -n 1 "$dir/width.err")"
fi

# What is watched or saved does not change what is learned.
train watched $exp "${random[@]}" --set attention.images=9 --set attention.epochs=all &&
    equal "attention capture leaves the weights alone" "$(weights watched)" "$first"
check "... and captured something" test -s "$(folder watched)/captures/attention-1.safetensors"
train logged $exp "${random[@]}" --set log.every=3 &&
    equal "log.every leaves the weights alone" "$(weights logged)" "$first"
train saved $exp "${random[@]}" --set "checkpoint.every=3 steps" --set checkpoint.keep=3 &&
    equal "checkpoint.every leaves the weights alone" "$(weights saved)" "$first"
same_id=$(basename "$(folder one)")
for name in watched logged saved; do
    equal "... nor is it another run" "$(basename "$(folder $name)")" "$same_id"
done

# Killed at some moment and resumed with other threads.
train whole $exp "${random[@]}" --set "checkpoint.every=2 steps"
for step in 2 6 10; do
    interrupt KILL $step killed $exp "${random[@]}" --set "checkpoint.every=2 steps" --threads 2
    equal "a run is killed after step $step" "$code" 137
done
train killed $exp "${random[@]}" --set "checkpoint.every=2 steps" --threads 3
equal "killed and resumed: the same weights" "$(weights killed)" "$first"
equal "killed and resumed: the same journal" "$(journal killed)" "$(journal whole)"

# The other families the same way, in fewer runs: threads and order of work together, both kernel
# widths, and one kill.
for family in vit_dropout mobilevit cct hybrid; do
    exp=quick/$family
    random=(--set model.attn_drop=0.1 --set model.drop_path=0.2 --set data.limit_train=160
        --set "data.train=[random_crop: { pad: 4 }, flip: 0.5]" --set data.limit_test=70
        --set "checkpoint.every=2 steps")
    train "$family" $exp "${random[@]}" --threads 1
    first=$(weights "$family") records=$(journal "$family")
    for threads in 2 3 5; do
        VITRINE_CHUNK_ORDER=$threads train "$family$threads" $exp "${random[@]}" --threads $threads &&
            same "$family, $threads threads and another order" "$family$threads"
    done
    if VITRINE_KERNELS=avx512 start width $exp --dry-run; then
        for kernels in avx2 avx512; do
            VITRINE_KERNELS=$kernels train "$family-$kernels" $exp "${random[@]}" &&
                same "$family, $kernels kernels" "$family-$kernels"
        done
    fi
    interrupt KILL 4 "$family-killed" $exp "${random[@]}" --threads 2
    equal "$family is killed" "$code" 137
    train "$family-killed" $exp "${random[@]}" --threads 3
    same "$family, killed and resumed" "$family-killed"
done

# The committed results.
numerics=$(json "$(folder one)/summary.json" digests.numerics)
golden=$(sed -n 's/^numerics //p' tests/golden.txt)
while read -r name hash; do
    sentence="$name gives the committed weights"
    if [[ $numerics != "$golden" ]]; then
        skip "$sentence" "numerics ${numerics:0:12} here, committed for ${golden:0:12}"
    elif train golden "$name" --force; then
        [[ $(weights golden) == "$hash" ]] || echo "# now: $name $(weights golden)"
        equal "$sentence" "$(weights golden)" "$hash"
        rm -rf "$dir/golden"
    fi
done < <(grep '^quick/' tests/golden.txt)
[[ $numerics == "$golden" ]] || echo "# now: numerics $numerics"

# The article's model at its size: three steps of 64 images.
full=(swin_cifar_patch2 --set data.name=shapes --set data.limit_train=192
    --set data.limit_test=64 --set train.epochs=1 --set log.every=1)
train full1 "${full[@]}" --threads 1
for threads in 2 3 5; do
    train "full$threads" "${full[@]}" --threads $threads
    equal "three steps of the full-size swin_cifar_patch2, $threads threads and one: equal weights" \
        "$(weights "full$threads")" "$(weights full1)"
    equal "... and journals" "$(journal "full$threads")" "$(journal full1)"
    rm -rf "$dir/full$threads"
done
exit $status
