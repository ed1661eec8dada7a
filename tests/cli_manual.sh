#!/usr/bin/env bash
# The manual page and the shells' completion that the program writes: right for every verb there is,
# and clean for the programs that read them.
set -uo pipefail

vitrine=${VITRINE:-./vitrine}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
status=0

check() {
    local sentence=$1
    shift
    if "$@" >"$dir/said" 2>&1; then
        echo "ok - $sentence"
    else
        echo "not ok - $sentence"
        sed 's/^/# /' "$dir/said" | head -n 40
        status=1
    fi
}
silent() { [[ -z $("$@" 2>&1 >/dev/null | tee /dev/stderr) ]]; }

mapfile -t verbs < <("$vitrine" --help | sed -nE '/^Verbs:/,/^$/s/^  ([a-z][a-z-]*) .*/\1/p')
# options VERB: as its help lists them
options() { "$vitrine" "$1" --help | sed -nE 's/^  (-.,|   ) (--[a-z0-9-]+).*/\2/p'; }

check "there are verbs with options" eval \
    'test "${#verbs[@]}" -gt 5 && options train | grep -qx -- --save-gradients'

# --- the manual page ---
page=$dir/vitrine.1
check "the manual page is printed" eval '"$vitrine" help --man >"$page"'
check "groff has no warning" silent groff -ww -man -Tutf8 "$page"
if man --version >/dev/null 2>&1; then
    check "man has no warning" silent man --warnings=w --local-file "$page"
else
    echo "ok - man has no warning # SKIP there is no man here"
fi
if command -v mandoc >/dev/null; then
    check "mandoc has no warning" mandoc -T lint -W warning "$page"
else
    echo "ok - mandoc has no warning # SKIP there is no mandoc here"
fi
groff -man -Tascii -P-c -P-b -P-u "$page" >"$dir/text"
page_is_whole() {
    local verb option
    for verb in "${verbs[@]}"; do
        sed -n "/^   vitrine $verb /,/^   vitrine /p" "$dir/text" >"$dir/part"
        [[ -s $dir/part ]] || echo "$verb is missing"
        for option in $(options "$verb"); do
            [[ $option =~ ^--(quiet|verbose|color|help)$ ]] && continue
            grep -qE "^       (-., )?$option( |$)" "$dir/part" || echo "$verb $option is missing"
        done
    done
}
check "it has every verb with every option" eval 'test -z "$(page_is_whole | tee /dev/stderr)"'
check "... and every exit code" eval '
    for code in 0 1 3 64 78; do grep -qE "^       $code  " "$dir/text" || exit 1; done'

# --- bash ---
check "completion for bash is printed" eval '"$vitrine" help --completion bash >"$dir/bash"'
check "... in bash's language" bash -n "$dir/bash"
# complete_bash WORD...: what it offers in place of the last word
complete_bash() {
    bash -c 'source "$1"; shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _vitrine
        printf "%s\n" "${COMPREPLY[@]}"' - "$dir/bash" "$vitrine" "$@" | sort -u
}
offers() { diff <(complete_bash "${@:2}") <(printf '%s\n' "$1" | tr ' ' '\n' | sort -u); }
check "it completes a verb" offers train tra
check "... all of them" offers "${verbs[*]} help --help --version" ""
check "... a verb's option" offers --save-gradients train quick/vit --sa
check "... the value of an option" offers "always auto" train --color a
check "... also behind =" offers never train --color = n
check "... an experiment" offers "quick/vit quick/vit_dropout" train quick/vi
check "... a key" offers "optim.lr=" train quick/vit --set optim.lr
mkdir -p "$dir/place/results/quick-vit/0123456789ab"
touch "$dir/place/results/quick-vit/0123456789ab/journal"
in_place() { (vitrine=$(realpath "$vitrine") && cd "$dir/place" && "$@"); }
check "... a run's id" in_place offers 0123456789ab publish 01
check "... a run's experiment" in_place offers quick-vit publish qui
knows_options() {
    local verb
    for verb in "${verbs[@]}"; do
        diff <(complete_bash "$verb" --) <(options "$verb" | sort -u) || echo "of $verb"
    done
}
check "it knows all options of all verbs" eval 'test -z "$(knows_options | tee /dev/stderr)"'

# --- zsh ---
check "completion for zsh is printed" eval '"$vitrine" help --completion zsh >"$dir/_vitrine"'
if command -v zsh >/dev/null; then
    check "... in zsh's language" zsh -n "$dir/_vitrine"
    # Stand-ins for what zsh's completion system offers its functions.
    complete_zsh() {
        zsh -f -c 'file=$1; shift; words=("$@"); CURRENT=$#
            _arguments() { print -rl -- "$@" }
            _describe() { print -rl -- "${(@P)2}" }
            source "$file"' - "$dir/_vitrine" vitrine "$@"
    }
    check "... with every verb" eval '
        for verb in "${verbs[@]}"; do complete_zsh "" | grep -q "^$verb:" || exit 1; done'
    check "... and the options of a verb" eval \
        'complete_zsh train "" | grep -q "^\*--set=\[set a key.*\]:KEY=VALUE:_vitrine_keys$"'
else
    echo "ok - ... in zsh's language # SKIP there is no zsh here"
fi
check "another shell is refused" eval '"$vitrine" help --completion csh; test $? = 64'
exit $status
