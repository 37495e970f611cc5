#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""make bench: every figure that the README and the issues claim, in one run.

Machines are noisy, so what matters are ratios of things measured right after
each other, medians, and counts of bytes.  Prints a table and, with --json FILE,
the same as JSON.  The goals stand beside the figures; nothing fails.

State directories are in /dev/shm where there is one: the engine is measured,
not the disk.
"""
import argparse, json, os, random, re, shutil, statistics, subprocess, sys, tempfile, time, uuid
import msgpack, zmq
from bench_diff import bench_diff
from bench_qemu import bench_qemu

TIB = 1 << 40
ROWS = []


def row(name, value, unit, goal=""):
    ROWS.append({"name": name, "value": value, "unit": unit, "goal": goal})
    text = f"{value:.3f}" if isinstance(value, float) and value < 10 else f"{value:.1f}" if isinstance(value, float) else str(value)
    print(f"{name:<58} {text:>12} {unit:<10} {goal}", flush=True)


class Keys:
    """A key pair for each daemon, the benchmark and an attacker who is a peer; all are allowed everywhere."""

    def __init__(self, build, base):
        self.files, self.allow = os.path.join(base, "keys"), os.path.join(base, "allow")
        for path in self.files, self.allow:
            os.mkdir(path, 0o700)
        for name, role in ("a", "peer"), ("b", "peer"), ("bench", "orchestrator"), ("mallory", "peer"):
            subprocess.check_call([os.path.join(build, "dirtyferry"), "keygen", self.file(name), "--role", role], stdout=subprocess.DEVNULL)
            shutil.copy(self.file(name), self.allow)

    def file(self, name):
        return os.path.join(self.files, name)

    def of(self, name, which="public"):
        with open(self.file(name) + "_secret", encoding="ascii") as f:
            return re.search(which + r'-key *= *"(.{40})"', f.read()).group(1)


class Daemon:
    def __init__(self, build, base, name, context, keys=None):
        self.state = os.path.join(base, name)
        self.key = keys and keys.of(name)
        self.process = subprocess.Popen(
            [os.path.join(build, "dirtyferryd"), "--state-dir", self.state, "--control", "tcp://127.0.0.1:*",
             "--data", "tcp://127.0.0.1:*", "--events", "tcp://127.0.0.1:*"] +
            (["--key", keys.file(name) + "_secret", "--allow", keys.allow] if keys else []),
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.control, self.data = (word.split("=", 1)[1] for word in self.process.stdout.readline().split()[1:3])
        self.socket = context.socket(zmq.REQ)
        if keys:
            self.socket.curve_serverkey = self.key.encode()
            self.socket.curve_publickey, self.socket.curve_secretkey = (keys.of("bench", which).encode() for which in ("public", "secret"))
        self.socket.connect(self.control)

    def call(self, type_, **fields):
        self.socket.send(msgpack.packb({"v": 1, "type": type_, "id": random.getrandbits(63), **fields}))
        reply = msgpack.unpackb(self.socket.recv())
        if "error" in reply:
            raise SystemExit(f"bench: {type_}: {reply['error']['message']}")
        return reply

    def rss(self):
        with open(f"/proc/{self.process.pid}/status") as f:
            fields = dict(line.split(":", 1) for line in f)
        return sum(int(fields[k].split()[0]) for k in ("RssAnon", "RssShmem", "RssFile")) * 1024

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Pair:
    """Two daemons, and moves between them."""

    def __init__(self, build, base, keys=None):
        self.build, self.context = build, zmq.Context()
        self.a, self.b = Daemon(build, base, "a", self.context, keys), Daemon(build, base, "b", self.context, keys)
        self.n = 0

    def add(self, size, granularity, fill=None):
        self.n += 1
        disk = f"disk{self.n}"
        for d in (self.a, self.b):
            d.call("disk-add", disk=disk, size=size)
        self.a.call("bitmap-add", disk=disk, bitmap="b", granularity=granularity)
        set_bits = 0
        if fill:
            set_bits = int(subprocess.check_output([os.path.join(self.build, "bench/bench-fill"), self.a.state, disk, "b", fill]))
        return disk, set_bits

    def prepare(self, disk, **fields):
        session = str(uuid.uuid4())
        if self.b.key:
            fields["target_key"] = self.b.key
        self.a.call("prepare", session=session, target=self.b.control, bitmaps=[{"disk": disk, "bitmap": "b"}], **fields)
        return session

    def pivot(self, session):
        start = time.perf_counter()
        self.a.call("pivot", session=session, role="source")
        self.b.call("pivot", session=session, role="target")
        return time.perf_counter() - start

    def finish(self, session):
        while self.b.call("wait", session=session, role="target", state="operative", timeout_ms=10000)["status"]["state"] != "operative":
            pass

    def move(self, disk, **fields):
        """Seconds from the beginning of the pivot to operative, seconds of the pivot, the target's status."""
        session = self.prepare(disk, **fields)
        start = time.perf_counter()
        pivot = self.pivot(session)
        self.finish(session)
        seconds = time.perf_counter() - start
        self.a.call("wait", session=session, role="source", state="released", timeout_ms=10000)
        status = self.b.call("status", session=session)["sessions"][0]
        for d in (self.a, self.b):
            d.call("disk-remove", disk=disk)
        return seconds, pivot, status

    def stop(self):
        self.a.stop()
        self.b.stop()


def bench_record(build):
    goals = {"write_pair_bits_set": "<= 25", "write_pair_scaling_2_threads": "> 1"}
    for line in subprocess.check_output([os.path.join(build, "bench/bench-record")], text=True).splitlines():
        name, value, unit = line.split(None, 2)
        row("record: " + name, float(value), unit, goals.get(name, ""))


def bench_fio(build, source):
    r = subprocess.run(["bash", os.path.join(source, "bench/bench-fio.sh")], text=True, stdout=subprocess.PIPE,
                       env=dict(os.environ, abs_top_builddir=build, abs_top_srcdir=source))
    for line in r.stdout.splitlines():
        parts = line.split(None, 2)
        if len(parts) == 3:
            row("fio: " + parts[0], float(parts[1]), parts[2], ">= 0.97" if parts[0] in ("ratio_idle", "ratio_recording") else "")


def bench_prepare(pair):
    times, growth = [], []
    for _ in range(9):
        disk, _ = pair.add(1 << 50, 65536)
        before = pair.a.rss(), pair.b.rss()
        start = time.perf_counter()
        session = pair.prepare(disk)
        times.append((time.perf_counter() - start) * 1e3)
        growth.append(max(pair.a.rss() - before[0], pair.b.rss() - before[1]) / (1 << 20))
        pair.a.call("cancel", session=session, role="source")
    row("prepare: 1 PiB at 64K, median", statistics.median(times), "ms", "< 10")
    row("prepare: resident growth of either side, most", max(growth), "MiB", "< 4")


def bench_pivot(pair):
    for name, size in (("1 TiB", TIB), ("1 PiB", 1 << 50)):
        times = []
        for _ in range(25):
            disk, _ = pair.add(size, 65536)
            times.append(pair.move(disk)[1] * 1e3)
        row(f"pivot: {name} at 64K, both sides, median", statistics.median(times), "ms", "< 1")


def bench_stream(pair, build):
    """Workers and the bare pair in turns, so that the machine's drift meets all of them."""
    nbytes = 4 * TIB // 4096 // 8
    for chunk, size in ((1024, "1 KiB"), (65536, "64 KiB")):
        bare = lambda: float(subprocess.check_output([os.path.join(build, "bench/bench-zmq"), str(chunk + 12), str(nbytes // chunk)]))
        rates, bares, envelope = {1: [], 2: []}, [], 0
        for _ in range(9):
            bares.append(bare())
            for workers in rates:
                disk, _ = pair.add(4 * TIB, 4096, "half")
                seconds, _, status = pair.move(disk, chunk_size=chunk, workers=workers)
                rates[workers].append(status["bytes"] / seconds / 1e6)
                envelope = max(envelope, (status["bytes"] - nbytes) / status["frames"])
        row(f"stream: {size}: bare PUSH/PULL, messages of that size", statistics.median(bares), "MB/s")
        for workers, values in rates.items():
            ratios = sorted(r / b for r, b in zip(values, bares))
            row(f"stream: {size}, {workers} worker(s), 128 MiB random", statistics.median(values), "MB/s")
            row(f"stream: {size}, {workers} worker(s): ratio, median of 9 ({ratios[0]:.2f} to {ratios[-1]:.2f})", statistics.median(ratios), "", ">= 0.8")
        row(f"stream: {size}: envelope of a frame, mean", envelope, "bytes", "<= 20")


def bench_sparse(pair):
    for name, fill, goal in (("0.1 % dirty", "1", "< 40"), ("empty", None, "< 10")):
        times, sent, set_bits = [], 0, 0
        for _ in range(7):
            disk, set_bits = pair.add(16 * TIB, 65536, fill)
            seconds, _, status = pair.move(disk)
            times.append(seconds * 1e3)
            sent = max(sent, status["bytes"])
        row(f"16 TiB at 64K, {name}: pivot to operative, median", statistics.median(times), "ms", goal)
        if fill:
            row(f"16 TiB at 64K, {name}: data bytes / (2 * set bits)", sent / (2 * set_bits), "", "<= 1.2")
        else:
            row(f"16 TiB at 64K, {name}: data bytes", sent, "bytes", "<= 200")


def keyed_pair(build, base, name):
    base = os.path.join(base, name)
    os.mkdir(base)
    keys = Keys(build, base)
    return Pair(build, base, keys), keys


def bench_curve(pair, build, base):
    """Plain and CURVE in turns.  `bare` is bench-zmq, `stream` a whole move."""
    keyed, _ = keyed_pair(build, base, "curve")
    nbytes = 2 * TIB // 4096 // 8
    try:
        for chunk, size in ((1024, "1 KiB"), (65536, "64 KiB")):
            rates = {}
            for _ in range(5):
                for how in [], ["curve"]:
                    out = subprocess.check_output([os.path.join(build, "bench/bench-zmq"), str(chunk + 12), str(nbytes // chunk), *how])
                    rates.setdefault(("bare PUSH/PULL", bool(how)), []).append(float(out))
                for moved in pair, keyed:
                    disk, _ = moved.add(2 * TIB, 4096, "half")
                    seconds, _, status = moved.move(disk, chunk_size=chunk)
                    rates.setdefault(("stream", moved is keyed), []).append(status["bytes"] / seconds / 1e6)
            for what in "bare PUSH/PULL", "stream":
                plain, curve = (statistics.median(rates[what, how]) for how in (False, True))
                row(f"curve: {size}: {what}, plain", plain, "MB/s")
                row(f"curve: {size}: {what}, CURVE", curve, "MB/s")
                row(f"curve: {size}: {what}: CURVE / plain", statistics.median(c / p for c, p in zip(rates[what, True], rates[what, False])), "")
    finally:
        keyed.stop()


def bench_attack(build, source, base):
    """Both pivots of 1 TiB while an allowed peer, or anybody, attacks the target."""
    keyed, keys = keyed_pair(build, base, "attack")
    mallory = ["--key", keys.file("mallory") + "_secret", "--server", keys.file("b")]
    tool = lambda name, *arguments: ["/usr/bin/python3", os.path.join(source, "tests", name), *mallory, *arguments]
    attacks = (("quiet", None),
               ("a flood of frames", tool("attack_messages.py", "flood", keyed.b.data, "data")),
               ("a flood of requests", tool("attack_messages.py", "flood", keyed.b.control, "heartbeat")),
               ("1000 stalled handshakes", tool("attack_zmtp.py", "hold", keyed.b.control, "1000", "--stage", "hello")),
               ("multipart without an end", tool("attack_zmtp.py", "endlessly", keyed.b.data)))
    try:
        for name, command in attacks:
            sessions = [keyed.prepare(keyed.add(TIB, 65536)[0]) for _ in range(25)]
            attack = command and subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ, abs_top_srcdir=source))
            if attack:
                attack.stdout.readline()
            times = [keyed.pivot(session) * 1e3 for session in sessions]
            if attack:
                attack.communicate()
            for session in sessions:
                keyed.finish(session)
            row(f"attack: pivot, {name}, median", statistics.median(times), "ms")
            row(f"attack: pivot, {name}, slowest of 25", max(times), "ms")
    finally:
        keyed.stop()


def bench_nbd(build, source, base):
    """Ours beside nbdinfo, in turns, on bitmaps that qemu-nbd exports."""
    for name, size, granularity, pattern, runs, goal in (("8 Mi extents", TIB, 65536, "alternate", 3, ">= 2"), ("16 TiB, empty", 16 * TIB, 65536, "empty", 25, "")):
        image, sock, pid = (os.path.join(base, f"nbd-{pattern}.{kind}") for kind in ("qcow2", "sock", "pid"))
        subprocess.check_output(["/usr/bin/python3", os.path.join(source, "tests/qcow2_bits.py"), image, str(size), str(granularity), "b", pattern])
        server = subprocess.Popen(["qemu-nbd", "-r", "-t", "-B", "b", "-k", sock, "--pid-file=" + pid, image])
        try:
            while not os.path.exists(pid):
                time.sleep(0.01)
            uri, context = "nbd+unix:///?socket=" + sock, "qemu:dirty-bitmap:b"
            commands = {"ours": [os.path.join(build, "bench/bench-nbd"), uri, context, str(granularity.bit_length() - 1)],
                        "nbdinfo --map": ["nbdinfo", "--map=" + context, uri],
                        "nbdinfo --map --totals": ["nbdinfo", "--map=" + context, "--totals", uri]}
            times = {what: [] for what in commands}
            for _ in range(runs):
                for what, command in commands.items():
                    start = time.perf_counter()
                    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                    times[what].append(time.perf_counter() - start)
        finally:
            server.terminate()
            server.wait()
        for what in commands:
            row(f"nbd: {name}: {what}, median", statistics.median(times[what]) * 1e3, "ms")
        for what, goal_of in ("nbdinfo --map", goal), ("nbdinfo --map --totals", ""):
            row(f"nbd: {name}: {what} / ours", statistics.median(t / o for t, o in zip(times[what], times["ours"])), "", goal_of)


def warm_up(base):
    """A virtual machine gets its memory at the first touch, which is slow and not ours."""
    path = os.path.join(base, "warm")
    with open(path, "wb") as f:
        for _ in range(1024):
            f.write(bytes(1 << 20))
    os.unlink(path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=".")
    parser.add_argument("--source", default=".")
    parser.add_argument("--json")
    parser.add_argument("only", nargs="*", help="record fio prepare pivot stream sparse curve attack nbd qemu diff")
    o = parser.parse_args()
    base = tempfile.mkdtemp(prefix="dirtyferry-bench-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    pair = None
    try:
        warm_up(base)
        pair = Pair(o.build, base)
        parts = {"record": lambda: bench_record(o.build), "fio": lambda: bench_fio(o.build, o.source), "prepare": lambda: bench_prepare(pair),
                 "pivot": lambda: bench_pivot(pair), "sparse": lambda: bench_sparse(pair), "stream": lambda: bench_stream(pair, o.build),
                 "curve": lambda: bench_curve(pair, o.build, base), "attack": lambda: bench_attack(o.build, o.source, base), "nbd": lambda: bench_nbd(o.build, o.source, base),
                 "qemu": lambda: bench_qemu(pair, o.source, base, row), "diff": lambda: bench_diff(o.build, row)}
        for name, run in parts.items():
            if not o.only or name in o.only:
                run()
    finally:
        if pair:
            pair.stop()
        shutil.rmtree(base)
    if o.json:
        with open(o.json, "w") as f:
            json.dump(ROWS, f, indent=1)


if __name__ == "__main__":
    sys.exit(main())
