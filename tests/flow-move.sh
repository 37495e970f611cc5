#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The move: every bit of the source arrives, the target's own writes from its pivot on are in it,
# those before are not; nothing can be done with the bitmap meanwhile.
. "$(dirname "$0")/flow-common.sh"
start a
start b

# ---- migrate: all at once
pair vda 100G daily
ranges 1 107374182400 3000 20971520 >"$dir/ranges"
mark a vda <"$dir/ranges"
before=$(bits a vda daily)
[ "${before%% *}" -gt 1000000000 ] || fail "the marks were not recorded: $before"
result=$(migrate vda/daily)
expect "state" "$(field state "$result")" operative
expect "resent frames" "$(field resent_frames "$result")" 0
expect "bits on the target" "$(bits b vda daily)" "$before"
expect "flags on the target" "$(flags b vda daily recording busy persistent inconsistent frozen readonly)" \
    "recording=true busy=false persistent=false inconsistent=false frozen=false readonly=false"
expect "bitmaps left on the source" "$(a --json bitmap list vda)" "[]"
expect "source's disk read-only" "$(a --json disk list | json 'd[0]["readonly"]')" true
expect "target's disk read-only" "$(b --json disk list | json 'd[0]["readonly"]')" false
refuse 1 "disk 'vda' is read-only" -- a bitmap mark vda 0 1
b bitmap export vda daily "$dir/target.json" --format json
# What was marked is what is exported, by a model of its own.
"$python" - "$dir/ranges" "$dir/target.json" <<'END' || fail "the exported extents are not what was marked"
import json, sys
marked = set()
for line in open(sys.argv[1]):
    offset, length = map(int, line.split())
    marked.update(range(offset >> 16, (offset + length - 1 >> 16) + 1))
dirty, at = set(), 0
for e in json.load(open(sys.argv[2])):
    assert e["start"] == at, (e, at)
    at += e["length"]
    if e["dirty"]:
        dirty.update(range(e["start"] >> 16, e["start"] + e["length"] >> 16))
assert at == 100 << 30, at
sys.exit(dirty != marked)
END

# ---- step by step; nothing streams before a worker is started
# `ref` gets all that must be in the result: the source's bits and the target's from its pivot on.
pair vdb 10G daily
a disk add ref --size 10G
a bitmap add ref daily
ranges 2 10737418240 400 300000 >"$dir/source"
ranges 3 10737418240 200 300000 >"$dir/early"
ranges 4 10737418240 300 300000 >"$dir/late"
for disk in vdb ref; do
    mark a "$disk" <"$dir/source"
done

a bitmap add vdb other
b bitmap add vdb other
is_busy()       # NAME
{
    local name=$1 state
    state=$(snapshot "$name")
    refuse 1 "'daily'.*busy" -- on "$name" bitmap export vdb daily "$dir/export" --format raw
    refuse 1 "'daily'.*busy" -- on "$name" bitmap clear vdb daily
    refuse 1 "'daily'.*busy" -- on "$name" bitmap remove vdb daily
    refuse 1 "'daily'.*busy" -- on "$name" bitmap enable vdb daily
    refuse 1 "'daily'.*busy" -- on "$name" bitmap disable vdb daily
    refuse 1 "'daily'.*busy" -- on "$name" bitmap merge vdb other daily
    refuse 1 "'daily'.*(busy|read-only)" -- on "$name" bitmap merge vdb daily other
    refuse 1 "'daily'.*(busy|read-only)|'vdb' is being moved by session" -- "$dirtyferry" migrate vdb/daily --from "${control[$name]}" --to "${control[a]}" --as vdb/again
    refuse 1 "'vdb'.*'daily'" -- on "$name" disk remove vdb
    refuse 1 "'vdb'.*'daily'" -- on "$name" disk writable vdb
    [ ! -e "$dir/export" ] || fail "a refused export leaves a file behind"
    expect "refused commands change nothing on $name" "$(snapshot "$name")" "$state"
}

session=$(prepared vdb/daily --workers 0)
expect "source while prepared" "$(flags a vdb daily recording busy frozen readonly)" "recording=true busy=true frozen=false readonly=false"
expect "target while prepared" "$(flags b vdb daily recording busy frozen readonly)" "recording=false busy=true frozen=true readonly=false"
is_busy a
is_busy b
# The source records on, in the busy bitmap; writes to the target are those of the mirror.
echo "5368709120 4096" | mark a vdb
echo "5368709120 4096" | mark a ref
mark b vdb <"$dir/early"
pivot "$session"
refuse 1 "disk 'vdb' is read-only" -- a bitmap mark vdb 0 4096
expect "source after the pivot" "$(flags a vdb daily recording busy frozen readonly)" "recording=false busy=true frozen=false readonly=true"
expect "target after the pivot" "$(flags b vdb daily recording busy frozen readonly)" "recording=true busy=true frozen=true readonly=false"
mark b vdb <"$dir/late"
mark a ref <"$dir/late"
b bitmap mark vdb 10737418239 1
a bitmap mark ref 10737418239 1
is_busy b
is_busy a
expect "the source waits for a worker" "$(state a "$session" source)" streaming
expect "the target waits" "$(state b "$session" target)" receiving
a worker "$session"
b --json wait "$session" >"$dir/waited"
expect "wait's state" "$(field state "$(cat "$dir/waited")")" operative
expect "source's bits and the target's own" "$(bits b vdb daily)" "$(bits a ref daily)"
expect "target when operative" "$(flags b vdb daily recording busy frozen readonly)" "recording=true busy=false frozen=false readonly=false"
eventually "the source lets go" is_state a "$session" source released
expect "what is left on the source" "$(a --json bitmap list vdb | json '[e["name"] for e in d]')" '["other"]'
# It records on, in the same bitmap.
b bitmap mark vdb 0 10G
expect "count when all is marked" "$(field count "$(b --json bitmap show vdb daily)")" 10737418240
# And back, after the old source was made writable.
a disk writable vdb
"$dirtyferry" migrate vdb/daily --from "${control[b]}" --to "${control[a]}" >/dev/null
expect "count when moved back" "$(field count "$(a --json bitmap show vdb daily)")" 10737418240
finish
