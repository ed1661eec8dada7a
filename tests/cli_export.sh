#!/usr/bin/env bash
# `vitrine export` to tables and TensorBoard, events written while training, and the example of
# docs/run-h5.md. The weights' export is in cli_use.sh.
set -uo pipefail
# shellcheck source=tests/support/runs.sh
source tests/support/runs.sh

file=events.out.tfevents.vitrine
exp=(quick/vit --set data.val=32 --set attention.images=2 --set log.every=2 --set train.epochs=3)
train vit "${exp[@]}"
train live "${exp[@]}" --set log.tensorboard=true
train swin quick/swin --set attention.images=2
run=$(folder vit) swin=$(folder swin)

# vt ARGUMENT...: output in $dir/said, messages in $dir/errors, exit status in $code.
vt() {
    "$vitrine" "$@" >"$dir/said" 2>"$dir/errors" </dev/null
    code=$?
    return $code
}
says() { grep -qE -- "$1" "$dir/said"; }
warns() { grep -qF -- "$1" "$dir/errors"; }
lines() { wc -l <"$dir/said"; }
# cell ROW COLUMN: of the comma-separated table that was said; row 1 is the first below the heading
cell() {
    awk -F, -v row="$1" -v name="$2" '
        NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) at = i }
        NR == row + 1 { print $at }' "$dir/said"
}
own() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum); }

# Tables.
before=$(own "$run")
check "curves are exported as CSV" vt export --to csv "$run"
columns=exp,run_id,seed,epoch,step,train_loss,train_top1,lr
columns+=,val_loss,val_top1,val_top5,val_ece,test_loss,test_top1,test_top5,test_ece
equal "... with the documented columns" "$(head -n 1 "$dir/said")" $columns
equal "... and a row an epoch" "$(lines)" 4
top1=$(json "$run/summary.json" metrics.last.test.top1)
check "... whose last test accuracy is the summary's" \
    awk -v a="$(cell 3 test_top1)" -v b="$top1" 'BEGIN { exit a == "" || a + 0 != b + 0 }'
check "... like the training loss" awk -v a="$(cell 3 train_loss)" \
    -v b="$(json "$run/summary.json" metrics.train.loss)" 'BEGIN { exit a == "" || a + 0 != b + 0 }'
cp "$dir/said" "$dir/curves.csv"
check "... as TSV" vt export --to tsv "$run"
equal "... with the same cells" "$(tr '\t' , <"$dir/said")" "$(cat "$dir/curves.csv")"
check "several runs go into one table" vt export --to csv "$run" "$swin"
equal "... with one heading" "$(grep -c '^exp,' "$dir/said")" 1
equal "... in the order asked for" "$(cell 4 run_id)" "$(basename "$swin")"
check "a run without a validation part has empty cells there" grep -q ',,,,' "$dir/said"
check "training records are exported with --steps" vt export --to csv --steps "$run"
steps=$(json "$run/summary.json" step)
equal "... a row each log.every steps" "$(lines)" $((steps / 2 + 1))
equal "... the last being the last step" "$(cell $((steps / 2)) step)" "$steps"
check "... as JSON, an object a line" vt export --to jsonl --steps "$run"
equal "... the last too" "$(tail -n 1 "$dir/said" | sed 's/.*"step": \([0-9]*\).*/\1/')" "$steps"
check "how runs ended is a Markdown table" vt export --to md "$run" "$swin"
equal "... of a row a run" "$(grep -c '^|.*| done  *|' "$dir/said")" 2
percent=$(awk -v t="$top1" 'BEGIN { printf "%.2f", 100 * t }')
check "... with the accuracy in percent" says "\| +$percent % \|"
check "... and a LaTeX table" vt export --to tex "$run"
check "... with its percent signs escaped" says "& $percent "'\\% &'
check "--out writes a file instead" vt export --to csv "$run" --out "$dir/out.csv"
equal "... the same" "$(cat "$dir/out.csv")" "$(cat "$dir/curves.csv")"
check "... and says nothing" test ! -s "$dir/said"

# TensorBoard.
vt export --to tfevents "$run" "$swin" --out "$dir/board"
events=$dir/board/quick-vit/$(basename "$run")/$file
equal "events are exported, a folder a run" "$(head -n 1 "$dir/said")" "$events"
equal "... two of them" "$(lines)" 2
first=$(sha256 "$events")
vt export --to tfevents "$run" --out "$dir/board"
equal "... exported again, the bytes are the same" "$(sha256 "$events")" "$first"
check "no file of a run was changed by exporting" test "$(own "$run")" = "$before"

# Events while training.
equal "a run that writes events is the same run" "$(basename "$(folder live)")" "$(basename "$run")"
equal "... with the same weights" "$(weights live)" "$(weights vit)"
equal "... and journal" "$(journal live)" "$(journal vit)"
check "... and no events without the key" test ! -e "$run/$file"
live=$(folder live)/$file
# Times take the same room whatever they are; text and sizes show all but the numbers.
shape() { stat -c %s "$1" && tr -cs '[:alnum:]/' '\n' <"$1" | grep -E '^(Loss|Acc|Steps)/|^Rate$'; }
equal "what is written live has the events of an export" "$(shape "$live")" "$(shape "$events")"
interrupt KILL 2 killed "${exp[@]}" --set log.tensorboard=true --set checkpoint.every='2 steps'
check "a run was killed" test $code -eq 137
train killed "${exp[@]}" --set log.tensorboard=true --set checkpoint.every='2 steps'
equal "... and continued, it lost no event and has none twice" \
    "$(shape "$(folder killed)/$file")" "$(shape "$events")"
train vit "${exp[@]}" --set log.tensorboard=true
equal "a finished run gets its events when they are asked for" "$(sha256 "$run/$file")" "$first"
rm "$run/$file"

python=
for candidate in "${PYTHON-}" python3 /usr/bin/python3; do
    [[ -n $candidate ]] && "$candidate" -c 'import tensorboard' 2>/dev/null && python=$candidate && break
done
cat >"$dir/board.py" <<'END'
import csv, struct, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

def f32(x):
    return struct.unpack("f", struct.pack("f", float(x)))[0]

for path in sys.argv[3:]:
    board = EventAccumulator(path, size_guidance={"scalars": 0})
    board.Reload()
    epochs, steps = ([*csv.DictReader(open(p))] for p in sys.argv[1:3])
    tags = {"Learning Rate": "lr"}
    for split in ("train", "val", "test"):
        tags[f"Loss/{split}"], tags[f"Acc/{split}"] = f"{split}_loss", f"{split}_top1"
    said = {"Loss": "loss", "Acc": "top1", "Learning Rate": "lr", "Gradient Norm": "grad_norm"}
    wanted = {tag: [(int(r["epoch"]), f32(r[column])) for r in epochs] for tag, column in tags.items()}
    wanted |= {f"Steps/{tag}": [(int(r["step"]), f32(r[column])) for r in steps]
               for tag, column in said.items()}
    assert set(board.Tags()["scalars"]) == set(wanted)
    for tag, values in wanted.items():
        assert [(e.step, e.value) for e in board.Scalars(tag)] == values, tag
        times = [e.wall_time for e in board.Scalars(tag)]
        assert times == sorted(times) and times[0] > 1.7e9, tag
    nodes = {n.name: n for n in board.Graph().node}
    assert len(nodes) == len(board.Graph().node) > 40
    assert all(i in nodes for n in nodes.values() for i in n.input)
    shape = nodes["head"].attr["_output_shapes"].list.shape[0]
    assert [d.size for d in shape.dim] == [1, 10] and nodes["head"].op == "linear"
END
vt export --to csv --steps "$run"
cp "$dir/said" "$dir/steps.csv"
for what in "$events:exported" "$live:written live" "$(folder killed)/$file:of a killed run"; do
    sentence="TensorBoard's loader reads what was ${what##*:}"
    if [[ -n $python ]]; then
        check "$sentence" "$python" "$dir/board.py" "$dir/curves.csv" "$dir/steps.csv" "${what%:*}"
    else
        skip "$sentence" "tensorboard is not installed (pip install tensorboard; PYTHON names the python)"
    fi
done

# The example of the page about run.h5.
awk '/^## Example/ { on = 1 } /^```/ { code = 0 } on && code; /^```python/ { code = 1 } /^## Conv/ { exit }' \
    docs/run-h5.md >"$dir/example.py"
python=
for candidate in python3 /usr/bin/python3; do
    "$candidate" -c 'import h5py' 2>/dev/null && python=$candidate && break
done
for name in vit swin; do
    if [[ -n $python ]]; then
        check "the example of docs/run-h5.md runs ($name)" \
            bash -c '"$0" "$@" >"$1.said"' "$python" "$dir/example.py" "$(folder $name)/run.h5"
        percent=$(awk -v t="$(json "$(folder $name)/summary.json" metrics.last.test.top1)" \
            'BEGIN { printf "%.2f", 100 * t }')
        check "... and finds the run's accuracy" \
            grep -q "^top1 from the logits: $percent %" "$dir/example.py.said"
        check "... and the attention" grep -q "^layer_01 .*'head': 2" "$dir/example.py.said"
    else
        skip "the example of docs/run-h5.md runs ($name)" \
            "python3-h5py is not installed (scripts/setup --test)"
    fi
done

# What goes wrong.
cp -r "$run" "$dir/damaged"
printf '\377' | dd of="$dir/damaged/journal" bs=1 seek=300 conv=notrunc 2>/dev/null
for to in csv md; do
    vt export --to $to "$dir/damaged" "$swin"
    equal "a damaged run among others is left out of $to, exit 65" "$code" 65
    check "... by name" warns "$dir/damaged"
    check "... and the others are there" says "$(basename "$swin")"
done
vt export --to tfevents --out "$dir/board2" "$dir/damaged" "$swin"
equal "... of tfevents too" "$code $(lines)" "65 1"
printf 'model: {family: nonsense}\n' >"$dir/damaged/config.yaml"
cp "$run/journal" "$dir/damaged/journal"
check "without a good config.yaml events are exported without the graph" \
    vt export --to tfevents --out "$dir/board2" "$dir/damaged"
check "... and that is said" warns "without the graph"
# wrong SENTENCE CODE TEXT ARGUMENT...
wrong() {
    local sentence=$1 expected=$2 text=$3
    shift 3
    vt export "$@"
    equal "$sentence, exit $expected" "$code" "$expected"
    check "... and it says why" warns "$text"
}
wrong "a run that is not there" 66 "no run 'nonsense'" --to csv "$run" nonsense --results "$dir/vit"
wrong "events without a folder" 64 "--out" --to tfevents "$run"
wrong "steps of a final table" 64 "--steps" --to md --steps "$run"
wrong "weights of a table" 64 "--which" --to csv --which last "$run"
wrong "an unknown format" 64 "tfevents" --to xls "$run"
wrong "two runs' weights in one file" 64 "one file" --to safetensors -o "$dir/x" "$run" "$swin"
wrong "a report of what was printed" 64 "--out" --to csv --json "$run"
wrong "a file in a folder that is not there" 66 "$dir/none" --to csv "$run" -o "$dir/none/x.csv"
exit $status
