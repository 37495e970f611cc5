#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The contents of disks that NBD servers export: nbdkit and qemu-nbd, servers that take one client only, want
# aligned requests, fail, hang, or go away half way.
. "$(dirname "$0")/flow-common.sh"
for program in nbdkit qemu-nbd qemu-img; do
    command -v $program >/dev/null || skip "$program is not there"
done
df_image=$top_builddir/tests/df-image
uri="nbd+unix:///?socket=$dir/nbd"

# serve ARGUMENT...: an nbdkit at $uri; its id is $server
serve()
{
    rm -f "$dir/pid" "$dir/nbd"
    nbdkit -f -U "$dir/nbd" --pidfile "$dir/pid" "$@" >"$dir/nbdkit.log" 2>&1 </dev/null &
    server=$!
    eventually "nbdkit serves" test -s "$dir/pid"
}

serve_no_more()
{
    kill -9 "$server" 2>/dev/null || :      # nbdkit 1.32 may have aborted when its client went
    wait "$server" 2>/dev/null || :
}

# holds NAME: a reader that has it open and waits; go_on lets it read, its exit status is in $reader_status
holds()
{
    rm -f "$dir/go" "$dir/said"
    mkfifo "$dir/go"
    "$df_image" "${options[@]}" hold "$@" <"$dir/go" >"$dir/said" 2>"$dir/stderr" &
    reader=$!
    exec 7>"$dir/go"
    eventually "it is open" grep -q open "$dir/said"
}

go_on()
{
    echo >&7
    exec 7>&-
    reader_status=0
    wait "$reader" || reader_status=$?
}

# ------------------------------------------------------------ what is read is what is there

# A disk with data, zeroes and holes, whose size is no multiple of anything.
size=$((40 * 1048576 + 512 * 3))
nbdkit -U - sparse-random $size seed=7 percent=20 random-content=true runlength=300000 --run "qemu-img convert -f raw -O raw \"\$uri\" '$dir/disk.raw'"
truncate -s "$size" "$dir/disk.raw"

same()          # WHAT: $uri is disk.raw
{
    local what=$1
    "$df_image" cat "$uri" | cmp - "$dir/disk.raw" || fail "$what: other bytes"
    expect "$what: compared" "$("$df_image" diff "$dir/disk.raw" "$uri" | cut -d' ' -f1,2)" "different 0"
}

serve file "$dir/disk.raw"
same "many connections"
expect "connections at once" "$("$df_image" map "$uri" | grep -c zero)" "$("$df_image" map "$dir/disk.raw" | grep -c zero)"
serve_no_more
serve --filter=log file "$dir/disk.raw" logfile="$dir/connections"
"$df_image" read "$uri"
expect "connections of four lanes" "$(grep -c ' Connect ' "$dir/connections")" 5
# Holes on both sides are not read, nor on the one that has them.
copied=$("$df_image" map "$uri" | awk '$3 == "data" { n += $2 } END { print 2 * n }')
expect "bytes read" "$("$df_image" diff "$dir/disk.raw" "$uri" | cut -d' ' -f4)" "$copied"
serve_no_more

serve --filter=multi-conn file "$dir/disk.raw" multi-conn-mode=disable
same "one connection"
serve_no_more
serve --filter=limit --filter=multi-conn file "$dir/disk.raw" multi-conn-mode=disable limit=1
expect "a server that takes one client" "$("$df_image" diff "$dir/disk.raw" "$uri" | cut -d' ' -f1,2)" "different 0"
serve_no_more
serve --filter=noextents file "$dir/disk.raw"
expect "extents of who has none" "$("$df_image" map "$uri")" "0 $size data -"
same "no extents"
serve_no_more
serve --no-sr file "$dir/disk.raw"
expect "extents of the old protocol" "$("$df_image" map "$uri")" "0 $size data -"
same "no structured replies"
serve_no_more
# Aligned, or refused.  A length that is not aligned is rounded down by that filter.
truncate -s "$((40 * 1048576))" "$dir/disk.raw"
for block in 512 4096 65536; do
    serve --filter=blocksize-policy file "$dir/disk.raw" blocksize-minimum=$block blocksize-preferred=65536 blocksize-maximum=128K blocksize-error-policy=error
    same "blocks of $block"
    serve_no_more
done
rm "$dir/nbd"
qemu-nbd --read-only --persistent --format=raw -k "$dir/nbd" "$dir/disk.raw" >"$dir/nbdkit.log" 2>&1 </dev/null &
server=$!
eventually "qemu-nbd serves" test -S "$dir/nbd"
expect "qemu-nbd for one client" "$("$df_image" diff "$dir/disk.raw" "$uri" | cut -d' ' -f1,2)" "different 0"
serve_no_more

# ------------------------------------------------------------ servers that fail

options=(--timeout 1000)
serve --filter=error file "$dir/disk.raw" error-pread=EIO error-pread-rate=100% error-pread-file="$dir/fail"
same "before the errors"
touch "$dir/fail"
refuse 1 "cannot read '.*' at offset 0: Input/output error" -- "$df_image" read "$uri"
refuse 1 "cannot read '.*' at offset [0-9]+: Input/output error" -- "$df_image" diff "$dir/disk.raw" "$uri"
rm "$dir/fail"
same "after the errors"
serve_no_more

for lanes in 1 4; do
    options=(--timeout 1000 --lanes $lanes)
    serve file "$dir/disk.raw"
    holds "$uri"
    serve_no_more
    go_on
    expect "exit status after the server's end" $reader_status 1
    grep -q "has ended the connection" "$dir/stderr" || fail "a server that is gone: $(cat "$dir/stderr")"

    serve file "$dir/disk.raw"
    holds "$uri"
    kill -STOP "$server"
    go_on
    expect "exit status with a server that hangs" $reader_status 1
    grep -q "has not answered for 1000 ms" "$dir/stderr" || fail "a server that hangs: $(cat "$dir/stderr")"
    refuse 1 "has not answered for 1000 ms" -- "$df_image" "${options[@]}" map "$uri"
    serve_no_more
    refuse 1 "cannot connect" -- "$df_image" "${options[@]}" map "$uri"
done
serve --filter=delay file "$dir/disk.raw" delay-read=100 delay-extents=0
refuse 1 "has not answered for 1000 ms" -- "$df_image" "${options[@]}" read "$uri"
serve_no_more

# Half way for sure: it can read nothing behind the first 20 MiB, for the server ends there.
serve eval get_size="echo \"\$tmpdir\" >'$dir/eval'; echo 40M" can_multi_conn='exit 0' thread_model='echo parallel' \
    pread='[ "$4" -lt 20971520 ] || kill -9 $PPID; head -c "$3" /dev/zero'
refuse 1 "has ended the connection" -- "$df_image" read "$uri"
wait "$server" 2>/dev/null || :
rm -r "$(cat "$dir/eval")"         # its scripts, in a directory of its own
refuse 1 "is empty" -- sh -c "exec nbdkit -U - memory 0 --run '\"$df_image\" map \"\$uri\"'"
finish
