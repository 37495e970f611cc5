#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""qcow2_bits.py FILE SIZE GRANULARITY NAME PATTERN: a qcow2 image without data that has one bitmap.

PATTERN is `empty`, `alternate` (every other bit), or `SEED:PERCENT` (random).
Prints the SHA-256 of the bits as QEMU's x-debug-block-dirty-bitmap-sha256 does.
The layout is that of QEMU's docs/interop/qcow2.
"""
import hashlib, random, struct, sys

CLUSTER = 65536


def bits_of(pattern, nbits):
    """Little-endian, padded with zeroes to 8 bytes."""
    if pattern == "empty":
        value = bytes((nbits + 7) // 8)
    elif pattern == "alternate":
        value = b"\x55" * ((nbits + 7) // 8)
    else:
        seed, percent = map(int, pattern.split(":"))
        r = random.Random(seed)
        # Stretches of several lengths: single bits, and runs beyond a word and beyond a cluster.
        pieces, at = [], 0
        while at < nbits:
            n = min(r.choice((1, 1, 2, 7, 64, 100, 3000)), nbits - at)
            pieces.append(("1" if r.randrange(100) < percent else "0") * n)
            at += n
        value = int("".join(pieces)[::-1], 2).to_bytes((nbits + 7) // 8, "little")
    spare = len(value) * 8 - nbits
    value = bytearray(value)
    value[-1] &= 0xFF >> spare
    return bytes(value) + bytes(-len(value) % 8)


def write(path, size, granularity, name, bits):
    name = name.encode()
    data = [bits[i:i + CLUSTER] for i in range(0, len(bits), CLUSTER)]
    l1_entries = -(-size // (CLUSTER * CLUSTER // 8))
    clusters = lambda nbytes: -(-nbytes // CLUSTER)
    directory = struct.pack(">QIIBBHI", 0, len(data), 2, 1, granularity.bit_length() - 1, len(name), 0) + name
    directory += bytes(-len(directory) % 8)
    # One after the other: header, refcounts, L1, directory, bitmap table, data.
    at, where = 1, {}
    for what, n in (("reftable", 1), ("refblock", 1), ("l1", clusters(l1_entries * 8)), ("directory", 1), ("table", clusters(len(data) * 8))):
        where[what] = at * CLUSTER
        at += n
    entries = []
    for d in data:
        is_clean = d.count(0) == len(d)
        entries.append(0 if is_clean else at * CLUSTER)
        at += not is_clean
    assert at <= CLUSTER // 2, "one refcount block"
    directory = struct.pack(">Q", where["table"]) + directory[8:]
    header = struct.pack(">4sIQIIQIIQQIIQQQQII", b"QFI\xfb", 3, 0, 0, 16, size, 0, l1_entries, where["l1"], where["reftable"], 1, 0, 0, 0, 0, 1, 4, 104)
    header += struct.pack(">IIIIQQII", 0x23852875, 24, 1, 0, len(directory), where["directory"], 0, 0)
    with open(path, "wb") as f:
        f.truncate(at * CLUSTER)
        parts = [(0, header), (where["reftable"], struct.pack(">Q", where["refblock"])), (where["refblock"], struct.pack(">H", 1) * at),
                 (where["directory"], directory), (where["table"], b"".join(struct.pack(">Q", e) for e in entries))]
        for offset, what in parts + [(e, d) for e, d in zip(entries, data) if e]:
            f.seek(offset)
            f.write(what)


if __name__ == "__main__":
    path, size, granularity, name, pattern = sys.argv[1:]
    size, granularity = int(size), int(granularity)
    bits = bits_of(pattern, -(-size // granularity))
    write(path, size, granularity, name, bits)
    print(hashlib.sha256(bits).hexdigest())
