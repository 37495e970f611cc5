#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""attack_still.py PID: its first thread stands still, all others run, until stdin ends.  Prints "ready".

For a daemon whose control thread waits for a page, or is not scheduled, while peers go on.  Ends with 77 where ptrace is
not permitted.
"""
import ctypes
import os
import sys

SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000


def main():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p
    pid = int(sys.argv[1])
    if libc.ptrace(SEIZE, pid, None, None) < 0:
        print(f"cannot hold process {pid}: {os.strerror(ctypes.get_errno())}")
        return 77
    libc.ptrace(INTERRUPT, pid, None, None)
    os.waitpid(pid, WALL)
    print("ready", flush=True)
    sys.stdin.read()
    libc.ptrace(DETACH, pid, None, None)
    return 0


sys.exit(main())
