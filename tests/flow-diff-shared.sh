#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Blocks that two files share (reflinks, snapshots) are equal without being read.  Real file systems, each in a file, in a
# mount namespace that ends with the script.
[ "$(id -u)" -eq 0 ] || { echo "skipped: only root can mount a file system"; exit 77; }
if [ -z "${DF_OWN_MOUNTS:-}" ]; then
    unshare --mount --propagation private true 2>/dev/null || { echo "skipped: no mount namespace can be made here"; exit 77; }
    DF_OWN_MOUNTS=1 exec unshare --mount --propagation private bash "$0" "$@"
fi
. "$(dirname "$0")/flow-common.sh"
PATH=$PATH:/usr/sbin:/sbin
bytes=$((64 << 20))
tested=0

# compared OLD NEW DIFFERENT READ_AT_MOST SHARED_AT_LEAST
compared()
{
    local out
    out=$("$dirtyferry" --json diff "$1" "$2")
    expect "bytes that differ" "$(field different "$out")" "$3"
    [ "$(field read "$out")" -le "$4" ] || fail "$(field read "$out") bytes were read: $out"
    [ "$(field shared "$out")" -ge "$5" ] || fail "$(field shared "$out") bytes are shared: $out"
}

# on_filesystem KIND MAKE...: mounted at $mnt
on_filesystem()
{
    local kind=$1
    shift
    mnt=$dir/mnt.$kind
    mkdir "$mnt"
    truncate -s 1G "$dir/$kind.fs"
    command -v "$1" >/dev/null || { echo "$kind is not tested: $1 is not installed"; return 1; }
    "$@" "$dir/$kind.fs" >"$dir/mkfs.log" 2>&1 || fail "$* failed"
    mount -o loop "$dir/$kind.fs" "$mnt" 2>"$dir/mount.log" || { echo "$kind is not tested: $(cat "$dir/mount.log")"; return 1; }
    tested=$((tested + 1))
}

# One byte is written into the copy's shared blocks, and some where it has none of its own.
change_and_compare()
{
    local old=$1 new=$2
    compared "$old" "$new" 0 0 $bytes
    printf x | dd of="$new" bs=1 seek=$((7 * 65536 + 100)) conv=notrunc status=none
    compared "$old" "$new" 65536 131072 $((bytes - 131072))
    truncate -s $((bytes + 4096)) "$new"
    compared "$old" "$new" $((65536 + 4096)) 131072 $((bytes - 131072))
}

if on_filesystem xfs mkfs.xfs -q; then
    head -c $bytes /dev/urandom >"$mnt/old"
    cp --reflink=always "$mnt/old" "$mnt/new"
    change_and_compare "$mnt/old" "$mnt/new"
    # The same content in other blocks is read; blocks at another offset are not taken for the same.
    cp --reflink=never "$mnt/old" "$mnt/copy"
    compared "$mnt/old" "$mnt/copy" 0 $((2 * bytes)) 0
    truncate -s $bytes "$mnt/moved"
    xfs_io -c "reflink $mnt/old 0 65536 $((bytes - 65536))" "$mnt/moved" >/dev/null
    out=$("$dirtyferry" --json diff "$mnt/old" "$mnt/moved")
    expect "bytes that differ, of a shifted file" "$(field different "$out")" $bytes
    umount "$mnt"
    # Two file systems with the same places, seen as one: what an overlay says of places is not believed.
    for i in 1 2; do
        mkdir "$dir/lower$i"
        truncate -s 512M "$dir/lower$i.fs"
        mkfs.xfs -q "$dir/lower$i.fs"
        mount -o loop "$dir/lower$i.fs" "$dir/lower$i"
        head -c 1M /dev/urandom >"$dir/lower$i/disk$i"
        cp --reflink=always "$dir/lower$i/disk$i" "$dir/lower$i/copy"
    done
    if mount -t overlay overlay -o "lowerdir=$dir/lower1:$dir/lower2,xino=on" "$mnt" 2>"$dir/mount.log"; then
        compared "$mnt/disk1" "$mnt/disk2" 1048576 2097152 0
        umount "$mnt"
    else
        echo "an overlay is not tested: $(cat "$dir/mount.log")"
    fi
    umount "$dir/lower1" "$dir/lower2"
fi

if on_filesystem btrfs mkfs.btrfs -q; then
    btrfs subvolume create "$mnt/live" >/dev/null
    head -c $bytes /dev/urandom >"$mnt/live/disk"
    btrfs subvolume snapshot -r "$mnt/live" "$mnt/snapshot" >/dev/null
    change_and_compare "$mnt/snapshot/disk" "$mnt/live/disk"
    umount "$mnt"
    # Compressed blocks are not where they are said to be: they are read.
    mount -o loop,compress-force=zstd "$dir/btrfs.fs" "$mnt"
    yes | head -c $bytes >"$mnt/live/text" || :
    cp --reflink=always "$mnt/live/text" "$mnt/live/text2"
    printf x | dd of="$mnt/live/text2" bs=1 seek=100000 conv=notrunc status=none
    compared "$mnt/live/text" "$mnt/live/text2" 65536 $((2 * bytes)) 0
    umount "$mnt"
fi
[ $tested -gt 0 ] || skip "no file system that shares blocks can be mounted here"
finish
