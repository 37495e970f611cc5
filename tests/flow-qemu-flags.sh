#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Storage daemons: every flag, names up to QEMU's limit, granularities that differ, what is refused.
. "$(dirname "$0")/qemu-common.sh"
host a
host b
for q in qa qb; do
    qemu-img create -q -f qcow2 "$dir/$q.qcow2" 1G
    null names 300M
    names=("${null[@]}")
    null other 64M
    storage $q --blockdev "driver=qcow2,node-name=flags,file.driver=file,file.filename=$dir/$q.qcow2" "${names[@]}" "${null[@]}"
    serve $q flags
done
attach a flags qa flags --nbd "$dir/qa.nbd"
attach b flags qb flags --nbd "$dir/qb.nbd"
for disk in names other; do
    attach a $disk qa $disk --nbd "$dir/qa.nbd"
    attach b $disk qb $disk --nbd "$dir/qb.nbd"
done

# ---- enabled and persistent arrive as they were; a disabled bitmap collects nothing
seed=0
for bitmap in on on-kept off off-kept; do
    fields=()
    [[ $bitmap != off* ]] || fields+=('"disabled":true')
    [[ $bitmap != *-kept ]] || fields+=('"persistent":true')
    seed=$((seed + 1))
    filled qa flags $bitmap $seed 65536 "${fields[@]}"
done
session=$(prepared flags --workers 0)
pivot "$session"
ranges 9 1073741824 200 100000 | guest qb flags
a worker "$session"
b wait "$session" >/dev/null
range_bits 1073741824 65536 <"$dir/written" >"$dir/writes.raw"
arrived qb flags on "$dir/1.raw" "$dir/writes.raw"
arrived qb flags on-kept "$dir/2.raw" "$dir/writes.raw"
arrived qb flags off "$dir/3.raw"
arrived qb flags off-kept "$dir/4.raw"
for bitmap in on on-kept off off-kept; do
    [[ $bitmap == on* ]] && recording=true || recording=false
    [[ $bitmap == *-kept ]] && persistent=true || persistent=false
    expect "flags of $bitmap" "$(qflags qb flags $bitmap recording persistent)" "recording=$recording persistent=$persistent"
done

# ---- names: 1023 bytes of them, and what a shell or JSON might trip over
long=$(printf 'n%.0s' {1..1023})
names=("$long" 'größe-日本語-🚢' 'daily backup' 'a/b//c' '-x' "it's quoted * \$HOME")
seed=10
for name in "${names[@]}"; do
    seed=$((seed + 1))
    filled qa names "$name" $seed
done
migrate names >"$dir/result"
seed=10
for name in "${names[@]}"; do
    seed=$((seed + 1))
    arrived qb names "$name" "$dir/$seed.raw"
done
no_traces qa a

# ---- granularity: rounded outwards
filled qa names finer 21 65536
filled qa names coarser 22 512
scaled() { "$python" "$tests/qbits.py" scale 314572800 "$@"; }
migrate names/finer --granularity 512 >"$dir/result"
migrate names/coarser --granularity 1M >"$dir/result"
scaled 65536 512 "$dir/21.raw" >"$dir/finer.raw"
scaled 512 1048576 "$dir/22.raw" >"$dir/coarser.raw"
arrived qb names finer "$dir/finer.raw"
arrived qb names coarser "$dir/coarser.raw"
expect "granularity" "$(qflags qb names coarser granularity)" granularity=1048576

# ---- a larger node: the tail is dirty
filled qa other grown 23
refuse 1 "--grow" -- migrate other/grown --as names/grown
migrate other/grown --as names/grown --grow >"$dir/result"
truncate -s 600 "$dir/23.raw"
echo $((64 << 20)) $((236 << 20)) | range_bits 314572800 65536 >"$dir/tail.raw"
arrived qb names grown "$dir/23.raw" "$dir/tail.raw"

# ---- refused, with nothing changed
add qa other daily
add qb other daily
before=$(traces qa; traces qb)
refuse 1 "node 'other'.*'daily' already" -- migrate other/daily
refuse 1 "'none'" -- migrate other/none
refuse 1 "size|bytes" -- migrate other/daily --as names/daily
expect "refused moves change nothing" "$(traces qa; traces qb)" "$before"
finish
