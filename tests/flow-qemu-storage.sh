#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Storage daemon to storage daemon, which cannot migrate bitmaps at all by themselves: files, qcow2 and
# disks without data, there and back.
. "$(dirname "$0")/qemu-common.sh"
host a
host b
truncate -s 1G "$dir/qa.raw" "$dir/qb.raw"
for q in qa qb; do
    qemu-img create -q -f qcow2 "$dir/$q.qcow2" 3000000K
    null null 1T
    storage $q "${null[@]}" --blockdev "driver=file,node-name=raw,filename=$dir/$q.raw" \
        --blockdev "driver=qcow2,node-name=q2,file.driver=file,file.filename=$dir/$q.qcow2"
done
for node in raw q2 null; do
    attach a $node qa
    attach b $node qb
done
traces qb >"$dir/before"

filled qa raw daily 1 4096
filled qa q2 daily 2 65536 '"persistent":true'
filled qa null daily 3
was=$(a --json bitmap show raw daily)
expect "dirtyferry's look at it" "$(field sha256 "$was") $(field granularity "$was")" "$(hash qa raw daily) 4096"

# ---- one disk, then two in a session
result=$(migrate raw/daily)
expect "state" "$(field state "$result")" operative
arrived qb raw daily "$dir/1.raw"
expect "what the source has" "$(about_bitmap qa raw daily)" null
migrate q2 null/daily >"$dir/result"
arrived qb q2 daily "$dir/2.raw"
arrived qb null daily "$dir/3.raw"
expect "flags" "$(qflags qb q2 daily recording persistent) $(qflags qb null daily recording persistent)" \
    "recording=true persistent=true recording=true persistent=false"
expect "dirtyferry's look at it" "$(b --json bitmap show raw daily)" "$was"
no_traces qa a
expect "nodes and exports of the target" "$(traces qb | grep -v /daily)" "$(cat "$dir/before")"
eventually "no files are left" no_files b

# ---- and back, while the first is under another name
from_b() { "$dirtyferry" --json migrate --from "${control[b]}" --to "${control[a]}" "$@" >"$dir/result"; }
from_b raw/daily --as raw/weekly
from_b q2 null
arrived qa raw weekly "$dir/1.raw"
arrived qa q2 daily "$dir/2.raw"
arrived qa null daily "$dir/3.raw"
no_traces qb b

# ---- what QEMU wrote into the image is the same when it is opened again
a disk remove q2
b disk remove q2
end_qemu qa
truncate -s 0 "$dir/qa.pid"
qemu-img check -q "$dir/qa.qcow2"
storage qa --blockdev "driver=qcow2,node-name=q2,file.driver=file,file.filename=$dir/qa.qcow2"
arrived qa q2 daily "$dir/2.raw"
finish
