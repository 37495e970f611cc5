#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What somebody does in QEMU between prepare and pivot: a bitmap that becomes busy, goes or is changed, a node that
# vanishes or grows.  The pivot is refused with a sentence, the session is as it was, and what can be mended goes on.
. "$(dirname "$0")/qemu-common.sh"
host a
host b
for q in qa qb; do
    qemu-img create -q -f qcow2 "$dir/$q.qcow2" 256M
    storage $q --blockdev "driver=qcow2,node-name=disk,file.driver=file,file.filename=$dir/$q.qcow2"
done
attach a disk qa
attach b disk qb

bitmap() { qmp qa "block-dirty-bitmap-$1" '{"node":"disk","name":"daily"}'; }
source_stays() { is_state a "$session" source prepared || fail "after $1 the source is not prepared any more"; }
refused()       # REGEX WHAT
{
    refuse 1 "$1" -- "$dirtyferry" pivot "$session" --from "${control[a]}"
    source_stays "$2"
}
node() { qmp "$1" blockdev-add "{\"driver\":\"qcow2\",\"node-name\":\"disk\",\"file\":{\"driver\":\"file\",\"filename\":\"$dir/$1.qcow2\"}}"; }

# ---- the source's bitmap becomes busy: refused until it is free
filled qa disk daily 1
session=$(prepared disk)
qmp qa nbd-server-start "{\"addr\":{\"type\":\"unix\",\"data\":{\"path\":\"$dir/qa.nbd\"}}}"
qmp qa block-export-add '{"type":"nbd","id":"backup","node-name":"disk","writable":true,"bitmaps":["daily"]}'
refused "'daily' of node 'disk' is in use by a job or an export" "a bitmap that is busy"
qmp qa nbd-server-stop
is_free() { [ "$(qflags qa disk daily busy)" = busy=false ]; }
eventually "the bitmap is free" is_free

# ---- it is disabled by somebody: not what was prepared
bitmap disable
refused "'daily' of node 'disk' is not as it was at the prepare" "a bitmap that is disabled"
bitmap enable
pivot "$session"
b wait "$session" >/dev/null
arrived qb disk daily "$dir/1.raw"
eventually "the source lets go" is_state a "$session" source released
qmp qb block-dirty-bitmap-remove '{"node":"disk","name":"daily"}'
no_traces qa a
no_traces qb b

# ---- it is removed
add qa disk daily
session=$(prepared disk)
bitmap remove
refused "there is no bitmap 'daily' on node 'disk'" "a bitmap that is gone"
a cancel "$session" >/dev/null
no_traces qa a
no_traces qb b

# ---- the source's node vanishes
add qa disk daily
session=$(prepared disk)
qmp qa blockdev-del '{"node-name":"disk"}'
refused "has no node 'disk', which disk 'disk' is" "a node that has vanished"
a cancel "$session" >/dev/null
node qa
no_traces qa a
no_traces qb b

# ---- the target's node vanishes: the source lives again
filled qa disk daily 2
session=$(prepared disk)
end_qemu qb
storage qb
refuse 1 "has no node 'disk'.*rolled back" -- "$dirtyferry" pivot "$session" --from "${control[a]}" --to "${control[b]}"
expect "the bitmap after the way back" "$(qflags qa disk daily recording busy)" "recording=true busy=false"
arrived qa disk daily "$dir/2.raw"
no_files a
node qb

# ---- a node that has grown is another disk
qmp qb block_resize '{"node-name":"disk","size":536870912}'
refuse 1 "node 'disk' has 536870912 bytes now and disk 'disk' was added with 268435456: remove the disk and add it anew" -- migrate disk
b disk remove disk
attach b disk qb
migrate disk --grow >"$dir/result"
truncate -s 1024 "$dir/2.raw"
echo $((256 << 20)) $((256 << 20)) | range_bits 536870912 65536 >"$dir/tail.raw"
arrived qb disk daily "$dir/2.raw" "$dir/tail.raw"
finish
