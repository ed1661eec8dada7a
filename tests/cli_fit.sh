#!/usr/bin/env bash
# Every family learns 64 images of the built-in set by heart, within the steps of docs/zoo.md.
set -uo pipefail
status=0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

for family in vit swin mobilevit cct hybrid; do
    if scripts/fit-64 "$family" >"$dir/table" 2>&1; then
        echo "ok - $family learns 64 images by heart in 200 steps"
    else
        echo "not ok - $family learns 64 images by heart in 200 steps"
        sed 's/^/# /' "$dir/table"
        status=1
    fi
done
exit $status
