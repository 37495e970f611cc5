#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A persistent bitmap moves to a node of QEMU that cannot keep it: refused at the prepare, with the way out; by
# --transient it arrives, not persistent.
. "$(dirname "$0")/qemu-common.sh"

for name in q t; do
    qemu-img create -f qcow2 "$dir/$name.qcow2" 64M >/dev/null
done
truncate -s 64M "$dir/raw.img"
storage s --blockdev "driver=qcow2,node-name=q,file.driver=file,file.filename=$dir/q.qcow2"
storage t --blockdev "driver=raw,node-name=raw,file.driver=file,file.filename=$dir/raw.img" \
    --blockdev "driver=qcow2,node-name=t,file.driver=file,file.filename=$dir/t.qcow2"
start a
start b
a disk add native --size 64M
a disk add q --qemu "$dir/s.qmp" --node q
b disk add raw --qemu "$dir/t.qmp" --node raw
b disk add t --qemu "$dir/t.qmp" --node t
a bitmap add native daily --persistent
a bitmap mark native 3M 5M
a bitmap add q weekly --persistent
serve s q
guest_write s q 10M 1000
guest_write s q 32M 64K

# arrived NODE BITMAP PERSISTENT SHA256: in QEMU's own words
arrived()
{
    expect "sha256 of $2" "$(qmp t x-debug-block-dirty-bitmap-sha256 "{\"node\": \"$1\", \"name\": \"$2\"}" | json 'd["sha256"]')" "$4"
    expect "persistent, recording, busy of $2" "$(qmp t query-named-block-nodes '{"flat": true}' |
        json '[[b["persistent"], b["recording"], b["busy"]] for n in d if n["node-name"] == sys.argv[2] for b in n["dirty-bitmaps"] if b["name"] == sys.argv[3]]' "$1" "$2")" \
        "[[$3, true, false]]"
}

sha() { field sha256 "$(a --json bitmap show "$1" "$2")"; }

# ---- a raw file keeps nothing
was=
for from in native/daily q/weekly; do
    disk=${from%/*} bitmap=${from#*/}
    sha=$(sha "$disk" "$bitmap")
    refuse 1 "bitmap '$bitmap' cannot be made on node 'raw': .*Can't store persistent bitmaps to raw.*: move it with '--transient' if it need not be persistent there$" -- \
        "$dirtyferry" prepare "$from" --as raw --from "${control[a]}" --to "${control[b]}"
    expect "$bitmap after the refusal" "$(flags a "$disk" "$bitmap" persistent recording busy)" "persistent=true recording=true busy=false"
    expect "left in QEMU" "$(qemu_bitmaps t raw)" "$was"
    migrate "$from" --as raw --transient >/dev/null
    arrived raw "$bitmap" false "$sha"
    was+=${was:+ }$bitmap
    expect "bitmaps in QEMU" "$(qemu_bitmaps t raw)" "$was"
done

# ---- a node that could keep them: the option decides
a disk add two --size 64M
for bitmap in kept not-kept; do
    a bitmap add two $bitmap --persistent
    a bitmap mark two 1M 64K
done
kept=$(sha two kept) not_kept=$(sha two not-kept)
migrate two/kept --as t >/dev/null
arrived t kept true "$kept"
a disk writable two
migrate two/not-kept --as t --transient >/dev/null
arrived t not-kept false "$not_kept"
finish
