#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# dump and load by hand: of a bitmap, of a session whose network is gone, and every file and moment at
# which they are refused and nothing changes; abandon, when there is no dump either.
. "$(dirname "$0")/flow-common.sh"
start a
start b

# blocks FILE: offset and length of each block, from their heads.
blocks()
{
    "$python" -c '
import struct, sys
d = open(sys.argv[1], "rb").read()
at = 0
while at < len(d):
    n = 32 + struct.unpack_from("<I", d, at + 12)[0]
    print(at, n)
    at += n
assert at == len(d)' "$1"
}

# The count that the writes, "offset length" lines of the files, come to with 64K bits.
oracle()
{
    cat "$@" | "$python" -c '
import sys
bits = set()
for line in sys.stdin:
    o, n = map(int, line.split())
    bits.update(range(o // 65536, (o + n - 1) // 65536 + 1))
print(len(bits) * 65536)'
}

operative()     # SESSION: on b
{
    expect "state on the target" "$(state b "$1" target)" operative
}

# ------------------------------------------------- a bitmap, to another host

pair one 300G daily --persistent --granularity 64K
ranges 1 $((300 << 30)) 60000 100000 >"$dir/writes.one"
mark a one <"$dir/writes.one"
before=$(snapshot a)
a --json dump one/daily "$dir/one.dump" >"$dir/result"
expect "a dump changes nothing" "$(snapshot a)" "$before"
expect "fields of the dump's JSON" "$(json '" ".join(sorted(d))' <"$dir/result")" "bitmaps blocks bytes epoch file session"
expect "the dump's bitmaps" "$(json 'd["bitmaps"] == [{"disk": "one", "bitmap": "daily", "size": 300 << 30, "granularity": 65536}]' <"$dir/result")" true
expect "the dump's file" "$(json 'd["file"]' <"$dir/result")" "$dir/one.dump"
expect "the dump's bytes" "$(json 'd["bytes"]' <"$dir/result")" "$(stat -c %s "$dir/one.dump")"
expect "the dump's blocks" "$(json 'd["blocks"]' <"$dir/result")" "$(blocks "$dir/one.dump" | wc -l)"
[ "$(json 'd["blocks"]' <"$dir/result")" -gt 3 ] || fail "the dump has too few blocks to test anything: $(cat "$dir/result")"
expect "mode of the dump" "$(stat -c %a "$dir/one.dump")" 600
dumped=$(bits a one daily)
a bitmap mark one 0 1G              # is not in the dump any more
b load "$dir/one.dump" >"$dir/out"
grep -q "^$(field session "$(cat "$dir/result")") target operative " "$dir/out" || fail "load says: $(cat "$dir/out")"
expect "bits that were loaded" "$(bits b one daily)" "$dumped"
expect "count that was loaded" "$(field count "$(b --json bitmap show one daily)")" "$(oracle "$dir/writes.one")"
expect "flags of the loaded bitmap" "$(flags b one daily recording busy persistent inconsistent frozen readonly)" \
    "recording=true busy=false persistent=true inconsistent=false frozen=false readonly=false"
expect "granularity of the loaded bitmap" "$(field granularity "$(b --json bitmap show one daily)")" 65536
# It is a bitmap like any other: it records, and can be cleared and removed.
b bitmap clear one daily
b bitmap mark one 1M 1
expect "the loaded bitmap records" "$(field count "$(b --json bitmap show one daily)")" 65536
state=$(snapshot a b)
refuse 1 "operative" -- b load "$dir/one.dump"
refuse 1 "has a bitmap .daily. already" -- a load "$dir/one.dump"
expect "loading again changes nothing" "$(snapshot a b)" "$state"

# A dump takes the place of an older file, and of nothing else.
a dump one/daily "$dir/one.dump" --from "${control[a]}" >"$dir/out"
grep -q "^$dir/one.dump  session .* bitmaps 1 .* blocks " "$dir/out" || fail "dump says: $(cat "$dir/out")"
mkdir "$dir/directory"
refuse 1 "'$dir/directory'.*regular" -- a dump one/daily "$dir/directory"
refuse 1 "'$dir/none/x'.*No such" -- a dump one/daily "$dir/none/x"
# A disabled one, under flags of its own; all clean; and of a size that is no multiple of anything.
pair odd $((1234567890123)) weekly --disabled --granularity 4K
a dump odd/weekly "$dir/odd.dump" >"$dir/out"
b load "$dir/odd.dump" --to "${control[b]}" >"$dir/out"
expect "flags of a disabled one" "$(flags b odd weekly recording persistent)" "recording=false persistent=false"
expect "bits of a clean one" "$(bits b odd weekly)" "$(bits a odd weekly)"

# ------------------------------------- a session, when the network is gone

pair two 300G daily
a bitmap add two hourly --granularity 4K --persistent
ranges 2 $((300 << 30)) 3000 500000 >"$dir/writes.two"
mark a two <"$dir/writes.two"
session=$(prepared two --workers 0)
refuse 1 "$session.*prepared.*after the pivot" -- a dump "$session" "$dir/two.dump"
pivot "$session"
kept=$(snapshot a)
a --json dump "$session" "$dir/two.dump" >"$dir/result"
expect "a dump of a session changes nothing" "$(snapshot a)" "$kept"
expect "the dump's session" "$(field session "$(cat "$dir/result")")" "$session"
expect "the dump's bitmaps" "$(json 'sorted(e["bitmap"] for e in d["bitmaps"])' <"$dir/result")" '["daily", "hourly"]'
# Writes on the target before, while and after it is loaded are in the result.
ranges 3 $((300 << 30)) 500 500000 >"$dir/writes.more"
mark b two <"$dir/writes.more"
b load "$dir/two.dump" >"$dir/out"
operative "$session"
expect "count after load" "$(field count "$(b --json bitmap show two daily)")" "$(oracle "$dir/writes.two" "$dir/writes.more")"
expect "flags after load" "$(flags b two hourly recording busy persistent inconsistent frozen readonly)" \
    "recording=true busy=false persistent=true inconsistent=false frozen=false readonly=false"
b bitmap add two oracle --granularity 4K
mark b two <"$dir/writes.two"
mark b two <"$dir/writes.more"
expect "bits after load" "$(bits b two hourly)" "$(bits b two oracle)"
eventually "the source lets go" is_state a "$session" source released
expect "bitmaps left on the source" "$(a --json bitmap list two)" "[]"
state=$(snapshot a b)
refuse 1 "$session.*operative" -- b load "$dir/two.dump"
refuse 1 "$session.*released" -- a dump "$session" "$dir/late.dump"
refuse 1 "$session.*no target here" -- a load "$dir/two.dump"
expect "too late changes nothing" "$(snapshot a b)" "$state"
[ ! -e "$dir/late.dump" ] || fail "a refused dump leaves a file"

# Loaded between the two halves of the pivot: the parent has every bit, the child waits for the pivot.
pair three 1G daily
a bitmap mark three 1M 5M
session=$(prepared three/daily --workers 0 --chunk-size 128K)
"$dirtyferry" pivot "$session" --from "${control[a]}" >/dev/null
a dump "$session" "$dir/three.dump" >/dev/null
b load "$dir/three.dump" >"$dir/out"
grep -q "pivot $session --to ${control[b]}" "$dir/out" || fail "a load before the pivot says: $(cat "$dir/out")"
expect "state before the pivot" "$(state b "$session" target)" filled
expect "no early use" "$(flags b three daily busy frozen)" "busy=true frozen=true"
"$dirtyferry" pivot "$session" --to "${control[b]}" >/dev/null
b wait "$session" >/dev/null
expect "count" "$(field count "$(b --json bitmap show three daily)")" $((5 << 20))
eventually "the source lets go" is_state a "$session" source released

# ------------------------------------------------------- what is refused

# The session that all of these could be loaded into.
pair four 64G daily --granularity 4K
a bitmap add four hourly
ranges 4 $((64 << 30)) 60000 4096 >"$dir/writes.four"
mark a four <"$dir/writes.four"
session=$(prepared four --workers 0)
pivot "$session"
good=$dir/four.dump
a dump "$session" "$good" >/dev/null
state=$(snapshot a b)
n=$(blocks "$good" | wc -l)
[ "$n" -ge 5 ] || fail "the dump has $n blocks, too few to test anything"
not_loaded()    # WHAT PATTERN: of $dir/bad
{
    refuse 1 "'$dir/bad'" "$2" -- b load "$dir/bad"
    is_state b "$session" target receiving || fail "$1: the session is $(state b "$session" target)"
}

whole=$(stat -c %s "$good")
blocks "$good" >"$dir/blocks"
while read -r offset length; do
    for cut in "$offset" $((offset + 1)) $((offset + 31)) $((offset + 32)) $((offset + length / 2)) $((offset + length - 1)); do
        head -c "$cut" "$good" >"$dir/bad"
        not_loaded "cut off at $cut of $whole" "empty|cut off|does not begin"
    done
done <"$dir/blocks"
# A bit in each block: in its head, in its middle, at its end.
i=0
while read -r offset length; do
    for at in "$offset" $((offset + 8)) $((offset + 13)) $((offset + 16)) $((offset + 24)) $((offset + length / 2)) $((offset + length - 1)); do
        "$python" -c '
import sys
d = bytearray(open(sys.argv[1], "rb").read())
d[int(sys.argv[3])] ^= 1 << int(sys.argv[4])
open(sys.argv[2], "wb").write(d)' "$good" "$dir/bad" "$at" $((i++ % 8))
        not_loaded "a bit at $at" "block|not a dump|version"
    done
done <"$dir/blocks"
# Two blocks change places, one is there twice, one is left out.
reorder()       # NUMBER...: $dir/bad of these blocks
{
    "$python" -c '
import sys
d = open(sys.argv[1], "rb").read()
at = [tuple(map(int, line.split())) for line in open(sys.argv[3])]
open(sys.argv[2], "wb").write(b"".join(d[at[i][0]:at[i][0] + at[i][1]] for i in map(int, sys.argv[4:])))' "$good" "$dir/bad" "$dir/blocks" "$@"
}
# shellcheck disable=SC2046
{
    reorder $(seq 0 $((n - 1)))
    cmp "$dir/bad" "$good" || fail "the blocks do not make the file"
    reorder 0 2 1 $(seq 3 $((n - 1)))
    not_loaded "swapped blocks" "block 1 .*(place|another)"
    reorder 1 0 $(seq 2 $((n - 1)))
    not_loaded "the header behind its first block" "block"
    reorder 0 1 1 $(seq 2 $((n - 1)))
    not_loaded "a block twice" "block 2"
    reorder 0 $(seq 2 $((n - 1)))
    not_loaded "a block left out" "block 1"
    reorder $(seq 0 $((n - 1))) 1
    not_loaded "a block behind the end" "behind"
    reorder 0 $((n - 1))
    not_loaded "header and end alone" "block 1"
}
for more in 1 32 5000; do
    { cat "$good"; head -c $more /dev/zero; } >"$dir/bad"
    not_loaded "$more bytes behind the end" "behind"
done
cat "$good" "$good" >"$dir/bad"
not_loaded "twice in one file" "behind"
# Two dumps of the same bits do not go together.
a dump "$session" "$dir/again.dump" >/dev/null
read -r _ length <"$dir/blocks"
{ head -c "$length" "$good"; tail -c +$((length + 1)) "$dir/again.dump"; } >"$dir/bad"
not_loaded "blocks of another dump of the session" "block 1.*another dump"
{ head -c "$length" "$dir/two.dump"; tail -c +$((length + 1)) "$good"; } >"$dir/bad"
not_loaded "the header of another session's dump" "block 1"
echo "no dump at all, but a text" >"$dir/bad"
not_loaded "a text" "not a dump"
: >"$dir/bad"
not_loaded "nothing" "empty"
head -c 1M /dev/urandom >"$dir/bad"
not_loaded "noise" "not a dump"
refuse 1 "'$dir/directory'.*regular" -- b load "$dir/directory"
refuse 1 "'$dir/none'.*No such" -- b load "$dir/none"
mkfifo "$dir/fifo"
refuse 1 "'$dir/fifo'.*regular" -- b load "$dir/fifo"
# A dump of another session, where that one is not; a session and disks that nobody knows.
refuse 1 "no target here" -- a load "$good"
refuse 1 "no session" -- a dump 00000000-0000-4000-8000-000000000000 "$dir/x.dump"
refuse 1 "no session" -- b dump "$session" "$dir/x.dump"
refuse 1 "no disk 'none'" -- a dump none/daily "$dir/x.dump"
refuse 1 "no bitmap 'none'" -- a dump four/none "$dir/x.dump"
refuse 2 "neither" -- a dump four "$dir/x.dump"
refuse 2 "missing" -- a dump "$session"
refuse 2 "missing" -- b load
refuse 1 "'daily'.*busy" -- a dump four/daily "$dir/x.dump"
refuse 1 "'daily'.*busy" -- b dump four/daily "$dir/x.dump"
[ ! -e "$dir/x.dump" ] || fail "a refused dump leaves a file"
! compgen -G "$dir/*.dump.*" || fail "a refused dump leaves a temporary file"
expect "what is refused changes nothing" "$(snapshot a b)" "$state"

# The bits of a bitmap that may lack some are not passed on.
a disk add broken --size 1G
a bitmap add broken daily
"$df_inconsistent" "$dir/a" broken daily
refuse 1 "'daily'.*inconsistent" -- a dump broken/daily "$dir/x.dump"

# A bitmap's dump on a host that has no such disk, one of another size, or such a bitmap already.
pair five 1G daily
a bitmap mark five 0 1M
a dump five/daily "$dir/five.dump" >/dev/null
b disk remove five
state=$(snapshot a b)
refuse 1 "no disk 'five'" -- b load "$dir/five.dump"
expect "without the disk" "$(snapshot a b)" "$state"
b disk add five --size 2G
state=$(snapshot a b)
refuse 1 "sizes must be equal" -- b load "$dir/five.dump"
expect "with another size" "$(snapshot a b)" "$state"
b disk remove five
b disk add five --size 1G
b bitmap add five daily
state=$(snapshot a b)
refuse 1 "'daily'" -- b load "$dir/five.dump"
expect "with such a bitmap" "$(snapshot a b)" "$state"
b bitmap remove five daily
b load "$dir/five.dump" >/dev/null
expect "after all that was refused" "$(bits b five daily)" "$(bits a five daily)"

# An old attempt: the session went on after the dump was written.
stop a
start a
eventually "the session goes on" is_state a "$session" source streaming
expect "attempt" "$(a --json status "$session" | json 'd[0]["epoch"]')" 2
state=$(snapshot a b)
refuse 1 "$session.*attempt 1.*attempt 2" -- b load "$good"
expect "a stale dump changes nothing" "$(snapshot a b)" "$state"
a dump "$session" "$good" >/dev/null        # takes the old one's place
b load "$good" >/dev/null
operative "$session"
expect "count after that" "$(field count "$(b --json bitmap show four hourly)")" "$(oracle "$dir/writes.four")"
eventually "the source lets go" is_state a "$session" source released

# ------------------------------------------------------------------ abandon

pair six 1G daily --persistent
a bitmap add six weekly
a bitmap mark six 0 3M
session=$(prepared six --workers 0)
state=$(snapshot a b)
refuse 1 "$session.*cancel" -- b abandon "$session"
refuse 1 "$session.*cancel" -- b abandon "$session" --all-dirty
refuse 1 "no session" -- a abandon "$session"
expect "abandon before the pivot changes nothing" "$(snapshot a b)" "$state"
pivot "$session"
b abandon "$session" >"$dir/out"
grep -q "^$session target abandoned" "$dir/out" || fail "abandon says: $(cat "$dir/out")"
expect "an abandoned bitmap" "$(flags b six daily busy inconsistent frozen)" "busy=false inconsistent=true frozen=false"
expect "the other one" "$(flags b six weekly busy inconsistent frozen)" "busy=false inconsistent=true frozen=false"
refuse 1 "inconsistent" -- b bitmap export six daily "$dir/x" --format raw
refuse 1 "$session.*abandoned" -- b wait "$session"
b bitmap mark six 0 1
b abandon "$session" >/dev/null || fail "an abandon cannot be repeated"
eventually "the source hears of it" is_state a "$session" source abandoned
expect "the source's disk stays read-only" "$(flags a six daily busy readonly)" "busy=false readonly=true"
expect "the source keeps its bits" "$(field count "$(a --json bitmap show six daily)")" $((3 << 20))
b bitmap remove six daily

pair seven 1000001K daily --persistent
a bitmap mark seven 0 3M
session=$(prepared seven --workers 0)
pivot "$session"
b bitmap mark seven 64M 1M
b --json abandon "$session" --all-dirty --to "${control[b]}" >"$dir/out"
expect "abandon --json" "$(json 'd["state"]' <"$dir/out")" abandoned
expect "an all-dirty bitmap" "$(flags b seven daily recording busy persistent inconsistent frozen)" "recording=true busy=false persistent=true inconsistent=false frozen=false"
# In bytes of whole bits.
expect "its count" "$(field count "$(b --json bitmap show seven daily)")" $(((1000001 * 1024 + 65535) / 65536 * 65536))
b bitmap clear seven daily
b bitmap mark seven 64M 1M
eventually "the source hears of it" is_state a "$session" source abandoned
expect "the chain goes on" "$(field count "$(b --json bitmap show seven daily)")" $((1 << 20))

pair eight 1G daily
migrate eight >"$dir/out"
session=$(field session "$(cat "$dir/out")")
state=$(snapshot a b)
refuse 1 "$session.*operative" -- b abandon "$session"
refuse 1 "$session.*operative" -- b abandon "$session" --all-dirty
refuse 1 "$session.*released" -- a resume "$session"
refuse 1 "no session" -- b resume "$session"
expect "abandon after it is operative changes nothing" "$(snapshot a b)" "$state"
finish
