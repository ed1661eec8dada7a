#!/usr/bin/env bash
# run.h5 of a real run, read by programs that are not ours, and `vitrine publish`.
set -uo pipefail
# shellcheck source=tests/support/runs.sh
source tests/support/runs.sh

publish=$(dirname "$vitrine")/vitrine-h5
exp=(quick/swin --seed 5 --set data.val=32 --set attention.images=2 --set attention.epochs=all
    --set train.epochs=2 --set 'optim.betas=[0.9, 0.95]')
train run "${exp[@]}"
run=$(folder run)
h5=$run/run.h5

# Paths, types and shapes, from the indented listing.
listing() {
    h5dump -H -A 0 "$1" | awk '
        { depth = (match($0, /[^ ]/) - 1) / 3 }
        /^ *(GROUP|DATASET) "/ { split($0, part, "\""); name[depth] = part[2] }
        /DATATYPE/ { type = $2 }
        /DATASPACE/ {
            path = ""
            for (i = 1; i < depth; i++)
                path = path "/" name[i]
            shape = /SCALAR/ ? "scalar" : $0
            gsub(/.*SIMPLE \{ \( | \) \/.*/, "", shape)
            gsub(/, /, "x", shape)
            sub(/H5T_(STD|IEEE)?_?/, "", type)
            print path, type, shape
        }'
}

expected() {
    local layer window
    cat <<'END'
/attention/channel I32LE 3
/attention/col I32LE 32
/attention/dataset_index I64LE 2
/attention/image I32LE 2
/attention/images U8LE 2x32x32x3
/attention/label U16LE 2
END
    for layer in "00 4 2" "01 4 2" "02 1 4" "03 1 4"; do
        read -r layer window head <<<"$layer"
        cat <<END
/attention/layer_$layer/head I32LE $head
/attention/layer_$layer/key I32LE 16
/attention/layer_$layer/query I32LE 16
/attention/layer_$layer/weights F32LE 2x2x${window}x${head}x16x16
/attention/layer_$layer/window I32LE $window
END
    done
    cat <<'END'
/attention/patch_col I32LE 8
/attention/patch_row I32LE 8
/attention/pred U16LE 2x2
/attention/rollout F32LE 2x2x8x8
/attention/row I32LE 32
/attention/snapshot_epoch I32LE 2
/checkpoints/epoch I64LE 2
/checkpoints/file STRING 2
/checkpoints/sha256 STRING 2
/checkpoints/step I64LE 2
/classes/name STRING 10
/classes/pred_class U16LE 10
/classes/true_class U16LE 10
/config/overrides STRING scalar
/config/resolved_yaml STRING scalar
END
    for split in test val; do
        cat <<END
/eval/$split/confusion I64LE 2x10x10
/eval/$split/ece F64LE 2
/eval/$split/epoch I64LE 2
END
        if [[ $split == test ]]; then
            cat <<'END'
/eval/test/final/image I32LE 128
/eval/test/final/label U16LE 128
/eval/test/final/logits F32LE 128x10
/eval/test/final/pred U16LE 128
END
        fi
        cat <<END
/eval/$split/images I64LE 2
/eval/$split/loss F64LE 2
/eval/$split/step I64LE 2
/eval/$split/top1 F64LE 2
/eval/$split/top5 F64LE 2
END
    done
    cat <<'END'
/perf/data_wait_share F64LE 2
/perf/epoch I64LE 2
/perf/eval_images_per_s F64LE 2
/perf/peak_rss_bytes F64LE 2
/perf/publish_s F64LE 2
/perf/record_s F64LE 2
/perf/save_s F64LE 2
/perf/step_s_max F64LE 2
/perf/step_s_min F64LE 2
/perf/step_s_p50 F64LE 2
/perf/step_s_p90 F64LE 2
/perf/step_s_p99 F64LE 2
/perf/train_images F64LE 2
/perf/train_images_per_s F64LE 2
/perf/train_s F64LE 2
/provenance/git_diff STRING scalar
/provenance/provenance_json STRING scalar
/train/by_epoch/best_epoch I64LE 2
/train/by_epoch/epoch I64LE 2
/train/by_epoch/images I64LE 2
/train/by_epoch/loss F64LE 2
/train/by_epoch/lr F64LE 2
/train/by_epoch/step I64LE 2
/train/by_epoch/top1 F64LE 2
/train/epoch I64LE 16
/train/grad_norm F64LE 16
/train/images I64LE 16
/train/loss F64LE 16
/train/lr F64LE 16
/train/samples_seen I64LE 16
/train/step I64LE 16
/train/top1 F64LE 16
END
}

# How many checkpoints there are is the trainer's business.
same_listing() {
    diff <(expected | sed '/^\/checkpoints/s/ [0-9]*$//' | LC_ALL=C sort) \
        <(listing "$h5" | sed '/^\/checkpoints/s/ [0-9]*$//' | LC_ALL=C sort) | sed 's/^/# /'
    return "${PIPESTATUS[0]}"
}

value() { h5dump -A 0 -m '%.17g' -y -d "$2" "$1" | awk '/DATA \{/ { on = 1; next } /\}/ { on = 0 } on' | tr -d ' \n'; }
attribute() { h5dump -y -a "$2" "$1" | awk '/DATA \{/ { on = 1; next } /\}/ { on = 0 } on' | tr -d ' "\n'; }

if command -v h5dump >/dev/null; then
    check "run.h5 has the documented paths, types and shapes" same_listing
    equal "h5dump reads the epochs" "$(value "$h5" /eval/test/epoch)" 1,2
    equal "... the run's id" "$(attribute "$h5" /run_id)" "$(basename "$run")"
    equal "... the seed" "$(attribute "$h5" /seed)" 5
    equal "... a setting with its type" "$(attribute "$h5" /config/params/optim.betas)" \
        0.9,0.95
    equal "... the weights' SHA-256" "$(attribute "$h5" /weights_sha256)" "$(weights run)"
    top1=$(json "$run/summary.json" metrics.last.test.top1)
    check "... and the accuracy that the summary has" \
        awk -v a="$(value "$h5" /eval/test/top1 | cut -d, -f2)" -v b="$top1" 'BEGIN { exit a != b }'
    check "the command line's values are kept" \
        bash -c "h5dump -d /config/overrides '$h5' | grep -q 'train.epochs=2'"
else
    skip "run.h5 has the documented paths, types and shapes" "h5dump is not installed"
fi

python=
for candidate in python3 /usr/bin/python3; do
    "$candidate" -c 'import h5py' 2>/dev/null && python=$candidate && break
done
cat >"$dir/read.py" <<'END'
import hashlib, struct, sys
import h5py
import numpy as np

f = h5py.File(sys.argv[1])
sets = {}
f.visititems(lambda n, o: sets.__setitem__("/" + n, o) if isinstance(o, h5py.Dataset) else None)
what = sys.argv[2]
if what == "digest":
    hash = hashlib.sha256()
    for path in sorted(sets, key=str.encode):
        d = sets[path]
        if path.startswith(("/checkpoints/", "/config/", "/perf/", "/provenance/")):
            continue
        text = h5py.check_string_dtype(d.dtype)
        word = "text" if text else d.dtype.kind + str(8 * d.dtype.itemsize)
        hash.update(path.encode() + b"\0" + word.encode() + b"\0")
        hash.update(struct.pack(f"<{1 + d.ndim}q", d.ndim, *d.shape))
        for s in np.atleast_1d(d[()]) if text else [d[()]]:
            hash.update(s + b"\0" if text else np.ascontiguousarray(s).tobytes())
    assert hash.hexdigest() == f.attrs["results_digest"]
elif what == "axes":
    for path, d in sets.items():
        assert isinstance(d.attrs["units"], str) and isinstance(d.attrs["long_name"], str), path
        if not h5py.h5ds.is_scale(d.id):
            for dim in d.dims:
                assert dim.label and len(dim) == 1 and dim[0].shape[0] >= 0, path
elif what == "nexus":
    group = f[f.attrs["default"]]
    assert f.attrs["NX_class"] == "NXroot" and group.attrs["NX_class"] == "NXdata"
    assert group[group.attrs["signal"]].shape == group[group.attrs["axes"]].shape
elif what == "recompute":
    final = f["/eval/test/final"]
    logits = final["logits"][()].astype(float)
    right = logits.argmax(1) == final["label"][()]
    assert right.mean() == f["/eval/test/top1"][-1]
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (final["label"][()], final["pred"][()]), 1)
    assert (confusion == f["/eval/test/confusion"][-1]).all()
    logits -= logits.max(1, keepdims=True)
    loss = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(logits)), final["label"][()]]
    assert abs(loss.mean() - f["/eval/test/loss"][-1]) < 1e-5
elif what == "rollout":
    layers = sorted(k for k in f["/attention"] if k.startswith("layer_"))
    assert len(layers) == 2 and f["/attention/rollout"].shape == (2, 3, 4, 4)
    product = np.eye(17)
    for name in layers:
        layer = f["/attention"][name]["weights"][()].astype(float).mean(2)
        product = (0.5 * layer + 0.5 * np.eye(17)) @ product
    assert abs(product.sum(-1) - 1).max() < 1e-5
    error = f["/attention/rollout"][()].reshape(2, 3, 16) - product[:, :, 0, 1:]
    assert abs(error).max() < 1e-6 and f["/attention/rollout"][()].std() > 0
elif what == "attention":
    for name in ("layer_00", "layer_01", "layer_02", "layer_03"):
        layer = f["/attention"][name]
        sums = layer["weights"][()].sum(-1)
        assert abs(sums - 1).max() < 1e-5, name
        assert layer.attrs["window"] == 4 and layer.attrs["grid_h"] in (8, 4)
        assert layer.attrs["has_cls"] == 0
        assert layer["weights"].chunks[:2] == (1, 1) and layer["weights"].compression == "gzip"
    assert f["/attention/layer_01"].attrs["shift"] == 2
    image = f["/attention/images"]
    assert image.dtype == np.uint8 and image[()].std() > 10
END
for what in "digest: the digest can be recomputed from the file, as documented" \
    "axes: every dataset has units, a name and labelled axes with scales" \
    "nexus: viewers find the curve to show first" \
    "recompute: accuracy, loss and confusion follow from the final logits" \
    "attention: attention rows sum to 1, and every layer says its windows" \
    "rollout: the rollout of a ViT is the product of its layers"; do
    file=$h5
    if [[ $what == rollout:* ]]; then
        train vit quick/vit --set attention.images=3 --set attention.epochs=all
        file=$(folder vit)/run.h5
    fi
    if [[ -n $python ]]; then
        check "h5py: ${what#*: }" "$python" "$dir/read.py" "$file" "${what%%:*}"
    else
        skip "h5py: ${what#*: }" "python3-h5py is not installed (scripts/setup --test)"
    fi
done

before=$(sha256 "$h5")
rm "$h5"
"$vitrine" publish "$run" >"$dir/said" 2>&1
check "vitrine publish makes run.h5 again" test -s "$h5"
equal "... with the same bytes" "$(sha256 "$h5")" "$before"
rm "$h5"
"$vitrine" publish --results "$dir/run" last >"$dir/said" 2>&1
equal "... found as the last run" "$(cat "$dir/said")" "$run/run.h5"
"$publish" "$run" >"$dir/said" 2>&1
check "vitrine-h5 prints the digest and the file" grep -qE "^[0-9a-f]{64}  $run/run.h5$" "$dir/said"

# A process that was killed after the journal's last record (100 bytes) leaves an older run.h5.
cp -r "$run" "$dir/older"
truncate -s -100 "$dir/older/journal"
"$publish" "$dir/older" >/dev/null
cp "$dir/older/run.h5" "$h5"
train run "${exp[@]}"
equal "a run.h5 that is behind the journal of a finished run is made again" \
    "$(sha256 "$h5")" "$before"
printf 'no HDF5' >"$h5"
train run "${exp[@]}"
equal "... and so is one that cannot be read" "$(sha256 "$h5")" "$before"
inode=$(stat -c %i "$h5")
train run "${exp[@]}"
equal "... while one that holds all is left alone" "$(stat -c %i "$h5")" "$inode"

# With nobody to talk to, what it would say must not end in a file. A damaged config.yaml makes it say
# much while run.h5 is open.
cp -r "$run" "$dir/mute"
printf 'unknown_%d: 1\n' {1..20} >"$dir/mute/config.yaml"
"$publish" "$dir/mute" >"$dir/said" 2>&1
check "vitrine-h5 warns of a damaged file" grep -q unknown_9 "$dir/said"
heard=$(sha256 "$dir/mute/run.h5")
"$publish" "$dir/mute" <&- >&- 2>&-
check "... with all standard streams closed it ends as it should" test $? -eq 74
equal "... and publishes the same bytes" "$(sha256 "$dir/mute/run.h5")" "$heard"
"$publish" "$run" >"$dir/said" 2>&1

train threads "${exp[@]}" --threads 3 --set checkpoint.every='3 steps'
equal "other threads and checkpoints give the same results digest" \
    "$("$publish" "$(folder threads)" | cut -d' ' -f1)" "$(cut -d' ' -f1 "$dir/said")"

refuse() {
    local sentence=$1 expected=$2
    shift 2
    "$@" >"$dir/said" 2>&1
    equal "$sentence, exit $expected" "$?" "$expected"
}
printf x >>"$run"/captures/attention-*1.safetensors
refuse "a capture that is not the journal's is refused" 65 "$vitrine" publish "$run"
check "... with its path" grep -q 'captures/attention-.*1.safetensors' "$dir/said"
check "... and leaves no temporary file" bash -c "! ls -A '$run' | grep -q '^\.tmp'"
refuse "an unknown run is refused" 66 "$vitrine" publish "$dir/nothing"
refuse "publish without a run is wrong use" 64 "$vitrine" publish
refuse "vitrine-h5 without a folder is wrong use" 64 "$publish"
refuse "vitrine-h5 on a folder without a run says so" 66 "$publish" "$dir"
check "vitrine-h5 --help explains itself" bash -c "'$publish' --help | grep -q RUNDIR"
check "vitrine itself links no HDF5" bash -c "! ldd '$vitrine' | grep -q hdf5"
exit $status
