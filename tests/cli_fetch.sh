#!/usr/bin/env bash
# scripts/fetch-data against a small server on this machine.
set -uo pipefail

scratch=$(mktemp -d)
server='' holder=''
trap 'kill $server $holder 2>/dev/null; rm -rf "$scratch"' EXIT
status=0

# check SENTENCE COMMAND...: one TAP line, and the last command's output after a failure.
check() {
    local sentence=$1
    shift
    if "$@"; then
        echo "ok - $sentence"
    else
        echo "not ok - $sentence"
        sed 's/^/# /' "$scratch/out" 2>/dev/null
        status=1
    fi
}

# fetch ARG...: keeps output in $scratch/out and the exit status in $rc.
fetch() {
    env -u http_proxy -u https_proxy -u all_proxy -u ALL_PROXY no_proxy='*' \
        scripts/fetch-data "$@" --dir "$scratch/data" >"$scratch/out" 2>&1 </dev/null
    rc=$?
}

# Ended with CODE, and said each of PATTERN...
ended() {
    local pattern
    ((rc == $1)) || return 1
    shift
    for pattern; do grep -qE -- "$pattern" "$scratch/out" || return 1; done
}

for tool in perl curl; do
    command -v "$tool" >/dev/null || {
        echo "ok - fetching from a server # SKIP no $tool on this machine"
        exit 0
    }
done

# An archive of the official one's shape, and one that lacks a file.
members="data_batch_1.bin data_batch_2.bin data_batch_3.bin data_batch_4.bin data_batch_5.bin
    test_batch.bin batches.meta.txt"
mkdir -p "$scratch/www/lacking" "$scratch/make/cifar-10-batches-bin"
for member in $members; do
    head -c 100000 /dev/urandom >"$scratch/make/cifar-10-batches-bin/$member"
done
archive=$scratch/www/cifar-10-binary.tar.gz
tar -C "$scratch/make" -czf "$archive" cifar-10-batches-bin
tar -C "$scratch/make" --exclude test_batch.bin -czf "$scratch/www/lacking/cifar-10-binary.tar.gz" \
    cifar-10-batches-bin
sum=$(sha256sum <"$archive")
sum=${sum%% *}
size=$(stat -c %s "$archive")

# /PATH serves a file, with ranges; /cut/PATH breaks off after 200,000 bytes; /whole/PATH refuses
# ranges. Each request's path and range go to a log.
cat >"$scratch/server.pl" <<'END'
use strict;
use warnings;
use IO::Socket::INET;
my ($root, $log) = @ARGV;
$SIG{PIPE} = 'IGNORE';
my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Proto => 'tcp',
                                   Listen => 8) or die "no socket: $!";
open(my $out, '>>', $log) or die;
$out->autoflush(1);
print $out "port ", $listen->sockport, "\n";
while (my $client = $listen->accept) {
    my ($path, $first) = ('', undef);
    while (my $line = <$client>) {
        $path = $1 if $line =~ m{^GET (\S+) };
        $first = $1 if $line =~ m{^Range: bytes=(\d+)-}i;
        last if $line =~ m{^\r?\n$};
    }
    print $out "get $path ", $first // 'whole', "\n";
    my $cut = $path =~ s{^/cut/}{/};
    my $whole = $path =~ s{^/whole/}{/};
    my $bytes;
    if ($path !~ /\.\./ && open(my $in, '<:raw', "$root$path")) {
        local $/;
        $bytes = <$in>;
    }
    my $reply = "404 Not Found";
    my $extra = '';
    if (defined $bytes) {
        my $size = length $bytes;
        $reply = "200 OK";
        if (defined $first && !$whole) {
            if ($first < $size) {
                $reply = "206 Partial Content";
                $extra = "Content-Range: bytes $first-" . ($size - 1) . "/$size\r\n";
                $bytes = substr($bytes, $first);
            } else {
                $reply = "416 Range Not Satisfiable";
                $extra = "Content-Range: bytes */$size\r\n";
                $bytes = '';
            }
        }
    }
    $bytes = '' unless defined $bytes;
    my $length = length $bytes;
    $bytes = substr($bytes, 0, 200000) if $cut;
    print $client "HTTP/1.1 $reply\r\nContent-Length: $length\r\n$extra",
        "Connection: close\r\n\r\n", $bytes;
    close $client;
}
END
perl "$scratch/server.pl" "$scratch/www" "$scratch/log" &
server=$!
for ((i = 0; i < 100; i++)); do
    port=$(sed -n 's/^port //p' "$scratch/log" 2>/dev/null)
    [[ -n $port ]] && break
    sleep 0.1
done
[[ -n $port ]] || {
    echo "not ok - the test's own server starts"
    exit 1
}
url=http://127.0.0.1:$port

last_request() {
    tail -n 1 "$scratch/log"
}

complete() {
    diff -r "$scratch/make/cifar-10-batches-bin" "$scratch/data/cifar-10-batches-bin" >/dev/null
}

# Nothing is left in the data folder but the names given.
only() {
    [[ $(cd "$scratch/data" && echo *) == "$*" && -z $(find "$scratch/data" -name '.*') ]]
}

fetch cifar10 --url "$url" --sha256 "$sum"
check "a data set is fetched, checked and unpacked" ended 0 \
    "^fetch-data: fetching $url/cifar-10-binary.tar.gz" "^cifar10: ready in .*/cifar-10-batches-bin"
check "its files are the archive's" complete
check "nothing else is left behind" only cifar-10-batches-bin

requests=$(wc -l <"$scratch/log")
fetch cifar10 --url "$url" --sha256 "$sum"
check "a second run says that it is complete" ended 0 "^cifar10: already complete in"
check "and asks the server for nothing" [ "$(wc -l <"$scratch/log")" = "$requests" ]

rm "$scratch/data/cifar-10-batches-bin/test_batch.bin"
fetch cifar10 --url "$url" --sha256 "$sum"
check "an incomplete folder is named and left alone" ended 65 "test_batch.bin is not in it"

rm -r "$scratch/data"
fetch cifar10 --url "$url/cut" --sha256 "$sum"
check "a broken download ends with 69 and says how to go on" ended 69 \
    "run the same command again to continue"
check "and keeps what has come" only cifar-10-binary.tar.gz.part
fetch cifar10 --url "$url" --sha256 "$sum"
check "the same command continues it" ended 0 "continuing .* at byte 200000" "ready in"
check "from where it broke off" [ "$(last_request)" = "get /cifar-10-binary.tar.gz 200000" ]
check "to the same files" complete

rm -r "$scratch/data"
mkdir "$scratch/data"
head -c 5000 "$archive" >"$scratch/data/cifar-10-binary.tar.gz.part"
fetch cifar10 --url "$url/whole" --sha256 "$sum"
check "a server that cannot continue sends everything again" ended 0 "starting again" "ready in"
check "and the files are right" complete

rm -r "$scratch/data"
mkdir "$scratch/data"
cp "$archive" "$scratch/data/cifar-10-binary.tar.gz.part"
requests=$(wc -l <"$scratch/log")
fetch cifar10 --url "$url" --sha256 "$sum"
check "a complete archive that was put there is used" ended 0 "ready in"
check "without asking the server" [ "$(wc -l <"$scratch/log")" = "$requests" ]

rm -r "$scratch/data"
fetch cifar10 --url "$url"
check "a wrong checksum is refused with 65" ended 65 "wrong checksum" \
    "expected SHA-256 c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd" "$sum"
check "and the file set aside, nothing unpacked" only cifar-10-binary.tar.gz.bad

rm -r "$scratch/data"
mkdir "$scratch/data"
head -c 200000 /dev/urandom >"$scratch/data/cifar-10-binary.tar.gz.part"
fetch cifar10 --url "$url" --sha256 "$sum"
check "a damaged beginning is noticed at the end" ended 65 "wrong checksum"
fetch cifar10 --url "$url" --sha256 "$sum"
check "and the next run fetches everything anew" ended 0 "ready in"
check "as asked of the server" [ "$(last_request)" = "get /cifar-10-binary.tar.gz whole" ]

rm -r "$scratch/data"
lacking=$(sha256sum <"$scratch/www/lacking/cifar-10-binary.tar.gz")
fetch cifar10 --url "$url/lacking" --sha256 "${lacking%% *}"
check "an archive without one of the files is refused" ended 65 \
    "no cifar-10-batches-bin/test_batch.bin in it"
check "and leaves no folder" [ ! -e "$scratch/data/cifar-10-batches-bin" ]

rm -r "$scratch/data"
fetch cifar100 --url "$url/nothing"
check "a server without the file ends with 66" ended 66 "the server has no $url/nothing/cifar-100"

head -c $((size + 10)) /dev/zero >"$scratch/data/cifar-100-binary.tar.gz.part"
fetch cifar100 --url "$url/nothing"
check "also when there is something to continue" ended 66 "the server has no"

mkdir -p "$scratch/make/flower_photos"
for kind in daisy dandelion roses sunflowers tulips; do
    mkdir "$scratch/make/flower_photos/$kind"
    echo "$kind" >"$scratch/make/flower_photos/$kind/1.jpg"
done
tar -C "$scratch/make" -czf "$scratch/www/flower_photos.tgz" flower_photos
flowers=$(sha256sum <"$scratch/www/flower_photos.tgz")
fetch flowers --url "$url/" --sha256 "${flowers%% *}"
check "flowers come as folders of a class each" ended 0 "^flowers: ready in .*/flower_photos"
check "with their pictures" [ "$(cat "$scratch/data/flower_photos/roses/1.jpg")" = roses ]

flock --no-fork "$scratch/data" sleep 60 &
holder=$!
for ((i = 0; i < 100; i++)); do
    flock -n "$scratch/data" true || break
    sleep 0.1
done
fetch cifar10 --url "$url" --sha256 "$sum"
check "two fetches into one folder do not mix" ended 76 "another fetch is at work"
kill "$holder"
holder=''

kill "$server"
wait "$server" 2>/dev/null
server=''
rm -r "$scratch/data"
fetch cifar10 --url "$url" --sha256 "$sum"
check "without a connection it ends with 69 and says what to do" ended 69 "offline" \
    "save it as .*/data/cifar-10-binary.tar.gz.part"

rm -rf "$scratch/data"
echo >"$scratch/data"
fetch cifar10 --url "$url"
check "a data folder that cannot be made is named" ended 73 "the folder $scratch/data cannot be"
rm "$scratch/data"

fetch mnist
check "an unknown data set is wrong use" ended 64 "no data set 'mnist'" "cifar10, cifar100 and"
fetch cifar10 --mirror x
check "an unknown option is wrong use" ended 64 "unknown option '--mirror'"
fetch
check "no data set is wrong use, answered with the usage" ended 64 "usage: scripts/fetch-data"
scripts/fetch-data --help >"$scratch/out" 2>&1
rc=$?
check "help is printed" ended 0 "usage: scripts/fetch-data" "--sha256 HEX"

exit $status
