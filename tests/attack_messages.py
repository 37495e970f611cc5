#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What a program that speaks ZeroMQ can send: attack_messages.py [OPTION]... KIND ENDPOINT [ARGUMENT]...

  control EP N       each hostile control message N times; status 1 unless each is refused with `protocol`
  data EP N          each hostile frame, and each hostile control message, N times
  frames EP N        good and bad frames about --handle: --which says in what way
  ask EP TYPE K=V..  one request --times; prints `ok` or the code of the last error, then its message
  flood EP WHAT      hello, heartbeat, show=DISK/BITMAP, data, subscribe: as fast as it goes, until stdin ends
  burst EP WHAT N    the same from N connections, one after the other, which send
                     3000 or until it blocks, and are gone

  --key FILE_secret --server FILE    CURVE, with this key; the other side's certificate
  --which KIND       foreign (valid, wrong bits), past (another epoch), unknown (handles that nobody has), overlap, bad
                     (chunks out of range, or against the rules of its encoding)
  --handle, --epoch, --chunks, --chunk-size of the session that is meant
"""
import argparse
import os
import random
import re
import select
import sys

sys.dont_write_bytecode = True
import msgpack
import zmq

import vectors

HOSTILE = os.path.join(os.environ.get("abs_top_srcdir", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")), "proto/vectors/hostile.txt")


def key_of(path, which):
    return re.search(which + r'-key *= *"([^"]{40})"', open(path, encoding="ascii").read()).group(1).encode()


def is_over():
    return bool(select.select([0], [], [], 0)[0])


def connect(o, kind):
    """A socket of that kind, or that socket."""
    s = zmq.Context.instance().socket(kind) if isinstance(kind, int) else kind
    s.linger, s.sndtimeo, s.rcvtimeo, s.sndhwm = 3000, 5000, 5000, 1000
    if o.key:
        s.curve_publickey, s.curve_secretkey, s.curve_serverkey = key_of(o.key, "public"), key_of(o.key, "secret"), key_of(o.server, "public")
    s.connect(o.endpoint)
    return s


def bombs():
    """Control messages: those of proto/vectors, and larger ones."""
    for record in vectors.read(HOSTILE):
        if record["kind"] == "request" and record["reason"] != "too long":
            yield record["name"], vectors.unhex(record["message"])
    head = b"\x84\xa1v\x01\xa4type\xa5hello\xa2id\x01\xa1x"
    for name, bomb in (("list of 2^32 - 1", b"\xdd\xff\xff\xff\xff"), ("map of 2^32 - 1", b"\xdf\xff\xff\xff\xff"), ("text of 2^32 - 1", b"\xdb\xff\xff\xff\xff"),
                       ("bytes of 2^32 - 1", b"\xc6\xff\xff\xff\xff"), ("extension of 2^32 - 1", b"\xc9\xff\xff\xff\xff\x01"),
                       ("lists 10000 deep", b"\x91" * 10000 + b"\xc0"), ("maps 10000 deep", b"\x81\xa1x" * 10000 + b"\xc0"),
                       ("lists in lists, each of 65535", b"\xdc\xff\xff" * 1000), ("a million small values", b"\xdd\x00\x0f\x00\x00" + b"\xc0" * 0xf0000),
                       ("half a million empty lists", b"\xdd\x00\x07\xff\xff" + b"\x90" * 0x7ffff)):
        yield name, bomb
        yield name + ", in a request", head + bomb
    good = msgpack.packb({"v": 1, "type": "hello", "id": 1})
    for name, bad in (("trailing byte", good + b"\x00"), ("twice", good + good), ("wrong types", msgpack.packb({"v": "1", "type": 1, "id": "x"})),
                      ("session is a number", msgpack.packb({"v": 1, "type": "status", "id": 1, "session": 7})),
                      ("negative", msgpack.packb({"v": 1, "type": "bitmap-mark", "id": 1, "disk": "d", "offset": -1, "length": 1})),
                      ("float", msgpack.packb({"v": 1, "type": "disk-add", "id": 1, "disk": "d", "size": 1e9})),
                      ("65 bitmaps", msgpack.packb({"v": 1, "type": "offer", "id": 1, "session": "6fa2c1d0-0f3e-4b52-9c7b-2d1e8a90b344", "chunk_size": 1024,
                                                    "bitmaps": [{"disk": "d", "bitmap": "b", "size": 1, "granularity": 512, "enabled": True, "persistent": False}] * 65})),
                      ("truncated", good[:-3])):
        yield name, bad


def frame(o, first, count, encoding, payload, handle=None, epoch=None):
    return msgpack.packb([handle or o.handle, (o.epoch if epoch is None else epoch) & 0xff, first, count, encoding, payload])


def frames(o):
    """Endless, by --which; chunks at random but the same in each run."""
    rng = random.Random(1)
    v, last = vectors, o.chunks - 1
    while True:
        c = rng.randrange(o.chunks)
        n = rng.randint(1, min(o.chunks - c, 65535))
        if o.which == "foreign":
            yield frame(o, c, n, v.ONES, b"")
            yield frame(o, c, n, v.ZEROES, b"")
            yield frame(o, c, 1, v.RAW, rng.randbytes(o.chunk_size))
        elif o.which == "past":
            yield frame(o, c, n, v.ONES, b"", epoch=o.epoch - 1)
            yield frame(o, c, n, v.ZEROES, b"", epoch=o.epoch + 255)
            yield frame(o, c, n, v.POSITIONS, b"\x00", epoch=o.epoch + rng.randint(1, 255))
        elif o.which == "unknown":
            yield frame(o, c, n, v.ONES, b"", handle=(o.handle + rng.randint(1, 65000)) % 65535 + 1)
        elif o.which == "overlap":
            yield frame(o, max(c - 3, 0), min(7, o.chunks - max(c - 3, 0)), v.ONES, b"")
            yield frame(o, 0, min(o.chunks, 65535), v.ZEROES, b"")
            yield frame(o, c, n, v.RUNS, b"\x01\x02")
        else:
            yield frame(o, last, 2, v.ONES, b"")
            yield frame(o, o.chunks, 1, v.ONES, b"")
            yield frame(o, 2**32 - 1, 1, v.ONES, b"")
            yield frame(o, 2**32 - 1, 65535, v.ZEROES, b"")
            yield frame(o, 0, 0, v.ONES, b"")
            yield frame(o, c, 65535, v.ZEROES, b"")
            for encoding, payload in ((v.RAW, b""), (v.RAW, bytes(o.chunk_size - 1)), (v.RAW, bytes(o.chunk_size + 1)), (v.ZEROES, b"\x00"), (v.ONES, b"\x00"),
                                      (v.POSITIONS, b""), (v.POSITIONS, b"\xff" * 6), (v.POSITIONS, b"\x80\x00"), (v.POSITIONS, b"\xff\xff\xff\xff\xff\x7f"),
                                      (v.POSITIONS, b"\x80"), (v.RUNS, b"\x00"), (v.RUNS, b"\x00\x00"), (v.RUNS, b"\x00\x01\x00\x01"),
                                      (v.RUNS, b"\x00\xff\xff\xff\xff\xff\x7f"), (v.RUNS, b"\x01\x80\x80\x80\x80\x80\x80\x01"), (5, b""), (255, b"")):
                yield frame(o, c, 1, encoding, payload)


# ------------------------------------------------------------------- attacks

def attack_control(o):
    s = connect(o, zmq.DEALER)
    refused, all_of_them = 0, list(bombs())
    for name, bomb in all_of_them:
        for _ in range(int(o.arguments[0])):
            s.send_multipart([b"", bomb])
            try:
                reply = msgpack.unpackb(s.recv_multipart()[-1])
            except zmq.Again:
                sys.exit(f"'{name}' was not answered")
            if reply.get("error", {}).get("code") not in ("protocol", "too-big"):
                sys.exit(f"'{name}' was answered with {reply}")
            refused += 1
    # No request at all: dropped without a reply, and what comes behind it is answered.
    good = msgpack.packb({"v": 1, "type": "hello", "id": 77})
    for parts in ([good], [b"x"] * 30 + [b"", good], [b"", good, good], [b""] * 20, [b"x", b"y", b"z", b"", good]):
        for _ in range(int(o.arguments[0])):
            s.send_multipart(parts)
    s.send_multipart([b"", good])
    while msgpack.unpackb(s.recv_multipart()[-1])["id"] != 77:
        pass
    print(f"{len(all_of_them)} kinds of bombs, {refused} refused")


def attack_data(o):
    s = connect(o, zmq.PUSH)
    hostile = [vectors.unhex(r["message"]) for r in vectors.read(HOSTILE) if r["kind"] == "frame"] + [bomb for _, bomb in bombs()]
    for _ in range(int(o.arguments[0])):
        for message in hostile:
            s.send(message)
        s.send_multipart([b"\x96", b"\x01"])
        s.send_multipart([b""] * 50)
    print(f"{len(hostile)} kinds of frames that are none")


def attack_frames(o):
    s = connect(o, zmq.PUSH)
    for _, message in zip(range(int(o.arguments[0])), frames(o)):
        s.send(message)
    print(f"{o.arguments[0]} frames: {o.which}")


def attack_ask(o):
    fields = dict(a.split("=", 1) for a in o.arguments[1:])
    values = {k: int(v) if v.isdigit() else bytes.fromhex(v[4:]) if v.startswith("hex:") else v for k, v in fields.items()}
    s = connect(o, zmq.REQ)
    for _ in range(o.times):
        s.send(msgpack.packb({"v": 1, "type": o.arguments[0], "id": random.getrandbits(63), **values}))
        error = msgpack.unpackb(s.recv()).get("error")
    print(error["code"] + " " + error["message"] if error else "ok")


def flood(o):
    """The kind of socket and what to send by it, again and again."""
    what, _, name = o.arguments[0].partition("=")
    body = {"hello": {"type": "hello"}, "heartbeat": {"type": "heartbeat", "session": "6fa2c1d0-0f3e-4b52-9c7b-2d1e8a90b344", "epoch": 1},
            "show": {"type": "bitmap-show", "disk": name.partition("/")[0], "bitmap": name.partition("/")[2]}}.get(what, {})
    good = frame(o, 0, 1, vectors.RAW, bytes(o.chunk_size), handle=65535)

    def parts(i):
        if what == "data":
            return [good if i % 8 else b"\x95"]
        if what == "subscribe":
            return [b"\x01%d" % i]
        return [b"", msgpack.packb({"v": 1, "id": i, **body})]

    return {"data": zmq.PUSH, "subscribe": zmq.XSUB}.get(what, zmq.DEALER), parts


def send(s, parts):
    try:
        s.send_multipart(parts, zmq.DONTWAIT)
        return True
    except zmq.Again:
        return False


def attack_flood(o):
    kind, parts = flood(o)
    s = connect(o, kind)
    s.linger = sent = answered = 0
    while not is_over():
        for _ in range(200):
            if not send(s, parts(sent)):
                s.poll(10, zmq.POLLOUT)
                break
            sent += 1
            if sent == 200:
                print("ready", flush=True)
        while kind == zmq.DEALER and s.poll(0):
            s.recv_multipart()
            answered += 1
    print(f"flood of {o.arguments[0]}: {sent} sent, {answered} answered")


def attack_burst(o):
    kind, parts = flood(o)
    sent = 0
    for burst in range(int(o.arguments[1])):
        s = connect(o, kind)
        while sent < (burst + 1) * 3000 and (send(s, parts(sent)) or s.poll(100, zmq.POLLOUT)):
            sent += 1
        s.close(0)
    print(f"{o.arguments[1]} bursts of {o.arguments[0]}: {sent} sent")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["control", "data", "frames", "ask", "flood", "burst"])
    parser.add_argument("endpoint")
    parser.add_argument("arguments", nargs="*")
    parser.add_argument("--key")
    parser.add_argument("--server")
    parser.add_argument("--which", choices=["foreign", "past", "unknown", "overlap", "bad"])
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--handle", type=int, default=1)
    parser.add_argument("--epoch", type=int, default=1)
    parser.add_argument("--chunks", type=int, default=1024)
    parser.add_argument("--chunk-size", type=int, default=256)
    o = parser.parse_args()
    globals()["attack_" + o.kind](o)
    zmq.Context.instance().destroy()


if __name__ == "__main__":
    main()
