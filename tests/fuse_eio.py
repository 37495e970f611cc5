#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""fuse_eio.py MOUNT-POINT FILE OFFSET [direct]: one file, `disk`, with the bytes of FILE, whose page at OFFSET cannot be read.

As a disk with a bad sector: through the page cache, so mappings of it fault.  `direct`: it cannot be mapped at all.
Speaks to the kernel itself (/dev/fuse); prints a line when it is mounted, ends when it is unmounted.
"""
import ctypes
import errno
import os
import stat
import struct
import sys

LOOKUP, GETATTR, OPEN, READ, INIT = 1, 3, 14, 15, 26
OPENDIR, RELEASE, RELEASEDIR, FLUSH, FORGET, BATCH_FORGET = 27, 18, 29, 25, 2, 42
ROOT, DISK = 1, 2
DIRECT_IO = 1
PAGE = 4096

mount_point, path, bad = sys.argv[1], sys.argv[2], int(sys.argv[3])
flags = DIRECT_IO if "direct" in sys.argv[4:] else 0
data = os.open(path, os.O_RDONLY)
size = os.fstat(data).st_size


def attributes(inode):
    mode, length = (stat.S_IFDIR | 0o755, 0) if inode == ROOT else (stat.S_IFREG | 0o644, size)
    return struct.pack("<6Q10I", inode, length, (length + 511) // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, PAGE, 0)


def answer(operation, inode, body):
    """Bytes, or an errno."""
    if operation == INIT:
        return struct.pack("<4I2H2I", 7, 31, 131072, 0, 12, 8, 131072, 1).ljust(64, b"\0")
    if operation == LOOKUP:
        return struct.pack("<4Q2I", DISK, 0, 1, 1, 0, 0) + attributes(DISK) if body.rstrip(b"\0") == b"disk" else errno.ENOENT
    if operation == GETATTR:
        return struct.pack("<Q2I", 1, 0, 0) + attributes(inode)
    if operation in (OPEN, OPENDIR):
        return struct.pack("<Q2I", 1, flags if operation == OPEN else 0, 0)
    if operation == READ:
        _, offset, length = struct.unpack_from("<QQI", body)
        return errno.EIO if offset < bad + PAGE and offset + length > bad else os.pread(data, length, offset)
    return b"" if operation in (RELEASE, RELEASEDIR, FLUSH) else errno.ENOSYS


fuse = os.open("/dev/fuse", os.O_RDWR)
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"fuse_eio", mount_point.encode(), b"fuse", 0, f"fd={fuse},rootmode=40000,user_id=0,group_id=0,max_read=131072".encode()):
    sys.exit(os.strerror(ctypes.get_errno()))
print("mounted", flush=True)
while True:
    try:
        request = os.read(fuse, 1 << 20)
    except OSError as e:
        if e.errno == errno.ENODEV:
            break
        if e.errno in (errno.EINTR, errno.ENOENT):
            continue
        raise
    _, operation, unique, inode = struct.unpack_from("<IIQQ", request)
    if operation in (FORGET, BATCH_FORGET):
        continue
    result = answer(operation, inode, request[40:])
    error, body = (-result, b"") if isinstance(result, int) else (0, result)
    os.write(fuse, struct.pack("<IiQ", 16 + len(body), error, unique) + body)
