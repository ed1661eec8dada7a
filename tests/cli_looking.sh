#!/usr/bin/env bash
# Looking at runs: ls, show, tail, watch, gc, env, data check, selftest.
set -uo pipefail
# shellcheck source=tests/support/runs.sh
source tests/support/runs.sh

small=(--set data.limit_train=128 --set data.limit_test=64 --set attention.images=0)
train all quick/vit "${small[@]}" --set data.val=32 --set train.select=val --seed 3 --threads 1
"$vitrine" train quick/vit "${small[@]}" --seed 4 --threads 1 --results "$dir/all" >/dev/null 2>&1
results=$dir/all

# vt VERB ARGUMENT...: output in $dir/said, messages in $dir/errors, exit status in $code.
vt() {
    "$vitrine" "$@" --results "$results" >"$dir/said" 2>"$dir/errors" </dev/null
    code=$?
    return $code
}
# alone VERB ARGUMENT...: the same without --results
alone() {
    "$vitrine" "$@" >"$dir/said" 2>"$dir/errors" </dev/null
    code=$?
    return $code
}
says() { grep -qE -- "$1" "$dir/said"; }
warns() { grep -qE -- "$1" "$dir/errors"; }
said() { json "$dir/said" "$1" | head -n 1; }
fails() { local want=$1; shift; vt "$@"; ((code == want)); }
plain() { ! LC_ALL=C grep -q '[[:cntrl:]]' <(tr -d '\n' <"$1"); }
all_hashes() { (cd "$results" && find . -type f -print0 | sort -z | xargs -0 sha256sum); }

three=$(dirname "$(grep -l '"seed": 3' "$results"/quick-vit/*/summary.json)")
four=$(dirname "$(grep -l '"seed": 4' "$results"/quick-vit/*/summary.json)")
id=$(basename "$three")
before=$(all_hashes)

check "ls lists both runs" vt ls
equal "... one a line, below a heading" "$(grep -c . "$dir/said")" 3
check "... with their state" says "$id +3 +done +[0-9]+/[0-9]+ +[0-9.]+ %"
check "ls --json is one object" vt ls --json --sort seed
equal "... of schema 1" "$(said schema)" 1
equal "... sorted as asked" "$(grep -o '"seed": .' "$dir/said" | head -n 1)" '"seed": 3'
check "ls takes patterns of experiments" vt ls 'quick/v*' --state 'done' -n 1
equal "... and shows as many as asked" "$(grep -c . "$dir/said")" 2
check "... none is no failure" vt ls --state dead
check "ls refuses an unknown state" fails 64 ls --state sleeping
check "... and an unknown key to sort by" fails 64 ls --sort colour
check "ls without the folder says so" bash -c "'$vitrine' ls --results '$dir/none' 2>/dev/null; test \$? = 66"

check "show finds a run by its seed" vt show quick/vit@seed=3
check "... and tells outcome, chosen epoch, settings, attempts and files" \
    bash -c "grep -q '^run      $id  quick-vit  seed 3   DONE in ' '$dir/said' &&
             grep -q '^test     top1 ' '$dir/said' && grep -q 'selected on val' '$dir/said' &&
             grep -q 'data.limit_train  *128  *--set' '$dir/said' &&
             grep -q '^attempts 1  ' '$dir/said' && grep -q ' journal  ' '$dir/said'"
check "show finds the best run" vt show quick/vit@best:test.top1 --json
best=$(said run.metrics.test.top1)
check "... which is not worse than any" awk -v b="$best" -v x="$(json "$three/summary.json" metrics.last.test.top1)" \
    -v y="$(json "$four/summary.json" metrics.last.test.top1)" 'BEGIN { exit !(b == (x > y ? x : y)) }'
check "show of an unknown metric is wrong use" fails 64 show quick/vit@best:beauty

check "tail ends at once where nobody trains" vt tail "$id" -n 2
equal "... with as many records as asked, and the state" "$(grep -c . "$dir/said")" 3
check "tail prints JSON, one object a line" vt tail "$id" --json
equal "... each of schema 1" "$(grep -c '^{.*"schema":1.*}$' "$dir/said")" "$(grep -c . "$dir/said")"

# A run in progress, which another process writes.
launch live quick/vit --set train.epochs=400 --seed 5 --threads 1
await reached live 1
results=$dir/live
check "a run that a process trains is running" bash -c "'$vitrine' ls --results '$results' | grep -q ' running '"
"$vitrine" tail last -n 1 --results "$results" >"$dir/follow" 2>"$dir/follow.err" </dev/null &
follower=$!
until (($(grep -c . "$dir/follow") >= 4)); do kill -0 $follower 2>/dev/null || break; sleep 0.05; done
check "tail follows it" test "$(grep -c . "$dir/follow")" -ge 4
check "gc --state dead leaves it alone" vt gc --state dead --delete
check "... it still trains" kill -0 "$pid"
kill -KILL "$pid" && { wait "$pid"; } 2>/dev/null
wait $follower
equal "... and ends when its process is killed, without an error" "$?" 0
check "... saying that the run is dead" grep -qE '^run .* DEAD at epoch' "$dir/follow"
check "ls says dead" bash -c "'$vitrine' ls --results '$results' --state dead | grep -q quick-vit"
check "gc says what a dead run takes, and deletes nothing" vt gc --state dead
check "... the run is there" test -e "$(folder live)/journal"
check "... in so many words" says '^would delete 1 places'
dead=$(folder live)
mkdir -p "$results/baselines"
"$vitrine" baseline accept "$(folder all)" --name b --reason test --results "$dir/all" >/dev/null
sed "s/$(basename "$(folder all)")/$(basename "$dead")/" "$dir/all/baselines/b.json" \
    >"$results/baselines/b.json"
rm -r "$dir/all/baselines"
check "gc keeps a run that a baseline names" vt gc --state dead --delete
check "... and says so" says 'keep .*a baseline names it'
check "... it is there" test -e "$dead/journal"
echo '{"runs": [' >"$results/baselines/b.json"
check "gc deletes nothing while a baseline cannot be read" fails 65 gc --state dead --delete
check "... nothing at all" test -e "$dead/journal"
rm -r "$results/baselines"
echo mine >"$dead/thesis.txt"
check "gc keeps a folder with something unknown in it" vt gc --state dead --delete
check "... and names it" says "keep .*thesis.txt"
check "... it is there" test -e "$dead/journal"
rm "$dead/thesis.txt"
ln -s / "$dead/plots"
check "gc follows no link" vt gc --state dead --delete
check "... and keeps the folder that holds one" test -e "$dead/journal"
rm "$dead/plots"
check "gc deletes a dead run when told to" vt gc --state dead --delete
check "... it is gone" test ! -e "$dead"
check "... the experiment's folder stays" test -d "$(dirname "$dead")"

results=$dir/all
equal "nothing of all that wrote to the runs" "$(all_hashes)" "$before"
cp -r "$three" "$three.old-1"
check "gc names a run that was set aside, and superseded checkpoints" vt gc
check "... first as a plan" test -e "$three.old-1/journal" -a "$(find "$four" -name 'state-*.bin' | wc -l)" -gt 1
check "... as JSON too" vt gc --json
equal "... which says that nothing was deleted" "$(said deleted)" false
check "... then deletes them" vt gc --delete
check "... only what superseded checkpoints and old runs are" \
    test ! -e "$three.old-1" -a -e "$four/last.safetensors" -a -e "$four/best.safetensors" -a \
    "$(find "$four" -name 'state-*.bin' | wc -l)" = 1
check "the run is still done" bash -c "'$vitrine' train quick/vit ${small[*]} --seed 4 --threads 1 --results '$results' 2>&1 | grep -q 'already done'"

# Hostile and foreign folders beside good ones, in a folder that cannot be written to.
bad=$results/quick-vit
mkdir "$bad/aaaa" "$bad/bbbb" "$bad/cccc" "$bad/dddd" "$bad/$(printf 'ev\033[31mil')" "$results/empty"
mkfifo "$bad/aaaa/journal"
ln -s /dev/zero "$bad/bbbb/journal"
truncate -s 4T "$bad/cccc/journal" 2>/dev/null || echo junk >"$bad/cccc/journal"
cp "$three"/* "$bad/dddd" 2>/dev/null
printf '\033[2J{"metrics": [' >"$bad/dddd/summary.json"
mkfifo "$bad/dddd/perf.jsonl.x" && mv "$bad/dddd/perf.jsonl.x" "$bad/dddd/provenance.json"
printf 'config: "\\e[2J"\n' >"$bad/dddd/config.yaml"
echo "{\"run_id\": 7}" >"$bad/$(printf 'ev\033[31mil')/config.yaml"
chmod -R a-w "$results"
check "hostile folders do not stop ls" vt ls
equal "... three are broken" "$(grep -c ' broken ' "$dir/said")" 3
equal "... the good ones are listed, and one whose summary is garbage" "$(grep -c ' done ' "$dir/said")" 3
equal "... each bad one is named on stderr" "$(grep -c 'quick-vit/.*: ' "$dir/errors")" 4
check "... and no control character reaches the terminal" plain "$dir/said"
check "... nor stderr" plain "$dir/errors"
check "show of a broken run says why, with exit 65" fails 65 show "$bad/cccc"
check "... a good one is shown from a read-only folder" vt show "$id"
check "... tail too" vt tail "$id"
check "... gc plans, and fails to delete without harm" vt gc --state broken
chmod -R u+w "$results"

# A thousand runs.
many=$dir/many/quick-vit
mkdir -p "$many"
for i in $(seq 1000); do mkdir "$many/$(printf '%012x' "$i")"; done
for file in journal summary.json config.yaml provenance.json; do
    printf '%s\n' "$many"/* | xargs -I{} ln "$three/$file" "{}/$file"
done
results=$dir/many
check "a thousand runs are listed" vt ls
equal "... all of them" "$(grep -c ' done ' "$dir/said")" 1000
check "... as JSON" vt ls --json --sort test.top1

if command -v gnuplot >/dev/null; then
    results=$dir/all
    check "watch --once draws" vt watch "$id" --once
    check "... the curves, without escape sequences" bash -c "grep -q accuracy '$dir/said' && ! grep -q $'\033' '$dir/said'"
else
    skip "watch --once draws" "gnuplot is not installed"
fi

check "env describes code, build and machine" alone env --json
equal "... of schema 1" "$(said schema)" 1
equal "... with the numeric fingerprint of the runs" "$(said numerics_id)" \
    "$(json "$three/summary.json" digests.numerics)"
check "... or as lines" alone env
check "... one a value" says '^host.cores +[0-9]+$'
check "data check counts the classes" alone data check quick/vit --json --set data.val=32
equal "... the digest is the run's" "$(alone data check quick/vit "${small[@]}" --set data.val=32 --seed 3 --json && said digest)" \
    "$(json "$three/summary.json" digests.data)"
equal "... the split's is in its provenance" "$(said split_digest)" \
    "$(grep -o '"split_digest": "[0-9a-f]*"' "$three/provenance.json" | cut -d'"' -f4)"
check "data check without the files says so" \
    bash -c "'$vitrine' data check vit_ti_p4 --data-dir '$dir/none' 2>/dev/null; test \$? = 66"
equal "the selftest's known answer is the golden one (src/train/selftest.h)" \
    "$(sed -n 's/^#define VT_NUMERICS_KNOWN "\(.*\)"/\1/p' src/train/selftest.h)" \
    "$(sed -n 's/^numerics //p' tests/golden.txt)"
check "the selftest holds" alone selftest
check "... at each vector width" says '^ok +training steps, avx2 kernels, 1 thread: '
check "... and in JSON" alone selftest --json
equal "... as a single word" "$(said ok)" true

exit $status
