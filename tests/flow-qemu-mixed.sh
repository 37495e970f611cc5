#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Between kinds of storage: built-in, storage daemon, QEMU, a qcow2 file; there and back, with writes on the way.
. "$(dirname "$0")/qemu-common.sh"
host a
host b
size=5368709120
null null 5G
storage qb "${null[@]}"
serve qb null
machine mb "${null[@]}"
for q in qb mb; do
    qemu-img create -q -f qcow2 "$dir/$q.qcow2" 5G
    qmp $q blockdev-add "{\"driver\":\"qcow2\",\"node-name\":\"q2\",\"file\":{\"driver\":\"file\",\"filename\":\"$dir/$q.qcow2\"}}"
done
a disk add own --size 5G
b disk add own --size 5G
attach b null qb null --nbd "$dir/qb.nbd"
attach b storage qb q2 --nbd "$dir/qb.nbd"
attach b machine mb q2

# ---- built-in to storage daemon
a bitmap add own daily --granularity 4K
ranges 1 $size 500 300000 >"$dir/source"
mark a own <"$dir/source"
session=$(prepared own/daily --as null/daily --workers 0)
pivot "$session"
ranges 2 $size 100 300000 | guest qb null
a worker "$session"
b wait "$session" >/dev/null
cat "$dir/source" "$dir/written" | range_bits $size 4096 >"$dir/1.raw"
arrived qb null daily "$dir/1.raw"

# ---- and back, the target's own writes with it
a disk add back --size 5G
"$dirtyferry" --json prepare null/daily --as back/daily --from "${control[b]}" --to "${control[a]}" --workers 0 >"$dir/result"
session=$(field session "$(cat "$dir/result")")
"$dirtyferry" pivot "$session" --from "${control[b]}" --to "${control[a]}" >/dev/null
ranges 3 $size 100 300000 >"$dir/target"
mark a back <"$dir/target"
b worker "$session"
a wait "$session" >/dev/null
cat "$dir/source" "$dir/written" "$dir/target" | range_bits $size 4096 >"$dir/2.raw"
expect "bits back in the built-in store" "$(field sha256 "$(a --json bitmap show back daily)")" "$(bits_of "$dir/2.raw")"
no_traces qb b

# ---- a qcow2 file, written by a storage daemon, to each
qemu-img create -q -f qcow2 "$dir/file.qcow2" 5G
storage qf --blockdev "driver=qcow2,node-name=file,file.driver=file,file.filename=$dir/file.qcow2"
filled qf file daily 7 65536 '"persistent":true'
filled qf file hourly 8 512 '"persistent":true' '"disabled":true'
end_qemu qf
for to in own2 storage machine; do
    a disk add file-$to --size 5G
    a bitmap import file-$to "$dir/file.qcow2" >/dev/null
done
b disk add own2 --size 5G
for to in own2 storage machine; do
    migrate file-$to --as $to >"$dir/result"
done
expect "bits in the built-in store" "$(field sha256 "$(b --json bitmap show own2 daily)")" "$(bits_of "$dir/7.raw")"
expect "bits in the built-in store" "$(field sha256 "$(b --json bitmap show own2 hourly)")" "$(bits_of "$dir/8.raw")"
for q in qb mb; do
    arrived $q q2 daily "$dir/7.raw"
    arrived $q q2 hourly "$dir/8.raw"
    expect "flags in $q" "$(qflags $q q2 daily recording persistent) $(qflags $q q2 hourly recording granularity)" \
        "recording=true persistent=true recording=false granularity=512"
done
finish
