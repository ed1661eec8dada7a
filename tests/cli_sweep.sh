#!/usr/bin/env bash
# `vitrine sweep`: the same weights as single runs, the manifest, what a kill, a failing run, a signal
# and another process make of it, and its script for Slurm with stand-ins for the scheduler.
set -uo pipefail
# shellcheck source=tests/support/runs.sh
source tests/support/runs.sh

small=(--set data.limit_train=128 --set data.limit_test=64 --set train.epochs=1)
long=(--set data.limit_train=480 --set train.batch=8 --set train.epochs=2
    --set "checkpoint.every=5 steps" --set log.every=10)
has() { grep -qF -- "$2" "$1"; }
lacks() { ! grep -qF -- "$2" "$1"; }
matches() { grep -qE -- "$2" "$1"; }

# sweep NAME ARGUMENT...: as start of support/runs.sh.
sweep() {
    last_run=$1
    shift
    "$vitrine" sweep "$@" --results "$dir/$last_run" \
        >"$dir/$last_run.out" 2>"$dir/$last_run.err" </dev/null
    code=$?
}
launch_sweep() {
    last_run=$1
    shift
    "$vitrine" sweep "$@" --results "$dir/$last_run" \
        >"$dir/$last_run.out" 2>"$dir/$last_run.err" </dev/null &
    pid=$!
}
sweeps() { find "$dir/$1/sweeps" -mindepth 1 -maxdepth 1 | wc -l; }
manifest() { echo "$dir/$1"/sweeps/*/manifest.json; }
# run_id NAME ROW
run_id() {
    awk -v row="$2" '/"row":/ { at++ } /"run_id":/ { id[at] = $2 } /"row":/ { n[at] = $2 + 0 }
        END { for (i in n) if (n[i] == row) { gsub(/[",]/, "", id[i]); print id[i] } }' "$(manifest "$1")"
}
row_weights() { sha256 "$dir/$1/$2/$(run_id "$1" "$3")/last.safetensors"; }
# free NAME: no process has a run of it any more.
free() {
    local run="--results=$dir/$1" # not an argument of grep, which would find itself
    # Counted, and not asked by the pipe's status: that is a failure as soon as a process ends before
    # its file is read.
    until [[ $(cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' | grep -cxFf <(echo "$run")) == 0 ]]; do
        sleep 0.02
    done
}

# --- the same bits as single runs, two at a time ---
sweep two quick/vit "${small[@]}" --grid optim.lr=1e-3,3e-4 --seeds 0..1 -j 2
equal "a sweep of four runs, two at a time, ends with 0" "$code" 0
check "... it prints a summary with a row a setting" matches "$dir/two.out" '^ *3e-4 +2 +2 .*%'
check "... says what it starts and ends" has "$dir/two.err" "row 3 of 4 (optim.lr=3e-4 seed 1): done"
check "... without control characters in a pipe" bash -c "! grep -q $'\033\|\r' '$dir/two.err'"
i=0
for lr in 1e-3 3e-4; do
    for seed in 0 1; do
        train "one$i" quick/vit "${small[@]}" --set optim.lr=$lr --seed $seed --threads 1
        equal "row $i has the weights of a single run (lr $lr, seed $seed)" \
            "$(row_weights two quick-vit $i)" "$(weights "one$i")"
        equal "... and its run id" "$(run_id two $i)" "$(basename "$(folder "one$i")")"
        check "... its output is in its log" has "$dir/two/sweeps"/*/run-$i.log "Epoch [  1/  1]"
        i=$((i + 1))
    done
done
sweep two quick/vit "${small[@]}" --grid optim.lr=1e-3,3e-4 --seeds 0..1 -j 2
equal "the same command finds it done" "$code" 0
check "... without starting a process" lacks "$dir/two.err" "started"
equal "... in the same manifest" "$(sweeps two)" 1
sweep two quick/vit "${small[@]}" --grid optim.lr=1e-3,3e-4,1e-4 --seeds 0..1 --dry-run
equal "a dry run of a larger grid lists its runs" "$code" 0
equal "... with those done before" \
    "$(awk '$5 == "done" || $5 == "queued" { print $5 }' "$dir/two.out" | uniq -c | xargs)" \
    "4 done 2 queued"
equal "... and writes nothing" "$(sweeps two)" 1
sweep two quick/vit "${small[@]}" --grid optim.lr=1e-3,3e-4 --seeds 0
equal "another list of seeds is another manifest" "$(sweeps two)" 2
check "... whose runs are done already" has "$dir/two.out" "2 of 2 runs done"
sweep two quick-vit --status
equal "the status of an experiment's newest sweep needs no grid" "$code" 0
check "... and lists its runs" matches "$dir/two.out" "^ *1 +3e-4 +0 +[0-9a-f]{12} +done +1/1"
sweep two quick/vit "${small[@]}" --grid optim.lr=1e-3,3e-4 --seeds 0..1 --status --json
equal "the status as JSON" "$code" 0
equal "... counts" "$(json "$dir/two.out" n_done)/$(json "$dir/two.out" schema)" 4/1
find "$dir/two" | sort >"$dir/before"
chmod -R a-w "$dir/two"
sweep two quick/vit "${small[@]}" --grid optim.lr=1e-3,3e-4 --seeds 0..1 --status
equal "the status of a folder that cannot be written to" "$code" 0
chmod -R u+w "$dir/two"
equal "... changes nothing" "$(find "$dir/two" | sort)" "$(cat "$dir/before")"
sweep two quick/swin --status
equal "a sweep that is not there is exit code 66" "$code" 66

# --- wrong words start nothing ---
sweep none quick/vit --grid model.heads=2,5
equal "a bad value of the grid is found before anything starts" "$code" 78
check "... and said with its place" has "$dir/none.err" "--set[1]:13: error"
check "... nothing is written" test ! -e "$dir/none"
sweep none quick/vit --grid optim.lr=1e-3,
equal "a grid with an empty value is wrong use" "$code" 64
sweep none quick/vit
equal "a sweep over nothing is wrong use" "$code" 64
sweep none quick/vit --grid train.threads=1,2
equal "two settings of one result are wrong use" "$code" 64
check "... nothing is written" test ! -e "$dir/none"

# --- one run fails, the others go on ---
diverge=(quick/vit "${small[@]}" --set optim.name=sgd --set train.epochs=2)
sweep fails "${diverge[@]}" --grid optim.lr=1e-3,100,1e-4
equal "a diverging run's exit code is that of the sweep" "$code" 3
check "... the one after it is trained" has "$dir/fails.err" "row 2 of 3 (optim.lr=1e-4 seed 0): done"
check "... the summary says so" has "$dir/fails.out" "2 of 3 runs done"
check "... which log tells why" matches "$dir/fails.err" "row 1 .*FAILED with exit code 3: see run-1.log"
check "... and it does" has "$dir/fails/sweeps"/*/run-1.log "not finite"
sweep fast "${diverge[@]}" --grid optim.lr=1e-3,100,1e-4 --fail-fast
equal "with --fail-fast the exit code is the same" "$code" 3
check "... but nothing is started after it" lacks "$dir/fast.err" "row 2 of 3 (optim.lr=1e-4 seed 0): started"
sweep beside quick/swin "${long[@]}" --set optim.name=sgd --grid optim.lr=1e-3,100 -j 2 --fail-fast
equal "... with another run beside it too" "$code" 3
check "... which saves" has "$dir/beside.err" "row 0 of 2 (optim.lr=1e-3 seed 0): stopped, to be continued"

# --- killed, and asked to stop ---
train whole0 quick/swin "${long[@]}" --seed 0
train whole1 quick/swin "${long[@]}" --seed 1
both=(quick/swin "${long[@]}" --seeds 0..1 -j 2)
launch_sweep killed "${both[@]}"
await reached killed 10
kill -KILL "$pid"
{ wait "$pid"; } 2>/dev/null
free killed
check "a killed sweep takes its runs with it: they save" matches \
    "$dir/killed/sweeps"/*/run-0.log 'stopped at step [0-9]+'
sweep killed "${both[@]}"
equal "... the same command goes on" "$code" 0
for i in 0 1; do
    equal "... to the weights of an undisturbed run, seed $i" \
        "$(row_weights killed quick-swin $i)" "$(weights whole$i)"
done

for signal in TERM INT; do
    launch_sweep $signal "${both[@]}"
    await reached $signal 10
    kill -$signal "$pid"
    kill -$signal "$pid"
    { wait "$pid"; } 2>/dev/null
    equal "SIG$signal, even twice, ends a sweep with 75" "$?" 75
    check "... after its runs have saved" matches "$dir/$signal/sweeps"/*/run-0.log 'stopped at step'
    sweep $signal "${both[@]}" -q
    equal "... the same command goes on, quietly" "$code$(cat "$dir/$signal.err")" 0
    equal "... to the same weights" "$(row_weights $signal quick-swin 1)" "$(weights whole1)"
done

# --- a run that another process has ---
launch held quick/swin "${long[@]}" --seed 0
await reached held 5
kill -STOP "$pid"
sweep held "${both[@]}"
equal "a run that another process holds is its own exit code" "$code" 76
check "... it is named and not waited for" has "$dir/held.err" "row 0 of 2 (seed 0): held by another process"
equal "... the other one is trained" "$(row_weights held quick-swin 1)" "$(weights whole1)"
kill -CONT "$pid"
wait "$pid"

# --- the data change ---
cp "$(manifest killed)" "$dir/manifest"
sed -i "s/$(run_id killed 1)/0123456789ab/" "$(manifest killed)"
sweep killed "${both[@]}"
equal "runs that would be others than the manifest's are refused" "$code" 65
check "... with both ids" has "$dir/killed.err" "was the run 0123456789ab"
echo '{"schema": 1, "runs": [3]}' >"$(manifest killed)"
sweep killed "${both[@]}"
equal "a damaged manifest is refused" "$code" 65
check "... with what to do" has "$dir/killed.err" "remove it to plan the sweep anew"
cp "$dir/manifest" "$(manifest killed)"

# --- Slurm ---
mkdir "$dir/bin" "$dir/spool"
# What Slurm does with these, as far as a script can tell: the directives, one process a task with
# its output appended to the file named, a signal to the step, and another start after a requeue.
cat >"$dir/bin/sbatch" <<'END'
#!/usr/bin/env bash
script=$1
value() { sed -nE "s/^#SBATCH --$1=\"?([^\"]*)\"?\$/\1/p" "$script"; }
array=$(value array)
cp "$script" "$SPOOL/script" && chmod +x "$SPOOL/script"
for ((task = 0; task <= ${array#0-}; task++)); do
    export SLURM_ARRAY_JOB_ID=77 SLURM_ARRAY_TASK_ID=$task SLURM_CPUS_PER_TASK=$(value cpus-per-task)
    output=$(value output)
    output=${output//%a/$task}
    until
        rm -f "$SPOOL/again"
        (cd / && exec "$SPOOL/script") >>"$output" 2>&1 </dev/null
        echo "$task $?" >>"$SPOOL/ends"
        [[ ! -e $SPOOL/again ]]
    do :; done
done
END
cat >"$dir/bin/srun" <<'END'
#!/usr/bin/env bash
while [[ $1 == --* ]]; do shift; done
"$@" &
if [[ ! -e $SPOOL/signalled ]]; then
    touch "$SPOOL/signalled"
    until compgen -G "$WATCHED" >/dev/null; do
        kill -0 $! 2>/dev/null || break
        sleep 0.01
    done
    kill -TERM $!
fi
wait $!
END
cat >"$dir/bin/scontrol" <<'END'
#!/usr/bin/env bash
echo "$*" >>"$SPOOL/requeued"
touch "$SPOOL/again"
END
chmod +x "$dir"/bin/*
sweep slurm "${both[@]}" --emit slurm --threads 1
equal "--emit slurm writes a script" "$code" 0
script=$(cat "$dir/slurm.out")
script=${script#sbatch }
check "... says how to submit it" test -f "$script"
check "... for bash" bash -n "$script"
check "... with a task a row" has "$script" "#SBATCH --array=0-1%2"
check "... and trains nothing" test ! -e "$dir/slurm/quick-swin"
SPOOL=$dir/spool WATCHED="$dir/slurm/quick-swin/*/state-10.bin" PATH=$dir/bin:$PATH \
    bash "$dir/bin/sbatch" "$script" 2>"$dir/slurm.err"
equal "a task that is signalled is queued again, once" "$(cat "$dir/spool/requeued")" "requeue 77_0"
equal "... and goes on; the others follow" "$(tr '\n' ';' <"$dir/spool/ends")" "0 75;0 0;1 0;"
for i in 0 1; do
    equal "... task $i ends with the weights of a run without Slurm" \
        "$(row_weights slurm quick-swin $i)" "$(weights whole$i)"
done
sweep slurm "${both[@]}" --status
check "... the status knows" has "$dir/slurm.out" "2 of 2 runs done"
sweep slurm "$(basename "$(dirname "$script")")" --row 2
equal "a row that is not there is wrong use" "$code" 64
cp experiments/quick/vit.yaml "$dir/edited.yaml"
sed -i "s|\.\./base|$PWD/experiments/base|" "$dir/edited.yaml"
sweep edited "$dir/edited.yaml" --seeds 0 --emit slurm
sed -i 's/dim: 32/dim: 64/' "$dir/edited.yaml"
sweep edited edited --row 0
equal "a row of an experiment that was edited since is not trained" "$code" 78
check "... with the reason" has "$dir/edited.err" "not the one that the sweep"

exit $status
