#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# examples/embed: what it says is dirty is exactly what it wrote, in granules of 64 KiB;
# on a disk that has moved away it writes nothing.
. "${abs_top_srcdir:-.}/tests/flow-common.sh"

embed=$top_builddir/examples/embed
[ -x "$embed" ] || fail "$embed is not built"

# within SIZE OFFSET+LENGTH...: the granules that they touch, as extents clipped to the disk.
within()
{
    "$python" -c '
import sys
size, granules = int(sys.argv[1]), set()
for o, n in (map(int, a.split("+")) for a in sys.argv[2:]):
    granules.update(range(o // 65536, (o + n - 1) // 65536 + 1))
for g in sorted(granules):
    if g - 1 not in granules:
        end = next(e for e in range(g + 1, g + len(granules) + 1) if e not in granules)
        print("%d+%d" % (g * 65536, min(end * 65536, size) - g * 65536))' "$@"
}

# Edges of granules, the ragged end of the disk, one write over three granules, and 200 anywhere.
size=1000000001
writes=(0+1 131071+1 131072+65536 262143+2 400000+150000 "$((size - 1))+1")
while read -r offset length; do
    writes+=("$offset+$length")
done < <(ranges 7 "$size" 200 300000)
"$embed" --create "$size" "$dir/c" vda b0 "$dir/data" "${writes[@]}" >"$dir/printed"
within "$size" "${writes[@]}" >"$dir/expected"
cmp "$dir/expected" "$dir/printed" || fail "the dirty extents are not what was written"
expect "size of the file" "$(stat -c %s "$dir/data")" "$size"

# The bits are still there, more writes add to them.
more=(900000000+4096 777777777+1)
"$embed" "$dir/c" vda b0 "$dir/data" "${more[@]}" >"$dir/printed"
within "$size" "${writes[@]}" "${more[@]}" >"$dir/expected"
cmp "$dir/expected" "$dir/printed" || fail "the dirty extents are not those of both runs"

# Refused writes: behind the end of the disk.
! "$embed" "$dir/c" vda b0 "$dir/data" "$size+1" >"$dir/printed" 2>"$dir/stderr" || fail "a write behind the end passed"
cmp "$dir/expected" "$dir/printed" || fail "a refused write left dirty bits"
grep -qx "[^ ]*embed: write $size+1: Invalid argument" "$dir/stderr" || fail "stderr: $(cat "$dir/stderr")"

# A disk of a daemon, moved away by it: EROFS, and the file stays as it is.
start a
start b
pair vda 1G b0
"$embed" "$dir/a" vda b0 "$dir/moved" 0+4096 70000+1 >"$dir/printed"
expect "extents on the daemon's disk" "$(<"$dir/printed")" 0+131072
migrate vda/b0 >"$dir/migrated"
cp "$dir/moved" "$dir/before"
! "$embed" "$dir/a" vda b0 "$dir/moved" 8192+4096 >"$dir/printed" 2>"$dir/stderr" || fail "a fenced disk was written"
grep -q 'embed: write 8192+4096: the disk has moved to another host' "$dir/stderr" || fail "stderr: $(cat "$dir/stderr")"
cmp "$dir/before" "$dir/moved" || fail "the file of a fenced disk was written"
"$embed" "$dir/b" vda b0 "$dir/moved" 1048576+1 >"$dir/printed"
expect "extents at the target" "$(paste -sd ' ' "$dir/printed")" "0+131072 1048576+65536"

finish
