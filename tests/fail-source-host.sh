#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The source's host crashes: its bits cannot be trusted any more, and it says so; what a dump has is exact.
. "$(dirname "$0")/fail-common.sh"

crash()
{
    die a
    boot a
    host a
}

is_damaged()    # DISK SESSION
{
    expect "source after the crash" "$(flags a "$1" daily busy readonly inconsistent)" "busy=true readonly=true inconsistent=true"
    expect "its session" "$(state a "$2" source)" interrupted
    says a "$2" source "restarted without a clean stop.*roll back.*load.*abandon" || fail "the source says: $(about a "$2" source message)"
    refuse 1 "$2.*cannot be resumed.*roll back" -- a resume "$2"
    refuse 1 "$2" -- a dump "$2" "$dir/no.dump"
}

host a
host_b_linked
link_up
to=$link

# ---- before the pivot: nobody knows whether it was; the target has not recorded, so the disk can be made writable
small_disk one --persistent
session=$(prepared one/daily)
record a one 20
crash
is_damaged one "$session"
refuse 1 "read-only" -- a bitmap mark one 0 1
a rollback "$session" >/dev/null
expect "after the roll-back" "$(flags a one daily busy readonly inconsistent recording)" "busy=false readonly=false inconsistent=true recording=true"
expect "bitmaps left on the target" "$(b --json bitmap list one)" "[]"
refuse 1 "inconsistent" -- a bitmap export one daily "$dir/x" --format raw
a bitmap mark one 0 1

# ---- in mid-stream, the dump is there: it is loaded on the target
big_disk two --persistent
slow two/daily
pivot "$session"
record b two 50
mid_stream "$session"
link_cut
eventually "the dump is there" test -f "$dir/a/dumps/$session.dump"
crash
is_damaged two "$session"
link_up
eventually "the link is there again" is_about b "$session" target link up
refuse 1 "$session.*(recorded|way back)" -- a rollback "$session"
expect "target" "$(state b "$session" target)" receiving
b load "$dir/a/dumps/$session.dump" >/dev/null
eventually "the target is operative" is_state b "$session" target operative
record b two 20
exact b two
eventually "the source lets go" is_state a "$session" source released
expect "the source's copy" "$(a --json bitmap list two)" "[]"
eventually "the dump is gone" no_dumps

# ---- in mid-stream, without one: it is abandoned on the target
big_disk three --persistent
slow three/daily
pivot "$session"
record b three 50
mid_stream "$session"
crash
is_damaged three "$session"
# Nor are the bits trusted after one more restart of the daemon alone.
stop a
host a
is_damaged three "$session"
b abandon "$session" --all-dirty >/dev/null
expect "target" "$(flags b three daily busy inconsistent count)" "busy=false inconsistent=false count=$disk_bytes"
eventually "the source hears of it" is_state a "$session" source abandoned
expect "source" "$(flags a three daily busy readonly inconsistent)" "busy=false readonly=true inconsistent=true"

# ---- sealed: the target has every bit, the crash does no harm
small_disk four --persistent
session=$(prepared four/daily)
"$dirtyferry" pivot "$session" --from "${control[a]}" >/dev/null
eventually "everything is there" is_state a "$session" source sealed
crash
"$dirtyferry" pivot "$session" --to "${control[b]}" >/dev/null
record b four 20
finished "$session" four
finish
