#!/usr/bin/env bash
# Attention over images: `vitrine attn`.
set -uo pipefail
# shellcheck source=tests/support/runs.sh
source tests/support/runs.sh

train swin quick/swin_unmasked --set attention.images=4
train cct quick/cct --set attention.images=4
train plain quick/vit
run=$(folder swin)
picture=tests/fixtures/images/rgb.jpg

# vt ARGUMENT...: output in $dir/said, messages in $dir/errors, exit status in $code.
vt() {
    "$vitrine" attn "$@" >"$dir/said" 2>"$dir/errors" </dev/null
    code=$?
    return $code
}
ends() {
    vt "${@:2}"
    [[ $code == "$1" ]]
}
own() { (cd "$1" && find . -type f ! -path './plots/*' -print0 | sort -z | xargs -0 sha256sum); }
# sums COLUMN...: the shares of each map add up to 1, but for what is left out
mean_sum() { awk -F'\t' -v layer="$2" '$1 == 0 && $2 == layer && $3 == "mean" { s += $6 } END { printf "%.3f", s }' "$1"; }

before=$(own "$run")
check "values are printed as JSON" vt "$run" --json
equal "... with their schema" "$(json "$dir/said" schema)" 1
equal "... and the epoch of the capture" "$(json "$dir/said" attention.epoch)" 2
check "... a row for each head's windows put back: the grid is 8 x 8" grep -q '"rollout"' "$dir/said"
cp "$dir/said" "$dir/first"
check "a run is named by its seed" vt quick/swin_unmasked@seed=0 --json --results "$dir/swin"
check "... and is that run" cmp -s "$dir/first" "$dir/said"
check "... and a seed that no run has is said" ends 66 quick/swin_unmasked@seed=5 --results "$dir/swin"
check "a read-only folder will do" vt "$run" --json --results /nowhere
check "... and the values are the same" cmp -s "$dir/first" "$dir/said"
equal "nothing is written into the run" "$(own "$run")" "$before"
check "a picture file is looked at" vt "$run" --image "$picture" --image "$picture" --json
check "... with its probability" grep -qE '"probability": 0\.[0-9]+' "$dir/said"
check "... and no label" grep -q '"label": null' "$dir/said"
"$vitrine" predict "$run" "$picture" --json >"$dir/predicted"
equal "... as predict says" "$(grep -o '"predicted": ".*"' "$dir/said" | head -n 1 | cut -d'"' -f4)" \
    "$(grep -o '"name": ".*"' "$dir/predicted" | tail -n 1 | cut -d'"' -f4)"
check "sequence pooling has its weights" vt "$(folder cct)" --json
check "... in the JSON" awk '/"pool": \[/ { found = 1 } END { exit !found }' "$dir/said"

check "a run without captures is refused, exit 66" ends 66 "$(folder plain)"
check "... and told how to make one" grep -q 'attention.images' "$dir/errors"
check "... but looks at a picture" vt "$(folder plain)" --image "$picture" --json
check "an epoch that was not captured is refused, exit 66" ends 66 "$run" --epoch 1
check "an unknown kind is wrong use, exit 64" ends 64 "$run" --kind heads
check "a picture that is none is refused, exit 65" ends 65 "$run" --image Makefile --json
check "a picture that is not there is refused, exit 66" ends 66 "$run" --image nowhere.png --json

if ! command -v gnuplot >/dev/null; then
    skip "attn draws figures" "gnuplot is not installed"
else
    check "attn draws maps, means and rollouts" vt "$run" --kind maps,mean,rollout --format png
    check "... and gnuplot has nothing to say" test ! -s "$dir/errors"
    for name in maps_0 mean rollout; do
        check "attention_$name.png is a PNG" grep -q PNG "$run/plots/attention_$name.png"
        check "... and its values lie beside it" test -s "$run/plots/attention_$name.tsv"
    done
    equal "the rollout's shares make 1" "$(mean_sum "$run/plots/attention_rollout.tsv" rollout)" 1.000
    cp "$run/plots/attention_mean.png" "$dir/mean.png"
    vt "$run" --format png
    check "the same figure has the same bytes" cmp -s "$dir/mean.png" "$run/plots/attention_mean.png"
    mkdir "$dir/out"
    check "figures go where they are sent, in the narrow width" \
        vt "$run" --narrow --smooth --out "$dir/out" --image "$picture" --format svg,pdf
    check "... as SVG" grep -q '</svg>' "$dir/out/attention_mean_files.svg"
    check "a layer that is not there is wrong use, exit 64" ends 64 "$run" --layer 9
    check "a head that is not there is wrong use, exit 64" ends 64 "$run" --kind maps --head 7
fi

size=$(wc -c <"$run"/captures/attention-2.safetensors)
truncate -s $((size - 4)) "$run"/captures/attention-2.safetensors
check "a capture that was cut is refused, exit 65" ends 65 "$run" --json
exit "$status"
