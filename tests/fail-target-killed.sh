#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# kill -9 of the target's daemon in each state: writers record on without it; started again it goes on, nobody helps it.
. "$(dirname "$0")/fail-common.sh"
host a
host b

# ---- prepared
small_disk one
session=$(prepared one/daily)
die b
record a one 20
eventually "the source notices" is_about a "$session" source link lost
expect "source" "$(state a "$session" source)" prepared
host b
expect "target" "$(state b "$session" target)/$(flags b one daily busy frozen recording)" "prepared/busy=true frozen=true recording=false"
# The copy of the disk is not recorded.
mark b one <<<"0 1048576"
pivot "$session"
record b one 20
finished "$session" one

# ---- receiving: the child records while the daemon is dead
big_disk two
full=$(undisturbed two)
slow two/daily
pivot "$session"
record b two 50
mid_stream "$session"
die b
record b two 50
eventually "the source is interrupted" is_state a "$session" source interrupted
eventually "the dump is there" test -f "$dir/a/dumps/$session.dump"
host b
expect "target" "$(state b "$session" target)/$(flags b two daily busy frozen recording)" "receiving/busy=true frozen=true recording=true"
refuse 1 "busy" -- b bitmap export two daily "$dir/x" --format raw
record b two 50
finished "$session" two
frames=$(about a "$session" source frames)
[ "$frames" -lt $((full - 30)) ] || fail "what had come was sent again: $frames frames since the restart, undisturbed it takes $full"

# ---- all frames came, and it has not pivoted
small_disk three
session=$(prepared three/daily)
"$dirtyferry" pivot "$session" --from "${control[a]}" >/dev/null
eventually "everything is there" is_state b "$session" target filled
die b
host b
expect "target" "$(state b "$session" target)" filled
"$dirtyferry" pivot "$session" --to "${control[b]}" >/dev/null
record b three 20
finished "$session" three

# ---- operative: that is not forgotten, whether the source heard of it or not
small_disk four
session=$(prepared four/daily)
"$dirtyferry" pivot "$session" --from "${control[a]}" >/dev/null
eventually "everything is there" is_state a "$session" source sealed
kill -STOP "${daemon_pid[a]}"
"$dirtyferry" pivot "$session" --to "${control[b]}" >/dev/null
eventually "the target is operative" is_state b "$session" target operative
die b
host b
kill -CONT "${daemon_pid[a]}"
record b four 20
finished "$session" four
finish
