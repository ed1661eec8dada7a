#!/ usr / bin / env bash
#Shared by the shell tests of whole runs : source it from the project's root. It makes the temporary
#folder $dir, counts failures in $status and offers:
#
#start NAME ARGUMENT... runs `vitrine train ARGUMENT... --results $dir / NAME`; its output is in
#$dir / NAME.out and.err, its exit status in $code and that of the call
#train NAME ARGUMENT... the same, for a run that has to succeed : says so if it does not
#launch NAME ARGUMENT... the same in the background : $pid
#interrupt SIGNAL STEP NAME ARGUMENT...
#starts such a run, sends it SIGNAL as soon as it has a checkpoint of STEP
# or later, and waits for its end : $code
#folder NAME the run's folder (the newest name if there are several: not an old one)
#weights NAME SHA - 256 of its last.safetensors; of its journal : journal NAME
#json FILE A.B.C a value of a JSON file with sorted keys and two - space indent
#check SENTENCE COMMAND... reports the case; a failure shows the output of the last run
#equal SENTENCE A B reports the case : two values that are not empty are the same
#skip SENTENCE REASON
#shellcheck disable = SC2034 #what is set here is used there

vitrine = ${VITRINE : -./ vitrine} dir = $(mktemp - d) trap 'rm -rf "$dir"' EXIT status = 0 code =
    0 pid = last_run =

        start(){last_run = $1 shift "$vitrine" train "$@" --results "$dir/$last_run" >
                           "$dir/$last_run.out" 2 > "$dir/$last_run.err" < / dev / null code =
                               $ ? return $code }

                show_last(){[[-n $last_run]] && cat "$dir/$last_run.out"
                                                    "$dir/$last_run.err" 2 > / dev / null |
                                                    tail - n 40 | sed 's/^/# | /'}

                failed(){echo "not ok - $1" status = 1}

                train(){start "$@" && return 0 failed
                        "the run '$1' ends with exit status 0" echo
                        "# exit status $code of: vitrine train ${*:2}" show_last return 1}

#newest_step NAME : the step of the newest checkpoint, 0 without one.
                newest_step()
{
    local path step=0 at
    for path in "$dir/$1"/*/*/state-*.bin;
    do
        at = ${path##* / state - } at = $
        {
            at %.bin
        }
    [[$at = ~^[0 - 9] + $]] && ((at > step)) &&step = $at done echo "$step"
}

#await COMMAND... : waits for it to succeed, as long as the process $pid lives.
await()
{
    until "$@";
    do
        kill - 0 "$pid" 2 > / dev / null || return 1 sleep 0.01 done
}

reached()
{
    (($(newest_step "$1") >= $2));
}

launch(){last_run = $1 shift "$vitrine" train "$@" --results "$dir/$last_run" >
                    "$dir/$last_run.out" 2 > "$dir/$last_run.err" < / dev / null &pid = $ !}

interrupt(){local signal = $1 step = $2 name = $3 shift 2 launch "$@" await reached "$name"
                                                                 "$step" kill -
                                                   s "$signal"
                                                     "$pid" 2 >
                                               / dev / null{wait "$pid";
}
2 > / dev / null code = $ ?
}

folder()
{
    local path
    for path in "$dir/$1"/*/*; do
        if [[ -d $path && $path != *.old-* ]]; then
            echo "$path"
            return 0
        fi
    done
    return 1
}

sha256() { sha256sum "$1" | cut -d' ' -f1; }
weights() { sha256 "$(folder "$1")/last.safetensors"; }
journal() { sha256 "$(folder "$1")/journal"; }

json() {
    awk -v wanted="$2" '{
        match($0, /^ */)
        depth = RLENGTH / 2
        if (match($0, /"[^"]*": /)) {
            name[depth] = substr($0, RSTART + 1, RLENGTH - 4)
            value = substr($0, RSTART + RLENGTH)
            path = name[1]
            for (i = 2; i <= depth; i++)
                path = path "." name[i]
            sub(/,$/, "", value)
            if (path == wanted) {
        gsub(/ ^"|" $ /, "", value) print value
            }
}
}
' "$1"
}

check()
{
    local sentence = $1 shift if "$@";
    then echo "ok - $sentence" else failed "$sentence" echo "# false: $*" show_last fi
}

equal()
{
    if
        [[-n $2 && $2 == "$3"]];
    then echo "ok - $1" else failed "$1" echo "# '$2' is not '$3'" show_last fi
}

skip()
{
    echo "ok - $1 # SKIP $2";
}
