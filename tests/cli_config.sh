#!/usr/bin/env bash
# `vitrine config` and the command line around it: each use with its messages and its exit code.
set -uo pipefail

vitrine=${VITRINE:-./vitrine}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
status=0

# expect SENTENCE CODE TEXT... -- ARGUMENTS...: runs the program; every TEXT must be in what it says
# (stdout and stderr together). A TEXT that begins with '!' must not be there.
expect() {
    local sentence=$1 code=$2 wanted=() text got
    shift 2
    while [[ $1 != -- ]]; do
        wanted+=("$1")
        shift
    done
    shift
    "$vitrine" "$@" >"$dir/out" 2>"$dir/err"
    got=$?
    cat "$dir/out" "$dir/err" >"$dir/both"
    local problem=
    [[ $got == "$code" ]] || problem="exit code $got, not $code"
    for text in "${wanted[@]}"; do
        if [[ $text == !* ]]; then
            ! grep -qF -- "${text#!}" "$dir/both" || problem+="; '${text#!}' is there"
        else
            grep -qF -- "$text" "$dir/both" || problem+="; '$text' is missing"
        fi
    done
    if [[ -z $problem ]]; then
        echo "ok - $sentence"
    else
        echo "not ok - $sentence"
        echo "# ${problem#; } in: vitrine $*"
        sed 's/^/# /' "$dir/both"
        status=1
    fi
}

# check SENTENCE COMMAND...: ok if the command succeeds.
check() {
    local sentence=$1
    shift
    if "$@"; then
        echo "ok - $sentence"
    else
        echo "not ok - $sentence"
        status=1
    fi
}

good=$dir/good.yaml
echo 'model: { preset: swin_cifar, window: 4 }' >"$good"

# The program.
expect "no verb prints the usage and fails" 64 "Usage: vitrine VERB" "config" --
check "... on stderr alone" test ! -s "$dir/out"
expect "--help lists verbs and exit codes" 0 "Usage: vitrine VERB" " 78  bad experiment file" \
    " 75  stopped on request" "  1  the answer is no" -- --help
check "... on stdout alone" test ! -s "$dir/err"
expect "help is the same" 0 " 78  bad experiment file" -- help
expect "--version names the program" 0 "vitrine " -- --version
expect "an unknown verb gets a suggestion and the list" 64 \
    "unknown verb 'confg'; did you mean 'config'?" "Usage: vitrine VERB" -- confg
expect "an unknown verb far from all others gets the list" 64 "unknown verb 'frobnicate'" \
    "!did you mean" "Usage: vitrine VERB" -- frobnicate
expect "an unknown first option is refused" 64 "unknown option '--frobnicate'" -- --frobnicate
expect "help for an unknown verb is refused" 64 "unknown verb 'frobnicate'" -- help frobnicate
expect "help VERB lists its options" 0 "Usage: vitrine config [options] EXP" "--set KEY=VALUE" \
    "--hash" -- help config
expect "VERB --help is the same" 0 "Usage: vitrine config [options] EXP" -- config --help
check "... on stdout alone" test ! -s "$dir/err"

# Options.
expect "a misspelt option gets a suggestion" 64 "unknown or ambiguous option '--orign'" \
    "did you mean '--origin'?" "Try 'vitrine config --help'" -- config --orign "$good"
expect "an ambiguous abbreviation is refused" 64 "unknown or ambiguous option '--se'" \
    -- config --se=1 "$good"
expect "an unknown letter is refused" 64 "unknown option '-x'" -- config -x "$good"
expect "an option without its value is refused" 64 "--set needs a value" -- config "$good" --set
expect "a switch takes no value" 64 "--check takes no value" -- config --check=1 "$good"
expect "a seed that is no number is refused" 64 "--seed needs an integer from 0 to" "not 'abc'" \
    -- config --seed abc "$good"
expect "a negative seed is refused" 64 "--seed needs an integer" -- config --seed -1 "$good"
expect "a seed of 2^64 is refused" 64 "--seed needs an integer" \
    -- config --seed 18446744073709551616 "$good"
expect "threads beyond 2^63 are refused" 64 "--threads is too large" \
    -- config --threads 9223372036854775808 "$good"
expect "too many threads are refused with the limit" 78 \
    "--threads: error: 'train.threads' is 257; allowed: from 0 to 256" -- config --threads 257 "$good"
expect "a colour mode of another name is refused" 64 "--color is auto, always or never, not 'red'" \
    -- config --color red "$good"
expect "another device is refused" 64 "--device is cpu, cuda or auto, not 'gpu'" \
    -- config --device gpu "$good"
expect "an empty data folder is refused" 64 "--data-dir needs a value" -- config --data-dir= "$good"
expect "a missing experiment is named" 64 "an argument is missing: EXP" -- config
expect "a second experiment is one too many" 64 "'b.yaml' is one argument too many" \
    -- config "$good" b.yaml
expect "two forms at once are refused" 64 "only one of --origin" -- config --hash --check "$good"
expect "--json goes with no other form" 64 "--json goes with" -- config --hash --json "$good"
expect "--schema takes no experiment" 64 "--schema takes no experiment" -- config --schema "$good"
many=()
for i in {1..257}; do many+=(--set "seed=$i"); done
expect "more than 256 overrides are refused" 64 "more than 256 times --set" \
    -- config "$good" "${many[@]}"

# Finding experiments.
expect "an experiment is found by its name" 0 "experiments/quick/vit.yaml: ok" \
    -- config --check quick/vit
expect "a name that does not exist lists near names" 66 "no experiment 'quick/vti'" \
    "did you mean 'quick/vit'?" "swin_cifar_patch2" "!base/cifar10" -- config quick/vti
expect "a path that does not exist is an error" 66 "no experiment '$dir/none.yaml'" \
    -- config "$dir/none.yaml"
expect "an empty name is an error" 66 "no experiment ''" -- config ""
expect "a folder is no experiment" 66 "no experiment 'experiments'" -- config experiments
expect "a control character in a name is refused" 64 "control character (0x0a)" -- config $'a\nb'
expect "an over-long name is refused" 64 "longer than" -- config "$(printf 'a%.0s' {1..5000})"
cp "$good" "$dir/a b.yaml"
expect "a file whose name cannot name a folder is refused" 64 "'a b' cannot name an experiment" \
    -- config "$dir/a b.yaml"
mv "$dir/a b.yaml" "$dir/-rf.yaml"
expect "options end at --" 64 "'-rf' cannot name an experiment" -- config -- "$dir/-rf.yaml"
if [[ $(id -u) != 0 ]]; then
    cp "$good" "$dir/secret.yaml"
    chmod 000 "$dir/secret.yaml"
    expect "a file that may not be read is an error" 66 "Permission denied" \
        -- config "$dir/secret.yaml"
else
    echo "ok - a file that may not be read is an error # SKIP root may read everything"
fi
mkfifo "$dir/pipe.yaml"
expect "a pipe in place of a file does not block" 66 "is a device, pipe or socket" \
    -- config "$dir/pipe.yaml"
echo 'extends: none.yaml' >"$dir/orphan.yaml"
expect "a missing base file is shown where it is named" 66 "orphan.yaml:1:10: error: cannot open" \
    -- config "$dir/orphan.yaml"

# Bad files: the place, the line, the caret, the advice.
printf 'model: { preset: swin_cifar }\noptim:\n    lerning_rate: 3e-4\ntrain: { batch: 0, epochs: -1 }\n' \
    >"$dir/bad.yaml"
expect "all errors of a file come at once" 78 \
    "bad.yaml:3:5: error: unknown key 'lerning_rate' in 'optim'" \
    "    3 |     lerning_rate: 3e-4" "      |     ^~~~~~~~~~~~" "did you mean 'lr'?" \
    "bad.yaml:4:17: error: 'train.batch' is 0; allowed: from 1 to 65536" \
    "bad.yaml:4:28: error: 'train.epochs' is -1" -- config "$dir/bad.yaml"
check "... and nothing on stdout" test ! -s "$dir/out"
expect "--check finds the same" 78 "unknown key 'lerning_rate'" -- config --check "$dir/bad.yaml"
expect "--hash finds the same" 78 "unknown key 'lerning_rate'" -- config --hash "$dir/bad.yaml"
expect "errors are coloured when asked" 78 $'\033[1;31merror:\033[0m' \
    -- config --color always "$dir/bad.yaml"
expect "errors in a pipe are not coloured" 78 $'!\033' -- config "$dir/bad.yaml"
expect "an override is shown with its number and column" 78 \
    "--set[2]:10: error: 'optim.lr' needs a number from 0 to 100, not the text 'x'" \
    -- config "$good" --set train.batch=8 --set optim.lr=x
expect "an override without '=' is refused" 78 "--set[1]:1: error: an override is key=value" \
    -- config "$good" --set optim.lr
expect "an override of an unknown key gets a suggestion" 78 "did you mean 'batch'?" \
    -- config "$good" --set train.batsch=8
expect "the arithmetic is shown" 78 "190 = 3 * 63 + 1" -- config "$good" --set model.dim=190
expect "a key without effect is refused" 78 "'optim.momentum' has no effect with optim.name: adamw" \
    -- config "$good" --set optim.momentum=0.9
printf 'model:\n\tpreset: swin_cifar\n' >"$dir/tab.yaml"
expect "tabs are explained" 78 "tab.yaml:2:1: error: a tab cannot indent a line" -- config "$dir/tab.yaml"
head -c 1100000 /dev/zero | tr '\0' '#' >"$dir/big.yaml"
expect "a file above 1 MiB is refused" 78 "has 1100000 bytes; an experiment file has at most" \
    -- config "$dir/big.yaml"
head -c 100000 /dev/zero | tr '\0' '[' >"$dir/deep.yaml"
expect "deep nesting is refused" 78 "nested deeper than 32 levels" -- config "$dir/deep.yaml"
printf 'a: &x [1]\nb: [*x, *x]\n' >"$dir/alias.yaml"
expect "anchors are refused" 78 "anchors are not used" -- config "$dir/alias.yaml"
printf 'model: \000\n' >"$dir/nul.yaml"
expect "a NUL byte is refused" 78 "control character 0x00 at offset 7 (NUL)" -- config "$dir/nul.yaml"
printf 'extends: [a.yaml]\n' >"$dir/b.yaml"
printf 'extends: b.yaml\n' >"$dir/a.yaml"
expect "a circle of files is refused" 78 "'extends' comes back to" -- config "$dir/a.yaml"

# What it prints.
expect "the resolved experiment is complete" 0 "preset: swin_cifar" "window: 4" "batch: 64" \
    "seed: 7" "dir: \"/a b\"" "!momentum" -- config "$good" --seed 7 --data-dir "/a b"
"$vitrine" config "$good" --set optim.lr=0.12345678901234567 >"$dir/printed.yaml"
check "it is an experiment file of the same id" test \
    "$("$vitrine" config --hash "$dir/printed.yaml")" = \
    "$("$vitrine" config --hash "$good" --set optim.lr=0.12345678901234567)"
check "another value is another id" test "$("$vitrine" config --hash "$good")" != \
    "$("$vitrine" config --hash "$dir/printed.yaml")"
check "seed, threads and folders leave the id alone" test "$("$vitrine" config --hash "$good")" = \
    "$("$vitrine" config --hash "$good" --seed 3 --threads 2 --data-dir x --set log.every=1)"
expect "--origin says where each value comes from" 0 "# preset swin_cifar" "# $good:1:38" \
    "# --set[1]:13" "# default" "# --seed" "# model.family: swin" \
    -- config --origin "$good" --set train.batch=8 --seed 1
expect "padding is reported, not refused" 0 \
    "note: stage 1: window 7 does not divide the map of 16 x 16: padded to 21 x 21" \
    -- config "$good" --set model.window=7
expect "-q leaves notes out" 0 "!note:" -- config -q "$good" --set model.window=7
expect "--schema lists every key with its limits" 0 "train.batch" "integer from 1 to 65536; default: 64" \
    "log.every *" -- config --schema
if command -v python3 >/dev/null; then
    "$vitrine" config --schema --json >"$dir/schema.json"
    check "the schema for editors is JSON" python3 -m json.tool "$dir/schema.json" "$dir/x.json"
    "$vitrine" config --json quick/swin >"$dir/config.json"
    check "--json prints JSON" python3 -m json.tool "$dir/config.json" "$dir/x.json"
else
    echo "ok - the schema for editors is JSON # SKIP there is no python3 to read it"
    echo "ok - --json prints JSON # SKIP there is no python3 to read it"
fi
for file in experiments/*.yaml experiments/quick/*.yaml; do
    expect "$file is a good experiment" 0 "$file: ok" -- config --check "$file"
    check "... with question, expectation and command" test \
        "$(grep -cE '^# (Question|Expected|Run): ' "$file")" = 3
done
if [[ -w /dev/full ]]; then
    "$vitrine" config "$good" >/dev/full 2>"$dir/err"
    check "a full disk behind stdout is an error" test $? = 74
    check "... that says so" grep -q "cannot write to standard output" "$dir/err"
else
    echo "ok - a full disk behind stdout is an error # SKIP there is no /dev/full"
fi

exit $status
