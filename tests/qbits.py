#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Bitmaps as QEMU has them, naively: files of raw little-endian bits, and the qcow2 that carries them into QEMU.

  qbits.py ranges SIZE GRANULARITY <RANGES >RAW          the bits that these "offset length" lines dirty
  qbits.py random SIZE GRANULARITY SEED [PERMILLE] >RAW  500 unless said
  qbits.py scale SIZE FROM TO RAW >RAW                   the same at another granularity, rounded outwards
  qbits.py sha256 RAW...                                 x-debug-block-dirty-bitmap-sha256 of all of them merged
  qbits.py carrier FILE SIZE NAME GRANULARITY RAW...     a qcow2 image with one bitmap
"""
import hashlib
import random
import sys

import qcow2_bits


def nbits(size, granularity):
    return -(-size // granularity)


def nbytes(size, granularity):
    """QEMU hashes and stores whole 64-bit words."""
    return -(-nbits(size, granularity) // 64) * 8


def from_ranges(size, granularity, lines):
    raw = bytearray(nbytes(size, granularity))
    for line in lines:
        offset, length = map(int, line.split()[:2])
        for bit in range(offset // granularity, (offset + length - 1) // granularity + 1):
            raw[bit // 8] |= 1 << bit % 8
    return bytes(raw)


def from_seed(size, granularity, seed, permille=500):
    r = random.Random(seed)
    n = nbits(size, granularity)
    if permille == 500:
        raw = bytearray(r.randbytes(nbytes(size, granularity)))
        if n % 8:
            raw[n // 8] &= (1 << n % 8) - 1
        raw[-(-n // 8):] = bytes(len(raw) - -(-n // 8))
        return bytes(raw)
    raw = bytearray(nbytes(size, granularity))
    for bit in r.sample(range(n), n * permille // 1000):
        raw[bit // 8] |= 1 << bit % 8
    return bytes(raw)


def scaled(size, old, new, raw):
    return from_ranges(size, new, (f"{bit * old} {min(old, size - bit * old)}" for bit in range(nbits(size, old)) if raw[bit // 8] >> bit % 8 & 1))


def merged(raws):
    if len(raws) == 1:
        return raws[0]
    total = 0
    for raw in raws:
        total |= int.from_bytes(raw, "little")
    return total.to_bytes(max(map(len, raws)), "little")


def sha256(raws):
    raw = merged(raws)
    return hashlib.sha256(raw + bytes(-len(raw) % 8)).hexdigest()


def read(path):
    with open(path, "rb") as f:
        return f.read()


def main(command, *arguments):
    if command == "ranges":
        sys.stdout.buffer.write(from_ranges(*map(int, arguments), sys.stdin))
    elif command == "random":
        sys.stdout.buffer.write(from_seed(*map(int, arguments)))
    elif command == "scale":
        size, old, new = map(int, arguments[:3])
        sys.stdout.buffer.write(scaled(size, old, new, read(arguments[3])))
    elif command == "sha256":
        print(sha256([read(path) for path in arguments]))
    elif command == "carrier":
        path, size, name, granularity, *raws = arguments
        qcow2_bits.write(path, int(size), int(granularity), name, merged([read(raw) for raw in raws]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
