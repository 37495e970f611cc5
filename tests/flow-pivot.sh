#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A pivot whose second half fails is finished or taken back by `pivot` and `migrate` themselves, through
# stopped, killed and restarted daemons; if it cannot be, they say so and name the commands that do it.
. "$(dirname "$0")/flow-common.sh"

# What takes long runs beside the rest: between e and f, and between g and h.
for name in a b e f g h; do
    start $name
done

# between FROM TO DISK: such a disk on both, its bitmap on FROM, 1 MiB dirty.
between()
{
    on "$1" disk add "$3" --size 1G
    on "$2" disk add "$3" --size 1G
    on "$1" bitmap add "$3" daily
    on "$1" bitmap mark "$3" 0 1M
}

count()         # NAME DISK
{
    field count "$(on "$1" --json bitmap show "$2" daily)"
}

# ---- the target is killed between the halves and stays away
between e f gone
half_pid=${daemon_pid[f]}
"$dirtyferry" migrate gone --from "${control[e]}" --to "${control[f]}" --on-pivot "kill -9 $half_pid" >"$dir/half.out" 2>"$dir/half.err" &
half=$!

# ---- the target does not answer any more while its bitmaps are waited for
between g h silent
silent=$("$dirtyferry" prepare silent --from "${control[g]}" --to "${control[h]}" --workers 0)
"$dirtyferry" pivot "$silent" --from "${control[g]}" --to "${control[h]}" >/dev/null
kill -STOP "${daemon_pid[h]}"
"$dirtyferry" wait "$silent" --to "${control[h]}" >"$dir/silent.out" 2>"$dir/silent.err" &
waits=$!

# ---- stopped for a while: the pivot is done all the same
between a b one
session=$(prepared one)
kill -STOP "${daemon_pid[b]}"
pivot "$session" &
waiting=$!
sleep 2
kill -CONT "${daemon_pid[b]}"
wait $waiting || fail "a pivot fails whose target was stopped for 2 s"
b wait "$session" >/dev/null
expect "count" "$(count b one)" 1048576

# ---- an endpoint where nobody is: the source, which knows better, rolls back
between a b two
session=$(prepared two)
refuse 1 "no answer.*nobody" "$session was rolled back" "writable again" -- \
    "$dirtyferry" pivot "$session" --from "${control[a]}" --to "ipc://$dir/nobody"
expect "source after the roll-back" "$(flags a two daily busy recording readonly)" "busy=false recording=true readonly=false"
expect "bitmaps left on the target" "$(b --json bitmap list two)" "[]"

# ---- the target is restarted too late for the pivot: whichever way it went, nothing is half done
between a b three
session=$(prepared three)
stop b KILL
"$dirtyferry" pivot "$session" --from "${control[a]}" --to "${control[b]}" >"$dir/out" 2>&1 &
waiting=$!
sleep 6
start b
if wait $waiting; then
    b wait "$session" >/dev/null
    expect "count" "$(count b three)" 1048576
else
    grep -q "$session was rolled back" "$dir/out" || fail "pivot says: $(cat "$dir/out")"
    expect "source after the roll-back" "$(flags a three daily busy recording readonly)" "busy=false recording=true readonly=false"
fi

# ---- the command fails, and the source's daemon is restarted meanwhile: rolled back when it is there again
between a b four
source_pid=${daemon_pid[a]}
"$dirtyferry" migrate four --from "${control[a]}" --to "${control[b]}" --on-pivot "kill -9 $source_pid; exit 1" >"$dir/out" 2>"$dir/err" &
waiting=$!
wait "$source_pid" 2>/dev/null || :
unset "daemon_pid[a]"
start a
! wait $waiting || fail "a migrate whose command fails succeeds"
grep -q "^dirtyferry: .*exit status 1.*rolled back, the source is writable again" "$dir/err" || fail "migrate says: $(cat "$dir/err")"
a bitmap mark four 1M 1M
expect "count after the roll-back" "$(count a four)" $((2 << 20))

# ---- the source's daemon is stopped: it may have pivoted or not, and is made live again in any case
between a b five
session=$(prepared five)
kill -STOP "${daemon_pid[a]}"
"$dirtyferry" pivot "$session" --from "${control[a]}" --to "${control[b]}" >"$dir/out" 2>"$dir/err" &
waiting=$!
sleep 10
kill -CONT "${daemon_pid[a]}"
! wait $waiting || fail "a pivot succeeds that was not answered for 10 s"
grep -Eq "$session was (cancelled|rolled back), the source is writable" "$dir/err" || fail "pivot says: $(cat "$dir/err")"
a bitmap mark five 1M 1M
expect "count after the way back" "$(count a five)" $((2 << 20))
expect "bitmaps left on the target" "$(b --json bitmap list five)" "[]"

# ---- migrate goes on through a restart of the target's daemon, and says what it waits for
between a b six
target_pid=${daemon_pid[b]}
"$dirtyferry" --json migrate six --from "${control[a]}" --to "${control[b]}" --workers 0 >"$dir/out" 2>"$dir/err" &
waiting=$!
eventually "the target receives" eval 'b --json status | grep -q "\"receiving\""'
kill -9 "$target_pid"
wait "$target_pid" 2>/dev/null || :
unset "daemon_pid[b]"
eventually "migrate says what it waits for" grep -q "waiting for the daemon at '${control[b]}'" "$dir/err"
start b
session=$(b --json status | json '[s["session"] for s in d if s["state"] == "receiving"][0]')
a worker "$session" &
wait $waiting || fail "migrate does not outlive the target's daemon: $(cat "$dir/err")"
wait $! || fail "the worker fails"
expect "state of migrate" "$(field state "$(cat "$dir/out")")" operative
expect "count" "$(count b six)" 1048576
expect "what migrate says of the waiting" "$(grep -c "waiting for" "$dir/err")" 1

# ---- the two that took long
! wait $half || fail "a migrate without a target succeeds"
session=$(on e --json status | json 'd[0]["session"]')
expect "lines on stderr" "$(wc -l <"$dir/half.err")" 1
for words in "session $session is half done, the source is read-only" "'dirtyferry pivot $session --to ${control[f]}'" "'dirtyferry rollback $session --from ${control[e]}'"; do
    grep -qF "$words" "$dir/half.err" || fail "'$words' is not in: $(cat "$dir/half.err")"
done
expect "the source of a half-done move" "$(flags e gone daily busy readonly)" "busy=true readonly=true"
wait "$half_pid" 2>/dev/null || :
unset "daemon_pid[f]"
start f
"$dirtyferry" pivot "$session" --to "${control[f]}" >/dev/null
on f wait "$session" >/dev/null
expect "count of the half-done move" "$(count f gone)" 1048576

! wait $waits || fail "a wait for a daemon that is stopped succeeds"
expect "lines on stderr" "$(wc -l <"$dir/silent.err")" 2
grep -q "no answer from the daemon at '${control[h]}' for 60 s: session $silent itself may go on, look with 'dirtyferry wait $silent --to ${control[h]}'" "$dir/silent.err" ||
    fail "wait says: $(cat "$dir/silent.err")"
kill -CONT "${daemon_pid[h]}"
on g worker "$silent"
on h wait "$silent" >/dev/null
expect "count" "$(count h silent)" 1048576
finish
