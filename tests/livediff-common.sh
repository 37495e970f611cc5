# SPDX-License-Identifier: BSD-3-Clause
# Sourced by tests/*-livediff*.sh after flow-common.sh: a disk of random data with its
# backup, a command line that can be held (slow-reads.c), what must come out.
# $size may be set before.

slow=$top_builddir/tests/dirtyferry-slow
MiB=1048576
size=${size:-$((16 * MiB))}

# images SEED: $dir/old, and $dir/new with some changes.
images()
{
    "$python" - "$dir" "$size" "$1" <<'PYTHON'
import random, sys
directory, size, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
r = random.Random(seed)
data = bytearray(r.randbytes(size))
open(directory + "/old", "wb").write(data)
for _ in range(40):
    at = r.randrange(size)
    data[at] ^= 1 + r.randrange(255)
open(directory + "/new", "wb").write(data)
PYTHON
}

# guest OFFSET LENGTH: a write of the guest, recorded before it is done.  $marks has them all.
marks=()
guest()
{
    a bitmap mark vda "$1" "$2"
    head -c "$2" /dev/urandom | dd of="$dir/new" bs=4096 seek="$1" oflag=seek_bytes conv=notrunc status=none
    marks+=("$1" "$2")
}

# check_bits WHAT: bitmap daily of disk vda has what differs, and the marks.
check_bits()
{
    local granularity
    granularity=$(field granularity "$(a --json bitmap show vda daily)")
    expect "$1" "$(bits a vda daily)" "$("$python" "$top_srcdir/tests/livediff_oracle.py" "$dir/old" "$dir/new" "$granularity" "${marks[@]}")"
}

# held OFFSET [OPTION]...: `bitmap diff` in the background that stops at OFFSET until `go`; $held is its pid.
held()
{
    local at=$1
    shift
    exec 9>&-
    rm -f "$dir/hold"
    mkfifo "$dir/hold"
    DF_SLOW_US=${slow_us:-30000} DF_HOLD=$at:$dir/hold "$slow" -c "${control[a]}" --json bitmap diff vda daily --against "$dir/old" "$@" </dev/null >"$dir/held.out" 2>"$dir/held.err" &
    held=$!
}

# Also for reads that come later.
go()
{
    exec 9<>"$dir/hold"
}

# join STATUS: the end of what was held.
join()
{
    local status=0
    wait "$held" || status=$?
    [ "$status" = "$1" ] || fail "the held command ends with $status, expected $1: $(cat "$dir/held.err")"
}

# How far the comparison is; empty: there is none.
position()
{
    "$dirtyferry" -c "${control[a]}" bitmap diff vda daily --against "$dir/other" 2>&1 >/dev/null | sed -n 's/.*(\([0-9]*\) of [0-9]* bytes).*/\1/p' || :
}

has_begun()
{
    [ "$(field busy "$(a --json bitmap show vda daily)")" = true ]
}

# Something is reported, and not all.
is_on_its_way()
{
    local at
    has_begun || return 1
    at=$(position)
    [ -n "$at" ] && [ "$at" -gt 0 ] && [ "$at" -lt "$size" ]
}

truncate -s "$size" "$dir/other"
