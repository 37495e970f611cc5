#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# QEMU is killed, the source's and the target's, before the pivot and in mid-transfer; dirtyferry's daemons live on.
. "$(dirname "$0")/qemu-common.sh"
host a
host b
size=1073741824

up()            # NAME
{
    null disk 1G
    storage "$1" "${null[@]}"
    serve "$1" disk
}

up qa
up qb
relayed qa.link qa.nbd
attach a disk qa disk --nbd "$dir/qa.link"
attach b disk qb disk --nbd "$dir/qb.nbd"

# ---- the source's, while prepared: no pivot, and the target is left clean
filled qa disk daily 1 512
session=$(prepared disk/daily)
gone qa
refuse 1 "qa.qmp" -- "$dirtyferry" pivot "$session" --from "${control[a]}"
expect "source" "$(state a "$session" source)" prepared
a cancel "$session" >/dev/null
no_traces qb b
up qa

# ---- the source's, when its bits were read: the move goes on without it
filled qa disk daily 2 512
slow disk/daily --max-bandwidth 64K
pivot "$session"
mid_stream "$session" 1
gone qa
ranges 21 $size 50 3000 | guest qb disk
eventually "the target is operative" is_state b "$session" target operative
range_bits $size 512 <"$dir/written" >"$dir/writes.raw"
arrived qb disk daily "$dir/2.raw" "$dir/writes.raw"
eventually "the source lets go" is_state a "$session" source released
eventually "no files are left" no_files a
qmp qb block-dirty-bitmap-remove '{"node":"disk","name":"daily"}'

# ---- the source's, before they were read: they are lost, and nobody says otherwise
up qa
add qa disk daily 512
ranges 31 $size 20 3000 | guest qa disk         # few: they leave QEMU by NBD
session=$(prepared disk/daily)
relay_does STOP qa.link
pivot "$session"
gone qa
relay_does CONT qa.link
eventually "the source says why" says a "$session" source "qa"
expect "target" "$(state b "$session" target)" receiving
expect "the bitmap is not there" "$(about_bitmap qb disk daily)" null
b abandon "$session" --all-dirty >/dev/null
all() { [ "$(about_bitmap qb disk daily | json 'd and d["count"]')" = $size ]; }
eventually "every bit is set" all
no_traces_but_daily() { ! traces qb | grep dirtyferry-; }
eventually "nothing else is there" no_traces_but_daily
up qa
eventually "the source hears of it" is_state a "$session" source abandoned
qmp qb block-dirty-bitmap-remove '{"node":"disk","name":"daily"}'

# ---- the target's, while prepared: the pivot is taken back, and the source has what was written meanwhile
filled qa disk daily 4 512
: >"$dir/written"
session=$(prepared disk/daily)
gone qb
"$dirtyferry" pivot "$session" --from "${control[a]}" >/dev/null
refuse 1 "qb.qmp" -- "$dirtyferry" pivot "$session" --to "${control[b]}"
ranges 41 $size 50 3000 | guest qa disk
a rollback "$session" >/dev/null
range_bits $size 512 <"$dir/written" >"$dir/writes.raw"
arrived qa disk daily "$dir/4.raw" "$dir/writes.raw"
expect "the source" "$(qflags qa disk daily recording)" recording=true
up qb

# ---- the target's, in mid-transfer: what it had recorded is lost, so the bitmap is not made of the rest
session=$(prepared disk/daily --workers 0)
pivot "$session"
ranges 51 $size 50 3000 | guest qb disk
gone qb
up qb
a worker "$session" &
eventually "the target says so" says b "$session" target "lost|gone"
expect "the bitmap is not there" "$(about_bitmap qb disk daily)" null
b abandon "$session" --all-dirty >/dev/null
eventually "every bit is set" all
finish
