#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# bitmap diff of a disk of QEMU: the daemon dies before and after each word to QEMU and each file that it writes.
# At every second word: what is odd before, what is even after it.  The same command brings the comparison to its end, with what was written meanwhile, and nothing of us is left.
size=1048576
. "$(dirname "$0")/qdiff-common.sh"
vda 3
sound=$dirtyferryd

point=0
for series in "qmp:before 1 2" "qmp:after 2 2" "comparison_write:before 1 1" "comparison_write:after 1 1"; do
    read -r what first step <<<"$series"
    for ((n = first; ; n += step)); do
        fresh
        stop a
        dirtyferryd=$top_builddir/tests/crash-daemon DF_CRASH=$what:$n host a
        "$dirtyferry" -c "${control[a]}" bitmap diff vda daily --against "$dir/old" </dev/null >"$dir/held.out" 2>&1 &
        held=$!
        has_ended() { ! kill -0 "${daemon_pid[a]}" 2>/dev/null || ! kill -0 "$held" 2>/dev/null; }
        eventually "it ends at $what:$n" has_ended
        died=false
        if ! kill -0 "${daemon_pid[a]}" 2>/dev/null; then
            died=true
            kill -KILL "$held" 2>/dev/null || :
        fi
        wait "$held" 2>/dev/null || :
        stop a KILL 2>/dev/null || :
        dirtyferryd=$sound host a
        guest $((RANDOM * 16)) 512
        compare
        completed "the daemon dies at $what:$n"
        [ $died = true ] || break
        point=$((point + 1))
    done
done
[ $point -ge 12 ] || fail "the daemon died $point times only"
finish
