#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# bitmap diff of a disk of QEMU: what somebody does to the bitmap until the end, a QEMU that is gone, hangs or is
# started anew.  Nothing that differs or was written is lost, and nothing of us is left.
size=$((8 * 1048576))
slow_us=0
. "$(dirname "$0")/qdiff-common.sh"
vda 2
# The same contents, of a server that stays.
storage still --blockdev "driver=file,node-name=new,filename=$dir/new"
serve still new
a disk remove vda
attach a vda qa vda --data "nbd+unix:///new?socket=$dir/still.nbd"

is_recorded()
{
    [[ " $(qemu_bitmaps qa vda)" == *" dirtyferry-"* ]]
}

# A comparison that has begun, so QEMU records for it, and is held in the middle.
half()
{
    held $((4 * 1048576))
    eventually "QEMU records for the comparison" is_recorded
}

# ends STATUS [REGEX]: what was held
ends()
{
    go
    join "$1"
    [ $# = 1 ] || grep -Eq "$2" "$dir/held.err" || fail "it says: $(cat "$dir/held.err")"
}

# The rest of one that could not be completed: nothing is read again.
completes()     # WHAT
{
    compare
    expect "what is read: $1" "$(field read "$(cat "$dir/result")")" 0
    completed "$1"
}

# ---- it is cleared, and somebody else's comes in its place: what was written before is in it all the same
fresh
half
guest 65536 4096
bitmap clear
ends 0
completed "cleared in the middle"
fresh
half
guest 65536 4096
bitmap remove
guest 262144 4096
add qa vda daily 65536
ends 0
completed "made anew in the middle"

# ---- it cannot be filled at the end: the comparison stays, and the same command completes it
fresh
half
guest 65536 4096
bitmap disable
ends 1 "does not record and cannot be compared: enable it first; bitmap 'daily' of disk 'vda' stays busy: the same command goes on"
guest 262144 4096
bitmap enable
completes "disabled at the end"
fresh
half
qmp qa block-export-add '{"type":"nbd","id":"backup","node-name":"vda","name":"backup","writable":true,"bitmaps":["daily"]}'
ends 1 "in use by a job or an export of QEMU"
qmp qa block-export-del '{"id":"backup","mode":"hard"}'
is_free() { [ "$(qflags qa vda daily busy)" = busy=false ]; }
eventually "the bitmap is free" is_free
completes "in use at the end"
fresh
half
guest 65536 4096
bitmap remove
ends 1 "there is no bitmap 'daily' on node 'vda'"
add qa vda daily 65536
completes "not there at the end"

# ---- QEMU is gone at the end, and comes back as it was; what it has of a comparison that is cancelled goes too
for end in complete cancel; do
    fresh '"persistent":true'
    half
    guest 65536 4096
    end_qemu qa
    ends 1 "no QEMU answers at '$dir/qa.qmp'.*stays busy"
    start_qa
    guest 262144 4096
    if [ $end = complete ]; then
        completes "QEMU was away"
    else
        a bitmap diff vda daily --cancel
        nothing_left
    fi
done
fresh
half
gone qa
a bitmap diff vda daily --cancel
ends 1 "was cancelled"
grep -q "no QEMU answers at '$dir/qa.qmp'.*; if a bitmap 'dirtyferry-.*comes back with it, remove that" "$dir/a.log" || fail "the log does not say what may come back"
start_qa
nothing_left

# ---- it was started anew, and lacks writes: from the start
for persistent in false true; do
    fresh "\"persistent\":$persistent"
    end_qemu qa         # which stores it
    start_qa
    [ $persistent = true ] || fresh
    half
    uuid=$(field diff "$(a --json bitmap show vda daily)")
    gone qa
    start_qa
    if [ $persistent = true ]; then
        ends 1 "was started anew since the comparison of bitmap 'daily' of node 'vda' began, .*: compare from the start"
        expect "QEMU's bitmap" "$(qflags qa vda daily inconsistent)" inconsistent=true
        refuse 1 "is inconsistent: .* can only be removed; one that is added in its place can be filled by 'dirtyferry bitmap diff'" -- a bitmap diff vda daily --against "$dir/old"
    else
        kill -KILL "$held"
        wait "$held" 2>/dev/null || :
    fi
    fresh
    a --json bitmap diff vda daily --against "$dir/old" >"$dir/result"
    [ "$(field diff "$(cat "$dir/result")")" != "$uuid" ] || fail "the comparison goes on, although writes are lost"
    expect "what is read" "$(field read "$(cat "$dir/result")")" $((2 * size))
    completed "QEMU was started anew, persistent: $persistent"
done

# ---- it hangs: other disks do not wait
truncate -s 1M "$dir/o"
a disk add other --size 1M --data "$dir/o"
a bitmap add other daily
fresh
half
threads() { local each=("/proc/${daemon_pid[a]}/task/"*); echo ${#each[@]}; }
before=$(threads)
kill -STOP "${qemu_pid[qa]}"
go
is_visited() { [ "$(threads)" -gt "$before" ]; }
eventually "a hand visits QEMU" is_visited
"$dirtyferry" -c "${control[a]}" bitmap diff other daily --against "$dir/old" >/dev/null
kill -CONT "${qemu_pid[qa]}"
join 0
completed "QEMU hung"

finish
