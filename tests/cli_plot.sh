#!/usr/bin/env bash
# `vitrine plot`: which files it makes, and what it does without gnuplot.
set -uo pipefail
# shellcheck source=tests/support/runs.sh
source tests/support/runs.sh

train all quick/vit
"$vitrine" train quick/swin --set train.epochs=1 --set data.val=16 --results "$dir/all" \
    >"$dir/second.log" 2>&1 || failed "the second run ends well"
results=$dir/all

# plot ARGUMENT...: output in $dir/said, warnings and errors in $dir/errors, exit status in $code.
plot() {
    "$vitrine" plot --results "$results" "$@" >"$dir/said" 2>"$dir/errors" </dev/null
    code=$?
    return $code
}

# is_figure FILE: not empty, and of the format that its name says.
is_figure() {
    case $1 in
    *.png) head -c 4 "$1" | grep -q PNG ;;
    *.pdf) head -c 5 "$1" | grep -q '%PDF-' ;;
    *.svg) grep -q '</svg>' "$1" ;;
    esac
}

all_are_figures() {
    local file n=0
    while read -r file; do
        is_figure "$file" || { echo "# $file"; return 1; }
        n=$((n + 1))
    done <"$dir/said"
    ((n == $1))
}

vit=$(echo "$results"/quick-vit/*) swin=$(echo "$results"/quick-swin/*)
if ! command -v gnuplot >/dev/null; then
    skip "figures are drawn" "gnuplot is not installed"
else
    check "without a run, every experiment's newest run is drawn, and all side by side" plot
    check "... as four figures each and one, in three formats" all_are_figures 27
    check "... and gnuplot has nothing to say" test ! -s "$dir/errors"
    for name in loss accuracy learning_rate stacked; do
        check "$name: figure, script and data lie in the run's folder" \
            test -s "$vit/plots/$name.svg" -a -s "$vit/plots/$name.gp" -a -s "$vit/plots/$name.tsv"
    done
    for word in train test epoch quick-vit; do
        check "the figure says '$word'" grep -q ">.*$word.*</text>" "$vit/plots/stacked.svg"
    done
    check "the validation part has its curve" grep -q '>val</text>' "$swin/plots/loss.svg"
    check "... and where there is none, it has none" \
        bash -c "! grep -q '>val</text>' '$vit/plots/loss.svg'"
    check "the accuracy axis is in percent" grep -q '[0-9]%</text>' "$vit/plots/accuracy.svg"
    check "the comparison names both experiments" \
        bash -c "grep -q quick-swin '$results/plots/compare.svg' && grep -q quick-vit '$results/plots/compare.svg'"
    sum() { cat "$vit"/plots/* "$results"/plots/* | sha256sum; }
    first=$(sum)
    plot
    equal "drawn again, every file has the same bytes" "$(sum)" "$first"
    rm "$vit/plots/loss.svg"
    (cd "$vit/plots" && LC_ALL=C.UTF-8 gnuplot -d loss.gp)
    check "the script beside a figure draws it again" is_figure "$vit/plots/loss.svg"

    rm -r "$vit/plots" "$swin/plots" "$results/plots"
    check "an experiment narrows it" plot quick/vit --format svg
    check "... to its newest run" all_are_figures 4
    check "... in that format alone" test ! -e "$vit/plots/loss.png" -a ! -e "$swin/plots"
    rm -r "$vit/plots"
    check "several runs are drawn in one set of axes: first digits, --run and --exp name them" \
        plot "$(basename "$vit" | cut -c1-6)" --run "$swin" --exp quick-vit --format png
    check "... loss and accuracy, in the folder of the results" \
        eval 'all_are_figures 2 && test -s "$results/plots/loss.png" && test ! -e "$vit/plots"'
    check "... each in a column of the table" \
        grep -q "quick-swin test_loss.*quick-vit test_loss" "$results/plots/loss.tsv"
    every=loss,accuracy,lr,gradnorm,speed,confusion,calibration,classes
    for width in single double; do
        check "every kind is drawn, $width" \
            plot quick/vit quick/swin --kind $every --width $width --out "$dir/out-$width"
        check "... the confusion matrices apart, and gnuplot has nothing to say" \
            eval 'all_are_figures 27 && test ! -s "$dir/errors"'
        check "... and drawn again all but the speed, which is measured, have the same bytes" \
            eval 'sum=$(cat "$dir/out-$width"/[!s]* | sha256sum)
                plot quick/vit quick/swin --kind $every --width $width --out "$dir/out-$width"
                test "$sum" = "$(cat "$dir/out-$width"/[!s]* | sha256sum)"'
    done
    equal "single is 3.3 inches wide" \
        "$(grep -o 'viewBox="0 0 [0-9]*' "$dir/out-single/loss.svg")" 'viewBox="0 0 317'
    equal "... and double 6.9" \
        "$(grep -o 'viewBox="0 0 [0-9]*' "$dir/out-double/loss.svg")" 'viewBox="0 0 662'
    for name in quick-vit quick-swin test train; do
        check "the legend says $name" grep -q ">$name</text>" "$dir/out-double/loss.svg"
    done
    check "the diagram tells the calibration error" grep -q "ECE [0-9.]* %" \
        "$dir/out-single/calibration.svg"
    check "a logarithmic axis is drawn on request" \
        plot quick/vit --kind loss --log --format svg --out "$dir/log"
    check "... and said in the script" grep -q 'log_y\[1\] = 1' "$dir/log/loss.gp"
    "$vitrine" train quick/vit --seed 7 --results "$results" >"$dir/third.log" 2>&1
    check "an experiment's seeds are folded" plot quick/vit --kind accuracy --format svg --out "$dir/band"
    check "... into a mean, a band and their number" grep -q "test_top1_percent mean.*low.*high.*seeds" \
        "$dir/band/accuracy.tsv"
    check "... as the figure says" grep -q "standard deviation of 2 seeds" "$dir/band/accuracy.svg"
    check "--each keeps them apart" plot quick/vit --each --kind loss --format svg --out "$dir/each"
    check "... by their seeds" grep -q "quick-vit seed 7" "$dir/each/loss.svg"
    rm -r "$(ls -td "$results"/quick-vit/*/ | head -1)"
    check "several runs are typed in one set of axes" plot quick/vit quick/swin --terminal
    check "... with a key" eval 'grep -q "quick-swin test" "$dir/said"'
    check "--terminal draws with characters" plot --terminal quick-vit
    check "... the three curves" \
        bash -c "grep -q loss '$dir/said' && grep -q accuracy '$dir/said' && grep -q 'learning rate' '$dir/said'"
    check "... and writes no file" test ! -e "$vit/plots"
fi

# wrong SENTENCE CODE TEXT ARGUMENT...
wrong() {
    local sentence=$1 expected=$2 text=$3
    shift 3
    plot "$@"
    check "$sentence, exit $expected" test "$code" = "$expected"
    check "... and it says why" grep -qF -- "$text" "$dir/errors"
}
wrong "a misspelt experiment is refused" 66 "did you mean 'quick-vit'" quick-vti
wrong "an unknown format is refused" 64 "not 'jpg'" --format svg,jpg
wrong "an empty format is refused" 64 "not ''" --format svg,
printf 'VTJRNL1\n' >"$dir/journal"
mkdir -p "$results/early/0123456789ab" && mv "$dir/journal" "$results/early/0123456789ab"
wrong "an unknown kind is refused" 64 "not 'los'" --kind loss,los quick/vit
wrong "an unknown width is refused" 64 "not 'wide'" --width wide
wrong "an epoch that was not evaluated is named" 66 "after epoch 99" --kind classes --epoch 99 quick/vit
wrong "figures with characters are curves" 64 "cannot be drawn" --kind confusion --terminal quick/vit
wrong "a run without an epoch is refused" 65 "no record" early
results=$dir/nowhere
wrong "a missing results folder is named" 66 "$dir/nowhere"
results=$dir/all
rm -r "$results/early"

mkdir "$dir/bin"
for tool in bash cat; do ln -s "$(command -v $tool)" "$dir/bin"; done
PATH=$dir/bin plot
equal "without gnuplot the exit code is 69" "$code" 69
check "... the message says what to install" grep -q gnuplot-nox "$dir/errors"
check "... and data and scripts of all figures are kept" \
    test -s "$vit/plots/loss.tsv" -a -s "$swin/plots/stacked.gp" -a -s "$results/plots/compare.gp"
printf '#!/bin/bash\necho "line 7: bad thing" >&2\nexit 3\n' >"$dir/bin/gnuplot"
chmod +x "$dir/bin/gnuplot"
PATH=$dir/bin plot quick-vit
equal "a gnuplot that fails gives exit code 69" "$code" 69
check "... with its words" grep -q 'exit status 3.*bad thing' "$dir/errors"
printf '#!/bin/bash\nexit 0\n' >"$dir/bin/gnuplot"
rm -f "$vit"/plots/*.svg
PATH=$dir/bin plot quick-vit
check "a gnuplot that draws nothing is found out" test "$code" != 0
exit $status
