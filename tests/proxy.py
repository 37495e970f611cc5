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
"""
import argparse
import select
import socket


def parse(endpoint):
    if endpoint.startswith("ipc://"):
        return socket.AF_UNIX, endpoint[6:]
    host, port = endpoint.removeprefix("tcp://").rsplit(":", 1)
    return socket.AF_INET, (host.strip("[]").removeprefix("::ffff:"), int(port))


class Link:
    def __init__(self, sender, target):
        self.sender, self.target, self.forwarded, self.swallowed = sender, target, 0, 0

    def close(self):
        self.sender.close()
        self.target.close()


def numbers(text):
    return [int(n) for n in text.split(",")] if text else []


def reply_type(name):
    """The field "type" of a message, in msgpack."""
    return b"\xa4type" + bytes([0xA0 + len(name)]) + name.encode()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--cut", type=numbers, default=[])
    parser.add_argument("--cut-reply", type=lambda text: text.split(","), default=[])
    parser.add_argument("--log", default="/dev/null")
    options = parser.parse_args()
    log = open(options.log, "w", buffering=1)
    family, address = parse(options.target)
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"ready tcp://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    links = []
    while True:
        ends = {end: link for link in links for end in (link.sender, link.target)}
        ready, _, _ = select.select([listener, *ends], [], [])
        for end in ready:
            if end is listener:
                sender, _ = listener.accept()
                target = socket.socket(family, socket.SOCK_STREAM)
                try:
                    target.connect(address)
                    links.append(Link(sender, target))
                except OSError:
                    sender.close()
                    target.close()
                continue
            link = ends[end]
            if link not in links:
                continue        # closed in this round
            try:
                block = end.recv(65536)
            except OSError:
                block = b""
            alive = bool(block)
            lost = [t for t in options.cut_reply if end is link.target and reply_type(t) in block]
            if lost:
                print(f"lost a reply to {lost[0]}", file=log)
                options.cut_reply.remove(lost[0])
                alive = False
            elif alive and end is link.sender and options.cut and link.forwarded + len(block) > options.cut[0]:
                link.swallowed += len(block)
                block = b""
                if link.swallowed >= options.cut[0]:
                    print(f"cut after {link.forwarded} bytes, {link.swallowed} lost", file=log)
                    options.cut.pop(0)
                    alive = False
            if alive and block:
                try:
                    (link.target if end is link.sender else link.sender).sendall(block)
                    link.forwarded += len(block) if end is link.sender else 0
                except OSError:
                    alive = False
            if not alive:
                links.remove(link)
                link.close()


if __name__ == "__main__":
    main()
