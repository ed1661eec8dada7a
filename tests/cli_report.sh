#!/usr/bin/env bash
# `vitrine report`: what the page holds, that other people's names cannot break it, that it needs
# nothing else, and, where they are installed, what tidy and a browser say of it.
set -uo pipefail
# shellcheck source=tests/support/runs.sh
source tests/support/runs.sh

small=(--set train.epochs=1 --set data.limit_train=64 --set data.limit_test=32)
train all quick/vit "${small[@]}" --set attention.images=2
train all quick/vit "${small[@]}" --set attention.images=2 --seed 2
train all quick/swin "${small[@]}" --set train.epochs=2 --set attention.images=0
# Classes that would be markup, and one letter short of an entity.
odd='a<b>&"c'\'
mkdir "$dir/folder"
cp -r tests/fixtures/folder/. "$dir/folder"
find "$dir/folder" -depth -type d -name plain -execdir mv plain "$odd" \;
train all quick/vit --set data.name=folder --set "data.dir=$dir/folder" --set data.max_bad=1 \
    --set data.limit_train=0 --set data.limit_test=0 --set train.epochs=1 --set train.batch=8 \
    --set 'model={image: 16, classes: 2, patch: 4}' --set 'data.test=[resize: 20, center_crop: 16]' \
    --set 'data.train=[random_resized_crop: {size: 16, scale: [0.3, 1]}, flip: 0.5]' \
    --set attention.images=2
results=$dir/all

# report OUT ARGUMENT...: into $dir/OUT; exit status in $code.
report() {
    local out=$1
    shift
    "$vitrine" report --results "$results" --out "$dir/$out" "$@" >"$dir/said" 2>"$dir/errors"
    code=$?
    page=$dir/$out/report.html
    return $code
}

lacks() { ! grep -qE -- "$2" "$1"; }
sections() { grep -o '<h2 id="[a-z]*"' "$1" | cut -d'"' -f2 | tr '\n' ' '; }

# figures_hold FILE: each figure has an SVG that draws something, and a name for who cannot see it.
figures_hold() {
    awk '/<figure[ >]/ { n++; drawn = named = 0 }
        /<figure[ >]/ && /role="img"/ && /aria-label="[^"]/ { named = 1 }
        /<(path|polygon|rect|image|circle)/ { drawn = 1 }
        /<\/figure>/ { if (!drawn || !named) exit bad = 1 }
        END { exit bad || n == 0 }' "$1"
}

pictures_are_png() {
    local n=0 code
    while read -r code; do
        n=$((n + 1))
        base64 -d <<<"$code" >"$dir/picture" && head -c 4 "$dir/picture" | grep -qa PNG || return 1
    done < <(tr -d '\n' <"$1" | grep -oE 'data:image/png;base64,[A-Za-z0-9+/=]+' | cut -d, -f2)
    ((n > 0))
}

# holds FILE TITLE: what is true of every page.
holds() {
    check "$2: the sections are there in their order" \
        test "$(sections "$1")" = \
        "comparison curves classes attention cost configuration origin reproduce "
    check "$2: the verdict stands before everything else" \
        bash -c "sed -n '/<h1>/{n;p}' '$1' | grep -q 'class=\"verdict\"'"
    check "$2: it has a language, one first heading, and no level is skipped" \
        bash -c "grep -q '<html lang=\"en\">' '$1' && test \$(grep -c '<h1>' '$1') = 1"
    check "$2: it has no script and no address to go to" lacks "$1" \
        '<script|javascript:|<link|<iframe|@import|(src|href)=["'\'']?(https?:|//)|url\(["'\'']?[^#]'
    equal "$2: ids are unique" \
        "$(grep -oE "[ ]id=[\"'][^\"']*" "$1" | tr "'" '"' | sort | uniq -d | wc -l)" 0
    if command -v tidy >/dev/null; then
        check "$2: tidy has nothing to say" \
            bash -c "tidy -q -e --drop-empty-elements no '$1' >'$dir/tidy' 2>&1 && test ! -s '$dir/tidy'" ||
            sed 's/^/# /' "$dir/tidy"
    else
        skip "$2: tidy has nothing to say" "tidy is not installed"
    fi
}

browser() {
    timeout -k 5 300 chromium --headless=new --no-sandbox --disable-gpu --no-first-run \
        --disable-background-networking --disable-component-update --disable-sync \
        --disable-dev-shm-usage --user-data-dir="$dir/browser" \
        --host-resolver-rules='MAP * ~NOTFOUND' "$@" 2>"$dir/browser.log"
}

# measured FILE: the page with a script that puts what it finds into the title.
measured() {
    sed -e '/Content-Security-Policy/d' "$1" |
        sed -e "s|<head>|<head><meta http-equiv=\"Content-Security-Policy\" content=\"default-src \
'none'; style-src 'unsafe-inline'; img-src data:; script-src 'unsafe-inline'\"><script>let wrong = \
[]; addEventListener('error', e => wrong.push('error ' + e.message), true); \
document.addEventListener('securitypolicyviolation', e => wrong.push('asks for ' + \
e.blockedURI));</script>|"
    cat <<'END'
<script>addEventListener('load', () => {
    const figures = document.querySelectorAll('figure svg');
    const channels = c => c.match(/[\d.]+/g).slice(0, 3).map(v => {
        v /= 255;
        return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    });
    const light = c => channels(c).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const paper = e => {
        const c = getComputedStyle(e).backgroundColor;
        return /, 0\)$/.test(c) && e.parentElement ? paper(e.parentElement) : c;
    };
    for (const figure of figures) {
        const box = figure.getBoundingClientRect(), drawn = figure.getBBox();
        if (box.width < 200 || box.height < 80 || drawn.width < 100)
            wrong.push('small figure: ' + figure.getAttribute('aria-label'));
    }
    for (const e of document.querySelectorAll('h1,h2,h3,p,li,small,th,td,a,figcaption,pre,summary')) {
        const a = light(getComputedStyle(e).color), b = light(paper(e));
        if ((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5)
            wrong.push('pale ' + e.tagName);
    }
    for (const e of document.querySelectorAll('.paper text')) {
        const a = light(getComputedStyle(e).fill), b = light(paper(e));
        if ((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5)
            wrong.push('pale text in a figure: ' + e.textContent);
    }
    document.body.style.width = '390px';
    if (document.body.scrollWidth > 390)
        wrong.push('wider than a phone: ' + document.body.scrollWidth);
    document.title = figures.length + ' figures; ' + (wrong.join('; ') || 'all well');
})</script>
END
}

# renders FILE TITLE FIGURES
renders() {
    local theme
    if ! command -v chromium >/dev/null; then
        skip "$2: a browser shows it" "chromium is not installed"
        return
    fi
    measured "$1" >"$dir/measured.html"
    for theme in light dark; do
        browser --blink-settings="preferredColorScheme=$([[ $theme == dark ]]; echo $?)" \
            --virtual-time-budget=5000 --dump-dom "file://$dir/measured.html" >"$dir/dom"
        equal "$2, $theme: figures are seen, texts stand out, a phone is wide enough, nothing is asked for" \
            "$(grep -o '<title>[^<]*' "$dir/dom" | head -n 1)" "<title>$3 figures; all well"
    done
    browser --enable-logging=stderr --v=0 --log-net-log="$dir/net.json" --dump-dom "file://$1" \
        >"$dir/dom"
    check "$2: the browser has read all of it" grep -q 'id="reproduce"' "$dir/dom"
    check "$2: ... its console is empty" lacks "$dir/browser.log" 'CONSOLE'
    check "$2: ... and no request left" lacks "$dir/net.json" \
        '"(initiator|url)":"(https?|wss?|ftp)://[^"]*(report|example|cdn|fonts)'
}

if ! command -v gnuplot >/dev/null; then
    skip "the page has figures" "gnuplot is not installed"
else
    check "all experiments make one page" report first --title 'Me & <you>'
    equal "... whose path is said" "$(cat "$dir/said")" "$dir/first/report.html"
    check "... and nothing else" test ! -s "$dir/errors"
    holds "$page" "three experiments"
    check "a title is text" grep -q '<h1>Me &amp; &lt;you&gt;</h1>' "$page"
    check "class names are text" grep -q 'a&lt;b>&amp;' "$page"
    check "... and never markup" lacks "$page" 'a<b>'
    check "every figure has something drawn and a description" figures_hold "$page"
    check "pictures inside are PNG" pictures_are_png "$page"
    check "unequal conditions are said at the top" grep -q 'Not like with like' "$page"
    check "what to expect stands with each command" bash -c \
        "test \$(grep -c 'seed [0-9]*: weights [0-9a-f]\{16\}, numerics' '$page') = 4"
    renders "$page" "three experiments" "$(grep -c '<figure[ >]' "$page")"

    report second --title 'Me & <you>'
    check "the same runs give the same bytes" cmp -s "$dir/first/report.html" "$page"

    chmod -R a-w "$results"
    check "one run, in a folder that is not ours to write, makes a page elsewhere" \
        report one quick-swin
    chmod -R u+w "$results"
    holds "$page" "one run"
    check "... which says that nothing of attention was kept" \
        grep -q 'No run captured attention weights' "$page"

    for i in 1 2 3 4 5 6; do
        cp -r "$results/quick-swin" "$results/copy-$i"
    done
    check "folders under other names do not make it fail" report many
    holds "$page" "many folders"
    rm -r "$results"/copy-*
fi

check "--md prints Markdown" report none --md
for words in '# Results' '## Comparison' '## Cost' '## Where it came from' '## Reproduce' '^| A '; do
    check "... with '$words'" grep -q -- "$words" "$dir/said"
done
check "... and writes no file" test ! -e "$dir/none"

mkdir "$dir/bin"
PATH=$dir/bin report bare
equal "without gnuplot the exit status is 69" "$code" 69
holds "$page" "without gnuplot"
check "... the page says so in each figure's place" grep -q 'Not drawn, for gnuplot did not run' "$page"

report bare nothing-of-this-name
equal "an experiment that is not there is missing input" "$code" 66
"$vitrine" report --results "$results" --metric speed >"$dir/said" 2>"$dir/errors"
equal "a metric that is not there is wrong use" $? 64
exit "$status"
