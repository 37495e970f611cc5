#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Source host and bitmap are lost for good in the middle of a move.  The target abandons, the disk is compared with its
# last backup, and the next incremental backup holds all of it, while the guest writes all the time.
. "$(dirname "$0")/fail-common.sh"
filter=$top_builddir/.libs/nbdkit-dirtyferry-filter.so
copy_extents=$top_srcdir/examples/copy-extents.py
for program in nbdkit qemu-img qemu-nbd; do
    command -v $program >/dev/null || skip "$program is not installed"
done
[ -f "$filter" ] || skip "the filter is not built: $filter"
"$python" -c 'import nbd' 2>/dev/null || skip "python3-libnbd is not installed"
sanitizers=$(ldd "$filter" | awk '/lib[atu][a-z]*san\.so/ { printf "%s ", $3 }')
size=134217728
half=$((size / 2))

# serve NAME: disk vm1 of that host, from NAME.img
declare -A nbdkit=()
serve()
{
    LD_PRELOAD=$sanitizers ASAN_OPTIONS=${ASAN_OPTIONS-detect_leaks=0} nbdkit -f -U "$dir/$1.nbd" -P "$dir/$1.pid" --filter="$filter" file "$dir/$1.img" \
        dirtyferry-state="$dir/$1" dirtyferry-disk=vm1 2>>"$dir/nbdkit.log" &
    nbdkit[$1]=$!
    eventually "nbdkit answers" test -s "$dir/$1.pid"
}

uri()
{
    echo "nbd+unix:///?socket=$dir/$1.nbd"
}

# guest NAME SEED BYTES: writes to the first so many until guest_ends, zeroes now and then
guest()
{
    rm -f "$dir/guest.stop" "$dir/guest.count"
    "$python" -c '
import os, random, sys, time, nbd
socket, base, seed, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
r, n = random.Random(seed), 0
h = nbd.NBD()
h.connect_unix(socket)
while not os.path.exists(base + ".stop"):
    length = r.choice((512, 4096, 100000))
    offset = r.randrange(0, size - length) // 512 * 512
    if r.random() < 0.2:
        h.zero(length, offset)
    else:
        h.pwrite(r.randbytes(length), offset)
    n += 1
    with open(base + ".new", "w") as f:
        f.write(str(n))
    os.rename(base + ".new", base + ".count")
    time.sleep(0.005)       # a guest that does other things too
h.flush()' "$dir/$1.nbd" "$dir/guest" "$2" "$3" </dev/null 2>>"$dir/guest.log" &
    guest_pid=$!
    eventually "the guest writes" wrote 20
}

wrote()
{
    [ -f "$dir/guest.count" ] && [ "$(cat "$dir/guest.count")" -ge "$1" ]
}

# It goes on: so many writes more.
writes_on()
{
    kill -0 $guest_pid || fail "the guest has stopped"
    local count
    count=$(cat "$dir/guest.count")
    eventually "the guest writes on" wrote $((count + $1))
}

guest_ends()
{
    touch "$dir/guest.stop"
    wait $guest_pid || fail "the guest failed"
}

# incremental BITMAP NAME: what it says is copied from that host's disk onto the last backup
incremental()
{
    on "$2" bitmap export vm1 "$1" "$dir/$1.json" --format json
    "$python" "$copy_extents" "$dir/$1.json" "$(uri "$2")" "$dir/restored.img" >/dev/null
}

host a
host_b_linked
link_up
to=$link
for host in a b; do
    truncate -s $size "$dir/$host.img"
    on $host disk add vm1 --size $size
    serve $host
done

# ---- a full backup and an incremental one on top, both of a still disk
guest a 1 $size
guest_ends
qemu-img convert -f raw -O qcow2 "$dir/a.img" "$dir/full.qcow2"
a bitmap add vm1 daily
guest a 2 $half
guest_ends
qemu-img convert -f raw -O qcow2 -B "$dir/full.qcow2" -F qcow2 "$dir/a.img" "$dir/monday.qcow2"
a bitmap clear vm1 daily

# ---- the guest writes, and moves; the link dies behind the pivot, and then the source with all it had
guest a 3 $half
writes_on 50
session=$(prepared vm1/daily)
guest_ends
cp --sparse=always "$dir/a.img" "$dir/b.img.new"
cat "$dir/b.img.new" >"$dir/b.img"
link_cut
pivot "$session"
guest b 4 $half
expect "the bitmap" "$(flags b vm1 daily recording busy frozen)" "recording=true busy=true frozen=true"
die a
kill -9 "${nbdkit[a]}"
wait "${nbdkit[a]}" 2>/dev/null || :
rm -r "$dir/a" "$dir/a.img"
writes_on 50

# ---- the bits are lost, and it says so; a comparison finds them again
b abandon "$session" >/dev/null
expect "the bitmap" "$(flags b vm1 daily recording busy inconsistent)" "recording=true busy=false inconsistent=true"
refuse 1 "inconsistent" -- b bitmap export vm1 daily "$dir/x" --format raw
writes_on 20
b bitmap diff vm1 daily --against "$dir/monday.qcow2" --data "$(uri b)" >"$dir/diff.out"
expect "the bitmap" "$(flags b vm1 daily recording busy inconsistent)" "recording=true busy=false inconsistent=false"
writes_on 20

# ---- an incremental backup of the running disk, and the last one when the guest has ended
qemu-img convert -O raw "$dir/monday.qcow2" "$dir/restored.img"
b bitmap add vm1 next
writes_on 20
incremental daily b
writes_on 20
guest_ends
incremental next b
qemu-img compare -f raw -F raw "$dir/restored.img" "$(uri b)" >/dev/null || fail "what is restored is not the disk"

# It was not a full one: what the guest has left alone since the last backup is clean.
expect "dirty in the second half" "$(json 'sum(e["length"] for e in d if e["dirty"] and e["start"] >= int(sys.argv[2]))' $half <"$dir/daily.json")" 0
finish
