#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdkit is killed with a write open, on either side (tests/filter-kill.sh is its own death): the pivot does not wait for
# it, and what that write may have changed is dirty.
. "$(dirname "$0")/fail-common.sh"
filter=$top_builddir/.libs/nbdkit-dirtyferry-filter.so
df_tool=$top_builddir/tests/df-tool
command -v nbdkit >/dev/null || skip "nbdkit is not installed"
[ -f "$filter" ] && [ -x "$df_tool" ] || skip "the filter is not built: $filter"
"$python" -c 'import nbd' 2>/dev/null || skip "python3-libnbd is not installed"
sanitizers=$(ldd "$filter" | awk '/lib[atu][a-z]*san\.so/ { printf "%s ", $3 }')

# serve NAME DISK: nbdkit whose writes of 8 KiB do not end; its process is in $nbdkit_pid
serve()
{
    rm -f "$dir/nbd.pid" "$dir/nbd.sock"
    LD_PRELOAD=$sanitizers ASAN_OPTIONS=${ASAN_OPTIONS-detect_leaks=0} nbdkit -f -U "$dir/nbd.sock" -P "$dir/nbd.pid" --filter="$filter" --filter=delay memory 1G wdelay=60 \
        dirtyferry-state="$dir/$1" dirtyferry-disk="$2" 2>>"$dir/nbdkit.log" &
    nbdkit_pid=$!
    eventually "nbdkit answers" test -s "$dir/nbd.pid"
}

# write_and_die NAME DISK OFFSET: a write of 8 KiB there is open, and nbdkit is killed
write_and_die()
{
    "$python" -c '
import sys, nbd
h = nbd.NBD()
h.connect_unix(sys.argv[1])
h.pwrite(bytes(8192), int(sys.argv[2]))' "$dir/nbd.sock" "$3" 2>/dev/null &
    local client=$!
    is_open() { [ "$("$df_tool" open-sections "$dir/$1" "$2")" = 1 ]; }
    eventually "the write is open" is_open "$1" "$2"
    kill -9 $nbdkit_pid
    wait $nbdkit_pid 2>/dev/null || :
    wait $client 2>/dev/null || :
    echo "$3 8192" >>"$dir/oracle.$2"
}

host a
host b

# ---- the source's
small_disk one
serve a one
session=$(prepared one/daily)
write_and_die a one 536870912
begin_ms=$(now_ms)
pivot "$session"
took=$(($(now_ms) - begin_ms))
[ $took -lt 5000 ] || fail "the pivot waited $took ms for a dead writer"
finished "$session" one

# ---- the source's, while its daemon is dead too
small_disk two
serve a two
session=$(prepared two/daily)
die a
write_and_die a two 536870912
host a
pivot "$session"
finished "$session" two

# ---- the target's, while the child records
small_disk three
session=$(prepared three/daily --workers 0)
pivot "$session"
serve b three
write_and_die b three 268435456
a worker "$session"
finished "$session" three
finish
