#!/usr/bin/env bash
# What commands print as JSON is what docs/json.md says, key by key.
set -uo pipefail
# shellcheck source=tests/support/runs.sh
source tests/support/runs.sh

if ! command -v python3 >/dev/null; then
    skip "JSON is as documented" "python3 is not installed"
    exit 0
fi

train vit quick/vit --set data.val=32 --set train.epochs=2 --set log.every=4
train seen quick/cct --set attention.images=2
train none quick/vit --set train.epochs=0
run=$(folder vit)
photo=tests/fixtures/folder/plain/00.png

# documented SECTION FILE [--lines]
documented() {
    tests/support/check-json docs/json.md "$@" >"$dir/wrong" && return 0
    sed 's/^/# /' "$dir/wrong"
    return 1
}
# prints SECTION COMMAND...: what the command prints has that section's keys.
prints() {
    local section=$1 lines=
    shift
    [[ $section == *jsonl* || $section == tail ]] && lines=--lines
    "$vitrine" "$@" >"$dir/json" 2>"$dir/errors" </dev/null || [[ -s $dir/json ]] || {
        sed 's/^/# /' "$dir/errors"
        return 1
    }
    documented "$section" "$dir/json" $lines
}

check "config" prints config config quick/vit --set model.depth=3 --json
check "summary" prints summary summary quick/vit --json
check "summary of a model with buffers" prints summary summary quick/hybrid --json
check "eval" prints eval eval "$run" --json --no-figures
check "eval of weights before the first step" prints eval eval "$(folder none)" --json --no-figures
check "predict, also a picture that is not there" prints predict predict "$run" $photo "$dir/none" --json
check "attn of captured images" prints attn attn "$(folder seen)" --json
check "attn of a picture" prints attn attn "$(folder seen)" --image $photo --json
check "export" prints export export --to tfevents --out "$dir/board" --json "$run"
check "export, curves" prints "export --to jsonl" export --to jsonl "$run" "$(folder none)"
check "export, training records" prints "export --to jsonl --steps" export --to jsonl --steps "$run"
train other quick/vit --seed 1 --set optim.lr=2e-3
mkdir -p "$dir/vit/quick-vit/broken" && printf 'no journal' >"$dir/vit/quick-vit/broken/journal"
check "ls, a broken run too" prints ls ls --json --results "$dir/vit"
check "show" prints show show "$run" --json
check "tail" prints "tail" tail "$run" --json
check "compare" prints compare compare "$run" "$(folder other)" "$(folder none)" --json
check "diff" prints diff diff "$run" "$(folder other)" --json
check "bench" prints bench bench quick/vit --steps 1 --json
"$vitrine" sweep quick/vit --grid train.epochs=0,1 --results "$dir/vit" -q >"$dir/swept" 2>&1
check "sweep --status" prints "sweep --status" sweep quick/vit --status --results "$dir/vit" --json
"$vitrine" baseline accept "$run" --reason test --results "$dir/vit" >"$dir/accepted" 2>&1
check "regress" prints regress regress --json --results "$dir/vit"
check "baseline show" prints "baseline show" baseline show --json --results "$dir/vit"
check "gc" prints gc gc --json --results "$dir/vit"
check "env" prints env env --json
check "data check" prints "data check" data check quick/vit --json
check "selftest" prints selftest selftest --json
check "summary.json" documented summary.json "$run/summary.json"
check "summary.json of a run without epochs" documented summary.json "$(folder none)/summary.json"
check "perf.jsonl" documented perf.jsonl "$run/perf.jsonl" --lines

# The check can fail.
"$vitrine" summary quick/vit --json >"$dir/good"
# spoilt SENTENCE PATTERN REPLACEMENT WORDS
spoilt() {
    sed "s/$2/$3/" "$dir/good" >"$dir/spoilt"
    tests/support/check-json docs/json.md summary "$dir/spoilt" >"$dir/wrong"
    equal "$1" "$? $(cat "$dir/wrong")" "1 $4"
}
spoilt "a key that is missing is found" '"macs": [0-9]*,$' '' "summary.layers[].macs is missing
summary.macs is missing"
spoilt "... one that is not documented" '"bytes"' '"octets"' "summary.bytes is missing
summary.octets is not in the table"
spoilt "... one of another type" '"experiment": "quick-vit"' '"experiment": 1.5' \
    "summary.experiment is 1.5, not text"
exit $status
