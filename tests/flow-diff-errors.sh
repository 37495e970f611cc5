#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A disk with a bad sector, of a file system that is made of one file (fuse_eio.py): `diff` sees it through a mapping, and
# ends with its place, or counts one cluster as different; it never hangs.  And a file that cannot be mapped.
[ "$(id -u)" -eq 0 ] || { echo "skipped: only root can mount a file system"; exit 77; }
[ -c /dev/fuse ] || { echo "skipped: there is no /dev/fuse"; exit 77; }
if [ -z "${DF_OWN_MOUNTS:-}" ]; then
    unshare --mount --propagation private true 2>/dev/null || { echo "skipped: no mount namespace can be made here"; exit 77; }
    DF_OWN_MOUNTS=1 exec unshare --mount --propagation private bash "$0" "$@"
fi
. "$(dirname "$0")/flow-common.sh"
bad=$((5 * 1048576 + 8192))        # the third page of a cluster
at_exit() { umount "$dir/mnt" 2>/dev/null; }

# served [direct]: $disk is the file with the bad page
served()
{
    disk=$dir/mnt/disk
    rm -f "$dir/mounted"
    mkfifo "$dir/mounted"
    "$python" "$top_srcdir/tests/fuse_eio.py" "$dir/mnt" "$dir/sound" $bad "$@" >"$dir/mounted" 2>"$dir/fuse.log" </dev/null &
    server=$!
    local line=
    read -r line <"$dir/mounted" || skip "a FUSE cannot be mounted here: $(cat "$dir/fuse.log")"
}

served_no_more()
{
    umount "$dir/mnt"
    wait $server || fail "the file system ends with $?"
}

mkdir "$dir/mnt"
head -c 20M /dev/urandom >"$dir/sound"
for kind in "" direct; do
    # shellcheck disable=SC2086
    served $kind
    for pair in "$disk $dir/sound" "$dir/sound $disk"; do
        # shellcheck disable=SC2086
        refuse 1 "cannot read '$disk' at offset ($((bad - 8192))|$bad): Input/output error" -- timeout 30 "$dirtyferry" diff $pair
        # shellcheck disable=SC2086
        out=$(timeout 30 "$dirtyferry" --json diff $pair --on-error dirty --granularity 4K 2>"$dir/err")
        expect "what differs" "$(field different "$out") $(field unread "$out")" "4096 4096"
        expect "the sentence" "$(cat "$dir/err")" \
            "dirtyferry: 4096 bytes could not be read and count as different; the first of them: cannot read '$disk' at offset $bad: Input/output error"
    done
    served_no_more
done
finish
