#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""diff_check.py DIRTYFERRY DIRECTORY SEED ROUNDS: `dirtyferry diff` of random images against what `cmp -l` says.

Every output of a round is read again and compared: json, raw, qcow2, the cells
of svg and of --map, the numbers, and the check of a bitmap with bits that were
taken out and put in.  Prints the number of rounds.
"""
import json, os, random, struct, subprocess, sys, xml.etree.ElementTree

program, directory = sys.argv[1:3]
old, new = (os.path.join(directory, name) for name in ("old", "new"))
SVG = "{http://www.w3.org/2000/svg}"


def check(what, got, expected):
    if got != expected:
        sys.exit(f"round {round_number}, {what}: {str(got)[:2000]}, expected {str(expected)[:2000]}")


def run(*arguments, status=0, **how):
    done = subprocess.run([program, *arguments], capture_output=True, text=how.pop("text", True), **how)
    if done.returncode != status:
        sys.exit(f"round {round_number}, {arguments}: exit status {done.returncode}: {done.stderr}")
    return done.stdout


# ------------------------------------------------------------------- images

def images(r):
    """Two files, mostly holes, with data of many lengths, zeroes that are written, changes of single bytes."""
    unit = r.choice((512, 4096, 4097, 100000))
    sizes = [r.randint(1, 40 * unit)] * 2
    if r.randrange(2):
        sizes[1] = r.randint(1, 40 * unit)
    writes = []
    for _ in range(r.randrange(12)):
        offset, length = r.randrange(sizes[0]), r.randint(1, 8 * unit)
        writes.append((r.choice(((0,), (1,), (0, 1), (0, 1))), offset, r.choice((bytes(length), r.randbytes(length)))))
    for _ in range(r.randrange(4)):
        writes.append(((1,), r.randrange(sizes[1]), r.randbytes(1)))
    for which, path in enumerate((old, new)):
        with open(path, "wb") as f:
            for targets, offset, data in writes:
                if which in targets and offset < sizes[which]:
                    f.seek(offset)
                    f.write(data[:sizes[which] - offset])
            f.truncate(sizes[which])
    return sizes


def oracle(sizes, granularity):
    """The numbers of the clusters of `new` that differ."""
    listed = subprocess.run(["cmp", "-l", old, new], capture_output=True, text=True).stdout
    clusters = {(int(line.split()[0]) - 1) // granularity for line in listed.splitlines()}
    if sizes[0] != sizes[1]:
        clusters |= set(range(min(sizes) // granularity, -(-sizes[1] // granularity)))
    return clusters


def stretches(clusters, size, granularity):
    found = []
    for cluster in sorted(clusters):
        start, end = cluster * granularity, min((cluster + 1) * granularity, size)
        if found and found[-1][1] == start:
            found[-1][1] = end
        else:
            found.append([start, end])
    return [(start, end - start) for start, end in found]


def raw_bits(clusters, size, granularity):
    value = bytearray(-(-(-(-size // granularity)) // 64) * 8)
    for cluster in clusters:
        value[cluster // 8] |= 1 << cluster % 8
    return bytes(value)


# ------------------------------------------------------------------ outputs

def read_qcow2(path, name):
    """Size, granularity and bits of the only bitmap."""
    with open(path, "rb") as f:
        image = f.read()
    cluster = 1 << struct.unpack(">I", image[20:24])[0]
    magic, _, number, _, nbytes, at = struct.unpack(">IIIIQQ", image[104:136])
    check("qcow2: bitmaps", (magic, number), (0x23852875, 1))
    table, entries, _, _, shift, length = struct.unpack(">QIIBBH", image[at:at + 20])
    check("qcow2: name", image[at + 24:at + 24 + length].decode(), name)
    bits = b""
    for entry in struct.unpack(f">{entries}Q", image[table:table + 8 * entries]):
        bits += bytes([255 * entry]) * cluster if entry < 2 else image[entry:entry + cluster]
    return struct.unpack(">Q", image[24:32])[0], 1 << shift, bits


def levels(found, size, granularity):
    """Of the cells of a picture."""
    cell = granularity
    while -(-size // cell) > 1024:
        cell *= 2
    cells = []
    for start in range(0, size, cell):
        end = min(start + cell, size)
        changed = sum(max(0, min(end, s + n) - max(start, s)) for s, n in found)
        cells.append(-(-4 * changed // (end - start)))
    return cells


def drawn(text, shades):
    rows = [line.split("|")[1] for line in text.splitlines() if "|" in line]
    return [shades.index(cell) for row in rows for cell in row]


def figure(path, title):
    root = xml.etree.ElementTree.parse(path).getroot()
    check("svg: title", root.find(SVG + "title").text, title)
    fills = ["#ffffff", "#c6dbef", "#6baed6", "#2171b5", "#08306b"]
    cells, legend = (g for g in root.findall(SVG + "g") if g.find(SVG + "rect") is not None)
    check("svg: legend", [rect.get("fill") for rect in legend], fills)
    return [fills.index(rect.get("fill")) for rect in cells]


def check_outputs(found, clusters, size, granularity):
    out, g = os.path.join(directory, "out"), str(granularity)
    raw = raw_bits(clusters, size, granularity)
    for to_file in (False, True):
        def made(form):
            if not to_file:
                return run("diff", old, new, "--granularity", g, "--format", form, text=False)
            run("diff", old, new, "--granularity", g, "--format", form, "--output", out)
            with open(out, "rb") as f:
                return f.read()
        items = json.loads(made("json"))
        check("json: dirty", [(i["start"], i["length"]) for i in items if i["dirty"]], found)
        check("json: covers", [i["start"] for i in items] + [size], [0] + [i["start"] + i["length"] for i in items])
        check("json: alternates", all(a["dirty"] != b["dirty"] for a, b in zip(items, items[1:])), True)
        check("raw", made("raw").hex(), raw.hex())
    run("diff", old, new, "--granularity", g, "-o", out, "--format", "qcow2", "--name", "daily")
    qsize, qgranularity, bits = read_qcow2(out, "daily")
    nbytes = -(-(-(-size // granularity)) // 8)
    check("qcow2: geometry", (qsize, qgranularity), (-(-size // 512) * 512, granularity))
    check("qcow2: bits", bits[:nbytes].hex(), raw[:nbytes].hex())
    check("qcow2: behind the end", any(bits[nbytes:]), False)
    run("diff", old, new, "--granularity", g, "-o", out, "--format", "svg")
    expected = levels(found, size, granularity)
    check("svg", figure(out, f"Changes from {old} to {new}"), expected)
    for locale, shades in (("C", ".-+*#"), ("C.UTF-8", " ░▒▓█")):
        text = run("diff", old, new, "--granularity", g, "--map", env={**os.environ, "LC_ALL": locale}, encoding="utf-8")
        check("map in " + locale, drawn(text, shades), expected)


def check_numbers(found, sizes, granularity):
    d = json.loads(run("--json", "diff", old, new, "--granularity", str(granularity)))
    expected = {"size": sizes[1], "granularity": granularity, "different": sum(n for _, n in found), "stretches": len(found),
                "unread": 0, "old_size": sizes[0], "new_size": sizes[1]}
    check("--json", {key: d[key] for key in expected}, expected)
    check("keys of --json", sorted(d), sorted([*expected, "read", "zero", "shared"]))
    text = run("diff", old, new, "--granularity", str(granularity))
    word = "stretch" if len(found) == 1 else "stretches"
    check("summary", text.startswith(f"{expected['different']} bytes in {len(found)} {word} differ, of "), True)


def check_verification(r, clusters, size, granularity):
    nclusters, path = -(-size // granularity), os.path.join(directory, "bitmap")
    dirty = {c for c in clusters if r.randrange(10)} | {r.randrange(nclusters) for _ in range(r.randrange(5))}
    if not r.randrange(3):
        dirty |= clusters
    missing, wasted = (stretches(lacks, size, granularity) for lacks in (clusters - dirty, dirty - clusters))
    with open(path, "wb") as f:
        f.write(raw_bits(dirty, size, granularity))
    arguments = (old, new, "--verify-against", path, "--bitmap-format", "raw", "--granularity", str(granularity))
    text = run("diff", *arguments, status=bool(missing))
    lines = text.splitlines()
    check("missing", [tuple(map(int, line.split()[1:])) for line in lines if line.startswith("missing ")], missing)
    d = json.loads(run("--json", "diff", *arguments, status=bool(missing)))
    check("missing in JSON", [(item["start"], item["length"]) for item in d["missing"]], missing)
    check("sums in JSON", (d["missing_bytes"], d["wasted"], d["wasted_stretches"]), (sum(n for _, n in missing), sum(n for _, n in wasted), len(wasted)))
    check("sums", f"missing: {d['missing_bytes']} bytes in {len(missing)} " in lines[-1] and f"wasted: {d['wasted']} bytes in {len(wasted)} " in lines[-1], True)


seed, rounds = map(int, sys.argv[3:])
for round_number in range(rounds):
    r = random.Random(seed * 1000 + round_number)
    sizes, granularity = images(r), 1 << r.choice((9, 9, 10, 12, 12, 13, 16, 16, 21))
    clusters = oracle(sizes, granularity)
    found = stretches(clusters, sizes[1], granularity)
    check_numbers(found, sizes, granularity)
    check_outputs(found, clusters, sizes[1], granularity)
    check_verification(r, clusters, sizes[1], granularity)
print(rounds)
