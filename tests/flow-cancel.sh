#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The ways back: cancel before the pivot, roll-back between the pivots, and none after them; pivots
# that wait for open writes.
. "$(dirname "$0")/flow-common.sh"
start a
start b

# holder NUMBER NAME DISK: a writer whose commands go to write_NUMBER and whose answers come from read_NUMBER.
holder()
{
    mkfifo "$dir/holder$1.in" "$dir/holder$1.out"
    "$hold_section" "$dir/$2" "$3" <"$dir/holder$1.in" >"$dir/holder$1.out" &
    holder_pid=$!
    exec {holder_in}>"$dir/holder$1.in" {holder_out}<"$dir/holder$1.out"
}

# say COMMAND ANSWER
say()
{
    local answer
    echo "$1" >&"$holder_in"
    read -r answer <&"$holder_out"
    expect "the writer's '$1'" "$answer" "$2"
}

# A write that does not end: its pivot gives up after 10 s, looked at below.
pair stuck 1G daily
stuck=$(prepared stuck/daily --workers 0)
holder 1 a stuck
say "begin 0 4096" ok
"$dirtyferry" pivot "$stuck" --from "${control[a]}" --to "${control[b]}" >"$dir/stuck.out" 2>"$dir/stuck.err" {holder_in}>&- &
stuck_pivot=$!
stuck_in=$holder_in

# ---- cancel before the pivot
pair one 1G daily --persistent
a bitmap mark one 1M 7M
before=$(snapshot a b | grep -v stuck)
session=$(prepared one/daily)
a bitmap mark one 100M 64K
expect "source while prepared" "$(flags a one daily busy recording)" "busy=true recording=true"
[ "$(a cancel "$session" | cut -d' ' -f1-3)" = "$session source cancelled" ] || fail "cancel does not say so"
expect "source after the cancel" "$(flags a one daily busy recording persistent readonly)" "busy=false recording=true persistent=true readonly=false"
expect "what was marked while prepared is there" "$(field count "$(a --json bitmap show one daily)")" $((7 * 1048576 + 65536))
expect "bitmaps left on the target" "$(b --json bitmap list one)" "[]"
expect "state on the target" "$(state b "$session" target)" cancelled
a cancel "$session" >/dev/null || fail "a cancel cannot be repeated"
refuse 1 "$session.*cancelled" -- pivot "$session"
refuse 1 "$session.*cancelled" -- b wait "$session"
# Nothing is in the way of another try.
migrate one/daily >/dev/null
expect "count after the second try" "$(field count "$(b --json bitmap show one daily)")" $((7 * 1048576 + 65536))

# ---- too late: after the pivot
pair two 1G daily
a bitmap mark two 0 3M
session=$(prepared two/daily --workers 0)
pivot "$session"
state=$(snapshot a b)
refuse 1 "$session.*cancel.*after the pivot" -- a cancel "$session"
refuse 1 "$session.*(recorded|way back)" -- a rollback "$session"
expect "refused ways back change nothing" "$(snapshot a b)" "$state"
refuse 1 "read-only" -- a bitmap mark two 0 1
a worker "$session"
b wait "$session" >/dev/null
eventually "the source lets go" is_state a "$session" source released
refuse 1 "$session.*released" -- a rollback "$session"
refuse 1 "$session" -- a cancel "$session"

# ---- rolled back between the pivots
pair three 1G daily
a bitmap mark three 0 5M
before=$(bits a three daily)
session=$(prepared three/daily)
"$dirtyferry" pivot "$session" --from "${control[a]}" >/dev/null
refuse 1 "read-only" -- a bitmap mark three 0 1
refuse 1 "$session.*cancel.*'rollback'" -- a cancel "$session"
# With or without the bits that have arrived there by now.
eventually "everything has arrived" is_state a "$session" source sealed
a rollback "$session" >/dev/null
a rollback "$session" >/dev/null || fail "a roll-back cannot be repeated"
expect "source after the roll-back" "$(flags a three daily busy recording readonly)" "busy=false recording=true readonly=false"
expect "bits after the roll-back" "$(bits a three daily)" "$before"
expect "bitmaps left on the target" "$(b --json bitmap list three)" "[]"
a bitmap mark three 5M 1M
expect "count after the roll-back" "$(field count "$(a --json bitmap show three daily)")" $((6 * 1048576))
refuse 1 "$session" -- "$dirtyferry" pivot "$session" --to "${control[b]}"

# ---- migrate's own roll-back, when the command between the pivots fails
refuse 1 "exit status 3" "rolled back" "writable again" -- migrate three/daily --on-pivot 'exit 3'
expect "source after migrate's roll-back" "$(flags a three daily busy recording readonly)" "busy=false recording=true readonly=false"
expect "bitmaps left on the target" "$(b --json bitmap list three)" "[]"
a bitmap mark three 6M 1M
# Between the pivots the source is read-only and the target does not record yet.
migrate three/daily --on-pivot "'$dirtyferry' -c '${control[a]}' --json disk list >'$dir/disks'; '$dirtyferry' -c '${control[b]}' bitmap mark three 512M 1M" >/dev/null
expect "read-only during the command" "$(json '[e["readonly"] for e in d if e["disk"] == "three"]' <"$dir/disks")" "[true]"
expect "the copy's writes are not recorded" "$(field count "$(b --json bitmap show three daily)")" $((7 * 1048576))

# ---- a pivot waits for the write that a stopped process holds
pair four 1G daily
session=$(prepared four/daily)
holder 2 a four
say "begin 0 4096" ok
kill -STOP "$holder_pid"
pivot "$session" {holder_in}>&- &
waiting=$!
eventually "the source waits for the write" is_state a "$session" source fencing
refuse 1 "read-only" -- a bitmap mark four 1M 1
refuse 1 "$session.*(busy|pivot)" -- a rollback "$session"
kill -0 $waiting || fail "the pivot did not wait"
expect "the target has not pivoted" "$(state b "$session" target)" prepared
kill -CONT "$holder_pid"
say "end" ok
wait $waiting || fail "the pivot fails after the write has ended"
say "begin 8192 1" EROFS
b wait "$session" >/dev/null
expect "the open write is in the result" "$(field count "$(b --json bitmap show four daily)")" 65536
exec {holder_in}>&-
wait "$holder_pid" || fail "the writer fails"

# ---- a process that dies with an open write is not waited for
pair five 1G daily
session=$(prepared five/daily)
holder 3 a five
say "begin 131072 1" ok
kill -9 "$holder_pid"
wait "$holder_pid" 2>/dev/null || :
pivot "$session"
b wait "$session" >/dev/null
expect "its write is in the result" "$(field count "$(b --json bitmap show five daily)")" 65536

# ---- the one from above that never ended
! wait $stuck_pivot || fail "a pivot succeeds while a write is open"
expect "lines on stderr" "$(wc -l <"$dir/stuck.err")" 1
grep -q "1 write.*10 s.*$stuck.*writable again" "$dir/stuck.err" || fail "the pivot that gives up says: $(cat "$dir/stuck.err")"
expect "source after a pivot that gave up" "$(flags a stuck daily busy recording readonly)" "busy=true recording=true readonly=false"
expect "its session" "$(state a "$stuck" source)/$(state b "$stuck" target)" prepared/prepared
a bitmap mark stuck 1M 1
echo end >&"$stuck_in"
exec {stuck_in}>&-
pivot "$stuck"                  # once more, as the sentence says
a worker "$stuck"
b wait "$stuck" >/dev/null
expect "count of the second try" "$(field count "$(b --json bitmap show stuck daily)")" 131072
finish
