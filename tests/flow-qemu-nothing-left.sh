#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Every end that is no success, at each stage, leaves both QEMUs as they were: no bitmap, node, export or file, and the
# source's bitmap records on, with all that was written meanwhile.
. "$(dirname "$0")/qemu-common.sh"
host a
host b
size=1073741824
for q in qa qb; do
    null disk 1G
    disk=("${null[@]}")
    null other 1G
    storage $q "${disk[@]}" "${null[@]}"
    serve $q disk
done
for disk in disk other; do
    attach a $disk qa $disk --nbd "$dir/qa.nbd"
    attach b $disk qb $disk --nbd "$dir/qb.nbd"
done
filled qa disk daily 1 512
filled qa other off 2 4096 '"disabled":true'
before=$(traces qa; traces qb)

# as_before: and the bits are the first ones and the guest's
as_before()
{
    eventually "both QEMUs are as they were" same_traces
    range_bits $size 512 <"$dir/written" >"$dir/writes.raw"
    arrived qa disk daily "$dir/1.raw" "$dir/writes.raw"
    arrived qa other off "$dir/2.raw"
    eventually "no files are left" no_files a
    eventually "no files are left" no_files b
    expect "what b shows" "$(b --json bitmap list disk) $(b --json bitmap list other)" "[] []"
    expect "what a shows" "$(flags a disk daily recording busy) $(flags a other off recording busy)" "recording=true busy=false recording=false busy=false"
}
same_traces() { [ "$(traces qa; traces qb)" = "$before" ]; }

writes()        # SEED
{
    ranges "$1" $size 50 3000 | guest qa disk
}

# ---- cancelled while prepared
writes 1
session=$(prepared disk other)
writes 2
a cancel "$session" >/dev/null
as_before

# ---- rolled back between the pivots: what was written after the source's is not lost
session=$(prepared disk other)
"$dirtyferry" pivot "$session" --from "${control[a]}" >/dev/null
expect "the source after its pivot" "$(qflags qa disk daily recording)" recording=false
writes 3
eventually "everything has arrived" is_state a "$session" source sealed
a rollback "$session" >/dev/null
as_before
writes 4
as_before

# ---- rolled back in mid-transfer, before the target's pivot
session=$(prepared disk other --workers 0)
"$dirtyferry" pivot "$session" --from "${control[a]}" >/dev/null
writes 5
a rollback "$session" >/dev/null
as_before

# ---- migrate's own roll-back
refuse 1 "exit status 3" "rolled back" -- migrate disk other --on-pivot 'exit 3'
as_before

# ---- refused by the target, for one of two
add qb other off
before=$(traces qa; traces qb)
refuse 1 "node 'other'.*'off' already" -- migrate disk other
expect "refused moves change nothing" "$(traces qa; traces qb)" "$before"
qmp qb block-dirty-bitmap-remove '{"node":"other","name":"off"}'
before=$(traces qa; traces qb)
as_before

# ---- a success after all that
migrate disk other >"$dir/result"
arrived qb disk daily "$dir/1.raw" "$dir/writes.raw"
arrived qb other off "$dir/2.raw"
no_traces qa a
eventually "no files are left" no_files b
expect "exports of the target" "$(traces qb | tail -n 1)" "exports guest-disk"

# ---- abandoned: the target's recorded writes alone are no bitmap; with --all-dirty every bit is set
filled qa disk second 3 512
before=$(traces qb)
session=$(prepared disk/second --workers 0)
pivot "$session"
b abandon "$session" >/dev/null
eventually "the target is as it was" test "$(traces qb)" = "$before"
eventually "the source hears of it" is_state a "$session" source abandoned
finish
