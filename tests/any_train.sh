#!/usr/bin/env bash
# Whole trainings with the program of the build under test: what a sanitizer has to say about the
# trainer, its files and its threads, and the same weights from one thread and from three.
set -uo pipefail

vitrine=${VITRINE:-./vitrine}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
status=0

# weights EXP THREADS: trains and prints the last weights' SHA-256; what was said is in $dir/log.
weights() {
    local results=$dir/${1//\//-}-$2
    "$vitrine" train "$1" --threads "$2" --results "$results" >"$dir/log" 2>&1 </dev/null || {
        echo "exit status $?" >>"$dir/log"
        return 1
    }
    cat "$results"/*/*/last.safetensors | sha256sum
}

for exp in quick/swin_unmasked quick/vit_dropout quick/hybrid quick/cct; do
    if one=$(weights "$exp" 1) && three=$(weights "$exp" 3) && [[ $one == "$three" ]]; then
        echo "ok - $exp trains to the same weights with one thread and with three"
    else
        echo "not ok - $exp trains to the same weights with one thread and with three"
        sed 's/^/# /' "$dir/log"
        status=1
    fi
done
exit $status
