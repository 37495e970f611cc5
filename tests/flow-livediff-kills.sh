#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# bitmap diff: the daemon dies at each of its steps, with and without who compares; the host is restarted;
# the file of a comparison is damaged; what is published.  Nothing is lost, and an inconsistent bitmap says
# so until all of the disk was compared.
. "$(dirname "$0")/flow-common.sh"
size=$((4 * 1048576))      # one item of the comparison (IMAGE_VIEW_MAX), thus one report
. "$(dirname "$0")/livediff-common.sh"
sound=$dirtyferryd
crashing=$top_builddir/tests/crash-daemon
df_boot=$top_builddir/tests/df-boot

# Bitmap daily as after a host crash: inconsistent, and it records.
lost_bitmap()
{
    a bitmap remove vda daily
    a bitmap add vda daily "$@"
    marks=()
    "$df_inconsistent" "$dir/a" vda daily
}

has_died()
{
    ! kill -0 "${daemon_pid[a]}" 2>/dev/null
}

# ---- each step of the daemon: before and behind what it does to the bitmap and to the file
start a
images 2
a disk add vda --size "$size" --data "$dir/new"
a bitmap add vda daily
for point in comparison_write:before:1 comparison_write:after:1 txn_commit:before:2 txn_commit:after:2 \
    disk_compare_set:before:1 disk_compare_set:after:1 comparison_write:before:2 comparison_write:after:2 \
    disk_compare_set:after:2 comparison_write:after:3 txn_commit:before:3 txn_commit:after:3 comparison_write:after:4; do
    lost_bitmap
    stop a
    dirtyferryd=$crashing DF_CRASH=$point start a
    DF_SLOW_US=5000 "$slow" -c "${control[a]}" bitmap diff vda daily --against "$dir/old" </dev/null >"$dir/held.out" 2>&1 &
    held=$!
    eventually "the daemon dies at $point" has_died
    { wait "${daemon_pid[a]}" || :; } 2>/dev/null
    kill -KILL "$held" 2>/dev/null || :
    wait "$held" 2>/dev/null || :
    grep -q "crash-daemon: dies at $point" "$dir/a.log" || fail "the daemon did not die at $point"
    start a
    case $point in
    # All was compared, and that is known: it is completed.
    comparison_write:after:3 | txn_commit:before:3 | txn_commit:after:3 | comparison_write:after:4) want="busy=false inconsistent=false" ;;
    comparison_write:*:1 | txn_commit:before:2) want="busy=false inconsistent=true" ;;
    *) want="busy=true inconsistent=true" ;;
    esac
    expect "flags after $point" "$(flags a vda daily busy inconsistent)" "$want"
    # Nobody was told of it: nothing is left that was cancelled.
    case $point in
    comparison_write:*:1 | txn_commit:before:2) refuse 1 "is not being compared|is complete: there is nothing to cancel" -- a bitmap diff vda daily --cancel ;;
    esac
    guest $((RANDOM * 64)) 512
    a bitmap diff vda daily --against "$dir/old" >/dev/null
    expect "flags when it is complete, after $point" "$(flags a vda daily busy inconsistent)" "busy=false inconsistent=false"
    check_bits "after $point"
    expect "files of comparisons" "$(find "$dir/a/comparisons" -type f | wc -l)" 1
done

# ---- from here on there are several reports
size=$((16 * 1048576))
images 3
a bitmap remove vda daily
a disk remove vda
a disk add vda --size "$size" --data "$dir/new"
a bitmap add vda daily

# ---- the daemon is killed under who compares, the guest writes on: it goes on by itself, and all is seen by who watches
lost_bitmap
"$dirtyferry" -c "${control[a]}" --json watch </dev/null >"$dir/events" 2>"$dir/watch.err" &
watcher=$!
is_watching() { [ -s "$dir/events" ]; }
eventually "events are seen" is_watching
held $((12 * 1048576))
eventually "something is compared" is_on_its_way
uuid=$(field diff "$(a --json bitmap show vda daily)")
is_seen() { grep -Eq "\"diff\":\"$uuid\".*\"position\":$1,.*\"event\":\"$2\"" "$dir/events"; }
eventually "the beginning is published" is_seen 0 diff-state
eventually "progress is published" is_seen '[1-9][0-9]*' 'diff-(progress|snapshot)'      # a snapshot that is due takes its place
at=$(position)
stop a KILL
mark a vda <<<"$((2 * 1048576)) 4096"
head -c 4096 /dev/urandom | dd of="$dir/new" bs=4096 seek=$((2 * 1048576)) oflag=seek_bytes conv=notrunc status=none
marks+=($((2 * 1048576)) 4096)
start a
[ "$(position)" -ge "$at" ] || fail "the comparison was at $at, and is at $(position) after a kill"
stop a KILL
go
waits() { grep -q "waiting for the daemon at" "$dir/held.err"; }
eventually "who compares waits for the daemon" waits
start a
join 0
expect "it is the same comparison" "$(field diff "$(cat "$dir/held.out")")" "$uuid"
expect "flags" "$(flags a vda daily busy inconsistent)" "busy=false inconsistent=false"
check_bits "the daemon was killed"
kill "$watcher"
wait "$watcher" 2>/dev/null || :
"$python" - "$dir/events" "$uuid" "$dir/old" <<'PYTHON' || fail "events: $(cat "$dir/events")"
import json, sys
events = [e for e in map(json.loads, open(sys.argv[1])) if e.get("diff") == sys.argv[2]]
assert events[0]["event"] == "diff-state" and events[0]["state"] == "comparing" and events[0]["position"] == 0, events[0]
assert all(e["disk"] == "vda" and e["bitmap"] == "daily" and e["against"] == sys.argv[3] and e["size"] == 16 << 20 for e in events)
positions = [e["position"] for e in events]
assert positions == sorted(positions), positions
assert all(0 <= e["different"] <= e["position"] and e["unread"] == 0 for e in events)
PYTHON

# ---- the host is restarted in the middle: from the start, whatever was said before
for clean in KILL TERM; do
    lost_bitmap --persistent
    held $((12 * 1048576))
    eventually "something is compared" is_on_its_way
    uuid=$(field diff "$(a --json bitmap show vda daily)")
    kill -KILL "$held"
    wait "$held" 2>/dev/null || :
    stop a "$clean"
    "$df_boot" "$dir/a"
    guest_at=$((RANDOM * 64))
    head -c 512 /dev/urandom | dd of="$dir/new" bs=4096 seek=$guest_at oflag=seek_bytes conv=notrunc status=none
    start a
    expect "flags after the restart" "$(flags a vda daily busy inconsistent readonly)" "busy=true inconsistent=true readonly=false"
    expect "position after the restart" "$(position)" 0
    # Nobody's report of what he read before is taken.
    [ "$(field diff "$(a --json bitmap show vda daily)")" != "$uuid" ] || fail "the comparison has the UUID that it had before"
    a --json bitmap diff vda daily --against "$dir/old" >"$dir/result"
    expect "what is read" "$(field read "$(cat "$dir/result")")" $((2 * size))
    expect "flags when it is complete" "$(flags a vda daily busy inconsistent)" "busy=false inconsistent=false"
    check_bits "the host was restarted"
done

# ---- its file is damaged, or gone: the bitmap is given back as it was
for damage in 'truncate -s 40' rm; do
    lost_bitmap
    held $((12 * 1048576))
    eventually "something is compared" is_on_its_way
    uuid=$(field diff "$(a --json bitmap show vda daily)")
    kill -KILL "$held"
    wait "$held" 2>/dev/null || :
    stop a
    $damage "$dir/a/comparisons/$uuid"
    start a
    grep -q "bitmap 'daily' of disk 'vda' was in a comparison that no file knows" "$dir/a.log" || fail "the log says nothing of it"
    expect "flags" "$(flags a vda daily busy inconsistent)" "busy=false inconsistent=true"
    a bitmap diff vda daily --against "$dir/old" >/dev/null
    check_bits "the file was damaged"
done
grep -q "the file '$uuid' of a comparison cannot be used\|cannot be used: it is not whole" "$dir/a.log" || fail "the log does not say that a file was damaged"

# ---- a comparison of a bitmap that is not there any more is forgotten
a bitmap remove vda daily
stop a
start a
expect "files of comparisons" "$(find "$dir/a/comparisons" -type f | wc -l)" 0
finish
