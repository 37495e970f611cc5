#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The source's host and its bitmaps are lost for good behind the pivot; the guest runs on, on the target, and
# never stops writing.  abandon, bitmap diff with the last backup (a base and an overlay), and the next
# backup is incremental: restored it equals the disk.
. "$(dirname "$0")/flow-common.sh"
command -v nbdkit >/dev/null || skip "nbdkit is not installed"
for program in qemu-nbd qemu-img qemu-io; do
    command -v "$program" >/dev/null || skip "$program is not installed"
done
"$python" -c 'import nbd' 2>/dev/null || skip "python3-libnbd is not installed"
filter=$top_builddir/.libs/nbdkit-dirtyferry-filter.so
[ -f "$filter" ] || skip "the filter is not built: $filter"
ldd "$filter" | grep -q 'lib[atu][a-z]*san\.so' && skip "nbdkit and the library of a sanitizer: see tests/filter-common.sh"
nbdkit_pid=
at_exit() { [ -z "$nbdkit_pid" ] || kill -9 "$nbdkit_pid" 2>/dev/null; }

# ---- before: a full backup, an incremental one on top, the bitmap of a
size=$((48 * 1048576))          # the second half is a hole
start a
start b
head -c $((size / 2)) /dev/urandom >"$dir/disk"
truncate -s $size "$dir/disk"
qemu-img convert -O qcow2 "$dir/disk" "$dir/base.qcow2"
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 "$dir/last.qcow2"
head -c 200K /dev/urandom >"$dir/part"
dd if="$dir/part" of="$dir/disk" bs=4096 seek=1000 conv=notrunc status=none
qemu-io -f qcow2 -c "write -s $dir/part 4096000 204800" "$dir/last.qcow2" >/dev/null
qemu-img compare -q "$dir/disk" "$dir/last.qcow2" || fail "the backup is not the disk"
a disk add vda --size $size
b disk add vda --size $size --data "nbd+unix:///?socket=$dir/nbd"
a bitmap add vda daily
a bitmap mark vda 0 1M
dd if=/dev/urandom of="$dir/disk" bs=1M count=1 conv=notrunc status=none

# ---- the move, and the end of a
session=$("$dirtyferry" prepare vda/daily --from "${control[a]}" --to "${control[b]}" --workers 0)
"$dirtyferry" pivot "$session" --from "${control[a]}" --to "${control[b]}" >/dev/null
stop a KILL
rm -r "$dir/a"

nbdkit -f -U "$dir/nbd" --filter="$filter" file "$dir/disk" dirtyferry-state="$dir/b" dirtyferry-disk=vda </dev/null >"$dir/nbdkit.log" 2>&1 &
nbdkit_pid=$!
eventually "nbdkit serves" test -S "$dir/nbd"
# The guest: writes wherever it likes until it is told to stop, and counts its rounds.
cat >"$dir/guest.py" <<'GUEST'
import os, random, sys
import nbd
directory = sys.argv[1]
h = nbd.NBD()
h.connect_unix(directory + "/nbd")
r, size, n = random.Random(7), h.get_size(), 0
while not os.path.exists(directory + "/stop"):
    length = r.randrange(1, 9000)
    at = r.randrange(size - length)
    h.pwrite(r.randbytes(length) if r.randrange(8) else bytes(length), at)
    n += 1
    with open(directory + "/rounds.new", "w") as f:
        f.write(str(n))
    os.replace(directory + "/rounds.new", directory + "/rounds")
h.flush()
h.shutdown()
GUEST
"$python" "$dir/guest.py" "$dir" </dev/null >/dev/null 2>"$dir/guest.log" &
guest=$!
rounds() { cat "$dir/rounds" 2>/dev/null || :; }
writes_on() { local now; now=$(rounds); [ -n "$now" ] && [ "$now" -gt "$1" ]; }
eventually "the guest writes" writes_on 0

# ---- what is left: an inconsistent bitmap, and the last backup
b abandon "$session" >/dev/null
expect "flags" "$(flags b vda daily busy recording inconsistent)" "busy=false recording=true inconsistent=true"
before=$(rounds)
b --json bitmap diff vda daily --against "$dir/last.qcow2" >"$dir/result"
expect "flags" "$(flags b vda daily busy recording inconsistent)" "busy=false recording=true inconsistent=false"
[ "$(field different "$(cat "$dir/result")")" -lt $size ] || fail "all of the disk is said to differ: $(cat "$dir/result")"
eventually "the guest writes on" writes_on "$before"

# ---- the incremental backup, when the guest has stopped
touch "$dir/stop"
wait "$guest" || fail "the guest: $(cat "$dir/guest.log")"
kill "$nbdkit_pid"
wait "$nbdkit_pid" || :
nbdkit_pid=
b bitmap export vda daily "$dir/dirty.json" --format json
qemu-img convert -O raw "$dir/last.qcow2" "$dir/restored"
"$python" - "$dir" <<'BACKUP'
import json, sys
directory = sys.argv[1]
disk, restored = open(directory + "/disk", "rb"), open(directory + "/restored", "r+b")
for e in json.load(open(directory + "/dirty.json")):
    if e["dirty"]:
        disk.seek(e["start"])
        restored.seek(e["start"])
        restored.write(disk.read(e["length"]))
BACKUP
cmp "$dir/disk" "$dir/restored" || fail "the restored backup is not the disk"
finish
