#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A state directory without space: what needs some is refused or waits, and nothing that is there suffers.
# Needs root: each state directory is a small file system of its own, in a mount namespace that ends with this script.
if [ -z "${DF_FAIL_MOUNTS:-}" ] && [ "$(id -u)" -eq 0 ] && unshare -m true 2>/dev/null; then
    DF_FAIL_MOUNTS=1 exec unshare -m bash "$0" "$@"
fi
. "$(dirname "$0")/fail-common.sh"
[ -n "${DF_FAIL_MOUNTS:-}" ] || skip "no mount namespace (needs root and unshare)"
at_exit()
{
    umount -l "$dir/a" "$dir/b" 2>/dev/null
}

for name in a b; do
    mkdir "$dir/$name"
    mount -t tmpfs -o size=32m,mode=0700 tmpfs "$dir/$name" || skip "no tmpfs can be mounted"
done

full()      # NAME
{
    dd if=/dev/zero of="$dir/$1/filler" bs=4k 2>/dev/null && fail "the file system of $1 is not full" || :
}

space()     # NAME
{
    rm "$dir/$1/filler"
}

host a
host_b_linked
link_up
to=$link

# ---- at prepare, on the source and on the target: refused, nothing has changed
small_disk one
before=$(snapshot a b)
for name in a b; do
    full $name
    refuse 1 "No space left" -- "$dirtyferry" prepare one/daily --from "${control[a]}" --to "${control[b]}"
    expect "the full $name has changed something" "$(snapshot a b)" "$before"
    space $name
done
record a one 20
session=$(prepared one/daily)
pivot "$session"
finished "$session" one

# ---- pivots with a full journal's disk: entries were allocated at the beginning
small_disk two
session=$(prepared two/daily --workers 0)
full a
full b
pivot "$session"
record b two 0
a worker "$session" &
worker=$!
space a
space b
wait $worker
finished "$session" two

# ---- while dumping: the error is shown, the dump is written when there is space
big_disk three
slow three/daily
pivot "$session"
record b three 50
mid_stream "$session"
full a
link_cut
no_space() { says "$1" "$session" "$2" "[Nn]o space"; }
eventually "the source says that there is no space" no_space a source
expect "source" "$(state a "$session" source)/$(flags a three daily busy inconsistent readonly)" "interrupted/busy=true inconsistent=false readonly=true"
expect "no part of a dump" "$(ls "$dir/a/dumps")" ""
space a
eventually "the dump is there" test -f "$dir/a/dumps/$session.dump"
link_up
finished "$session" three

# ---- the same, and no dump: it goes on without
big_disk four
slow four/daily
pivot "$session"
record b four 50
mid_stream "$session"
full a
link_cut
eventually "the source says that there is no space" no_space a source
link_up
eventually "the target is operative" is_state b "$session" target operative
space a
finished "$session" four

# ---- in mid-stream on the target: an error, and it goes on when there is space
big_disk five
slow five/daily
pivot "$session"
mid_stream "$session" 10
full b
eventually "the target's error is told" no_space a source
expect "target" "$(state b "$session" target)/$(flags b five daily busy recording)" "receiving/busy=true recording=true"
expect "source" "$(flags a five daily busy inconsistent readonly)" "busy=true inconsistent=false readonly=true"
refuse 1 "busy" -- b bitmap export five daily "$dir/x" --format raw
space b
finished "$session" five

# ---- for a parent of another granularity, which is filled when all is there: there is room for the bits, and not for it
pair finer 1G daily --granularity 64K
a bitmap mark finer 0 1G
session=$(prepared finer/daily --workers 0 --granularity 512)
"$dirtyferry" pivot "$session" --from "${control[a]}" >/dev/null
full b
truncate -s -64K "$dir/b/filler"
a worker "$session" &
worker=$!
fills_not() { says a "$session" source "bitmap 'daily' of disk 'finer' cannot be filled: No space left"; }
eventually "the target's error is told" fills_not
expect "target" "$(state b "$session" target)/$(flags b finer daily busy frozen inconsistent)" "prepared/busy=true frozen=true inconsistent=false"
space b
"$dirtyferry" pivot "$session" --to "${control[b]}" >/dev/null
wait $worker
eventually "the source lets go" is_state a "$session" source released
expect "the finer bitmap" "$(flags b finer daily busy inconsistent count)" "busy=false inconsistent=false count=1073741824"

# ---- a restart that needs space: the daemon does not start, and nothing is given up for it
big_disk six
slow six/daily
pivot "$session"
mid_stream "$session" 10
die b
rm "$dir/b/sessions/$session.received-0"
full b
status=0
timeout 20 "$dirtyferryd" --state-dir "$dir/b" --control "ipc://$dir/b.sock" --data "ipc://$dir/b.data" --events "ipc://$dir/b.events" \
    >"$dir/b.out" 2>"$dir/b.err" || status=$?
expect "exit status" $status 1
grep -q "session $session cannot go on: .*No space left" "$dir/b.err" || fail "it says: $(cat "$dir/b.err")"
space b
host_b_linked
finished "$session" six
finish
