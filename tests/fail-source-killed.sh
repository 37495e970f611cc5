#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# kill -9 of the source's daemon in each state: it is started again and goes on, nobody helps it.
. "$(dirname "$0")/fail-common.sh"
host a
host_b_linked
link_up
to=$link

again()
{
    die a
    host a
}

# ---- prepared: writes are recorded meanwhile, by whoever writes
small_disk one
session=$(prepared one/daily)
record a one 20
die a
record a one 20
host a
expect "source" "$(state a "$session" source)/$(flags a one daily busy recording)" "prepared/busy=true recording=true"
record a one 20
pivot "$session"
record b one 20
finished "$session" one

# ---- prepared, and the daemon is back for the cancel only
small_disk gone
session=$(prepared gone/daily)
again
record a gone 20
a cancel "$session" >/dev/null
expect "after the cancel" "$(flags a gone daily busy recording readonly)" "busy=false recording=true readonly=false"
exact a gone
expect "bitmaps left on the target" "$(b --json bitmap list gone)" "[]"

# ---- between the pivots: the fence holds, before and after the restart
small_disk two
session=$(prepared two/daily --workers 0)
"$dirtyferry" pivot "$session" --from "${control[a]}" >/dev/null
die a
expect "a write without the daemon" "$(echo 'mark 0 1' | "$hold_section" "$dir/a" two)" EROFS
host a
refuse 1 "read-only" -- a bitmap mark two 0 1
is_streaming() { is_state a "$session" source streaming; }
eventually "the source has asked the target" is_streaming
"$dirtyferry" pivot "$session" --to "${control[b]}" >/dev/null
record b two 20
a worker "$session"
finished "$session" two

# ---- between the pivots, and back
small_disk back
session=$(prepared back/daily --workers 0)
"$dirtyferry" pivot "$session" --from "${control[a]}" >/dev/null
again
eventually "the source has asked the target" is_streaming
a rollback "$session" >/dev/null
record a back 20
exact a back
expect "bitmaps left on the target" "$(b --json bitmap list back)" "[]"

# ---- sealed: the target has every bit and has not pivoted
small_disk three
session=$(prepared three/daily)
"$dirtyferry" pivot "$session" --from "${control[a]}" >/dev/null
eventually "everything is there" is_state a "$session" source sealed
link_stall
again
expect "source" "$(state a "$session" source)" sealed
eventually "the link is lost" is_about a "$session" source link lost
"$dirtyferry" pivot "$session" --to "${control[b]}" >/dev/null
record b three 20
eventually "the target is operative" is_state b "$session" target operative
link_go
finished "$session" three

# ---- sealed, and the target became operative while the source was dead
small_disk four
session=$(prepared four/daily)
"$dirtyferry" pivot "$session" --from "${control[a]}" >/dev/null
eventually "everything is there" is_state a "$session" source sealed
die a
"$dirtyferry" pivot "$session" --to "${control[b]}" >/dev/null
eventually "the target is operative" is_state b "$session" target operative
host a
finished "$session" four

# ---- streaming, and once more while it is interrupted
big_disk five
full=$(undisturbed five)
slow five/daily
pivot "$session"
mid_stream "$session"
again
record b five 50
mid_stream "$session" 80
link_cut
eventually "the source is interrupted" is_state a "$session" source interrupted
eventually "the dump is there" test -f "$dir/a/dumps/$session.dump"
again
expect "source" "$(state a "$session" source)" interrupted
expect "the dump" "$(about a "$session" source dump)" "$dir/a/dumps/$session.dump"
record b five 50
link_up
finished "$session" five
[ "$(about b "$session" target frames)" -le $((full + 16)) ] || fail "more than what was missing was sent again"
finish
