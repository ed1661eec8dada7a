#!/usr/bin/env bash
# Pages that are made from the programs are up to date.
set -uo pipefail
# shellcheck source=tests/support/runs.sh
source tests/support/runs.sh
export VITRINE=$vitrine

for script in list-keys list-experiments; do
    check "the page that scripts/$script makes is what it would make now (make docs)" \
        "scripts/$script" --check
done
names_every_key() {
    local key keys=0
    while read -r key; do
        grep -qF "| \`$key\`" docs/experiment-file.md || return 1
        keys=$((keys + 1))
    done < <("$vitrine" config --schema | sed -nE 's/^([a-z][a-z_.]*)( \*)?$/\1/p')
    ((keys > 50))
}
check "the page of keys names every key" names_every_key
exit $status
