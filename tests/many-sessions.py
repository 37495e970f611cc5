#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""many-sessions.py DIRTYFERRYD N: N moves between two daemons, one after the other;
every eighth is cancelled, every eighth rolled back.

Fails if a daemon has more descriptors or threads at the end than after the first
part, if its memory has grown by more than 4 MiB, or if it has left files behind.
"""
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import uuid

import msgpack
import zmq

WARM = 300      # more than the daemons remember of ended sessions


class Daemon:
    def __init__(self, program, base, name, context):
        self.state = os.path.join(base, name)
        ends = [f"ipc://{base}/{name}.{what}" for what in ("control", "data", "events")]
        self.log = open(os.path.join(base, name + ".log"), "w")
        self.process = subprocess.Popen([program, "--state-dir", self.state, "--control", ends[0], "--data", ends[1], "--events", ends[2]],
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)
        if not self.process.stdout.readline().startswith("ready "):
            sys.exit(f"daemon {name} does not start")
        self.control = ends[0]
        self.socket = context.socket(zmq.REQ)
        self.socket.connect(self.control)

    def call(self, kind, **fields):
        self.socket.send(msgpack.packb({"v": 1, "type": kind, "id": random.getrandbits(63), **fields}))
        reply = msgpack.unpackb(self.socket.recv())
        if "error" in reply:
            sys.exit(f"{kind}: {reply['error']['message']}")
        return reply

    def wait(self, session, role, state):
        while True:
            status = self.call("wait", session=session, role=role, state=state, timeout_ms=5000)["status"]
            if status["state"] == state:
                return

    def usage(self):
        proc = f"/proc/{self.process.pid}"
        with open(proc + "/status") as status:
            rss = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
        # The daemon is not dumpable: only root may look at its descriptors.
        fds = len(os.listdir(proc + "/fd")) if os.access(proc + "/fd", os.R_OK) else "not counted"
        return fds, len(os.listdir(proc + "/task")), rss

    def stop(self):
        self.process.terminate()
        if self.process.wait() != 0:
            sys.exit(f"the daemon ended with status {self.process.returncode}")


def one(a, b, i):
    session = str(uuid.uuid4())
    both = {"session": session}
    a.call("bitmap-add", disk="d", bitmap="b", granularity=65536)
    a.call("bitmap-mark", disk="d", offset=(i * 77777) % (1 << 29), length=1000)
    a.call("prepare", **both, target=b.control, bitmaps=[{"disk": "d", "bitmap": "b"}])
    if i % 8 == 1:
        a.call("cancel", **both, role="source")
        a.call("bitmap-remove", disk="d", bitmap="b")
        return
    a.call("pivot", **both, role="source")
    if i % 8 == 2:
        a.call("rollback", **both, role="source")
        a.call("bitmap-remove", disk="d", bitmap="b")
        return
    b.call("pivot", **both, role="target")
    b.wait(session, "target", "operative")
    a.wait(session, "source", "released")
    a.call("disk-writable", disk="d")
    b.call("bitmap-remove", disk="d", bitmap="b")


def settled(daemon):
    """Threads of ended sessions go within moments."""
    deadline = time.monotonic() + 20
    while daemon.usage()[1] > daemon.threads and time.monotonic() < deadline:
        time.sleep(0.05)
    return daemon.usage()


def main():
    program, n = sys.argv[1], int(sys.argv[2])
    base = tempfile.mkdtemp(prefix="dirtyferry-sessions-")
    context = zmq.Context()
    try:
        a, b = Daemon(program, base, "a", context), Daemon(program, base, "b", context)
        for daemon in (a, b):
            daemon.threads = daemon.usage()[1]
            daemon.call("disk-add", disk="d", size=1 << 30)
        for i in range(WARM):
            one(a, b, i)
        before = [settled(daemon) for daemon in (a, b)]
        for i in range(WARM, n):
            one(a, b, i)
        after = [settled(daemon) for daemon in (a, b)]
        files = [sum(len(names) for _, _, names in os.walk(daemon.state)) for daemon in (a, b)]
        print(f"after {WARM} sessions (descriptors, threads, KiB): {before}; after {n}: {after}; files: {files}")
        for (fds, threads, rss), (fds_now, threads_now, rss_now) in zip(before, after):
            if (fds_now != "not counted" and fds_now > fds) or threads_now > threads or rss_now > rss + 4096:
                sys.exit("a daemon leaks")
        if max(files) > 2 * 256 + 8:
            sys.exit("a daemon leaves files behind")
        a.stop()
        b.stop()
    finally:
        for daemon in (locals().get("a"), locals().get("b")):
            if daemon and daemon.process.poll() is None:
                daemon.process.kill()
                daemon.process.wait()
        shutil.rmtree(base)


if __name__ == "__main__":
    main()
