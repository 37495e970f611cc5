#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# kill -9 of both daemons at once; writers record on.
. "$(dirname "$0")/fail-common.sh"
host a
host b

# ---- prepared
small_disk one
session=$(prepared one/daily)
die a
die b
record a one 20
host b
host a
pivot "$session"
record b one 20
finished "$session" one

# ---- between the pivots
small_disk two
session=$(prepared two/daily)
"$dirtyferry" pivot "$session" --from "${control[a]}" >/dev/null
die b
die a
host a
host b
"$dirtyferry" pivot "$session" --to "${control[b]}" >/dev/null
record b two 20
finished "$session" two

# ---- in mid-stream, the target first and the source first
for first in a b; do
    big_disk mid$first
    slow mid$first/daily
    pivot "$session"
    mid_stream "$session"
    die $first
    [ $first = a ] && second=b || second=a
    die $second
    record b mid$first 50
    host $first
    host $second
    finished "$session" mid$first
done

# ---- a session of four bitmaps of two disks, under other names there
for disk in three four; do
    small_disk $disk
    record a $disk 20000
    a bitmap add $disk weekly --granularity 4K
    mark a $disk <"$dir/oracle.$disk"
done
a bitmap disable four weekly
before=$(bits a four weekly)
b disk add other --size 1G
slow three four/daily four/weekly --as other/monthly
pivot "$session"
record b three 50
record b four 50
mark b other <<<"0 512"
mid_stream "$session" 20
die a
die b
record b three 50
host a
host b
eventually "the target is operative" is_state b "$session" target operative
eventually "the source lets go" is_state a "$session" source released
exact b three
exact b three weekly 4K
exact b four
expect "bits of a disabled one" "$(bits b other monthly)" "$before"
expect "a disabled one" "$(flags b other monthly recording busy inconsistent)" "recording=false busy=false inconsistent=false"
expect "left at the source" "$(a --json bitmap list three)$(a --json bitmap list four)" "[][]"
finish
