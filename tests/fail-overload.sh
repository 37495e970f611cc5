#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A target that is much slower than its source, a rate that is kept, and many sessions:
# memory, bandwidth and descriptors stay within their bounds.
. "$(dirname "$0")/flow-common.sh"
fill=$top_builddir/bench/bench-fill

# usage NAME FIELD: KiB, from /proc
usage()
{
    awk -v f="$2:" '$1 == f { print $2 }' "/proc/${daemon_pid[$1]}/status"
}

# full NAME MIB: a disk on both with a bitmap of so many MiB on a, half of the bits set at random
full()
{
    pair "$1" "$(($2 * 1048576 * 8 * 512))" b0 --granularity 512
    "$fill" "$dir/a" "$1" b0 half >/dev/null
}

# ---- memory: 64 MiB of bitmap for a target that writes some 50 MB a second, in large frames and in
# small ones.  The bound (README): 16 MiB and two leases of at most 2 MiB are on their way; the heap's
# overhead and what else the daemon does with a bitmap come on top, so 32 MiB are allowed.
start a
dirtyferryd=$top_builddir/tests/dirtyferryd-slow
for test in 1M:20000 1K:1200; do
    DF_SLOW_US=${test#*:} start b
    full "d${test%:*}" 64
    want=$(bits a "d${test%:*}" b0)
    session=$(prepared "d${test%:*}/b0" --chunk-size "${test%:*}")
    before=$(usage b VmRSS)
    # VmHWM begins anew; the daemon is not dumpable, so that only root may: else it is the peak since the start.
    [ ! -w "/proc/${daemon_pid[b]}/clear_refs" ] || echo 5 >"/proc/${daemon_pid[b]}/clear_refs"
    pivot "$session"
    "$dirtyferry" wait "$session" --to "${control[b]}" >/dev/null
    grown=$(($(usage b VmHWM) - before))
    echo "frames of ${test%:*}: the target's memory grew by $grown KiB at most, its source's peak was $(usage a VmHWM) KiB"
    [ "$grown" -lt 32768 ] || fail "memory is not bounded: $grown KiB"
    expect "bits" "$(bits b "d${test%:*}" b0)" "$want"
    expect "attempts" "$(a --json status "$session" | json 'd[0]["epoch"]')" 1
    stop b
done
dirtyferryd=$top_builddir/dirtyferryd
start b

# ---- --max-bandwidth: two workers, one, four; bytes and time from the session itself
for test in 2:1K:1000000 1:1K:1000000 4:64K:2000000; do
    IFS=: read -r workers chunk rate <<<"$test"
    full "w$workers" 2
    session=$(prepared "w$workers/b0" --workers "$workers" --chunk-size "$chunk" --max-bandwidth "$rate")
    pivot "$session"
    begin=$(date +%s%N)
    "$dirtyferry" wait "$session" --to "${control[b]}" >/dev/null
    ns=$(($(date +%s%N) - begin))
    bytes=$(a --json status "$session" | json 'd[0]["bytes"]')
    percent=$((bytes * 1000000000 * 100 / ns / rate))
    echo "$workers workers, frames of $chunk: $percent % of the rate"
    # Never faster; slower only by what the machine does meanwhile, which the benchmark measures.
    [ "$percent" -le 105 ] || fail "the rate is not kept: $percent %"
done

# ---- descriptors, threads, memory, files
"$python" "$top_srcdir/tests/many-sessions.py" "$top_builddir/dirtyferryd" 400
finish
