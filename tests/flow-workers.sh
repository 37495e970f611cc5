#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Workers that are processes: one dies with a lease, one is stopped and comes back late with it.
. "$(dirname "$0")/flow-common.sh"
start a
start b

# About 20 KiB of random bits at 8 KiB/s: a lease that lasts for 2.5 s.
fill()      # DISK: the bits that must arrive are in $before
{
    pair $1 700M daily --granularity 4K
    ranges 1 734003200 30000 1 | mark a $1
    before=$(bits a $1 daily)
}

# The target has a frame, and no lease was handed back: the only worker holds the only lease.
holds_lease()
{
    local role='[s["frames"] for s in d if s["role"] == sys.argv[2]][0]'
    [ "$(b --json status "$1" | json "$role" target)" -gt 0 ] && [ "$(a --json status "$1" | json "$role" source)" = 0 ]
}

log_has()
{
    grep -q "$1" "$dir/a.log"
}

# ---- killed
fill one
session=$(prepared one/daily --workers 0 --max-bandwidth 8K)
pivot "$session"
"$dirtyferry" -c "${control[a]}" worker "$session" &
first=$!
eventually "the worker holds a lease" holds_lease "$session"
"$dirtyferry" -c "${control[a]}" worker "$session" &
second=$!
kill -9 $first
wait $first 2>/dev/null || :
b wait "$session" >/dev/null
expect "bits, one worker killed" "$(bits b one daily)" "$before"
log_has "worker 'process $first' is silent, its lease goes to another one" || fail "the log does not say that the lease of process $first went to another"
wait $second || fail "the other worker fails"
expect "source" "$(state a "$session" source)" released

# ---- stopped until its lease is another one's, then it goes on and hands it back
fill two
session=$(prepared two/daily --workers 0 --max-bandwidth 8K)
pivot "$session"
"$dirtyferry" -c "${control[a]}" worker "$session" &
first=$!
eventually "the worker holds a lease" holds_lease "$session"
kill -STOP $first
"$dirtyferry" -c "${control[a]}" worker "$session" &
second=$!
eventually "the lease is taken away" log_has "worker 'process $first' is silent"
kill -CONT $first
b wait "$session" >/dev/null
expect "bits, one worker late" "$(bits b two daily)" "$before"
wait $first || fail "the late worker fails"
wait $second || fail "the other worker fails"

# ---- two together, as many leases as there are
pair three 16G daily --granularity 512
ranges 2 17179869184 3000 4000000 | mark a three
before=$(bits a three daily)
session=$(prepared three/daily --workers 0)
"$dirtyferry" -c "${control[a]}" worker "$session" &
first=$!
"$dirtyferry" -c "${control[a]}" worker "$session" &
second=$!
pivot "$session"
b wait "$session" >/dev/null
expect "bits of two workers" "$(bits b three daily)" "$before"
wait $first && wait $second || fail "a worker fails"

# ---- a worker for a session that is over, or is none
refuse 1 "$session.*(over|released)|no session $session" -- b worker "$session"
refuse 1 "no session 00000000-0000-4000-8000-000000000000" -- a worker 00000000-0000-4000-8000-000000000000
finish
