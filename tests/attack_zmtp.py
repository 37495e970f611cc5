#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What no ZeroMQ library would send: attack_zmtp.py [OPTION]... KIND ENDPOINT [NUMBER]

  knock EP N         N handshakes; status 1 if one is let in
  garbage EP N       N connections with random bytes
  truncated EP       handshakes and messages that end behind each of their bytes
  commands EP        malformed commands and lengths, each on a connection of its own
  endless EP MIB     frames with SNDMORE until the other side cuts, or MIB were taken: status 1
  endlessly EP       the same, on a new connection whenever it is cut, until stdin ends
  oversize EP        one frame above every limit, then its bytes until the other side cuts
  subscriptions EP N different subscriptions, until the other side cuts
  repeated EP        CURVE: a message with a nonce that was used
  hold EP N          N connections that stop at --stage, again and again; until stdin ends
  replay EP FILE     the bytes of a connection that `record` has seen
  record EP FILE     listens on a free port (prints "ready EP"), forwards; each connection's bytes are a FILE.n

  --socket TYPE      what it says it is (PUSH)
  --key FILE_secret  CURVE, with this key; --server FILE: the other side's certificate
  --stage STAGE      of hold: silent, greeting, hello (CURVE), ready, message (never ends), drip (byte by byte)
  --frame BYTES      of endless (65536)

Works on bare sockets; CURVE (CurveZMQ, RFC 26) by libsodium, which libzmq links.
"""
import argparse
import ctypes
import os
import random
import re
import resource
import select
import socket
import struct
import sys
import threading
import time

from relay import pump

MORE, LONG, COMMAND = 1, 2, 4
CUT = OSError, EOFError


def greeting(mechanism):
    return b"\xff" + bytes(8) + b"\x7f\x03\x00" + mechanism.ljust(20, b"\0") + bytes(32)


def frame(flags, body):
    if len(body) > 255 or flags & LONG:
        return struct.pack(">BQ", flags | LONG, len(body)) + body
    return bytes((flags, len(body))) + body


def metadata(socket_type):
    return b"".join(bytes((len(k),)) + k + struct.pack(">I", len(v)) + v for k, v in ((b"Socket-Type", socket_type), (b"Identity", b"")))


def ready(socket_type):
    return frame(COMMAND, b"\x05READY" + metadata(socket_type))


# --------------------------------------------------------------------- CURVE

Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


def key_of(path, which):
    """`which`-key of a certificate file, as 32 bytes."""
    text = re.search(which + r'-key *= *"([^"]{40})"', open(path, encoding="ascii").read()).group(1)
    out = b""
    for i in range(0, 40, 5):
        value = 0
        for c in text[i:i + 5]:
            value = value * 85 + Z85.index(c)
        out += struct.pack(">I", value)
    return out


class Box:
    """crypto_box between a secret and a public key."""
    sodium = None

    def __init__(self, public, secret):
        self.shared = ctypes.create_string_buffer(32)
        if self.library().crypto_box_beforenm(self.shared, public, secret):
            raise ValueError("a key that is none")

    @classmethod
    def library(cls):
        if not cls.sodium:
            cls.sodium = ctypes.CDLL("libsodium.so.23")
            for call in cls.sodium.crypto_box_easy_afternm, cls.sodium.crypto_box_open_easy_afternm:
                call.argtypes = ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulonglong, ctypes.c_char_p, ctypes.c_char_p
        return cls.sodium

    @classmethod
    def pair(cls):
        public, secret = ctypes.create_string_buffer(32), ctypes.create_string_buffer(32)
        cls.library().crypto_box_keypair(public, secret)
        return public.raw, secret.raw

    def seal(self, plain, nonce):
        out = ctypes.create_string_buffer(len(plain) + 16)
        self.sodium.crypto_box_easy_afternm(out, plain, len(plain), nonce, self.shared)
        return out.raw

    def open(self, box, nonce):
        out = ctypes.create_string_buffer(max(len(box) - 16, 1))
        if self.sodium.crypto_box_open_easy_afternm(out, box, len(box), nonce, self.shared):
            raise EOFError("a box that does not open")
        return out.raw[:len(box) - 16]


class Curve:
    """The client's side of a handshake, in the steps in which it can be left."""

    def __init__(self, key, server):
        self.public, self.secret, self.server = key_of(key, "public"), key_of(key, "secret"), key_of(server, "public")
        self.transient, self.transient_secret = Box.pair()
        self.count = 0

    def nonce(self):
        self.count += 1
        return struct.pack(">Q", self.count)

    def hello(self):
        n = self.nonce()
        box = Box(self.server, self.transient_secret).seal(bytes(64), b"CurveZMQHELLO---" + n)
        return frame(COMMAND, b"\x05HELLO\x01\x00" + bytes(72) + self.transient + n + box)

    def initiate(self, welcome, socket_type):
        if welcome[:8] != b"\x07WELCOME":
            raise EOFError("no WELCOME")
        plain = Box(self.server, self.transient_secret).open(welcome[24:], b"WELCOME-" + welcome[8:24])
        transient_server, cookie = plain[:32], plain[32:]
        n = os.urandom(16)
        vouch = Box(transient_server, self.secret).seal(self.transient + self.server, b"VOUCH---" + n)
        self.box = Box(transient_server, self.transient_secret)
        short = self.nonce()
        box = self.box.seal(self.public + n + vouch + metadata(socket_type), b"CurveZMQINITIATE" + short)
        return frame(COMMAND, b"\x08INITIATE" + cookie + short + box)

    def message(self, flags, body):
        n = self.nonce()
        return b"\x07MESSAGE" + n + self.box.seal(bytes((flags,)) + body, b"CurveZMQMESSAGEC" + n)


# ---------------------------------------------------------------------- wire

class Wire:
    """A connection that says what it is told to."""

    def __init__(self, o):
        self.o, self.curve = o, o.key and Curve(o.key, o.server)
        self.socket = connect(o.endpoint)
        self.socket.setblocking(False)
        self.buffer = b""

    def write(self, data):
        """As sendall(), but sees that the other side closed although it takes nothing any more."""
        data = memoryview(data)
        while data:
            try:
                data = data[self.socket.send(data):]
            except BlockingIOError:
                self.wait(True)

    def wait(self, writing=False):
        """Until there is something to read, or room to write."""
        readable, writable, _ = select.select([self.socket], [self.socket] if writing else [], [], 20)
        if readable:
            block = self.socket.recv(65536)
            if not block:
                raise EOFError("closed")
            self.buffer += block
        elif not writable:
            raise TimeoutError("neither closed nor taken for 20 s")

    def read(self, n):
        while len(self.buffer) < n:
            self.wait()
        out, self.buffer = self.buffer[:n], self.buffer[n:]
        return out

    def read_frame(self):
        flags = self.read(1)[0]
        return flags, self.read(struct.unpack(">Q", self.read(8))[0] if flags & LONG else self.read(1)[0])

    def handshake(self):
        self.write(greeting(b"CURVE" if self.curve else b"NULL"))
        self.read(64)
        if self.curve:
            self.write(self.curve.hello())
            self.write(self.curve.initiate(self.read_frame()[1], self.o.socket.encode()))
        else:
            self.write(ready(self.o.socket.encode()))
        if b"READY" not in self.read_frame()[1][:6]:
            raise EOFError("refused")

    def message(self, body, flags=0):
        self.write(frame(0, self.curve.message(flags, body)) if self.curve else frame(flags, body))

    def is_cut(self, seconds):
        """Reads what comes (heartbeats) until the other side closes."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self.socket], [], [], left)[0]:
                try:
                    if not self.socket.recv(65536):
                        return True
                except OSError:
                    return True
        return False

    def close(self):
        self.socket.close()


def connect(endpoint):
    s = socket.socket(socket.AF_UNIX if endpoint.startswith("ipc://") else socket.AF_INET)
    s.settimeout(20)
    if endpoint.startswith("ipc://"):
        s.connect(endpoint[6:])
    else:
        host, port = endpoint.removeprefix("tcp://").rsplit(":", 1)
        s.connect((host.strip("[]").removeprefix("::ffff:"), int(port)))
    return s


# ------------------------------------------------------------------- attacks

def is_over():
    return bool(select.select([0], [], [], 0)[0])


def said(o, data):
    """One connection that says this, hears what comes back, and goes."""
    try:
        wire = Wire(o)
    except CUT:
        return
    try:
        wire.write(data)
        wire.socket.shutdown(socket.SHUT_WR)
        wire.is_cut(2)
    except CUT:
        pass
    wire.close()


def knock(o):
    let_in = 0
    for _ in range(int(o.argument)):
        try:
            wire = Wire(o)
            wire.handshake()
            let_in += 1
        except CUT:
            pass
        wire.close()
    print(f"{o.argument} handshakes, {let_in} let in")
    return let_in > 0


def garbage(o):
    rng = random.Random(1)
    for i in range(int(o.argument)):
        head = (b"", b"\xff", greeting(b"NULL"), greeting(b"CURVE"), greeting(b"NULL") + ready(o.socket.encode()))[i % 5]
        said(o, head + rng.randbytes(rng.randrange(1, 3000)))


def truncated(o):
    body = b"\x96\x01\x01\x00\x01\x02\xc4\x00"
    whole = greeting(b"NULL") + ready(o.socket.encode()) + frame(MORE, b"") + frame(LONG, body)
    if o.key:
        curve = Curve(o.key, o.server)
        whole = greeting(b"CURVE") + curve.hello()
    for n in range(len(whole)):
        said(o, whole[:n])


def commands(o):
    """Each behind a good greeting, and where they are of the NULL mechanism behind a READY too."""
    kind = o.socket.encode()
    heads = [greeting(b"CURVE" if o.key else b"NULL"), greeting(b"NULL") + ready(kind)]
    name = b"\x05READY\x0bSocket-Type"
    bad = [frame(COMMAND, b""), frame(COMMAND, b"\xffREADY"), frame(COMMAND, b"\x05READ"),
           frame(COMMAND, name + b"\xff\xff\xff\xff" + kind), frame(COMMAND, name + b"\x7f\xff\xff\xff"), frame(COMMAND, name + b"\x00"),
           frame(COMMAND, b"\x05READY" + b"\xff" * 255), frame(COMMAND, b"\x05READY" + metadata(b"NONSENSE")),
           frame(COMMAND, b"\x05READY" + metadata(kind) * 5000), frame(COMMAND | MORE, b"\x05READY"), frame(0, b"\x05READY"),
           frame(COMMAND, b"\x05ERROR\xff"), frame(COMMAND, b"\x05ERROR\x00"), frame(COMMAND, b"\x04PING"), frame(COMMAND, b"\x04PING\x00"),
           frame(COMMAND, b"\x04PING\x00\x00" + b"x" * 60000), frame(COMMAND, b"\x04PONG" + b"x" * 60000),
           frame(COMMAND, b"\x09SUBSCRIBE" + b"x" * 60000), frame(COMMAND, b"\x06CANCEL"), frame(0, b"\x01" + b"x" * 60000),
           frame(COMMAND, b"\x05HELLO" + bytes(194)), frame(COMMAND, b"\x05HELLO"), frame(COMMAND, b"\x08INITIATE" + bytes(248)),
           frame(COMMAND, b"\x07WELCOME" + bytes(160)), frame(0, b"\x07MESSAGE" + bytes(25)), frame(0, b"\x07MESSAGE"),
           struct.pack(">BQ", LONG, 2**64 - 1), struct.pack(">BQ", LONG, 2**63), struct.pack(">BQ", LONG, 2**32), struct.pack(">BQ", LONG | MORE, 2**40),
           struct.pack(">BQ", COMMAND | LONG, 2**64 - 1), struct.pack(">BQ", COMMAND | LONG, 2**31), b"\xf8\x05hello", b"\x08\x00"]
    for command in bad:
        for head in heads:
            said(o, head + command)


def endless(o):
    limit, block = int(o.argument) << 20, bytes(o.frame)
    sent, begin = 0, time.monotonic()
    wire = Wire(o)
    try:
        wire.handshake()
        if o.socket == "REQ":
            wire.message(b"", MORE)
        while sent < limit:
            wire.message(block, MORE)
            sent += len(block) or 1
    except CUT:
        pass
    else:
        print(f"{sent >> 20} MiB without an end were taken")
        return 1
    print(f"cut after {sent >> 20} MiB, {time.monotonic() - begin:.1f} s")
    return 0


def unfinished(o):
    """Many connections, each with less than what one of them may have."""
    wires, cut, block = [], 0, bytes(o.frame)
    for _ in range(int(o.argument)):
        wire = Wire(o)
        try:
            wire.handshake()
            for _ in range((40 << 20) // len(block)):
                wire.message(block, MORE)
        except CUT:
            cut += 1
        wires.append(wire)      # they stay open
    print(f"{len(wires)} connections with 40 MiB without an end each, {cut} cut meanwhile")
    return 0


def endlessly(o):
    block, sent, cut = bytes(o.frame), 0, 0
    while not is_over():
        try:
            wire = Wire(o)
            wire.handshake()
            while not is_over():
                wire.message(block, MORE)
                sent += len(block)
                if sent == len(block):
                    print("ready", flush=True)
        except CUT:
            cut += 1
    print(f"{sent >> 20} MiB without an end, cut {cut} times")


def oversize(o):
    wire = Wire(o)
    n = 0
    try:
        wire.handshake()
        if wire.curve:
            wire.write(struct.pack(">BQ", LONG, 1 << 32) + b"\x07MESSAGE" + wire.curve.nonce())
        else:
            wire.write(struct.pack(">BQ", LONG, 1 << 32))
        while n < 64 << 20:
            wire.write(bytes(65536))
            n += 65536
    except CUT:
        print("cut")
        return 0
    return 1


def subscriptions(o):
    wire = Wire(o)
    n = 0
    try:
        wire.handshake()
        for n in range(int(o.argument)):
            wire.message(b"\x01" + b"%d" % n + b"x" * 250)
            wire.message((b"\x00never subscribed", b"neither", b"", b"\x02" + b"x" * 250)[n % 4])
    except CUT:
        pass
    cut = wire.is_cut(10)
    print(f"{n + 1} subscriptions, {'cut' if cut else 'not cut'}")
    return not cut


def repeated(o):
    wire = Wire(o)
    try:
        wire.handshake()
        n = wire.curve.count
        for _ in range(10):
            wire.curve.count = n
            wire.message(b"\x96\x01\x01\x00\x01\x02\xc4\x00")
    except CUT:
        pass
    cut = wire.is_cut(10)
    print("cut" if cut else "not cut")
    return not cut


def stopped(o):
    """A connection that has come as far as --stage; the bytes that it drips from then on."""
    wire = Wire(o)
    mechanism = b"CURVE" if o.key else b"NULL"
    drips = b""
    if o.stage in ("greeting", "hello"):
        wire.write(greeting(mechanism))
    if o.stage == "hello":
        wire.write(wire.curve.hello())
    if o.stage in ("ready", "message"):
        wire.handshake()
    if o.stage == "message":
        wire.message(b"\x00" * 100, MORE)
    if o.stage == "drip":
        drips = greeting(mechanism) + (wire.curve.hello() if o.key else ready(o.socket.encode()) + frame(LONG, bytes(60000)))
    return wire, drips


def hold(o):
    """Who is cut connects again, a thousand times a second at most."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    held, cut, full = {}, 0, 0
    said_ready, turn = False, 0
    while True:
        due = time.monotonic() > turn + 0.05
        if due:
            turn = time.monotonic()
        for _ in range(min(50, int(o.argument) - len(held)) if due else 0):
            try:
                wire, drips = stopped(o)
            except CUT:
                cut += 1
                break
            held[wire.socket.fileno()] = [wire, drips, 0]
        full = full or len(held) == int(o.argument)
        if not said_ready and (full or cut > 100):
            said_ready = True
            print(f"ready {len(held)}", flush=True)
        poll = select.poll()
        poll.register(0, select.POLLIN | select.POLLHUP)
        for fd in held:
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(50):
            if fd == 0:
                print(f"{len(held)} held at the end, {cut} were cut", flush=True)
                return 0
            try:
                gone = not held[fd][0].socket.recv(65536)
            except BlockingIOError:
                continue
            except OSError:
                gone = True
            if gone:
                held.pop(fd)[0].close()
                cut += 1
        for entry in held.values() if o.stage == "drip" else ():
            try:
                entry[2] += entry[0].socket.send(entry[1][entry[2]:entry[2] + 1])
            except OSError:
                pass


def replay(o):
    """The recorded bytes, as they were; what comes back is thrown away."""
    with open(o.argument, "rb") as f:
        data = f.read()
    said(o, data)


def record(o):
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"ready tcp://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    n = 0
    while True:
        source, _ = listener.accept()
        sink = connect(o.endpoint)
        sink.settimeout(None)
        n += 1
        copy = open(f"{o.argument}.{n}", "wb", buffering=0)     # as long as the connection
        for ends in (source, sink, copy.write), (sink, source):
            threading.Thread(target=pump, args=ends, daemon=True).start()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["knock", "garbage", "truncated", "commands", "endless", "endlessly", "unfinished", "oversize", "subscriptions", "repeated", "hold", "replay", "record"])
    parser.add_argument("endpoint")
    parser.add_argument("argument", nargs="?", default="1")
    parser.add_argument("--socket", default="PUSH")
    parser.add_argument("--key")
    parser.add_argument("--server")
    parser.add_argument("--stage", default="silent")
    parser.add_argument("--frame", type=int, default=65536)
    o = parser.parse_args()
    return globals()[o.kind](o)


if __name__ == "__main__":
    sys.exit(main())
