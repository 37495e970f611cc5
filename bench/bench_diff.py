# SPDX-License-Identifier: BSD-3-Clause
"""bench.py diff: two images are compared, beside cmp, qemu-img compare and cat.

Raw files of 4 GiB (less where memory is short: they have to stay in the page cache), on the file system of the build.
"cat" is both files at once, each by a `cat FILE >/dev/null` of its own: what reading them costs.  Where 1 % of the
clusters differ, by a byte each, it is `cmp -l`, since cmp alone stops at the first one, as qemu-img compare does: that
is timed on the identical pair.  Cold: the pages are dropped before each run, by posix_fadvise.
"""
import os, random, shutil, statistics, subprocess, tempfile, time

GIB = 1 << 30
CLUSTER = 65536
ROUNDS = 7


def available():
    with open("/proc/meminfo") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("MemAvailable:"))


def timed(commands, files=None):
    """Seconds until all of them have ended; with `files`, from a cold cache."""
    for path in files or ():
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
    start = time.perf_counter()
    with tempfile.TemporaryFile() as out:       # cmp -l to /dev/null stops at the first difference
        running = [subprocess.Popen(c, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL if c[0] == "cat" else out) for c in commands]
        for process in running:
            if process.wait() not in (0, 1):
                raise SystemExit(f"bench: {process.args} ends with {process.returncode}")
    return time.perf_counter() - start


def race(row, name, commands, goals, files=None):
    """commands: what it is called -> list of commands that run at once; the first is ours."""
    times = {what: [] for what in commands}
    for _ in range(ROUNDS if not files else 5):
        for what, command in commands.items():
            times[what].append(timed(command, files))
    ours = next(iter(commands))
    for what in commands:
        row(f"diff: {name}: {what}, median", statistics.median(times[what]), "s")
    for what, goal in goals.items():
        row(f"diff: {name}: {what} / ours", statistics.median(t / o for t, o in zip(times[what], times[ours])), "", goal)
    return statistics.median(times[ours])


def write_random(path, size):
    rng = random.Random(size)
    with open(path, "wb") as f:
        for _ in range(size >> 20):
            f.write(rng.randbytes(1 << 20))


def differ(path, size):
    rng = random.Random(1)
    with open(path, "r+b", buffering=0) as f:
        for cluster in rng.sample(range(size // CLUSTER), size // CLUSTER // 100):
            f.seek(cluster * CLUSTER + rng.randrange(CLUSTER))
            byte = f.read(1)[0]
            f.seek(-1, os.SEEK_CUR)
            f.write(bytes([byte ^ 1]))


def sparse(paths, data_bytes):
    """1 TiB with stretches of 1 MiB here and there; both have them at the same places."""
    rng, block = random.Random(3), random.Random(4).randbytes(1 << 20)
    places = rng.sample(range(1 << 20), data_bytes >> 20)
    for path in paths:
        with open(path, "wb") as f:
            f.truncate(1 << 40)
            for place in places:
                f.seek(place << 20)
                f.write(block)


def bench_diff(build, row):
    base = tempfile.mkdtemp(prefix="bench-diff-", dir=build)
    old, new = os.path.join(base, "old"), os.path.join(base, "new")
    try:
        size = 4 * GIB
        while size > GIB // 4 and (2.5 * size > available() or 2.5 * size > shutil.disk_usage(base).free):
            size //= 2
        name = f"{size / GIB:g} GiB"
        write_random(old, size)
        shutil.copyfile(old, new)
        os.sync()       # nobody writes back while it is measured
        diff = [[os.path.join(build, "dirtyferry"), "diff", old, new]]
        cats = [["cat", old], ["cat", new]]
        compare = [["qemu-img", "compare", "-f", "raw", "-F", "raw", old, new]]
        goals = {"cmp": ">= 2", "qemu-img compare": "> 1", "two cat": ">= 0.9"}
        timed(cats)
        race(row, f"{name}, identical", {"ours": diff, "cmp": [["cmp", old, new]], "qemu-img compare": compare, "two cat": cats}, goals)
        race(row, f"{name}, identical, cold", {"ours": diff, "cat of both": [["cat", old, new]]}, {"cat of both": ">= 0.9"}, files=(old, new))
        same = statistics.median(timed(compare) for _ in range(3))
        differ(new, size)
        os.sync()
        timed(cats)
        ours = race(row, f"{name}, 1 % differs", {"ours": diff, "cmp -l": [["cmp", "-l", old, new]], "two cat": cats}, {"cmp -l": ">= 2", "two cat": ">= 0.9"})
        row(f"diff: {name}, 1 % differs: qemu-img compare of identical / ours", same / ours, "", "> 1")
        os.unlink(old)
        os.unlink(new)
        medians = {}
        for data_bytes in GIB, GIB // 4:
            sparse((old, new), data_bytes)
            os.sync()
            timed(diff)
            medians[data_bytes] = race(row, f"1 TiB sparse, {data_bytes / GIB:g} GiB of data", {"ours": diff}, {})
        row("diff: 1 TiB sparse: 1 GiB / 0.25 GiB of data", medians[GIB] / medians[GIB // 4], "", "about 4, at most")
    finally:
        shutil.rmtree(base)
