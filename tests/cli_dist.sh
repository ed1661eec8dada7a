#!/usr/bin/env bash
# The bundle of scripts/dist in an empty root: nothing is there but the bundle and a C library. The
# program starts, trains on the CPU, and says in one line that there is no GPU.
set -uo pipefail
# shellcheck source=tests/support/runs.sh
source tests/support/runs.sh

bundle=$dir/vitrine-test.tar.gz
root=$dir/root
libraries=/lib/x86_64-linux-gnu

check "scripts/dist packs what is built" scripts/dist "$bundle" >"$dir/dist.out"
cat "$dir/dist.out"
check "scripts/dist refuses what it does not know" eval '! scripts/dist --all 2>/dev/null'

# Not at the top, whose lib/ would be the loader's own.
mkdir -p "$root/opt/vitrine"
if ! tar -xzf "$bundle" --strip-components=1 -C "$root/opt/vitrine"; then
    failed "the bundle is unpacked"
    exit 1
fi

# newest PATTERN: the newest version of the C library that a file of the bundle asks for.
newest() {
    find "$root/opt" -path '*/plots' -prune -o -path '*/experiments' -prune -o -type f -exec objdump -T {} + 2>/dev/null |
        grep -oE "$1_[0-9]+\.[0-9]+(\.[0-9]+)?" | sort -uV | tail -n 1
}
no_newer() {
    [[ -n $1 && $(printf '%s\n' "$1" "$2" | sort -V | tail -n 1) == "$2" ]]
}
glibc=$(newest GLIBC)
check "nothing in it asks for a newer glibc than 2.36 ($glibc)" no_newer "$glibc" GLIBC_2.36

PATH=$PATH:/usr/sbin:/sbin
mkdir -p "$root/proc"
# With /proc, as every Linux has it, mounted where nobody else sees it.
# shellcheck disable=SC2016 # that shell's own
inside=(unshare --mount bash -c 'mount --rbind /proc "$0/proc" && exec chroot "$0" "$@"')
((EUID == 0)) || inside=(unshare --map-root-user "${inside[@]:1}")
if [[ ! -e $libraries/libc.so.6 ]]; then
    skip "the program runs in an empty root" "this system's C library is not in $libraries"
    exit $status
elif ! "${inside[@]}" / true 2>"$dir/refused"; then
    skip "the program runs in an empty root" "$(head -n 1 "$dir/refused")"
    exit $status
fi
inside+=("$root")
# The C library, and nothing else of this system.
mkdir -p "$root/lib64" "$root/lib/x86_64-linux-gnu" "$root/tmp"
cp -L /lib64/ld-linux-x86-64.so.2 "$root/lib64/"
for name in libc.so.6 libm.so.6 libpthread.so.0 libdl.so.2 librt.so.1; do
    [[ -e $libraries/$name ]] && cp -L "$libraries/$name" "$root/lib/x86_64-linux-gnu/"
done

# run NAME ARGUMENT...: vitrine in the empty root; $code, $dir/NAME.out and .err
run() {
    last_run=$1
    env -i PATH="$PATH" "${inside[@]}" /opt/vitrine/bin/vitrine "${@:2}" >"$dir/$1.out" 2>"$dir/$1.err" </dev/null
    code=$?
}

run version --version
equal "vitrine starts there" "$code" 0
equal "... and is the program that was packed" "$(cat "$dir/version.out")" "$(./vitrine --version)"
env -i PATH="$PATH" "${inside[@]}" /opt/vitrine/bin/vitrine-h5 --help >"$dir/h5.out" 2>&1
equal "vitrine-h5, which has HDF5's libraries, starts there" "$?" "$(
    ./vitrine-h5 --help >/dev/null 2>&1
    echo $?
)"
check "... and says the same" test "$(cat "$dir/h5.out")" = "$(./vitrine-h5 --help 2>&1)"

few=(--set data.limit_train=32 --set data.limit_test=16 --set train.epochs=1)
run cpu train /opt/vitrine/experiments/quick/vit.yaml "${few[@]}" --results /runs
equal "it trains on the CPU, with the OpenBLAS of the bundle" "$code" 0
start here quick/vit "${few[@]}"
equal "... to the weights that it has elsewhere" \
    "$(sha256 "$(find "$root/runs" -name last.safetensors)")" "$(weights here)"

run cuda train /opt/vitrine/experiments/quick/vit.yaml "${few[@]}" --results /cuda --device cuda
equal "--device cuda without a driver: exit status" "$code" 69
equal "... one line" "$(wc -l <"$dir/cuda.err")" 1
run auto train /opt/vitrine/experiments/quick/vit.yaml "${few[@]}" --results /auto --device auto
equal "--device auto computes on the CPU" "$code" 0
check "... and says so" grep -q "computing on the CPU" "$dir/auto.err"

scripts/dist --gpu-only "$bundle" >/dev/null
check "--gpu-only leaves OpenBLAS out" eval '[[ $(tar -tzf "$bundle" | grep -c openblas) == 0 ]]'
exit $status
