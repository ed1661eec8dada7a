#!/usr/bin/env bash
# vitrine bench: what it counts is what `summary` says, and its rows add up. No time decides.
set -uo pipefail
# shellcheck source=tests/support/runs.sh
source tests/support/runs.sh

# bench FILE ARGUMENT...: with its output in FILE.
# shellcheck disable=SC2317 # called by check
bench() {
    "$vitrine" bench "${@:2}" -q >"$1"
}

# refused SENTENCE CODE WORDS ARGUMENT...
refused() {
    local code
    "$vitrine" bench "${@:4}" >/dev/null 2>"$dir/refused"
    code=$?
    equal "$1" "$code" "$2"
    check "... and says why" grep -qF -e "$3" "$dir/refused"
}

for name in quick/vit quick/swin_unmasked quick/mobilevit quick/cct quick/hybrid; do
    check "bench measures $name" bench "$dir/bench.json" "$name" --steps 3 --warm-up 1 --json \
        --trace "$dir/trace.json"
    mac=$("$vitrine" summary "$name" -q | sed -n 's/^MAC *\([0-9.]*\) G.*/\1/p')
    check "its numbers fit together" python3 - "$dir/bench.json" "$dir/trace.json" "$mac" <<'END'
import json
import sys

bench, trace, mac = json.load(open(sys.argv[1])), json.load(open(sys.argv[2])), float(sys.argv[3])
rows = bench["rows"]
assert bench["schema"] == 1 and bench["steps"] == 3
assert sum(r["flop"] for r in rows) == bench["step_flop"]
forward = sum(r["flop"] for r in rows if r["pass"] == "forward") / bench["batch"]
assert abs(forward / 2e9 - mac) <= 1e-6, (forward, mac)
# Going back costs twice as much, but nobody asks for the images' gradient.
backward = sum(r["flop"] for r in rows if r["pass"] == "backward") / bench["batch"]
assert forward < backward < 2 * forward, (forward, backward)
assert {r["pass"] for r in rows} == {"forward", "backward", "step"}
assert all(r["s"] > 0 for r in rows)
# Where every sum hands its gradient on, nothing is moved.
assert [r["name"] for r in rows if r["bytes"] == 0] in ([], ["residual"]), rows
# The calls lie within their steps and one after the other.
events = trace["traceEvents"]
assert len(events) == 3 * sum(r["calls"] for r in rows)
assert all(a["ts"] + a["dur"] <= b["ts"] + 1e-3 for a, b in zip(events, events[1:]))
assert bench["loss"] > 0 and bench["peak_bytes"] > 0
END
done

check "a row a layer" bench "$dir/layers" quick/vit --steps 1 --warm-up 1 --layers
check "names the layers" grep -q '^blocks.1.attn.qkv *backward' "$dir/layers"
refused "no steps are wrong use" 64 'go from 1' quick/vit --steps 0
refused "no warm-up is wrong use: the memory is read after it" 64 "go from 1" quick/vit --warm-up 0
refused "a trace that cannot be written" 66 "$dir/none" quick/vit --steps 1 \
    --trace "$dir/none/trace.json"
exit "$status"
