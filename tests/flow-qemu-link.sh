#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The link between the hosts is cut in mid-transfer, and daemons are killed: the target's QEMU records on, and nothing is lost.
. "$(dirname "$0")/qemu-common.sh"
host a
host_b_linked
link_up
to=$link
size=1073741824
twins disk

writes()        # SEED
{
    ranges "$1" $size 50 3000 | guest qb disk
}

result_is()     # BITMAP SEED
{
    eventually "the target is operative" is_state b "$session" target operative
    range_bits $size 512 <"$dir/written" >"$dir/writes.raw"
    arrived qb disk "$1" "$dir/$2.raw" "$dir/writes.raw"
    eventually "the source lets go" is_state a "$session" source released
    no_traces qa a
    eventually "no files are left" no_files b
}

# ---- cut, and whole again
filled qa disk one 1 512
slow disk/one --max-bandwidth 64K
pivot "$session"
writes 11
mid_stream "$session"
link_cut
eventually "the source is interrupted" is_state a "$session" source interrupted
writes 12
expect "the bitmap is not there before it is whole" "$(about_bitmap qb disk one)" null
expect "the source's is kept" "$(qflags qa disk one recording)" recording=false
link_up
writes 13
result_is one 1

# ---- the source's daemon is killed, then the target's
filled qa disk two 2 512
: >"$dir/written"
slow disk/two --max-bandwidth 64K
pivot "$session"
writes 21
mid_stream "$session"
die a
writes 22
host a
mid_stream "$session" 1
die b
writes 23
host_b_linked
writes 24
result_is two 2
finish
