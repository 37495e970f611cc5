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


STATUS = {"session": U, "role": "target", "state": "receiving", "epoch": 1, "chunks": 2, "chunks_done": 1, "frames": 1, "bytes": 14, "resent_frames": 0, "link": "up"}
INTERRUPTED = {**STATUS, "role": "source", "state": "interrupted", "peer": "tcp://192.0.2.1:7440", "epoch": 2, "link": "lost", "dump": "/var/lib/dirtyferry/dumps/" + U + ".dump",
               "message": "no answer"}
COMPARISON = {"diff": U, "disk": "vda", "bitmap": "b0", "against": "/backup/full.raw", "state": "comparing", "size": 1 << 30, "granularity": 65536, "position": 1 << 29, "different": 262144,
              "unread": 0}
BITMAPS = [{"disk": "vda", "bitmap": "b0", "chunks": 2, "chunks_done": 1}]


def control():
    def m(name, kind, type, **fields):
        return message(name, kind, {"v": 1, "type": type, "id": fields.pop("id", 0x1122334455660001), **fields})
    yield m("hello", "request", "hello", id=0)
    yield m("hello with the largest id and a key that is not known", "request", "hello", id=2**64 - 1, later={"more": [1, None, -5, 1.5]})
    yield m("hello", "reply", "hello", daemon="dirtyferry 0.1.0", control="tcp://127.0.0.1:7440", data="tcp://127.0.0.1:7441", events="tcp://127.0.0.1:7442")
    yield m("disk-add, 1 EiB", "request", "disk-add", disk="vda", size=2**60)
    yield m("disk-add, with its contents", "request", "disk-add", disk="vda", size=1 << 30, data="/dev/vg/vda")
    yield m("disk-add, QEMU's", "request", "disk-add", disk="vda", qemu="/run/vm/qmp", node="drive0", nbd="127.0.0.1:10809")
    yield m("disk-add", "reply", "disk-add")
    yield m("disk-list", "reply", "disk-list", disks=[{"disk": "vda", "size": 1 << 30, "readonly": False, "bitmaps": 1}])
    yield m("disk-list, a disk of QEMU", "reply", "disk-list", disks=[{"disk": "vda", "size": 1 << 30, "readonly": False, "bitmaps": 0, "qemu": "/run/vm/qmp drive0"}])
    yield m("bitmap-add", "request", "bitmap-add", disk="vda", bitmap="früh", granularity=65536, disabled=False, persistent=True)
    yield m("bitmap-merge", "request", "bitmap-merge", disk="vda", bitmap="b0", sources=[{"bitmap": "b1"}, {"disk": "vdb", "bitmap": "b2"}])
    yield m("bitmap-show", "reply", "bitmap-show", bitmap={"name": "b0", "granularity": 65536, "count": 327680, "recording": True, "busy": False, "persistent": False,
            "inconsistent": False, "frozen": False, "readonly": False, "sha256": "7eee1341da3e8a34653097d3f5a9942bc2741d096529d07e00304bd92d6efe83"})
    yield m("bitmap-extents", "reply", "bitmap-extents", size=1 << 30, granularity=65536, extents=[0, 65536, 327680, 196608, 39321600, 65536])
    yield m("diff", "request", "diff", disk="vda", bitmap="b0", against="/backup/full.raw", stamp="- fe00:1f:0 1073741824 1700000000.000000000 for 1073741824")
    yield m("diff, it goes on", "reply", "diff", **COMPARISON)
    yield m("diff, of another backup", "reply", "diff", error={"code": "busy", "message": "bitmap 'b0' of disk 'vda' is being compared with '/backup/full.raw'"})
    yield m("diff-report", "request", "diff-report", diff=U, offset=0, length=1 << 29, extents=[0, 65536, 327680, 196608], unread=0)
    yield m("diff-report, the last one, all equal", "request", "diff-report", diff=U, offset=1 << 30, length=0, extents=[], unread=65536)
    yield m("diff-report, it is complete", "reply", "diff-report", **{**COMPARISON, "state": "complete", "position": 1 << 30}, inconsistent=False)
    yield m("diff-cancel", "request", "diff-cancel", diff=U)
    yield m("diff-cancel by names", "request", "diff-cancel", disk="vda", bitmap="b0")
    yield m("diff-cancel", "reply", "diff-cancel", **{**COMPARISON, "state": "cancelled"})
    yield m("prepare", "request", "prepare", session=U, target="tcp://127.0.0.1:7440", bitmaps=[{"disk": "vda", "bitmap": "b0", "as_disk": "sda"}], chunk_size=1024, workers=2, max_bandwidth=10**8)
    yield m("prepare, the target's disk may be larger and its bitmap coarser", "request", "prepare", session=U, target="tcp://127.0.0.1:7440",
            bitmaps=[{"disk": "vda", "bitmap": "b0", "as_granularity": 131072}], grow=True)
    yield m("prepare, one bitmap is not persistent on the target", "request", "prepare", session=U, target="tcp://127.0.0.1:7440",
            bitmaps=[{"disk": "vda", "bitmap": "b0", "transient": True}, {"disk": "vda", "bitmap": "b1"}])
    yield m("pivot", "request", "pivot", session=U.upper(), role="source")
    yield m("pivot", "reply", "pivot", status={**STATUS, "bitmaps": BITMAPS})
    yield m("pivot, refused", "reply", "pivot", error={"code": "not-found", "message": "there is no session"})
    yield m("an error with a code that is not known", "reply", "cancel", error={"code": "of-a-later-version", "message": ""})
    yield m("rollback", "request", "rollback", session=U, role="source")
    yield m("rollback by force", "request", "rollback", session=U, role="source", force=True)
    yield m("resume", "request", "resume", session=U)
    yield m("resume, the target has moved", "request", "resume", session=U, target="tcp://192.0.2.2:7440")
    yield m("resume", "reply", "resume", status={**INTERRUPTED, "state": "streaming", "link": "up", "bitmaps": [{**BITMAPS[0], "as_disk": "vda", "as_bitmap": "b0"}]})
    yield m("resume, the target does not answer", "reply", "resume", error={"code": "timeout", "message": "the target does not answer"})
    yield m("abandon", "request", "abandon", session=U)
    yield m("abandon, all dirty", "request", "abandon", session=U, all_dirty=True)
    yield m("abandon", "reply", "abandon", status={**STATUS, "state": "abandoned", "bitmaps": BITMAPS})
    h = header([bitmap(1 << 30, 65536)])
    yield m("dump of a session, first block", "request", "dump", dump=ID, session=U, index=0, handle=1, first=0)
    yield m("dump, the header", "reply", "dump", block=block(1, 0, h), handle=1, first=0)
    yield m("dump of a session, next block", "request", "dump", dump=ID, session=U, index=1, handle=1, first=0)
    yield m("dump, data", "reply", "dump", block=block(2, 1, framed(h, 1, 0, 2, [(0, 1), (5, 3), (600, 1)])), handle=2, first=0)
    yield m("dump, the end", "reply", "dump", block=block(3, 2, end(h, 2, [[(0, 1), (5, 3), (600, 1)]])))
    yield m("dump of a bitmap, behind the last of 64", "request", "dump", dump=2**64 - 1, disk="vda", bitmap="b0", index=2**64 - 1, handle=65, first=2**32 - 1)
    yield m("dump, begin again", "reply", "dump", error={"code": "stale", "message": "the dump was given up"})
    yield m("load", "request", "load", dump=ID, session=U, index=0, block=block(1, 0, h))
    yield m("load", "reply", "load", status={**STATUS, "state": "operative", "bitmaps": BITMAPS})
    yield m("wait", "request", "wait", session=U, role="target", state="operative", timeout_ms=10000)
    yield m("status of all", "request", "status")
    yield m("status of none", "reply", "status", sessions=[])
    yield m("status", "reply", "status", sessions=[{**STATUS, "peer": "ipc:///x", "message": "why", "bitmaps": BITMAPS}])
    yield m("offer", "request", "offer", session=U, chunk_size=1024, bitmaps=[{"disk": "vda", "bitmap": "b0", "size": 1 << 30, "granularity": 65536, "enabled": True, "persistent": False}])
    yield m("offer, the target's disk may be larger and its bitmap coarser", "request", "offer", session=U, chunk_size=1024, grow=True,
            bitmaps=[{"disk": "vda", "bitmap": "b0", "size": 1 << 30, "granularity": 65536, "enabled": True, "persistent": False, "as_granularity": 131072}])
    yield m("offer", "reply", "offer", data="tcp://127.0.0.1:7441", handles=[1])
    yield m("attempt", "request", "attempt", session=U, epoch=2**32 - 1)
    yield m("attempt", "reply", "attempt", state="receiving", data="tcp://127.0.0.1:7441", bytes=14, missing=[{"handle": 1, "first": 0, "count": 4294967295}])
    yield m("attempt, nothing is missing", "reply", "attempt", state="operative", data="ipc:///x", bytes=2**64 - 1, missing=[])
    yield m("heartbeat", "request", "heartbeat", session=U, epoch=3)
    yield m("heartbeat, the target is behind", "reply", "heartbeat", state="receiving", epoch=2, bytes=0)
    yield m("heartbeat, the target does not know the session", "reply", "heartbeat", error={"code": "not-found", "message": "there is no session"})
    yield m("seal", "request", "seal", session=U, epoch=1, handle=1, digests=bytes.fromhex("63f007631524039e"))
    yield m("seal with 1024 digests", "request", "seal", session=U, epoch=1, handle=65535, digests=bytes(8192))
    yield m("seal", "reply", "seal", exact=True, missing=0, wrong=0)
    yield m("lease", "request", "lease", session=U, worker="w", lease=3, done=True, frames=1, bytes=14, digests=bytes.fromhex("63f007631524039e"))
    yield m("lease", "reply", "lease", grant="work", lease=3, epoch=1, handle=1, first=0, count=2, chunk_size=1024, nbits=16384, map="/x/map-1", data="tcp://127.0.0.1:7441")
    yield m("lease, keep", "request", "lease", session=U, worker="w", lease=3, done=False)
    yield m("lease, stalled", "request", "lease", session=U, worker="w", lease=3, done=False, stalled=True)
    yield m("lease, end", "reply", "lease", grant="end")
    for kind in ("state", "progress", "snapshot"):
        yield m(kind, "event", kind, id=7, seq=7, **STATUS)
    yield m("link", "event", "link", id=8, seq=8, **INTERRUPTED)
    for kind in ("state", "progress", "snapshot"):
        yield m("diff-" + kind, "event", "diff-" + kind, id=9, seq=9, **COMPARISON)
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
    yield s("missing range of 0 chunks", "'count' is out of range", "reply", type="attempt", state="receiving", data="x", bytes=0, missing=[{"handle": 1, "first": 0, "count": 0}])
    yield s("attempt without the state", "lacks the field 'state'", "reply", type="attempt", data="x", bytes=0, missing=[])
    yield s("attempt without the data endpoint", "lacks the field 'data'", "reply", type="attempt", state="receiving", bytes=0, missing=[])
    yield s("heartbeat without an epoch", "lacks the field 'epoch'", "request", type="heartbeat", session=U)
    yield s("heartbeat of epoch 2^32", "'epoch' is out of range", "request", type="heartbeat", session=U, epoch=2**32)
    yield s("heartbeat at epoch 0", "'epoch' is out of range", "reply", type="heartbeat", state="receiving", epoch=0, bytes=0)
    yield s("heartbeat without the bytes", "lacks the field 'bytes'", "reply", type="heartbeat", state="receiving", epoch=1)
    yield s("heartbeat with an empty state", "'state' is out of range", "reply", type="heartbeat", state="", epoch=1, bytes=0)
    yield s("link of one letter", "'link' is out of range", "event", type="link", seq=1, **{**INTERRUPTED, "link": "x"})
    yield s("a dump's path empty", "'dump' is out of range", "event", type="state", seq=1, **{**INTERRUPTED, "dump": ""})
    yield s("a dump's path as a number", "'dump' is not a text", "event", type="state", seq=1, **{**INTERRUPTED, "dump": 1})
    yield s("a link event as a request", "is not known here", "request", type="link")
    yield s("rollback with force as a number", "'force' is not true or false", "request", type="rollback", session=U, role="source", force=1)
    yield s("resume with an empty target", "'target' is out of range", "request", type="resume", session=U, target="")
    yield s("resume with a target of 256 bytes", "'target' is out of range", "request", type="resume", session=U, target="x" * 256)
    yield s("resume of no session", "lacks the field 'session'", "request", type="resume")
    yield s("abandon with all_dirty as text", "'all_dirty' is not true or false", "request", type="abandon", session=U, all_dirty="yes")
    yield s("dump 0", "'dump' is out of range", "request", type="dump", dump=0, session=U, index=0, handle=1, first=0)
    yield s("dump without an index", "lacks the field 'index'", "request", type="dump", dump=1, session=U, handle=1, first=0)
    yield s("dump, handle 0", "'handle' is out of range", "request", type="dump", dump=1, session=U, index=0, handle=0, first=0)
    yield s("dump, handle 66", "'handle' is out of range", "request", type="dump", dump=1, session=U, index=1, handle=66, first=0)
    yield s("dump, chunk 2^32", "'first' is out of range", "request", type="dump", dump=1, session=U, index=1, handle=1, first=2**32)
    yield s("dump, a block without bytes", "'block' is out of range", "reply", type="dump", block=b"")
    yield s("dump, a block that is too long", "'block' is out of range", "reply", type="dump", block=bytes(655393))
    yield s("dump, a block as text", "'block' is not bytes", "reply", type="dump", block="DFBLOCK")
    yield s("load without a block", "lacks the field 'block'", "request", type="load", dump=1, session=U, index=0)
    yield s("load of a block that is too long", "'block' is out of range", "request", type="load", dump=1, session=U, index=0, block=bytes(655393))
    yield s("load of no session", "lacks the field 'session'", "request", type="load", dump=1, index=0, block=b"x")
    yield s("load with a number for the session", "'session' is not a text", "request", type="load", dump=1, session=7, index=0, block=b"x")
    yield s("lease, stalled as a number", "'stalled' is not true or false", "request", type="lease", session=U, worker="w", lease=1, stalled=1)
    yield s("error as text", "'error' is not a map", "reply", type="hello", error="no")


# --------------------------------------------------------------------- dumps

ID = 0x1122334455667788


def block(kind, index, payload, seed=None, magic=b"DFBLOCK\1", nbytes=None):
    """`payload` is bytes or a map; the sum is right whatever the rest is."""
    if isinstance(payload, dict):
        payload = msgpack.packb(payload, use_bin_type=True)
    head = magic + b"".join(x.to_bytes(n, "little") for x, n in ((kind, 4), (len(payload) if nbytes is None else nbytes, 4), (index, 8)))
    if seed is None:
        seed = ID if index else 0
    return head + v.xxh3(head + payload, seed).to_bytes(8, "little") + payload


def header(bitmaps, **fields):
    return {"v": 1, "id": ID, "content": "session", "session": U, "epoch": 1, "chunk_size": 1024, "bitmaps": bitmaps, **fields}


def bitmap(size, granularity, **fields):
    return {"disk": "vda", "bitmap": "b0", "size": size, "granularity": granularity, "enabled": True, "persistent": False, **fields}


def framed(h, handle, first, count, runs, encoding=None):
    """Length and frame; `runs` from the bitmap's first bit on."""
    chunk, nbits = h["chunk_size"], v.nbits_of(h["bitmaps"][handle - 1])
    n, base = v.frame_bits(nbits, chunk, first, count), 8 * chunk * first
    inside = v.merge([(f - base, length) for f, length in runs if base <= f < base + n])
    if encoding is None:
        encoding = v.choose(inside, n, count, chunk)
    frame = v.pack_frame(handle, h["epoch"] % 256, first, count, encoding, v.payload_of(encoding, inside, n))
    return len(frame).to_bytes(4, "little") + frame


def end(h, index, runs):
    return {"blocks": index, "bitmaps": [{"digests": v.digests(r, v.nbits_of(b))} for r, b in zip(runs, h["bitmaps"])]}


def good_dumps():
    def good(name, h, runs, data):
        blocks = [block(1, 0, h)] + [block(2, i + 1, d) for i, d in enumerate(data)]
        blocks.append(block(3, len(blocks), end(h, len(blocks), runs)))
        said = {"runs%d" % (i + 1): " ".join("%d+%d" % x for x in r) for i, r in enumerate(runs)}
        return {"name": name, "header": json.dumps(h, ensure_ascii=False), **said, "file": v.rehex(b"".join(blocks))}
    h, runs = header([bitmap(1 << 30, 65536)]), [(0, 1), (5, 3), (600, 1)]
    yield good("example of the document", h, [runs], [framed(h, 1, 0, 2, runs)])
    h = header([bitmap(1 << 30, 65536)], content="bitmap", chunk_size=65536)
    yield good("a bitmap that is clean", h, [[]], [framed(h, 1, 0, 1, [])])
    h = header([bitmap(20480000 - 511, 512, bitmap="früh"), bitmap(1, 1 << 31, disk="vdb", enabled=False, persistent=True)], epoch=300, chunk_size=32)
    a, b = [(3, 1), (256, 256), (512, 2), (800, 30), (900, 1), (39990, 10)], [(0, 1)]
    parts = [framed(h, 1, 0, 1, a, v.RAW), framed(h, 1, 1, 1, a), framed(h, 1, 2, 1, a, v.POSITIONS), framed(h, 1, 3, 1, a, v.RUNS),
             framed(h, 1, 4, 100, a), framed(h, 1, 104, 53, a), framed(h, 2, 0, 1, b)]
    yield good("all encodings, two bitmaps, epoch 300, seven frames in three blocks", h, [a, b], [b"".join(parts[:4]), parts[4], b"".join(parts[5:])])
    yield good("a key of a later version", {**h, "later": [1, 2]}, [a, b], [b"".join(parts)])


def bad_dumps():
    h, runs = header([bitmap(1 << 30, 65536)]), [(0, 1), (5, 3), (600, 1)]
    first, second = framed(h, 1, 0, 1, runs), framed(h, 1, 1, 1, runs)
    b = [block(1, 0, h), block(2, 1, first), block(2, 2, second), block(3, 3, end(h, 3, [runs]))]
    whole = b"".join(b)
    mark = len(b[0]) + len(b[1])    # where block 2 begins

    def bad(name, reason, *parts):
        return {"name": name, "reason": reason, "file": v.rehex(b"".join(parts))}

    def flip(at, bits=1):
        return whole[:at] + bytes([whole[at] ^ bits]) + whole[at + 1:]
    yield bad("empty", "the dump is empty")
    yield bad("another file", "not a dump", b"QFI\xfb" + bytes(60))
    yield bad("shorter than a head", "cut off", whole[:20])
    yield bad("cut off in a payload", "block 2 of the dump is cut off", whole[:mark + 40])
    yield bad("cut off in a head", "block 2 of the dump is cut off", whole[:mark + 31])
    yield bad("cut off behind a block", "its end is missing", whole[:mark])
    yield bad("a bit of the payload flipped", "block 2 of the dump is damaged: its checksum is wrong", flip(mark + 35))
    yield bad("a bit of the checksum flipped", "block 2 of the dump is damaged: its checksum is wrong", flip(mark + 24))
    yield bad("a bit of the number flipped", "block 2 of the dump is damaged: its checksum is wrong", flip(mark + 16))
    yield bad("a bit of the magic flipped", "block 2 of the dump is damaged: it does not begin", flip(mark))
    yield bad("version 2", "of version 2", block(1, 0, h, magic=b"DFBLOCK\2"), *b[1:])
    yield bad("version 2 in one block", "block 1 of the dump is damaged: it does not begin", b[0], block(2, 1, first, magic=b"DFBLOCK\2"), *b[2:])
    yield bad("blocks swapped", "block 1 of the dump is not in its place: block 2", b[0], b[2], b[1], b[3])
    yield bad("a block twice", "block 2 of the dump is not in its place: block 1", b[0], b[1], *b[1:])
    yield bad("a block left out", "block 1 of the dump is not in its place: block 2", b[0], *b[2:])
    yield bad("a block of another dump", "block 1 of the dump is damaged: its checksum is wrong, or it is of another dump", b[0], block(2, 1, first, seed=ID + 1), *b[2:])
    yield bad("the header of another dump", "block 1 of the dump is damaged: its checksum is wrong, or it is of another dump", block(1, 0, {**h, "id": ID + 1}), *b[1:])
    yield bad("the header twice", "block 1 of the dump is damaged: it is not of a kind", b[0], *b)
    yield bad("no header", "block 0 of the dump is damaged: it is not of a kind", *b[1:])
    yield bad("kind 4", "block 1 of the dump is damaged: it is not of a kind", b[0], block(4, 1, first), *b[2:])
    yield bad("a byte behind the end", "bytes behind block 3", whole, b"\0")
    yield bad("two dumps in one file", "bytes behind block 3", whole, whole)
    yield bad("no payload", "its length is out of range", b[0], block(2, 1, b""))
    yield bad("a length of 4 GiB", "its length is out of range", b[0], block(2, 1, first, nbytes=2**32 - 1))
    yield bad("a payload of 655361 bytes", "its length is out of range", b[0], block(2, 1, bytes(655361)))
    for name, reason, fields in (("v 2", "'v' is out of range", {"v": 2}), ("id 0", "'id' is out of range", {"id": 0}), ("another content", "content 'bitmaps' is not known", {"content": "bitmaps"}),
                                 ("session is no UUID", "not a UUID", {"session": "x"}), ("epoch 0", "'epoch' is out of range", {"epoch": 0}),
                                 ("epoch 2 without a session", "epoch 2 is out of range", {"epoch": 2, "content": "bitmap"}),
                                 ("chunks of 128 KiB", "'chunk_size' is out of range", {"chunk_size": 131072}), ("chunks of 96 bytes", "chunk size 96", {"chunk_size": 96}),
                                 ("no bitmaps", "'bitmaps' is out of range", {"bitmaps": []}), ("a bitmap twice", "stands twice", {"bitmaps": 2 * h["bitmaps"]}),
                                 ("granularity 1000", "granularity 1000", {"bitmaps": [bitmap(1 << 30, 1000)]}), ("size 0", "'size' is out of range", {"bitmaps": [bitmap(0, 512)]}),
                                 ("2^42 bits", "bits: 2199023255552 are possible", {"bitmaps": [bitmap(1 << 51, 512)], "chunk_size": 65536}),
                                 ("a name with a line break", "a control character", {"bitmaps": [bitmap(1 << 30, 65536, disk="v\nda")]})):
        yield bad("header: " + name, reason, block(1, 0, {**h, **fields}), *b[1:])
    yield bad("header: a list", "it is not a map", block(1, 0, b"\x90"))
    yield bad("a chunk is missing", "chunk 1 of bitmap 1 has not come", b[0], b[1], block(3, 2, end(h, 2, [runs])))
    yield bad("chunks in the wrong order", "not the next one in order", b[0], block(2, 1, second + first))
    yield bad("a chunk twice", "not the next one in order", b[0], block(2, 1, first + first))
    yield bad("a frame behind the last chunk", "behind the last chunk", b[0], block(2, 1, first + second + second))
    yield bad("a handle that is not there", "not the next one in order", b[0], block(2, 1, first.replace(b"\x96\x01", b"\x96\x02")))
    yield bad("a frame of another epoch", "another epoch", b[0], block(2, 1, framed({**h, "epoch": 2}, 1, 0, 1, runs)))
    yield bad("a frame longer than its block", "longer than the block", b[0], block(2, 1, first[:-1]))
    yield bad("a frame that is not valid", "should be empty", b[0], block(2, 1, bytes.fromhex("09000000 96 01 01 00 02 01 c40100")))
    yield bad("end: another number of blocks", "4 blocks before it", *b[:3], block(3, 3, {**end(h, 3, [runs]), "blocks": 4}))
    yield bad("end: digests of two bitmaps", "digests of 2 bitmaps", *b[:3], block(3, 3, {"blocks": 3, "bitmaps": 2 * end(h, 3, [runs])["bitmaps"]}))
    yield bad("end: two digests for one segment", "16 bytes of digests", *b[:3], block(3, 3, {"blocks": 3, "bitmaps": [{"digests": bytes(16)}]}))


def make(directory):
    write(os.path.join(directory, "dumps.txt"), "#\n# Whole dump files.  Good ones: `header` is the map of block 0 as JSON, `runs1` the set bits of the first bitmap (FIRST+LENGTH), and so on.\n"
          "# Bad ones: `reason` is part of what this implementation says.\n", list(good_dumps()) + list(bad_dumps()))
    write(os.path.join(directory, "frames.txt"), "#\n# Good frames.  `runs`: the set bits, FIRST+LENGTH from the frame's first bit on, ascending; FIRST+LENGTH/STRIDE*N is N runs,\n"
          "# STRIDE apart.  `chosen`: the encoding is the one that the encoder of section 8 takes.\n", frames())
    write(os.path.join(directory, "control.txt"), "#\n# Good control messages and events.  `fields` is JSON; bytes are {\"bin\": HEX}.\n", control())
    write(os.path.join(directory, "hostile.txt"), "#\n# To be refused.  `reason`: part of what this implementation says.  `schema: yes`: well-formed, only the fields are wrong.\n", hostile())
