#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The fence of one session is not lifted by another session of the same disk, nor by a target that
# has forgotten.
. "$(dirname "$0")/flow-common.sh"
start a
start b

pivot_source()
{
    "$dirtyferry" pivot "$1" --from "${control[a]}" >/dev/null
}

is_fenced()     # DISK
{
    refuse 1 "disk '$1' is read-only" -- a bitmap mark "$1" 512M 1M
}

# ---- two sessions of one disk: the first has moved it away, the roll-back of the second does not bring it back
pair vda 1G one
a bitmap add vda two
a bitmap mark vda 0 1M
first=$(prepared vda/one --workers 0)
second=$(prepared vda/two --workers 0)
pivot "$first"
is_fenced vda
b bitmap mark vda 2M 1M
pivot_source "$second"
a rollback "$second" >/dev/null
is_fenced vda
refuse 1 "'vda'.*'one'" -- a disk writable vda
a worker "$first"
b wait "$first" >/dev/null
eventually "the source lets go" is_state a "$first" source released
is_fenced vda
expect "what was moved" "$(flags b vda one busy recording count)" "busy=false recording=true count=2097152"
expect "the bitmap that stays" "$(flags a vda two busy readonly count)" "busy=false readonly=true count=1048576"
refuse 1 "'two'.*read-only" -- "$dirtyferry" migrate vda/two --from "${control[a]}" --to "${control[b]}"

# ---- prepared before the other's pivot, pivoted and rolled back behind its end
pair vdd 1G one
a bitmap add vdd two
first=$(prepared vdd/one)
second=$(prepared vdd/two)
pivot "$first"
b wait "$first" >/dev/null
eventually "the source lets go" is_state a "$first" source released
pivot_source "$second"
a rollback "$second" >/dev/null
is_fenced vdd

# ---- both rolled back, the one that made it read-only first: the last one makes it writable
pair vde 1G one
a bitmap add vde two
first=$(prepared vde/one --workers 0)
second=$(prepared vde/two --workers 0)
pivot_source "$first"
pivot_source "$second"
a rollback "$first" >/dev/null
is_fenced vde
a rollback "$second" >/dev/null
a bitmap mark vde 512M 1M
expect "one" "$(flags a vde one busy recording count)" "busy=false recording=true count=1048576"
expect "two" "$(flags a vde two busy recording count)" "busy=false recording=true count=1048576"

# ---- both bitmaps in one session, which is rolled back: the disk is writable, once
pair vdc 1G one
a bitmap add vdc two
session=$(prepared vdc --workers 0)
pivot_source "$session"
is_fenced vdc
a rollback "$session" >/dev/null
a bitmap mark vdc 0 1M
expect "one" "$(flags a vdc one busy recording count)" "busy=false recording=true count=1048576"
expect "two" "$(flags a vdc two busy recording count)" "busy=false recording=true count=1048576"

# ---- the target has recorded, dies, and knows the session no more
pair vdb 1G daily
a bitmap mark vdb 0 1M
session=$(prepared vdb/daily --workers 0)
pivot "$session"
b bitmap mark vdb 512M 1M
stop b KILL
start b
refuse 1 "$session" -- a rollback "$session"
is_fenced vdb
expect "the source keeps its bits" "$(flags a vdb daily busy inconsistent count)" "busy=true inconsistent=false count=1048576"
finish
