# SPDX-License-Identifier: BSD-3-Clause
"""bench.py qemu: a bitmap moves between two storage daemons by dirtyferry, beside QEMU's own post-copy of the same bits.

QEMU's own: two machines without memory and devices, so that nothing but bitmaps is migrated, capability
`dirty-bitmaps`, `migrate-start-postcopy` at once, over loopback TCP.  "Ready" is the target's event that the migration has completed: from the STOP of the source, which is
the counterpart of our pivot, and from `migrate-start-postcopy`.  The time stamps are QEMU's, in microseconds.
"""
import os, shutil, statistics, subprocess, sys, time

TIB = 1 << 40
GRANULARITY = 65536
SIZES = (("1 TiB", TIB), ("16 TiB", 16 * TIB))
FILLS = (("random", 500), ("0.1 % dirty", 1), ("empty", 0))
ROUNDS = 9


def seconds(event):
    return event["timestamp"]["seconds"] + event["timestamp"]["microseconds"] / 1e6


class Qemu:
    """A machine or a storage daemon with the node d0; `monitor` is the benchmark's, `path` dirtyferry's."""

    def __init__(self, base, name, program, size, options=()):
        from qmp import Qmp
        self.path, own = os.path.join(base, name + ".qmp"), os.path.join(base, name + ".monitor")
        command = [program, "--blockdev", f"driver=null-co,node-name=d0,size={size},read-zeroes=on", *options]
        for i, path in enumerate((self.path, own)):
            command += ["--chardev", f"socket,id=c{i},path={path},server=on,wait=off"]
            command += ["--monitor", f"chardev=c{i}"] if "storage" in program else ["--mon", f"chardev=c{i},mode=control"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while not os.path.exists(own):
            if self.process.poll() is not None:
                raise SystemExit(f"bench: {program} does not start")
            time.sleep(0.01)
        self.monitor = Qmp(own)
        self.call = self.monitor.call

    def fill(self, carrier):
        self.call("block-dirty-bitmap-add", node="d0", name="b", granularity=GRANULARITY)
        self.call("blockdev-add", driver="qcow2", node_name="carrier", read_only=True, file={"driver": "file", "filename": carrier, "read-only": True})
        self.call("block-dirty-bitmap-merge", node="d0", target="b", bitmaps=[{"node": "carrier", "name": "x"}])
        self.call("blockdev-del", node_name="carrier")

    def hash(self):
        return self.call("x-debug-block-dirty-bitmap-sha256", node="d0", name="b")["sha256"]

    def stop(self):
        self.process.kill()
        self.process.wait()
        for path in self.path, self.path[:-3] + "monitor":
            os.unlink(path)


def own_postcopy(base, size, carrier):
    """Seconds from STOP to ready, and from migrate-start-postcopy to ready; without a carrier the bitmap is not there at all."""
    machine = ["-nodefaults", "-display", "none", "-machine", "none"]
    source, target = (Qemu(base, name, "qemu-system-x86_64", size, machine + more) for name, more in (("own-a", []), ("own-b", ["-incoming", "defer"])))
    try:
        if carrier:
            source.fill(carrier)
            before = source.hash()
        for qemu in source, target:
            qemu.call("migrate-set-capabilities", capabilities=[{"capability": c, "state": True} for c in ("events", "dirty-bitmaps")])
        source.call("migrate-set-parameters", downtime_limit=1)          # else a small bitmap goes before the pivot, in the time stopped
        target.call("migrate-incoming", uri="tcp:127.0.0.1:0")
        port = target.call("query-migrate")["socket-address"][0]["port"]
        source.call("migrate", uri=f"tcp:127.0.0.1:{port}")
        source.monitor.wait_event("MIGRATION", lambda data: data["status"] == "active")
        started = time.time()
        source.call("migrate-start-postcopy")
        stopped = seconds(source.monitor.wait_event("STOP"))
        ready = seconds(target.monitor.wait_event("MIGRATION", lambda data: data["status"] == "completed"))
        if carrier and not any(e["event"] == "MIGRATION" and e["data"]["status"] == "postcopy-active" for e in source.monitor.events):
            raise SystemExit("bench: QEMU's own migration was no post-copy")
        if carrier and target.hash() != before:
            raise SystemExit("bench: QEMU's own post-copy lost bits")
        return ready - stopped, ready - started
    finally:
        source.stop()
        target.stop()


def by_dirtyferry(pair, base, size, carrier):
    """Seconds from the beginning of the pivot to operative."""
    from_, to = (Qemu(base, name, "qemu-storage-daemon", size) for name in ("sd-a", "sd-b"))
    try:
        from_.fill(carrier)
        before = from_.hash()
        pair.n += 1
        disk = f"qemu{pair.n}"
        for daemon, storage in ((pair.a, from_), (pair.b, to)):
            daemon.call("disk-add", disk=disk, qemu=storage.path, node="d0")
        took, pivot, _ = pair.move(disk)
        if to.hash() != before:
            raise SystemExit("bench: a move between storage daemons lost bits")
        return took, pivot
    finally:
        from_.stop()
        to.stop()


def bench_qemu(pair, source, base, row):
    sys.path[:0] = (os.path.join(source, folder) for folder in ("examples", "tests"))
    import qbits, qcow2_bits
    if not shutil.which("qemu-storage-daemon") or not shutil.which("qemu-system-x86_64"):
        print("qemu: skipped: qemu-storage-daemon or qemu-system-x86_64 is not there")
        return
    carrier = os.path.join(base, "carrier")
    floor = [own_postcopy(base, TIB, None) for _ in range(ROUNDS)]
    row("qemu: QEMU's post-copy without a bitmap: start to ready, median", statistics.median(f[1] for f in floor) * 1e3, "ms")
    for size_name, size in SIZES:
        for fill_name, permille in FILLS:
            what = f"qemu: {size_name}, {fill_name}: "
            own, ours = [], []
            for seed in range(ROUNDS):
                bits = qbits.from_seed(size, GRANULARITY, seed, permille)
                qcow2_bits.write(carrier, size, GRANULARITY, "x", bits)
                own.append(own_postcopy(base, size, carrier))
                ours.append(by_dirtyferry(pair, base, size, carrier))
            row(what + "QEMU's post-copy, STOP to ready", statistics.median(o[0] for o in own) * 1e3, "ms")
            row(what + "QEMU's post-copy, start to ready", statistics.median(o[1] for o in own) * 1e3, "ms")
            row(what + "dirtyferry, pivot to operative", statistics.median(o[0] for o in ours) * 1e3, "ms")
            row(what + "dirtyferry, pivot", statistics.median(o[1] for o in ours) * 1e3, "ms")
            row(what + "dirtyferry / QEMU, median ratio", statistics.median(d[0] / q[0] for d, q in zip(ours, own)), "")
