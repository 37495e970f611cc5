# SPDX-License-Identifier: BSD-3-Clause
"""What stands in proto/vectors; see vectors.py."""
import json
import os
import random

import msgpack
import vectors as v

HEAD = """# SPDX-License-Identifier: BSD-3-Clause
# dirtyferry, protocol version 1.  Records of `key: value`, blank lines between them.
# Bytes are hex; XX*N stands for N times the byte XX.
"""
U = "6fa2c1d0-0f3e-4b52-9c7b-2d1e8a90b344"


def write(path, head, records):
    with open(path, "w", encoding="utf-8") as f:
        f.write(HEAD + head)
        for r in records:
            f.write("\n" + "".join("%s: %s\n" % pair for pair in r.items()))


# -------------------------------------------------------------------- frames

def frame(name, nbits, chunk, first, count, runs, encoding=None, handle=1, epoch=1, text=None):
    n = v.frame_bits(nbits, chunk, first, count)
    best = v.choose(v.merge(runs), n, count, chunk)
    if encoding is None:
        encoding = best
    message = v.pack_frame(handle, epoch, first, count, encoding, v.payload_of(encoding, v.merge(runs), n))
    return {"name": name, "nbits": nbits, "chunk_size": chunk, "handle": handle, "epoch": epoch, "first": first, "count": count,
            "encoding": v.NAMES[encoding], "chosen": "yes" if encoding == best else "no",
            "runs": text or " ".join("%d+%d" % r for r in runs), "message": v.rehex(message)}


def frames():
    F = frame
    one = [(0, 1)]
    yield F("one bit, set", 1, 32, 0, 1, one)
    yield F("one bit, clear", 1, 32, 0, 1, [])
    for e in (v.POSITIONS, v.RUNS, v.RAW):
        yield F("one bit, set, as " + v.NAMES[e], 1, 32, 0, 1, one, e)
    for e in (v.POSITIONS, v.RUNS, v.RAW):
        yield F("two bits, the second set, as " + v.NAMES[e], 2, 1024, 0, 1, [(1, 1)], e)
    yield F("example of the document", 16384, 1024, 0, 2, [(0, 1), (5, 3), (600, 1)])
    yield F("example of the document as runs", 16384, 1024, 0, 2, [(0, 1), (5, 3), (600, 1)], v.RUNS)
    for gap in (0, 1, 127, 128, 129, 16383, 16384, 2097151, 2097152):
        nbits = gap + 1 if gap > 127 else 4096
        chunk = 1 << 20
        yield F("a set bit behind %d clear ones" % gap, nbits + 1, chunk, 0, 1, [(gap, 1)])
    for length in (1, 2, 127, 128, 16383, 16384):
        yield F("a run of %d" % length, 65536, 8192, 0, 1, [(3, length)])
        yield F("a run of %d from the start" % length, 65536, 8192, 0, 1, [(0, length)])
    for nbits in (255, 256, 257, 511, 512, 513):
        last = (nbits - 1) // 256
        n = nbits - 256 * last
        yield F("%d bits, chunk 32, last chunk, all set" % nbits, nbits, 32, last, 1, [(0, n)])
        yield F("%d bits, chunk 32, last chunk, last bit" % nbits, nbits, 32, last, 1, [(n - 1, 1)])
        yield F("%d bits, chunk 32, last chunk raw" % nbits, nbits, 32, last, 1, [(0, 1), (n - 1, 1)] if n > 1 else one, v.RAW)
    rnd = random.Random(7440)
    for chunk in (32, 64, 1024):
        runs = v.merge([(i, 1) for i in range(chunk * 8) if rnd.random() < 0.5])
        yield F("half of the bits at random, chunk %d" % chunk, chunk * 8 * 3, chunk, 1, 1, runs)
        runs = [(i, 1) for i in range(chunk * 8 * 3 - 7) if rnd.random() < 1 / 64]
        yield F("one bit in 64 at random, three chunks of %d" % chunk, chunk * 8 * 3 - 7, chunk, 0, 3, v.merge(runs)) if chunk > 64 else \
            F("three bits in three chunks of %d" % chunk, chunk * 8 * 3 - 7, chunk, 0, 3, [(1, 1), (chunk * 8, 1), (chunk * 24 - 8, 1)])
    runs = [(14 * i, 10) for i in range(12)]
    yield F("twelve runs, which take less than raw", 256, 32, 0, 1, runs)
    yield F("the same raw", 256, 32, 0, 1, runs, v.RAW)
    yield F("a payload as long as a chunk: 32 positions", 512, 32, 0, 2, [(16 * i, 1) for i in range(32)])
    yield F("a payload as long as a chunk: 16 runs", 512, 32, 0, 2, [(32 * i + 1, 9) for i in range(16)])
    yield F("65535 clean chunks", 65535 * 256, 32, 0, 65535, [])
    yield F("65535 clean chunks in the middle", 1 << 41, 1024, 131072, 65535, [])
    yield F("65535 full chunks", 65535 * 256, 32, 0, 65535, [(0, 65535 * 256)])
    yield F("65535 chunks, the last bit", 65535 * 256, 32, 0, 65535, [(65535 * 256 - 1, 1)])
    yield F("65535 chunks of 1 MiB, all set but the first bit: five-byte varint", 1 << 41, 1 << 20, 0, 65535, [(1, 65535 * (1 << 23) - 1)])
    yield F("65535 chunks of 1 MiB, the last bit: six-byte varint", 1 << 41, 1 << 20, 1, 65535, [(65535 * (1 << 23) - 1, 1)])
    yield F("the last chunk there can be", 4294967295 * 256, 32, 4294967294, 1, [(255, 1)])
    yield F("1 MiB chunk, one bit", 1 << 23, 1 << 20, 0, 1, [(1 << 22, 1)])
    yield F("1 MiB chunk, full", 1 << 23, 1 << 20, 0, 1, [(0, 1 << 23)])
    big = 1 << 20
    yield {"name": "1 MiB chunk, every other bit, raw", "nbits": big * 8, "chunk_size": big, "handle": 1, "epoch": 1, "first": 0, "count": 1, "encoding": "raw", "chosen": "yes",
           "runs": "0+1/2*%d" % (big * 4), "message": "96 01 01 00 01 00 c600100000 55*1048576"}
    for handle, epoch in ((127, 127), (128, 128), (255, 255), (256, 0), (65535, 255)):
        yield F("handle %d, epoch %d" % (handle, epoch), 1 << 30, 32, 65536, 300, [(9, 2)], None, handle, epoch)
    yield F("the longest envelope, small payload", 4294967295 * 256, 32, 4294901760, 65535, [(4, 1)], None, 65535, 255)


# ------------------------------------------------------------------- control

def message(name, kind, fields):
    return {"name": name, "kind": kind, "message": v.rehex(msgpack.packb(fields, use_bin_type=True)), "fields": json.dumps(v.to_json(fields), ensure_ascii=False)}


STATUS = {"session": U, "role": "target", "state": "receiving", "epoch": 1, "chunks": 2, "chunks_done": 1, "frames": 1, "bytes": 14, "resent_frames": 0}
BITMAPS = [{"disk": "vda", "bitmap": "b0", "chunks": 2, "chunks_done": 1}]


def control():
    def m(name, kind, type, **fields):
        return message(name, kind, {"v": 1, "type": type, "id": fields.pop("id", 0x1122334455660001), **fields})
    yield m("hello", "request", "hello", id=0)
    yield m("hello with the largest id and a key that is not known", "request", "hello", id=2**64 - 1, later={"more": [1, None, -5, 1.5]})
    yield m("hello", "reply", "hello", daemon="dirtyferry 0.1.0", control="tcp://127.0.0.1:7440", data="tcp://127.0.0.1:7441", events="tcp://127.0.0.1:7442")
    yield m("disk-add, 1 EiB", "request", "disk-add", disk="vda", size=2**60)
    yield m("disk-add", "reply", "disk-add")
    yield m("disk-list", "reply", "disk-list", disks=[{"disk": "vda", "size": 1 << 30, "readonly": False, "bitmaps": 1}])
    yield m("bitmap-add", "request", "bitmap-add", disk="vda", bitmap="früh", granularity=65536, disabled=False, persistent=True)
    yield m("bitmap-merge", "request", "bitmap-merge", disk="vda", bitmap="b0", sources=[{"bitmap": "b1"}, {"disk": "vdb", "bitmap": "b2"}])
    yield m("bitmap-show", "reply", "bitmap-show", bitmap={"name": "b0", "granularity": 65536, "count": 327680, "recording": True, "busy": False, "persistent": False,
            "inconsistent": False, "frozen": False, "readonly": False, "sha256": "7eee1341da3e8a34653097d3f5a9942bc2741d096529d07e00304bd92d6efe83"})
    yield m("bitmap-extents", "reply", "bitmap-extents", size=1 << 30, granularity=65536, extents=[0, 65536, 327680, 196608, 39321600, 65536])
    yield m("prepare", "request", "prepare", session=U, target="tcp://127.0.0.1:7440", bitmaps=[{"disk": "vda", "bitmap": "b0", "as_disk": "sda"}], chunk_size=1024, workers=2, max_bandwidth=10**8)
    yield m("pivot", "request", "pivot", session=U.upper(), role="source")
    yield m("pivot", "reply", "pivot", status={**STATUS, "bitmaps": BITMAPS})
    yield m("pivot, refused", "reply", "pivot", error={"code": "not-found", "message": "there is no session"})
    yield m("an error with a code that is not known", "reply", "cancel", error={"code": "of-a-later-version", "message": ""})
    yield m("wait", "request", "wait", session=U, role="target", state="operative", timeout_ms=10000)
    yield m("status of all", "request", "status")
    yield m("status of none", "reply", "status", sessions=[])
    yield m("status", "reply", "status", sessions=[{**STATUS, "peer": "ipc:///x", "message": "why", "bitmaps": BITMAPS}])
    yield m("offer", "request", "offer", session=U, chunk_size=1024, bitmaps=[{"disk": "vda", "bitmap": "b0", "size": 1 << 30, "granularity": 65536, "enabled": True, "persistent": False}])
    yield m("offer", "reply", "offer", data="tcp://127.0.0.1:7441", handles=[1])
    yield m("attempt", "request", "attempt", session=U, epoch=2**32 - 1)
    yield m("attempt", "reply", "attempt", missing=[{"handle": 1, "first": 0, "count": 4294967295}])
    yield m("seal", "request", "seal", session=U, epoch=1, handle=1, digests=bytes.fromhex("63f007631524039e"))
    yield m("seal with 1024 digests", "request", "seal", session=U, epoch=1, handle=65535, digests=bytes(8192))
    yield m("seal", "reply", "seal", exact=True, missing=0, wrong=0)
    yield m("lease", "request", "lease", session=U, worker="w", lease=3, done=True, frames=1, bytes=14, digests=bytes.fromhex("63f007631524039e"))
    yield m("lease", "reply", "lease", grant="work", lease=3, epoch=1, handle=1, first=0, count=2, chunk_size=1024, nbits=16384, map="/x/map-1", data="tcp://127.0.0.1:7441")
    yield m("lease, end", "reply", "lease", grant="end")
    for kind in ("state", "progress", "snapshot"):
        yield m(kind, "event", kind, id=7, seq=7, **STATUS)
    yield {"name": "integers and texts in their longest forms", "kind": "request", "fields": json.dumps({"v": 1, "type": "hello", "id": 1}),
           "message": "df00000003 d90176 cf0000000000000001 da000474797065 db0000000568656c6c6f a26964 d30000000000000001"}


# ------------------------------------------------------------------- hostile

def hostile():
    def f(name, message, reason, nbits=16384, chunk=1024):
        return {"name": name, "kind": "frame", "nbits": nbits, "chunk_size": chunk, "message": message, "reason": reason}

    def c(name, message, reason, kind="request", schema=False):
        r = {"name": name, "kind": kind, "message": message if isinstance(message, str) else v.rehex(message), "reason": reason}
        return {**r, "schema": "yes"} if schema else r
    six, integer, payload = "not a list of six", "an integer that is missing or out of range", "a payload that is not all of the rest"
    yield f("empty", "", six)
    yield f("payload cut off", "96 01 01 00 02 03 c406 0004", payload)
    yield f("no payload", "96 01 01 00 02 03", payload)
    yield f("ends behind the handle", "96 01", integer)
    yield f("ends in an integer", "96 01 01 00 cd00", integer)
    yield f("trailing byte", "96 01 01 00 02 01 c400 00", payload)
    yield f("five fields", "95 01 01 00 02 01", six)
    yield f("seven fields", "97 01 01 00 02 01 c400 00", six)
    yield f("a longer form of the list", "dc0006 01 01 00 02 01 c400", six)
    yield f("a map", "86 01 01 00 02 01 c400 00 00 00 00 00 00", six)
    yield f("text as payload", "96 01 01 00 02 01 a0", payload)
    yield f("list as payload", "96 01 01 00 02 01 90", payload)
    yield f("number as payload", "96 01 01 00 02 01 00", payload)
    yield f("negative handle", "96 ff 01 00 02 01 c400", integer)
    yield f("signed form of a handle", "96 d001 01 00 02 01 c400", integer)
    yield f("handle 65536", "96 ce00010000 01 00 02 01 c400", integer)
    yield f("epoch 256", "96 01 cd0100 00 02 01 c400", integer)
    yield f("first 2^32", "96 01 01 cf0000000100000000 02 01 c400", integer)
    yield f("count 65536", "96 01 01 00 ce00010000 01 c400", integer)
    yield f("encoding 5", "96 01 01 00 02 05 c400", integer)
    yield f("true as handle", "96 c3 01 00 02 01 c400", integer)
    yield f("list as handle", "96 91 01 01 00 02 01 c400", integer)
    yield f("extension type", "96 01 01 00 02 01 d40100", payload)
    yield f("extension of 4 GiB", "96 01 01 00 02 01 c9ffffffff01", payload)
    yield f("bin of 4 GiB", "96 01 01 00 02 00 c6ffffffff", payload)
    yield f("list of 2^28", "dd10000000", six)
    yield f("nested", "91 91 91 91 91 91 00", six)
    yield f("count 0", "96 01 01 00 00 01 c400", "chunks out of range")
    yield f("first behind the end", "96 01 01 02 01 01 c400", "chunks out of range")
    yield f("count over the end", "96 01 01 01 02 01 c400", "chunks out of range")
    yield f("first + count wraps at 32 bits", "96 01 01 ceffffffff 02 01 c400", "chunks out of range")
    yield f("payload of chunk size + 1", "96 01 01 00 01 04 c50401 01*1025", "a payload larger than a chunk")
    yield f("raw of two chunks", "96 01 01 00 02 00 c50400 00*1024", "raw bytes of more than one chunk")
    yield f("raw, a byte short", "96 01 01 00 01 00 c503ff 00*1023", "raw bytes that are not one chunk long")
    yield f("raw of a short chunk at full length", "96 01 01 00 01 00 c420 00*32", "raw bytes that are not one chunk long", 100, 32)
    yield f("raw, a bit behind the end", "96 01 01 00 01 00 c40d 00*12 10", "a set bit behind the end", 100, 32)
    yield f("zeroes with a payload", "96 01 01 00 01 01 c40100", "a payload that should be empty")
    yield f("ones with a payload", "96 01 01 00 01 02 c40100", "a payload that should be empty")
    yield f("positions without", "96 01 01 00 01 03 c400", "a payload that is empty")
    yield f("runs without", "96 01 01 00 01 04 c400", "a payload that is empty")
    yield f("position behind the end", "96 01 01 00 02 03 c403 808001", "a set bit behind the end")
    yield f("second position behind the end", "96 01 01 00 01 03 c402 0063", "a set bit behind the end", 100, 32)
    yield f("run over the end", "96 01 01 00 01 04 c402 0165", "a set bit behind the end", 101, 32)
    yield f("varint cut off", "96 01 01 00 02 03 c40180", "a varint that is damaged")
    yield f("varint with a needless byte", "96 01 01 00 02 03 c4028000", "a varint that is damaged")
    yield f("varint of one with a needless byte", "96 01 01 00 02 03 c4028100", "a varint that is damaged")
    yield f("varint of seven bytes", "96 01 01 00 02 03 c407 80808080808001", "a varint that is damaged")
    yield f("run without a length", "96 01 01 00 02 04 c40105", "a run that is damaged")
    yield f("run of length 0", "96 01 01 00 02 04 c4020500", "a run that is damaged")
    yield f("second run with no gap", "96 01 01 00 02 04 c404 05010001", "a run that is damaged")
    yield f("length of a run with a needless byte", "96 01 01 00 02 04 c403 058100", "a run that is damaged")
    head = "a17601 a474797065a568656c6c6f a2696401"
    yield c("empty", "", "truncated")
    yield c("cut off", "83 a17601 a474797065a568656c6c6f a269", "a count that is larger than the message")
    yield c("trailing byte", "83" + head + "c0", "bytes behind the message")
    yield c("a list", "90", "not a map")
    yield c("a number", "01", "not a map")
    yield c("map of 2^32 - 1", "dfffffffff", "a count that is larger than the message")
    yield c("five bytes that make msgpack-c reserve gigabytes", "dd10000000", "a count that is larger than the message")
    yield c("nested 6 deep", "84" + head + "a178 9191919191 00", "nested too deeply")
    yield c("an extension", "84" + head + "a178 d6ff00000000", "a type that is not allowed")
    yield c("the byte c1", "84" + head + "a178 c1", "a type that is not allowed")
    yield c("65537 values", bytes.fromhex("84a17601a474797065a568656c6c6fa2696401a178dc") + (65535).to_bytes(2, "big") + b"\xc0" * 65535, "too many values")
    yield c("over 1 MiB", bytes.fromhex("84a17601a474797065a568656c6c6fa2696401a178c6") + (1 << 20).to_bytes(4, "big") + bytes(1 << 20), "too long")
    yield c("key twice", "84" + head + "a17601", "the key 'v' twice")
    yield c("unknown key twice", "85" + head + "a17801 a17802", "the key 'x' twice")
    yield c("a key that is a number", "84" + head + "0101", "a key that is not a text")
    yield c("33 keys", "de0021" + head + "".join("a2%02x%02x01" % (0x61 + i // 10, 0x30 + i % 10) for i in range(30)), "33 keys")
    yield c("version 2", "83 a17602 a474797065a568656c6c6f a2696401", "'v' is out of range")
    yield c("version as text", "83 a176a131 a474797065a568656c6c6f a2696401", "'v' is not an unsigned integer")
    yield c("no id", "82 a17601 a474797065a568656c6c6f", "lacks the field 'id'")
    yield c("negative id", "83 a17601 a474797065a568656c6c6f a26964ff", "'id' is not an unsigned integer")

    def s(name, reason, kind, **fields):
        return c(name, msgpack.packb({"v": 1, "id": 1, **fields}, use_bin_type=True), reason, kind, True)
    yield s("type not known", "of type 'x' is not known", "request", type="x")
    yield s("an event as a request", "is not known here", "request", type="state")
    yield s("type with a zero byte", "a zero byte", "request", type="hel\0lo")
    yield s("UUID too short", "is not a UUID", "request", type="status", session=U[:-1])
    yield s("UUID with a wrong letter", "is not a UUID", "request", type="status", session="g" + U[1:])
    yield s("disk's name empty", "'disk' is out of range", "request", type="bitmap-list", disk="")
    yield s("disk's name as bytes", "'disk' is not a text", "request", type="bitmap-list", disk=b"vda")
    yield s("size 0", "'size' is out of range", "reply", type="bitmap-extents", size=0, granularity=512, extents=[])
    yield s("no bitmaps", "'bitmaps' is out of range", "request", type="prepare", session=U, target="x", bitmaps=[])
    yield s("65 bitmaps", "'bitmaps' is out of range", "request", type="prepare", session=U, target="x", bitmaps=[{"disk": "a", "bitmap": "b"}] * 65)
    yield s("digests of 7 bytes", "'digests' is out of range", "request", type="seal", session=U, epoch=1, handle=1, digests=bytes(7))
    yield s("epoch 0", "'epoch' is out of range", "request", type="attempt", session=U, epoch=0)
    yield s("handles as texts", "an item of a wrong type", "reply", type="offer", data="x", handles=["1"])
    yield s("missing range of 0 chunks", "'count' is out of range", "reply", type="attempt", missing=[{"handle": 1, "first": 0, "count": 0}])
    yield s("error as text", "'error' is not a map", "reply", type="hello", error="no")


def make(directory):
    write(os.path.join(directory, "frames.txt"), "#\n# Good frames.  `runs`: the set bits, FIRST+LENGTH from the frame's first bit on, ascending; FIRST+LENGTH/STRIDE*N is N runs,\n"
          "# STRIDE apart.  `chosen`: the encoding is the one that the encoder of section 8 takes.\n", frames())
    write(os.path.join(directory, "control.txt"), "#\n# Good control messages and events.  `fields` is JSON; bytes are {\"bin\": HEX}.\n", control())
    write(os.path.join(directory, "hostile.txt"), "#\n# To be refused.  `reason`: part of what this implementation says.  `schema: yes`: well-formed, only the fields are wrong.\n", hostile())
