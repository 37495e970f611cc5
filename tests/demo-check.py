#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What tests/demo.sh cannot check with cmp.  The last line of each check is 'yes' or 'NO'.

    demo-check.py bits DIRTY SOURCE-BITS IOLOG GRANULARITY
        DIRTY is exactly what SOURCE-BITS says or what fio wrote to the target.
    demo-check.py disk SOURCE-DISK TARGET-DISK IOLOG
        Where fio wrote nothing to the target, both disks are equal.

DIRTY and SOURCE-BITS are JSON maps of 'dirtyferry bitmap export', IOLOG is what
fio --write_iolog says that it wrote: it owes nothing to dirtyferry.
"""
import json
import sys


def blocks(extents, granularity):
    out = set()
    for start, length in extents:
        out.update(range(start // granularity, (start + length - 1) // granularity + 1))
    return out


def dirty(path):
    with open(path, encoding="utf-8") as f:
        return [(e["start"], e["length"]) for e in json.load(f) if e["dirty"]]


def writes(path):
    """Lines are [TIME] FILE write OFFSET LENGTH."""
    out = []
    with open(path, encoding="utf-8") as f:
        for line in f:
            words = line.split()
            if "write" in words:
                offset, length = words[words.index("write") + 1:][:2]
                out.append((int(offset), int(length)))
    return out


def check_bits(dirty_map, source_map, iolog, granularity):
    granularity = int(granularity)
    have, source = (blocks(dirty(m), granularity) for m in (dirty_map, source_map))
    written = blocks(writes(iolog), granularity)
    missing, extra = (source | written) - have, have - (source | written)
    print(f"  dirty blocks of {granularity} bytes: {len(source)} on the source at the pivot, {len(written)} written on the target, "
          f"{len(have)} in the bitmap; {len(missing)} are missing, {len(extra)} too many")
    return not missing and not extra and bool(source) and bool(written)


def clean_stretches(extents, size):
    at = 0
    for start, length in sorted(extents):
        if at < start:
            yield at, start
        at = max(at, start + length)
    if at < size:
        yield at, size


def check_disk(source, target, iolog):
    different = 0
    with open(source, "rb") as a, open(target, "rb") as b:
        size = a.seek(0, 2)
        if b.seek(0, 2) != size:
            return False
        for start, end in clean_stretches(writes(iolog), size):
            for at in range(start, end, 1 << 20):
                n = min(1 << 20, end - at)
                a.seek(at)
                b.seek(at)
                different += n if a.read(n) != b.read(n) else 0
    if different:
        print(f"  they differ within {different} bytes")
    return not different


good = {"bits": check_bits, "disk": check_disk}[sys.argv[1]](*sys.argv[2:])
print("yes" if good else "NO")
sys.exit(0 if good else 1)
