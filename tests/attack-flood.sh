#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Floods by keys that are allowed: requests, expensive requests, frames.  Memory stays, pivots are made beside them, and
# what others ask is answered.
. "$(dirname "$0")/attack-common.sh"
fill=$top_builddir/bench/bench-fill
keyed_hosts
each=5
b disk add large --size 16T
b bitmap add large daily --granularity 64K
"$fill" "$dir/b" large daily half >/dev/null
ready_pivots $((4 * each))
latency $each
echo "pivot of both sides, quiet: $median_ms ms"

beside()        # WHAT MIB COMMAND...
{
    local what=$1 mib=$2
    shift 2
    during "$what" "$@"
    latency $each
    echo "pivot of both sides beside $what: $median_ms ms"
    b disk list >/dev/null || fail "$what: a request of another is not answered"
    over "$mib"
}

by mallory
beside "a flood of requests" 64 messages "${by[@]}" flood "${control[b]%%,*}" heartbeat
beside "a flood of frames" 64 messages "${by[@]}" flood "${data[b]}" data
told 1 "refused: key 'mallory' at 127\.0\.0\.1: data: a frame: "
by eye
beside "a flood of bitmap-show" 64 messages "${by[@]}" flood "${control[b]%%,*}" show=large/daily
told 1 "refused: key 'eye' at 127\.0\.0\.1: control: bitmap-show, too many at once"
done_attacking
