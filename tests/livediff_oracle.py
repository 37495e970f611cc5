#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What a bitmap must hold after `bitmap diff`: livediff_oracle.py OLD NEW GRANULARITY [OFFSET LENGTH]...

Bytes that differ, or that only one file has, and the marks; prints count and
SHA-256 as `bitmap show` does.
"""
import hashlib
import sys

old, new = (open(name, "rb").read() for name in sys.argv[1:3])
granularity = int(sys.argv[3])
marks = [int(text) for text in sys.argv[4:]]
nbits = -(-len(new) // granularity)
dirty = set()
for i in range(nbits):
    end = (i + 1) * granularity
    goes_on = len(new) < end and old[len(new):end]      # the old one, within the last cluster
    if new[i * granularity:end] != old[i * granularity:min(end, len(new))] or goes_on:
        dirty.add(i)
for offset, length in zip(marks[::2], marks[1::2]):
    dirty.update(range(offset // granularity, (offset + length - 1) // granularity + 1))
bits = bytearray(-(-nbits // 64) * 8)
for i in dirty:
    bits[i // 8] |= 1 << i % 8
print(len(dirty) * granularity, hashlib.sha256(bits).hexdigest())
