#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# QEMU to QEMU: two paused machines, with writes through their own monitors before, during and after.
. "$(dirname "$0")/qemu-common.sh"
host a
host b
for m in ma mb; do
    null disk 64G
    disk=("${null[@]}")
    null other 5G
    machine $m "${disk[@]}" "${null[@]}" -device virtio-blk,drive=disk,share-rw=on
    for host in a b; do
        [ "m$host" != $m ] || { attach $host disk $m; attach $host other $m; }
    done
done
filled ma disk daily 1
filled ma other daily 2 512
ranges 10 68719476736 20 1000000 | guest ma disk
range_bits 68719476736 65536 <"$dir/written" >"$dir/source.raw"

session=$(prepared disk/daily other/daily --workers 0)
expect "the source records while prepared" "$(qflags ma disk daily recording)" recording=true
ranges 11 68719476736 20 1000000 | guest ma disk
range_bits 68719476736 65536 <"$dir/written" >"$dir/source.raw"
# The copy of the disk is not recorded.
ranges 12 68719476736 5 1000000 | guest mb disk
pivot "$session"
expect "a source after the pivot" "$(qflags ma disk daily recording)" recording=false
: >"$dir/written"
ranges 13 68719476736 20 1000000 | guest mb disk
expect "the target's name is not there yet" "$(about_bitmap mb disk daily)" null
a worker "$session"
b wait "$session" >/dev/null
range_bits 68719476736 65536 <"$dir/written" >"$dir/target.raw"
arrived mb disk daily "$dir/1.raw" "$dir/source.raw" "$dir/target.raw"
arrived mb other daily "$dir/2.raw"
eventually "the source lets go" is_state a "$session" source released
no_traces ma a
expect "what is in the target" "$(traces mb | grep -c -e /daily -e dirtyferry-) $(traces mb | tail -n 1)" "2 exports "

# It records on.
ranges 14 68719476736 20 1000000 | guest mb disk
range_bits 68719476736 65536 <"$dir/written" >"$dir/target.raw"
arrived mb disk daily "$dir/1.raw" "$dir/source.raw" "$dir/target.raw"
finish
