#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Storage daemons: 15 bitmaps of a 256 GiB disk at 512 bytes at once; two disks with two bitmaps each, every name crossed.
. "$(dirname "$0")/qemu-common.sh"
host a
host b
size=274877906944
for q in qa qb; do
    null many 256G
    disks=("${null[@]}")
    for disk in x y; do
        null $disk 64M
        disks+=("${null[@]}")
    done
    storage $q "${disks[@]}"
done
for disk in many x y; do
    attach a $disk qa
    attach b $disk qb
done

filled qa many b1 1 512
for i in {2..15}; do
    add qa many b$i 512
    ranges $i $size 200 100000 | range_bits $size 512 >"$dir/$i.raw"
    fill qa many b$i "$dir/$i.raw"
done
migrate many >"$dir/result"
expect "bitmaps in the result" "$(json 'len(d["bitmaps"])' <"$dir/result")" 15
for i in {1..15}; do
    arrived qb many b$i "$dir/$i.raw"
done
no_traces qa a

# ---- crossed
for i in 1 2; do
    filled qa x $i 2$i 4096
    filled qa y $i 3$i 4096
done
migrate x/1 --as y/2 x/2 --as y/1 y/1 --as x/2 y/2 --as x/1 >"$dir/result"
arrived qb y 2 "$dir/21.raw"
arrived qb y 1 "$dir/22.raw"
arrived qb x 2 "$dir/31.raw"
arrived qb x 1 "$dir/32.raw"
expect "bitmaps of x and y" "$(traces qb | grep -c '^[xy]/')" 4
no_traces qa a
finish
