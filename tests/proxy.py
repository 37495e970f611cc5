#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A link that fails: proxy.py TARGET [OPTION]...

Listens on a free port of 127.0.0.1 and forwards each connection to TARGET
(tcp://HOST:PORT or ipc://PATH).  Prints one line, "ready EP".  Runs until it is
killed.

  --log FILE       gets one line for each failure

  --cut BYTES,...  a connection dies after that many bytes to the target; as
                   many more, at least one read, were taken from the sender and
                   are lost.  One number a failure; then the link is good.
  --cut-reply TYPE,.. a connection dies when the target answers a request of that
                   type: the request was done, its reply is lost.  Once a type.
  --commands       lines on stdin, each answered by "ok" or "what?":

    up             the link is good again (connections whose bytes were lost die)
    down           connections die, new ones too
    stall          nothing is forwarded, connections stay
    discard        what goes to the target is lost, but for ZeroMQ's handshake; connections stay
    delay MS       every block is that late
    truncate N     exactly N more bytes go to the target, then the connection dies
    truncate-back N       ... to the sender
    half-close N          the same, but only that direction is shut down
    half-close-back N

tests/faults.py uses the classes.
"""
import argparse
import collections
import os
import select
import socket
import sys
import threading
import time

TO_TARGET, TO_SENDER = 0, 1


def parse(endpoint):
    if endpoint.startswith("ipc://"):
        return socket.AF_UNIX, endpoint[6:]
    host, port = endpoint.removeprefix("tcp://").rsplit(":", 1)
    return socket.AF_INET, (host.strip("[]").removeprefix("::ffff:"), int(port))


def reply_type(name):
    """The field "type" of a message, in msgpack."""
    return b"\xa4type" + bytes([0xA0 + len(name)]) + name.encode()


class Connection:
    """Two sockets, and for each direction what is on its way (due time, bytes)."""

    def __init__(self, sender, target):
        self.ends = sender, target
        self.late = collections.deque(), collections.deque()
        self.ended = [False, False]     # that direction carries nothing any more
        self.forwarded = self.swallowed = 0
        self.spoilt = False
        self.head, self.sent = b"", 0   # the first of what the sender has sent, and how much that was

    def handshake(self, block):
        """How many of its bytes belong to ZMTP's greeting and first command."""
        before = self.sent
        self.sent += len(block)
        self.head = (self.head + block)[:66]
        whole = 66 + self.head[65] if len(self.head) == 66 else 66
        return max(0, min(len(block), whole - before))

    def close(self):
        for end in self.ends:
            end.close()


class Link:
    """A listening port and its connections.  Everything is done by one Proxy's thread, but for command()."""

    def __init__(self, target, log=None, cut=(), cut_reply=()):
        self.family, self.address = parse(target)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        self.log, self.cut, self.cut_reply = log, list(cut), list(cut_reply)
        self.connections = []
        self.mode, self.delay, self.limit = "up", 0, None
        self.fired = 0                  # limits that were reached
        self.carried = [0, 0]           # bytes, each way

    def note(self, text):
        if self.log:
            print(text, file=self.log)

    def command(self, line):
        """True if it is one."""
        word, *numbers = line.split() or [""]
        if word in ("up", "down", "stall", "discard") and not numbers:
            self.mode, self.limit = word, None
            if word == "up":
                self.delay = 0
        elif word == "delay" and len(numbers) == 1:
            self.mode, self.delay = "up", int(numbers[0]) / 1000
        elif word.removesuffix("-back") in ("truncate", "half-close") and len(numbers) == 1:
            way = TO_SENDER if word.endswith("-back") else TO_TARGET
            self.mode, self.limit = "up", [way, int(numbers[0]), word.startswith("half")]
        else:
            return False
        return True

    def drop(self, connection):
        if connection in self.connections:
            self.connections.remove(connection)
            connection.close()

    def settle(self):
        """What a command has changed."""
        for connection in list(self.connections):
            if self.mode == "down" or (self.mode == "up" and connection.spoilt):
                self.drop(connection)

    def accept(self):
        sender, _ = self.listener.accept()
        target = socket.socket(self.family, socket.SOCK_STREAM)
        try:
            if self.mode == "down":
                raise OSError
            target.connect(self.address)
            self.connections.append(Connection(sender, target))
        except OSError:
            sender.close()
            target.close()

    def receive(self, connection, way):
        try:
            block = connection.ends[way].recv(65536)
        except OSError:
            block = b""
        head = connection.handshake(block) if way == TO_TARGET else 0
        lost = [t for t in self.cut_reply if way == TO_SENDER and reply_type(t) in block]
        if lost:
            self.note(f"lost a reply to {lost[0]}")
            self.cut_reply.remove(lost[0])
            self.drop(connection)
        elif not block:
            self.drop(connection)
        elif way == TO_TARGET and self.cut and connection.forwarded + len(block) > self.cut[0]:
            connection.swallowed += len(block)
            if connection.swallowed >= self.cut[0]:
                self.note(f"cut after {connection.forwarded} bytes, {connection.swallowed} lost")
                self.cut.pop(0)
                self.drop(connection)
        elif self.mode == "discard" and way == TO_TARGET and len(block) > head:
            connection.spoilt = True
            self.pass_on(connection, way, block[:head])
        elif not connection.ended[way]:
            self.pass_on(connection, way, block)

    def pass_on(self, connection, way, block):
        if block:
            connection.late[way].append((time.monotonic() + self.delay, block))
            self.forward(connection, way)

    def forward(self, connection, way):
        """What is due."""
        late = connection.late[way]
        while late and late[0][0] <= time.monotonic() and connection in self.connections and not connection.ended[way]:
            block = late.popleft()[1]
            limit = self.limit if self.limit and self.limit[0] == way else None
            last = limit and len(block) >= limit[1]
            if last:
                block = block[:limit[1]]
            try:
                connection.ends[1 - way].sendall(block)
            except OSError:
                self.drop(connection)
                return
            self.carried[way] += len(block)
            if way == TO_TARGET:
                connection.forwarded += len(block)
            if limit:
                limit[1] -= len(block)
            if last:
                self.reach_limit(connection, way, limit)

    def reach_limit(self, connection, way, limit):
        self.limit = None
        self.fired += 1
        self.note(f"{'half-closed' if limit[2] else 'truncated'} to the {'target' if way == TO_TARGET else 'sender'}")
        if not limit[2]:
            self.drop(connection)
            return
        connection.ended[way] = True
        connection.spoilt = True
        try:
            connection.ends[1 - way].shutdown(socket.SHUT_WR)
        except OSError:
            self.drop(connection)


class Proxy:
    """Serves links until it is stopped."""

    def __init__(self):
        self.links = []
        self.wake_read, self.wake_write = os.pipe()
        self.calls = collections.deque()
        self.stopping = False

    def add(self, *args, **options):
        """Before it runs."""
        self.links.append(Link(*args, **options))
        return self.links[-1]

    def obey(self, link, line):
        known = link.command(line)
        link.settle()
        return known

    def command(self, link, line):
        """From another thread; it is obeyed when this returns."""
        done = threading.Event()
        self.calls.append((link, line, done))
        os.write(self.wake_write, b".")
        done.wait()

    def stop(self):
        self.stopping = True
        os.write(self.wake_write, b".")

    def sources(self):
        """What is listened to: socket -> (link, connection, way); when the first late block is due."""
        sources, due = {self.wake_read: None}, []
        for link in self.links:
            sources[link.listener] = (link, None, None)
            for connection in link.connections if link.mode != "stall" else []:
                for way, end in enumerate(connection.ends):
                    due += [at for at, _ in list(connection.late[way])[:1]]
                    sources[end] = (link, connection, way)
        return sources, min(due) if due else None

    def round(self, extra=()):
        """One look at everything; returns those of `extra` that are readable."""
        sources, due = self.sources()
        timeout = None if due is None else max(0, due - time.monotonic())
        ready = select.select([*sources, *extra], [], [], timeout)[0]
        for end in ready:
            if end == self.wake_read:
                os.read(self.wake_read, 4096)
            elif end in sources:
                link, connection, way = sources[end]
                if connection is None:
                    link.accept()
                elif connection in link.connections:
                    link.receive(connection, way)
        while self.calls:
            link, line, done = self.calls.popleft()
            if not self.obey(link, line):
                raise ValueError(line)
            done.set()
        for link in self.links:
            for connection in list(link.connections) if link.mode != "stall" else []:
                for way in TO_TARGET, TO_SENDER:
                    link.forward(connection, way)
        return [end for end in extra if end in ready]

    def run(self):
        while not self.stopping:
            self.round()
        for link in self.links:
            for connection in link.connections:
                connection.close()
            link.listener.close()


def numbers(text):
    return [int(n) for n in text.split(",")] if text else []


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--cut", type=numbers, default=[])
    parser.add_argument("--cut-reply", type=lambda text: text.split(","), default=[])
    parser.add_argument("--log", default="/dev/null")
    parser.add_argument("--commands", action="store_true")
    options = parser.parse_args()
    proxy = Proxy()
    link = proxy.add(options.target, open(options.log, "w", buffering=1), options.cut, options.cut_reply)
    print(f"ready {link.endpoint}", flush=True)
    stdin = [sys.stdin.buffer.raw] if options.commands else []
    pending = b""
    while True:
        if not proxy.round(stdin):
            continue
        block = stdin[0].read(4096)
        pending += block
        *lines, pending = pending.split(b"\n")
        for line in lines:
            try:
                known = proxy.obey(link, line.decode())
            except ValueError:
                known = False
            print("ok" if known else "what?", flush=True)
        if not block:
            stdin = []


if __name__ == "__main__":
    main()
