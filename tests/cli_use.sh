#!/usr/bin/env bash
# Using a trained model: `vitrine eval`, `vitrine predict` and `vitrine export`.
set -uo pipefail
# shellcheck source=tests/support/runs.sh
source tests/support/runs.sh

train vit quick/vit --set data.val=32 --threads 2
train swin quick/swin_unmasked
run=$(folder vit) summary=$(folder vit)/summary.json

# vt VERB ARGUMENT...: output in $dir/said, messages in $dir/errors, exit status in $code.
vt() {
    "$vitrine" "$@" >"$dir/said" 2>"$dir/errors" </dev/null
    code=$?
    return $code
}
says() { grep -qE -- "$1" "$dir/said"; }
warns() { grep -qF -- "$1" "$dir/errors"; }
# number A.B.C: the first such number of the JSON that was printed.
said() { json "$dir/said" "$1" | head -n 1; }
# own: hashes of all that a run's folder holds, but figures and exports
own() { (cd "$1" && find . -type f ! -path './plots/*' ! -name model.safetensors -print0 | sort -z | xargs -0 sha256sum); }
# is_figure FILE: not empty, and of the format that its name says.
is_figure() {
    case $1 in
    *.png) head -c 4 "$1" | grep -q PNG ;;
    *.pdf) head -c 5 "$1" | grep -q '%PDF-' ;;
    *.svg) grep -q '</svg>' "$1" ;;
    esac
}

# Evaluation.
before=$(own "$run")
check "eval finds a run by a prefix of its id" \
    vt eval "$(basename "$run" | cut -c1-5)" --results "$dir/vit" --no-figures
top1=$(json "$summary" metrics.best.test.top1)
check "... and says the accuracy as the article does" \
    says "^Accuracy of the network on the 128 test images: $(awk -v t="$top1" 'BEGIN { printf "%.2f", 100 * t }') %$"
equal "... with one line a class" "$(grep -cE '^Accuracy of [a-z ]+ : [0-9]+\.[0-9]{2} %$' "$dir/said")" 10
check "... and finds the recorded figures again, bit for bit" says 'the same figures, bit for bit'
check "... the rate of the first 64 images is the article's line" says '^Accuracy Rate = [0-9.]+%$'
equal "... the table's diagonal is what was recognised" \
    "$(awk '/^true/ { on = 1; next } on && NF > 11 { n += $(NF - 9 + $1) } END { print n }' "$dir/said")" \
    "$(awk -v t="$top1" 'BEGIN { printf "%.0f", 128 * t }')"
check "eval takes a folder, and prints JSON" vt eval "$run" --no-figures --json --threads 3
for key in loss top1 top5 ece; do
    equal "the JSON's $key is that of summary.json, at another number of threads" \
        "$(said $key)" "$(json "$summary" metrics.best.test.$key)"
done
equal "... and it says that the journal has the same" "$(said recorded)" same
check "eval takes the validation part and the last weights" \
    vt eval "$run" --part val --which last --no-figures --json
equal "... its loss is the recorded one" "$(said loss)" "$(json "$summary" metrics.last.val.loss)"
equal "... of as many images as were held out" "$(said images)" 32
equal "eval writes nothing into the run" "$(own "$run")" "$before"
check "... not even a folder for figures" test ! -e "$run/plots"
check "eval of other images of the data says that the run has other figures" \
    vt eval "$run" --no-figures --set data.limit_test=64
check "... and tells them" says '^recorded the run has others: top1 .* \(128 images\)$'
check "the confusion matrix goes to a CSV file" \
    vt eval "$run" --no-figures --csv "$dir/confusion.csv"
equal "... of a head and a row for each class" "$(wc -l <"$dir/confusion.csv")" 11
equal "... with the classes' names" "$(head -n 2 "$dir/confusion.csv" | cut -d, -f1-2 | tr '\n' ';')" \
    'true\predicted,warm disc;warm disc,'"$(sed -n 2p "$dir/confusion.csv" | cut -d, -f2);"
equal "... that counts every image" \
    "$(awk -F, 'NR > 1 { for (i = 2; i <= NF; i++) n += $i } END { print n }' "$dir/confusion.csv")" 128

# Figures.
if ! command -v gnuplot >/dev/null; then
    skip "eval draws figures" "gnuplot is not installed"
else
    check "eval draws figures" vt eval "$run"
    check "... and gnuplot has nothing to say" test ! -s "$dir/errors"
    for name in confusion samples wrong; do
        for format in svg png pdf; do
            check "$name.$format is a figure" is_figure "$run/plots/$name.$format"
            check "... and named on stdout" says "/plots/$name.$format\$"
        done
        check "its data and script lie beside it" test -s "$run/plots/$name.tsv" -a -s "$run/plots/$name.gp"
    done
    equal "eval draws into plots alone" "$(own "$run")" "$before"
    sum() { cat "$run"/plots/* | sha256sum; }
    first=$(sum)
    vt eval "$run" --threads 1
    equal "drawn again with other threads, every file has the same bytes" "$(sum)" "$first"
    list=$run/plots/wrong_all.tsv
    equal "the list of wrong images has all of them" "$(($(wc -l <"$list") - 1))" \
        "$(awk -v t="$top1" 'BEGIN { printf "%.0f", 128 - 128 * t }')"
    check "... the surest first" sort -c -t $'\t' -k5,5gr <(tail -n +2 "$list")
    check "... and none that is right" awk -F '\t' '$3 == $4 { bad = 1 } END { exit bad }' "$list"
    equal "the sheet of wrong images shows the first of them" \
        "$(cat "$run/plots/wrong.tsv")" "$(head -n 33 "$list")"
    equal "the sheet of samples shows the first 64 images" \
        "$(tail -n +2 "$run/plots/samples.tsv" | cut -f1 | tr '\n' ' ')" "$(seq -s ' ' 0 63) "
    equal "... as pixels of 32 x 32 x 3 bytes" "$(wc -c <"$run/plots/samples.rgb")" $((64 * 3072))
    equal "... and the rate is that of the sheet" \
        "$(sed -nE 's/^Accuracy Rate = (.*)%$/\1/p' "$dir/said")" \
        "$(awk -F '\t' 'NR > 1 { n += $3 == $4 } END { print 100 * n / 64 }' "$run/plots/samples.tsv")"
    check "figures go to another folder on request" \
        vt eval "$run" --out "$dir/elsewhere" --part val --format svg
    check "... named after the part" test -s "$dir/elsewhere/confusion-val.svg"
    check "... in the wanted format alone" test ! -e "$dir/elsewhere/confusion-val.png"
    check "with --json the figures' names stay off stdout" \
        bash -c "'$vitrine' eval '$run' --json --format svg 2>'$dir/errors' | tail -n 1 | grep -qx '}'"
    mv "$run/plots" "$dir/plots" && touch "$run/plots"
    vt eval "$run"
    equal "a folder that cannot be written to is an error, exit 73" "$code" 73
    check "... after the figures, with a way out" \
        bash -c "grep -q '^Accuracy' '$dir/said' && grep -q -- '--out DIR' '$dir/errors'"
    rm "$run/plots"
fi

# Prediction, on a data set of files.
photos=tests/fixtures/folder
train photos quick/vit --set data.name=folder --set data.dir=$photos --set data.max_bad=1 \
    --set model.image=32 --set model.classes=2 --set 'data.train=[resize: [32, 32]]' --set 'data.test=[resize: [32, 32]]' \
    --set data.limit_train=0 --set data.limit_test=0 --set train.epochs=1 --set train.batch=8
net=$(folder photos)
check "eval lists images of a folder by their files" vt eval "$net" --format png
list=$net/plots/samples.tsv
agree() {
    local image file truth name p
    while IFS=$'\t' read -r image file truth name p; do
        vt predict "$net" "$photos/$file" --json || return 1
        [[ $(sed -nE 's/^      "name": "(.*)",?$/\1/p' "$dir/said") == "$name" ]] || return 1
        [[ $file == $truth/* && -n $image ]] || return 1
        awk -v a="$(sed -nE 's/^      "probability": ([0-9.e-]+),?$/\1/p' "$dir/said")" -v b="$p" \
            'BEGIN { d = a - b; exit !(b > 0 && d < 1e-6 && d > -1e-6) }' || return 1
    done < <(tail -n +2 "$list")
}
equal "... all of the test part" "$(wc -l <"$list")" 6
check "... and predict says of each file what eval did" agree
check "predict takes several files, PNG and JPEG" vt predict "$net" $photos/plain/00.png $photos/striped/01.jpg
equal "... and says one class for each" \
    "$(grep -cE '^tests/.*: (plain|striped)  \(class [01], probability [0-9.]+, top logit -?[0-9.]+\)$' "$dir/said")" 2
equal "... and the probability of every class" "$(grep -cE '^ +[01] (plain  |striped)  0\.[0-9]{6}$' "$dir/said")" 4
equal "... which sum to one, the likeliest first" \
    "$(awk '/^  / { n++; p += $3; if (n % 2) first = $3; else bad += $3 > first } END { printf "%.5f %d", p, bad }' "$dir/said")" \
    "2.00000 0"
vt predict "$net" $photos/plain/00.png --top 1
equal "--top shortens the list" "$(wc -l <"$dir/said")" 2
tail -n +2 "$dir/said" >"$dir/from_file"
"$vitrine" predict "$net" --top 1 - <$photos/plain/00.png >"$dir/said" 2>"$dir/errors"
equal "standard input gives the same" "$(tail -n +2 "$dir/said")" "$(cat "$dir/from_file")"
vt predict "$net" $photos/plain/00.png --json --threads 3
one=$(cat "$dir/said")
vt predict "$net" $photos/plain/00.png --json --threads 1
equal "predictions do not depend on threads" "$(cat "$dir/said")" "$one"
head -c 300 $photos/plain/01.jpg >"$dir/cut.jpg"
vt predict "$net" "$dir/cut.jpg" "$dir/none.png" $photos/plain/00.png
equal "of several files, one that is damaged decides the exit code" "$code" 65
check "... is named" warns "$dir/cut.jpg"
check "... like one that is missing" warns "$dir/none.png"
check "... and the good one is answered" says '^tests/fixtures/folder/plain/00.png: '
vt predict "$net" "$dir/none.png" --json
equal "with JSON a failure stands in the list" "$(grep -c '"error": ".*none.png' "$dir/said")" 1
vt predict "$net" --top 0 "$dir/none.png"
equal "--top 0 is wrong use" "$code" 64
vt predict "$net"
equal "so is no image" "$code" 64
vt predict nonsense "$dir/none.png" --results "$dir/vit"
equal "a run that is not there is named" "$code" 66
check "... with what a run may be" warns "no run 'nonsense'"

# Export.
check "export writes the weights beside the run's own files" vt export --to safetensors "$run"
equal "... and says where" "$(cat "$dir/said")" "$run/model.safetensors"
check "... without a word of difference" test ! -s "$dir/errors"
header() { head -c 16384 "$1" | tr '\0' ' '; }
check "... with timm's call for the network" \
    grep -qF '"timm_call":"VisionTransformer","timm_args":"{\"img_size\": 32,' <(header "$run/model.safetensors")
check "... and the classes" grep -qF 'warm disc' <(header "$run/model.safetensors")
first=$(sha256 "$run/model.safetensors")
check "export takes a file name and the last weights" \
    vt export --to safetensors last --results "$dir/vit" --which last --out "$dir/out.safetensors"
check "... they are the best ones here, under their own name" \
    bash -c "! cmp -s '$run/model.safetensors' '$dir/out.safetensors'"
vt export --to safetensors "$run"
equal "exported again, the bytes are the same" "$(sha256 "$run/model.safetensors")" "$first"
check "a network that timm computes otherwise is exported" \
    vt export --to safetensors "$(folder swin)" -o "$dir/swin.safetensors"
check "... and what differs is said" warns "padding"
check "... in the file too" grep -qF '"timm_differs"' <(header "$dir/swin.safetensors")

# ... and back in.
train again quick/vit --set data.val=32 --set "model.weights=$run/model.safetensors" \
    --set train.epochs=0
check "an export can be started from" \
    grep -q "tensors taken over (0 resized, 0 converted to F32), 0 of the head kept, 0 missing, 0 not used" "$dir/again.err"
equal "... and computes the same" \
    "$(json "$(folder again)/summary.json" metrics.last.test.loss)" "$(json "$summary" metrics.best.test.loss)"
train window quick/swin --set train.epochs=0
vt export --to safetensors "$(folder window)"
train resized quick/swin --set "model.weights=$(folder window)/model.safetensors" \
    --set model.window=2 --set model.classes=12 --set train.epochs=0
check "a smaller window resizes the bias tables, and says so" \
    grep -q 'relative_position_bias_table is resized from 7 x 7 to 3 x 3' "$dir/resized.err"
check "... a head of other classes keeps its start, and that is said" \
    grep -q 'head.fc.weight of the head has another size' "$dir/resized.err"
check "... and all is counted" \
    grep -q '(4 resized, 0 converted to F32), 2 of the head kept, 0 missing, 0 not used' "$dir/resized.err"
start patch quick/vit --set "model.weights=$run/model.safetensors" --set model.patch=4
equal "any other tensor of another shape is refused" "$code" 65
check "... by name, with both shapes" \
    grep -q 'patch_embed.proj.weight is F32 32 x 3 x 8 x 8; the model needs F32 32 x 3 x 4 x 4' "$dir/patch.err"

# What goes wrong.
# wrong SENTENCE CODE TEXT ARGUMENT...
wrong() {
    local sentence=$1 expected=$2 text=$3
    shift 3
    vt "$@"
    equal "$sentence, exit $expected" "$code" "$expected"
    check "... and it says why" warns "$text"
}
wrong "eval of a run that is not there" 66 "no run 'nonsense'" eval nonsense --results "$dir/vit"
wrong "eval without a results folder" 66 "$dir/nowhere" eval last --results "$dir/nowhere"
wrong "eval of a part without images" 66 "data.val is 0" eval "$(folder swin)" --part val
wrong "an unknown part" 64 "not 'train'" eval "$run" --part train
wrong "unknown weights" 64 "not 'first'" eval "$run" --which first
wrong "an unknown format" 64 "not 'jpg'" eval "$run" --format jpg
wrong "an unknown data set" 78 "data.name" eval "$run" --data cifar
wrong "data that is not there" 66 "cifar" eval "$run" --data cifar10 --data-dir "$dir"
wrong "a head of other classes than the run's" 65 "12 classes" eval "$run" --set model.classes=12
wrong "an export without a format" 64 "--to" export "$run"
wrong "an export in an unknown format" 64 "safetensors" export --to onnx "$run"
wrong "an export into a folder that is not there" 66 "$dir/none" \
    export --to safetensors "$run" -o "$dir/none/x.safetensors"
cp -r "$run" "$dir/copy"
head -c 2000 "$run/best.safetensors" >"$dir/copy/cut" && mv -f "$dir/copy/cut" "$dir/copy/best.safetensors"
wrong "damaged weights" 65 "best.safetensors" eval "$dir/copy" --no-figures
rm "$dir/copy/best.safetensors"
wrong "weights that are not there yet" 66 "best.safetensors" eval "$dir/copy" --no-figures
check "... but the others are" vt eval "$dir/copy" --no-figures --which last
exit $status
