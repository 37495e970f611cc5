#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# bitmap diff of a disk of QEMU, to which a guest writes: the bitmap has what differs, and all that was written;
# what dirtyferry refuses meanwhile; QEMU's incremental backup onto the last one is the disk.
. "$(dirname "$0")/qdiff-common.sh"
vda 1
host b
b disk add vda --size "$size"
expect "data" "$(field data "$(a --json disk list)")" "$uri"

# ---- nobody writes; sizes of clusters
for granularity in 65536 4096 1048576; do
    add qa vda daily $granularity
    compare
    completed "granularity $granularity"
    expect "read" "$(field read "$(cat "$dir/result")")" $((2 * size))
    bitmap remove
done
fresh
compare --data "$uri"
completed "data by the command"
a bitmap diff vda daily --against "$dir/old" | grep -q "^bitmap 'daily' of disk 'vda' has all that differs from '$dir/old': " || fail "it does not say what it did"
expect "files of comparisons" "$(find "$dir/a/comparisons" -type f | wc -l)" 1

# ---- nothing differs: there are no bits to carry
fresh
cp "$dir/new" "$dir/same"
a bitmap diff vda daily --against "$dir/same" >/dev/null
rm "$dir/same"
expect "bits when nothing differs" "$(qflags qa vda daily count)" count=0
nothing_left

# ---- the guest writes, before and behind the place where it is; what others may do meanwhile
fresh
guest 0 4096
held $((8 * MiB))
eventually "something is compared" is_on_its_way
guest 65536 4096
guest $((15 * MiB)) 100000
shown=$(a --json bitmap show vda daily)
expect "flags" "$(flags a vda daily busy inconsistent recording)" "busy=true inconsistent=false recording=true"
expect "bitmap list" "$(a --json bitmap list vda | json '[(b["name"], b["busy"], b["diff"]) for b in d]')" "[[\"daily\", true, \"$(field diff "$shown")\"]]"
add qa vda other
for words in "clear vda daily" "disable vda daily" "enable vda daily" "remove vda daily" "merge vda daily other" "merge vda other daily"; do
    # shellcheck disable=SC2086
    refuse 1 "a comparison fills it; let 'dirtyferry bitmap diff' come to its end, or cancel it" -- a bitmap $words
done
refuse 1 "a comparison fills its bitmap 'daily'" -- a disk remove vda
refuse 1 "a comparison fills it" -- "$dirtyferry" prepare vda/daily --from "${control[a]}" --to "${control[b]}"
refuse 1 "is being compared with '$dir/old' \([0-9]+ of $size bytes\)" -- a bitmap diff vda daily --against "$dir/other"
a bitmap diff vda other --against "$dir/other" >/dev/null       # another one, at the same time
a bitmap remove vda other
go
join 0
expect "it is the same comparison" "$(field diff "$(cat "$dir/held.out")")" "$(field diff "$shown")"
completed "with writes"
refuse 1 "is complete: there is nothing to cancel" -- a bitmap diff vda daily --cancel

# ---- stopped, with and without its daemon: it goes on, and reads the rest only
for victim in none a; do
    fresh
    held $((8 * MiB))
    eventually "something is compared" is_on_its_way
    guest $((2 * MiB)) 512
    kill -KILL "$held"
    wait "$held" 2>/dev/null || :
    if [ $victim = a ]; then
        stop a KILL
        host a
    fi
    at=$(position)
    [ "$at" -gt 0 ] || fail "nothing is kept of what was compared"
    guest $((at + 4096)) 512
    compare
    expect "what was read behind $at" "$(field read "$(cat "$dir/result")")" $((2 * (size - at)))
    completed "killed: $victim"
done

# ---- cancelled: nothing is left of it
fresh
held $((8 * MiB))
eventually "something is compared" is_on_its_way
a bitmap diff vda daily --cancel
go
join 1
grep -q "^dirtyferry: the comparison of bitmap 'daily' of disk 'vda' was cancelled" "$dir/held.err" || fail "it says: $(cat "$dir/held.err")"
expect "bits of a cancelled one" "$(qflags qa vda daily count busy)" "count=0 busy=false"
nothing_left

# ---- refused at the begin, with nothing left
before=$(traces qa)
refuse 1 "there is no bitmap 'none' on node 'vda'" -- a bitmap diff vda none --against "$dir/old"
refuse 1 "names that begin with 'dirtyferry-' are kept" -- a bitmap diff vda dirtyferry-x --against "$dir/old"
bitmap disable
refuse 1 "'daily' of node 'vda' does not record and cannot be compared: enable it first" -- a bitmap diff vda daily --against "$dir/old"
bitmap enable
qmp qa block-export-add '{"type":"nbd","id":"backup","node-name":"vda","name":"backup","writable":true,"bitmaps":["daily"]}'
refuse 1 "'daily' of node 'vda' is in use by a job or an export of QEMU" -- a bitmap diff vda daily --against "$dir/old"
qmp qa block-export-del '{"id":"backup","mode":"hard"}'
is_free() { [ "$(qflags qa vda daily busy)" = busy=false ]; }
eventually "the bitmap is free" is_free
session=$(prepared vda/daily)
refuse 1 "is busy and cannot be compared: a session is moving it" -- a bitmap diff vda daily --against "$dir/old"
a cancel "$session" >/dev/null
is_not_moved() { a --json bitmap show vda daily | grep -q '"busy":false'; }
eventually "the session lets go" is_not_moved
expect "what is in QEMU after refusals" "$(traces qa)" "$before"
nothing_left
a disk remove vda
attach a vda qa vda
refuse 1 "of disk 'vda' can be read is not known: let QEMU export the node by NBD .*--data" -- a bitmap diff vda daily --against "$dir/old"
a disk remove vda
attach a vda qa vda --data "$uri"

# ---- the next backup is incremental: onto the last one, it is the disk
fresh '"persistent":true'
held $((8 * MiB))
eventually "something is compared" is_on_its_way
guest $((7 * MiB)) 200000
guest $((12 * MiB)) 4096
go
join 0
completed "persistent"
guest $((3 * MiB)) 512
cp "$dir/old" "$dir/backup"
qmp qa blockdev-add "{\"driver\":\"file\",\"node-name\":\"backup\",\"filename\":\"$dir/backup\"}"
qmp qa blockdev-backup '{"job-id":"backup","device":"vda","target":"backup","sync":"incremental","bitmap":"daily","auto-dismiss":false}'
is_backed_up() { [ "$(qmp qa query-jobs | json 'd[0]["status"]')" = concluded ]; }
eventually "the backup ends" is_backed_up
expect "errors of the backup" "$(qmp qa query-jobs | json 'd[0].get("error", "none")')" none
cmp "$dir/backup" "$dir/new" || fail "the last backup with the incremental one is not the disk"
finish
