#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Seeds for the fuzz targets, from the golden vectors: seeds.py DIRECTORY

They are not kept in the tree, so they cannot grow old.  The head note of each
target says what its input looks like.
"""
import os
import sys

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(here))
sys.dont_write_bytecode = True
import msgpack      # noqa: E402, vectors.py skips (77) without it
import vectors      # noqa: E402

KINDS = {"request": 0, "reply": 1, "event": 2}


def little(value, nbytes):
    return value.to_bytes(nbytes, "little")


def records(name):
    return vectors.read(os.path.join(here, "../../proto/vectors", name + ".txt"))


def control():
    for name in ("control", "hostile"):
        for r in records(name):
            message = vectors.unhex(r["message"])
            if r["kind"] in KINDS and len(message) <= 4095:
                yield bytes([KINDS[r["kind"]]]) + message


def part(data, more):
    return little(len(data) | 0x8000 * more, 2) + data


def events():
    topic = b"session/6fa2c1d0-0f3e-4b52-9c7b-2d1e8a90b344/state"
    for message in (m[1:] for m in control() if m[0] == 2):
        yield part(topic, True) + part(message, False)
        yield part(message, False) + part(topic, True) + part(message, True) + part(b"", False)


def frames():
    """(chunk size, nbits, message) of all vectors."""
    for name in ("frames", "hostile"):
        for r in records(name):
            message = vectors.unhex(r["message"])
            if r.get("kind", "frame") == "frame" and len(message) <= 8000:
                yield int(r["chunk_size"]), int(r["nbits"]), message


def data():
    for chunk, nbits, message in frames():
        huge = nbits > 1 << 20
        yield bytes([chunk.bit_length() - 6 | huge << 7]) + little(nbits - 1, 6) + little(len(message), 2) + message
    one = [little(len(m), 2) + m for c, n, m in frames() if c == 1024 and n == 16384]
    yield bytes([5]) + little(16383, 6) + b"".join(one)
    raw = [vectors.pack_frame(1, 1, i, 1, vectors.RAW, bytes([0x55, 0xff, 0, 1]) * 64) for i in range(16)]
    yield bytes([3]) + little(32767, 6) + b"".join(little(len(m) | 0x8000 * (i == 9), 2) + m for i, m in enumerate(raw))


def dump():
    for r in records("dumps"):
        whole = vectors.unhex(r["file"])
        if len(whole) <= 8000:
            yield b"\0" + whole
            yield b"\1" + whole


def journal_entry(role, state, nbitmaps, number):
    bitmap = {"disk": "vda", "bitmap": "daily", "as_disk": "", "as_bitmap": "", "handle": 7, "chunks": 2, "exact": False, "fenced": True,
              "created": False, "merged": False}
    return msgpack.packb({
        "session": "6fa2c1d0-0f3e-4b52-9c7b-2d1e8a90b344", "role": role, "state": state, "epoch": number, "chunk_size": 1024,
        "peer": "tcp://10.0.0.1:7440", "data": "", "workers": 2, "max_bandwidth": 0, "pivot": 1, "frames": 5, "bytes": 99, "resent_frames": 0,
        "all_dirty": False, "dump_epoch": 0, "loaded": False, "message": "link lost", "bitmaps": [bitmap] * nbitmaps}, use_bin_type=True)


def slot(how, number, entry):
    return bytes([how | number << 2]) + little(len(entry), 2) + entry


def journal():
    for line in open(os.path.join(here, "../../proto/states.txt"), encoding="utf-8"):
        words = line.split()
        if words[:1] in (["source"], ["target"]):
            entry = journal_entry(words[0], words[1], 1, 1)
            yield b"\0" + slot(2, 1, entry)
    entries = [journal_entry("target", "receiving", n, n) for n in (1, 2, 3)]
    yield b"\0" + slot(2, 1, entries[0]) + slot(2, 2, entries[1]) + slot(2, 3, entries[2]) + slot(0, 0, b"")
    yield b"\1" + slot(2, 9, entries[0]) + slot(3, 10, entries[1]) + slot(2, 8, entries[2]) + slot(2, 7, entries[0])
    yield b"\0" + slot(1, 0, b"dfjourn\1" + little(3, 8) + little(5, 8) + little(0, 8) + b"12345") + slot(2, 1, entries[0])
    yield b"\4" + slot(2, 1, entries[0])


def map_steps():
    """fuzz-map: scribble, one byte, reopen, walk, sums, set, set alone, write, zeroes, ones, merge out, merge in."""
    def scribble(offset, some):
        return bytes([0]) + little(offset, 3) + bytes([len(some)]) + some

    walk, sums, ones = bytes([3, 0, 0, 0]), bytes([4, 0]), bytes([9])
    setting = [bytes([how]) + little(first, 3) + little(n - 1, 2) for how in (5, 6) for first, n in ((0, 1), (63, 2), (32767, 2), (100, 65000))]
    writing = bytes([7]) + little(4090, 3) + little(16, 2) + bytes(range(16))
    for nbits in (1, 64, 32768, 100000, 64 * 32768 + 1, 66 * 32768 - 1):
        for shift in (0, 1, 7):
            yield little(nbits - 1, 3) + bytes([shift]) + b"".join(setting) + walk + sums + bytes([10]) + writing + walk + bytes([11]) + ones + sums + walk
        for offset, some in ((0, b"\0"), (8, b"\1"), (16, b"\1"), (4096, b"\xff" * 24), (8192, b"\xff" * 16), (8191, b"\0\0")):
            yield little(nbits - 1, 3) + b"\1" + setting[0] + scribble(offset, some) + walk + sums + bytes([10]) + bytes([2]) + walk + writing + bytes([8, 0, 0, 0, 9, 0, 0])


def disk_steps():
    """fuzz-disk: scribble, later, reseal, map, close, reopen, look, look map, look one, record, manage, hand over."""
    def place(kind, n, table=0, byte=0):
        return bytes([table, n, kind]) + (little(byte, 2) if kind == 6 else b"")

    def scribble(where, some, later=None):
        return (bytes([0]) if later is None else bytes([1, later])) + where + bytes([len(some)]) + some

    look, reopen = b"\6", b"\5"
    recording = b"\x09" + little(5 << 20, 4) + little(70000, 3)
    managing = [bytes([10, what, 7, name]) for what in range(12) for name in (0, 1, 3)]
    handing = [bytes([11, what, name]) for what in range(9) for name in (0, 3, 4, 5)]
    for one in managing + handing:
        yield reopen + look + recording + one + look
    for name in range(8):
        yield reopen + bytes([7, name, 0, 7, name, 1, 8, name])
    edits = [(place(0, 8), little(1, 8)), (place(0, 16), bytes(16)), (place(0, 32), b"\2"), (place(1, 0), b"\1"), (place(1, 0), b"\xff" * 8),
             (place(2, 0), b"\xff\xff"), (place(3, 0), b"\xff\1"), (place(3, 16), b"\xff"), (place(5, 24), b"\0\2"), (place(7, 0), b"\2")]
    edits += [(place(6, i, t, byte), some) for t in (0, 1) for i in (0, 5) for byte, some in ((0, b"\x77"), (32, b"\x09"), (33, b"\xff"), (34, b"\x28"), (35, b""))]
    for where, some in edits:
        yield scribble(where, some) + b"\2\0\2\1" + reopen + look + recording + look
        yield reopen + recording + scribble(where, some) + look + recording + managing[0] + look
        yield reopen + scribble(where, some, 3) + look + recording + look
    yield b"\3\1\x80\0\0\0" + reopen + look + recording
    yield b"\3\1\xff\0\0\0" + reopen + look + recording


def keys():
    public, secret = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID", "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"
    for roles in ('"orchestrator"', '"peer, monitor"', "monitor", None):
        for with_secret in (False, True):
            text = "#   a key\n" + ("metadata\n    roles = %s\n" % roles if roles else "") + 'curve\n    public-key = "%s"\n' % public
            yield (text + ('    secret-key = "%s"\n' % secret if with_secret else "")).encode()
    yield b"metadata\r\n    roles = \"peer\"\r\n    name = x\r\ncurve\r\n\tpublic-key = y\r\n"


def big(value, nbytes):
    return value.to_bytes(nbytes, "big")


def image(size, bitmaps, autoclear=1, features=0):
    """A qcow2 image with clusters of 512 bytes; a bitmap is name, granularity bits, flags, and its clusters: 0, 1 or bytes."""
    clusters, directory = [b""], b""

    def take(content):
        clusters.append(content)
        for at in range(512, len(content), 512):
            clusters.append(content[at:])
        return 512 * (len(clusters) - (len(content) + 511) // 512)
    for name, shift, flags, data in bitmaps:
        table = take(b"".join(big(d if isinstance(d, int) else take(d), 8) for d in data))
        entry = big(table, 8) + big(len(data), 4) + big(flags, 4) + bytes([1, shift]) + big(len(name), 2) + bytes(4) + name
        directory += entry + bytes(-len(entry) % 8)
    place = take(directory)
    head = b"QFI\xfb" + big(3, 4) + bytes(12) + big(9, 4) + big(size, 8) + bytes(40) + big(features, 8) + bytes(8) + big(autoclear, 8) + big(4, 4) + big(104, 4)
    extension = big(0x23852875, 4) + big(24, 4) + big(len(bitmaps), 4) + bytes(4) + big(len(directory), 8) + big(place, 8) if bitmaps else b""
    clusters[0] = head + extension
    return b"".join(c[:512].ljust(512, b"\0") for c in clusters)


def qcow2():
    some = bytes(range(256)) * 2
    yield image(1 << 20, [])
    yield image(1 << 20, [(b"b", 9, 2, [some[:256]])])
    yield image(4096 * 512 * 3, [(b"one", 9, 2, [0, 1, some]), (b"in use", 16, 3, [b"\x55" * 12])])
    yield image(4096 * 512 * 2 + 1000, [(b"tail", 9, 0, [1, 0, 1]), (b"x" * 1023, 12, 2, [1])])
    yield image(1 << 40, [(b"large", 20, 2, [0] * 256)], features=1)
    yield image(1 << 20, [(b"stale", 9, 2, [1])], autoclear=0)


def main(out):
    for name, seeds in (("control", control), ("data", data), ("events", events), ("dump", dump), ("journal", journal), ("map", map_steps), ("disk", disk_steps), ("keys", keys), ("qcow2", qcow2)):
        os.makedirs(os.path.join(out, name), exist_ok=True)
        for i, seed in enumerate(seeds()):
            with open(os.path.join(out, name, "%03d" % i), "wb") as f:
                f.write(seed)


if __name__ == "__main__":
    main(sys.argv[1])
