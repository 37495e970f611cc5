#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Journals with flipped bytes (src/session/journal.h): an older entry is used; without any the bitmaps are settled
# (src/daemon/orphans.h) and the daemon starts all the same.
. "$(dirname "$0")/fail-common.sh"
host a
host b

# damage NAME SESSION.ROLE newest|all: a byte in the middle of that slot, or of every one
damage()
{
    "$python" - "$dir/$1/sessions/$2" "$3" <<'DAMAGE' || fail "the journal could not be damaged"
import os, struct, sys
path, which = sys.argv[1:]
f = open(path, "r+b")
slot = os.path.getsize(path) // 4
heads = []
for i in range(4):
    f.seek(i * slot)
    magic, number, nbytes = struct.unpack("<8sQQ", f.read(24))
    if any(magic):
        heads.append((number, i, nbytes))
assert heads, "no entry"
for number, i, nbytes in heads if which == "all" else [max(heads)]:
    at = i * slot + 32 + nbytes // 2
    f.seek(at)
    byte = f.read(1)[0]
    f.seek(at)
    f.write(bytes([byte ^ 0x40]))
DAMAGE
}

# rewrite NAME SESSION.ROLE KEY NUMBER: in every entry, with right checksums; `chunks` is of each bitmap
rewrite()
{
    "$python" -B - "$dir/$1/sessions/$2" "$3" "$4" "$(dirname "${BASH_SOURCE[0]}")" <<'REWRITE' || fail "the journal could not be rewritten"
import os, struct, sys
path, key, value, tests = sys.argv[1:]
sys.path.insert(0, tests)
import msgpack
from vectors import xxh3
f = open(path, "r+b")
slot = os.path.getsize(path) // 4
for at in range(0, 4 * slot, slot):
    f.seek(at)
    magic, number, nbytes, _ = struct.unpack("<8s3Q", f.read(32))
    if any(magic):
        entry = msgpack.unpackb(f.read(nbytes), raw=False)
        for where in entry["bitmaps"] if key == "chunks" else [entry]:
            where[key] = int(value)
        entry = msgpack.packb(entry, use_bin_type=True)
        head = struct.pack("<8sQQ", magic, number, len(entry))
        f.seek(at)
        f.write(head + struct.pack("<Q", xxh3(entry, xxh3(head, 0))) + entry)
REWRITE
}

is_put_aside()  # NAME SESSION.ROLE
{
    [ -f "$dir/$1/sessions/$2.damaged" ] && [ ! -e "$dir/$1/sessions/$2" ] || fail "the journal is not put aside: $(ls "$dir/$1/sessions")"
    grep -q "the journal '$2' cannot be read" "$dir/$1.log" || fail "the log of $1 does not say so"
}

# ---- the newest entry only: the one before it is used, which may know nothing of the pivots; no writable source beside a target that records
big_disk one
slow one/daily
pivot "$session"
record b one 50
mid_stream "$session"
die a
die b
damage a "$session.source" newest
damage b "$session.target" newest
host b
host a
refuse 1 "read-only" -- a bitmap mark one 0 1
refuse 1 "$session.*(recorded|way back)" -- a rollback "$session"
refuse 1 "read-only" -- a bitmap mark one 0 1
record b one 50
finished "$session" one

# ---- all of the source's, before its pivot: free again, all bits kept
small_disk two
session=$(prepared two/daily)
record a two 20
die a
damage a "$session.source" all
host a
is_put_aside a "$session.source"
expect "source" "$(flags a two daily busy readonly recording inconsistent)" "busy=false readonly=false recording=true inconsistent=false"
refuse 1 "$session" -- a status "$session"
record a two 20
exact a two
b cancel "$session" >/dev/null

# ---- after it: the same, and the fence stays
small_disk three
session=$(prepared three/daily --workers 0)
pivot "$session"
before=$(bits a three daily)
die a
damage a "$session.source" all
host a
is_put_aside a "$session.source"
expect "source" "$(flags a three daily busy readonly inconsistent)" "busy=false readonly=true inconsistent=false"
expect "bits" "$(bits a three daily)" "$before"
b abandon "$session" >/dev/null

# ---- all of the target's, before its pivot: nothing is left there, the source cancels
small_disk four
session=$(prepared four/daily)
die b
damage b "$session.target" all
host b
is_put_aside b "$session.target"
expect "bitmaps left on the target" "$(b --json bitmap list four)" "[]"
a cancel "$session" >/dev/null
record a four 20
exact a four

# ---- after it: what it recorded is kept, and it says inconsistent
small_disk five
session=$(prepared five/daily --workers 0)
pivot "$session"
mark b five <<<"0 1048576"
before=$(bits a five daily)
die b
mark b five <<<"1048576 1048576"
damage b "$session.target" all
host b
is_put_aside b "$session.target"
expect "target" "$(flags b five daily busy recording inconsistent count)" "busy=false recording=true inconsistent=true count=2097152"
expect "the source's bits" "$(bits a five daily)" "$before"
refuse 1 "$session.*does not know it" -- a rollback "$session"
refuse 1 "read-only" -- a bitmap mark five 0 1

# ---- whole, and makes no sense: what the bitmap says counts, or it is put aside
small_disk six
session=$(prepared six/daily --workers 0)
die b
rewrite b "$session.target" chunks 1
host b
pivot "$session"
expect "chunks" "$(about b "$session" target chunks)" "$(about a "$session" source chunks)"
die b
rewrite b "$session.target" chunk_size 0
host b
is_put_aside b "$session.target"
finish
