#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A guest of QEMU: writes "offset length" from stdin, and prints each that was acknowledged.  SIGTERM ends it between two.

  qguest.py nbd URI            through an NBD export
  qguest.py hmp SOCKET NODE    through a machine's own monitor, which has qemu-io in it
"""
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../examples"))


def through_nbd(uri):
    import nbd
    h = nbd.NBD()
    h.connect_uri(uri)

    def write(offset, length):
        for at in range(offset, offset + length, 1 << 25):
            h.pwrite(b"\xdf" * min(1 << 25, offset + length - at), at)
    return write


def through_monitor(path, node):
    from qmp import Qmp
    monitor = Qmp(path)

    def write(offset, length):
        said = monitor.call("human-monitor-command", command_line=f'qemu-io {node} "write {offset} {length}"')
        if said:                # what qemu-io itself says goes to the machine's stdout
            sys.exit(f"qguest: {said}")
    return write


told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(True))
write = {"nbd": through_nbd, "hmp": through_monitor}[sys.argv[1]](*sys.argv[2:])
for line in sys.stdin:
    write(*map(int, line.split()))
    print(line, end="", flush=True)
    if told:
        break
