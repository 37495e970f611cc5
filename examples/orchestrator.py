#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Move dirty bitmaps from one host to another: an orchestrator for dirtyferry.

    orchestrator.py [--key FILE_secret] [--grow] --from EP --to EP DISK/BITMAP[=DISK2/BITMAP2]...

EP are the control endpoints of the two daemons, --to as the source reaches it.
Daemons with keys are named as EP,CERTIFICATE, and --key is one's own (13.1):
all of these files are from `dirtyferry keygen`.
What stands behind '=' is the bitmap's name on the target.  The target must
have the disks, of the same sizes, or with --grow larger ones (9.1), and must not
have the bitmaps.

Lines on stdout tell the target's state and how much it has received; the last
line is one JSON object.  A failure is one sentence on stderr and exit status 1;
before the target's pivot everything is put back as it was.

Written from proto/dirtyferry.md alone; the numbers in comments are its sections.
"""
import argparse
import json
import re
import secrets
import sys
import time
import uuid

import msgpack
import zmq
import zmq.auth

RESEND = 1.5                    # seconds until the same bytes are sent again (5.4)
TRIES = 3                       # times RESEND, on top of the time a reply may be held
HELD = {"prepare": 5, "pivot": 10, "cancel": 5, "rollback": 5}      # seconds (5.4)
WAIT_MS = 1000                  # one `wait`; asked again and again
UNDO = 30                       # seconds to try a cancel or rollback again
RELEASE = 15                    # seconds for the source to notice that the target is operative
PATIENCE = 60                   # seconds that a daemon may be silent after the pivots
TARGET_PIVOTED = ("receiving", "merging", "operative", "abandoning", "abandoned")      # or may have (6)
TARGET_FAILED = ("cancelled", "abandoned")                      # ends (6.1)
SOURCE_FAILED = ("rolled-back", "abandoned")


class Failed(Exception):
    """One sentence for people; `code` is the daemon's (5.3), "no-reply" if none came."""

    def __init__(self, message, code="failed"):
        super().__init__(message)
        self.code = code


class Daemon:
    """The control socket of a daemon."""

    def __init__(self, context, role, name, keys):
        self.role = role
        self.endpoint, _, certificate = name.partition(",")
        self.key = load(certificate)[0] if certificate else None
        self.socket = context.socket(zmq.REQ)
        self.socket.set(zmq.REQ_RELAXED, 1)
        self.socket.set(zmq.REQ_CORRELATE, 1)
        connect(self.socket, self.endpoint, self.key, keys)

    def ask(self, kind, held=None, tries=TRIES, progress=None, **fields):
        """The reply to a request.  Events are taken meanwhile if `progress` is given."""
        number = secrets.randbits(64)
        body = pack({"v": 1, "type": kind, "id": number, **fields})
        poller = zmq.Poller()
        poller.register(self.socket, zmq.POLLIN)
        if progress:
            poller.register(progress.socket, zmq.POLLIN)
        give_up = time.monotonic() + RESEND * tries + (HELD.get(kind, 0) if held is None else held)
        while time.monotonic() < give_up:
            self.socket.send(body)
            resend = min(time.monotonic() + RESEND, give_up)
            while (left := resend - time.monotonic()) > 0:
                readable = dict(poller.poll(left * 1000 + 1))
                if progress and progress.socket in readable:
                    progress.receive()
                if self.socket in readable:
                    reply = self.reply_to(kind, number)
                    if reply is not None:
                        return reply
        raise Failed(f"the {self.role} at {self.endpoint} did not answer to '{kind}'", "no-reply")

    def reply_to(self, kind, number):
        """The next reply, or None if it is to another request; raises the error in it."""
        parts = self.socket.recv_multipart()
        reply = unpack(parts[0]) if len(parts) == 1 else {}
        error = reply.get("error")
        # What the daemon could not read is answered as `hello`, maybe with id 0 (5.3).
        unread = reply.get("type") == "hello" and error and reply.get("id") in (0, number)
        if not unread and (reply.get("v"), reply.get("type"), reply.get("id")) != (1, kind, number):
            return None
        if error:
            raise Failed(f"the {self.role} refused '{kind}': {error['message']}", error["code"])
        return reply

    def session(self, kind, session, **fields):
        """The status that a request about this side of a session brings."""
        return self.ask(kind, session=session, role=self.role, **fields)["status"]

    def wait(self, session, state, **more):
        return self.session("wait", session, state=state, timeout_ms=WAIT_MS, held=WAIT_MS / 1000, **more)


class Progress:
    """The target's events about one session: a line when state or percentage change (10)."""

    def __init__(self, context, endpoint, session, key, keys):
        self.shown, self.last = None, None
        self.socket = context.socket(zmq.SUB)
        self.socket.set(zmq.SUBSCRIBE, f"session/{session}/".encode())
        connect(self.socket, endpoint, key, keys)

    def receive(self):
        parts = self.socket.recv_multipart()
        event = unpack(parts[1]) if len(parts) == 2 else {}
        if event.get("v") == 1 and event.get("role") == "target":
            self.show(event)

    def show(self, status):
        line = f"{status['state']} {100 * status['chunks_done'] // max(1, status['chunks'])}%"
        if line != self.shown:
            print(line, flush=True)
            self.shown, self.last = line, time.monotonic()


def load(certificate):
    """Public and secret key of a file, as bytes; the secret is None in a certificate for others."""
    try:
        return zmq.auth.load_certificate(certificate)
    except (OSError, ValueError) as error:
        raise Failed(f"the certificate '{certificate}' cannot be read: {error}") from None


def connect(socket, endpoint, key, keys):
    """key: the daemon's, one for all of its sockets; keys: one's own, public and secret."""
    for option, value in ((zmq.LINGER, 0), (zmq.TCP_KEEPALIVE, 1), (zmq.TCP_KEEPALIVE_IDLE, 5), (zmq.TCP_KEEPALIVE_INTVL, 1),
                          (zmq.TCP_MAXRT, 5000), (zmq.MAXMSGSIZE, 1048576 + 64)):       # 4
        socket.set(option, value)
    if (key is None) != (keys is None):
        raise Failed(f"'{endpoint}': --key and the certificates of the daemons (EP,CERTIFICATE) go together")
    if key:
        socket.curve_publickey, socket.curve_secretkey = keys
        socket.curve_serverkey = key
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        raise Failed(f"'{endpoint}' is not an endpoint: {error}") from None


# Names are bytes that nobody checks to be UTF-8; surrogates keep them as the shell gave them.
def pack(body):
    return msgpack.packb(body, unicode_errors="surrogateescape")


def unpack(body):
    try:
        value = msgpack.unpackb(body, unicode_errors="surrogateescape")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def reachable(endpoint, control):
    """A wildcard as host is of use on its own host only; take the one of the control endpoint."""
    wildcard = re.fullmatch(r"tcp://(?:\*|0\.0\.0\.0|\[::\])(:\d+)", endpoint)
    host = re.fullmatch(r"(tcp://.+):\d+", control)
    return host[1] + wildcard[1] if wildcard and host else endpoint


def moved(text):
    """DISK/BITMAP[=DISK2/BITMAP2] as `prepare` wants it.  The first '=' and each first '/' count."""
    names = {}
    for part, keys in zip(text.split("=", 1), (("disk", "bitmap"), ("as_disk", "as_bitmap"))):
        values = part.split("/", 1)
        if len(values) != 2 or not all(values):
            raise argparse.ArgumentTypeError(f"'{text}' is not DISK/BITMAP or DISK/BITMAP=DISK2/BITMAP2")
        names.update(zip(keys, values))
    return names


def undo(source, target, session):
    """Put all back, before the target's pivot.  What came of it; None if the target has pivoted after all.

    A lost reply leaves it open which of the two ways back the source is at, so both are tried (6, 14).
    """
    give_up = time.monotonic() + UNDO
    while True:
        done = None
        for kind in ("cancel", "rollback"):
            try:
                done = f"the session is {source.session(kind, session)['state']}"
            except Failed as failed:
                why = failed
                if failed.code == "not-found":
                    done = "the source knows the session no more, its disks may be read-only"
                if failed.code == "refused":
                    continue
            break
        try:        # the source may have let go without the target, or have refused because of it
            if done:
                target.session("cancel", session, held=0, tries=1)
            elif target.wait(session, "operative", tries=1)["state"] in TARGET_PIVOTED:
                return None
        except Failed:
            pass    # not there, or no such session: nothing that could be done about it
        if done:
            return done
        if time.monotonic() > give_up:
            raise Failed(f"session {session} is not undone and must be rolled back later: {why}")
        time.sleep(1)


def switch_over(source, target, session, bitmaps, grow):
    """prepare and both pivots; microseconds that the pivots took.  All is put back when that fails."""
    prepared, begin = False, time.monotonic()
    try:
        key = {"target_key": target.key.decode()} if target.key else {}
        source.ask("prepare", session=session, target=target.endpoint, bitmaps=bitmaps, grow=grow, **key)
        prepared = True
        # Here the disk and the guest's memory move, by other means.
        begin = time.monotonic()
        source.session("pivot", session)        # until the reply nothing may write to the target's disk
        target.session("pivot", session)        # until the reply the guest must not run on the target
    except (Failed, KeyboardInterrupt) as why:
        text = str(why) or "interrupted"
        if not prepared and getattr(why, "code", "no-reply") != "no-reply":
            raise           # the source said no to `prepare`: nothing has changed (7.3)
        done = undo(source, target, session)
        if done is not None:
            raise Failed(f"{text}; {done}") from None
        print(f"orchestrator: {text}, but the target has pivoted: going on", file=sys.stderr)
    return round((time.monotonic() - begin) * 1e6)


def follow(source, target, session, progress):
    """Wait until the target is operative and the source has let go; the source's last status.

    A daemon that does not answer may be started again, and goes on then (11.3); a source that is `interrupted` tries
    by itself until it reaches its target (11.1).  Neither is an error.
    """
    silent = None
    while True:
        try:
            status = target.wait(session, "operative", progress=progress)
            if status["state"] == "operative":
                break
            if status["state"] in TARGET_FAILED:
                raise Failed(f"session {session} is {status['state']} at the target: {status.get('message', 'by request')}")
            status = source.wait(session, "released", tries=1, progress=progress)
            if status["state"] in SOURCE_FAILED:
                raise Failed(f"session {session} is {status['state']} at the source: {status.get('message', 'by request')}")
            silent = None
        except Failed as failed:
            if failed.code == "not-found":      # its state directory is another one, or it was forgotten
                raise Failed(f"session {session} is lost: {failed}") from None
            if failed.code != "no-reply":
                raise
            silent = silent or time.monotonic()
            if time.monotonic() - silent > PATIENCE:
                raise Failed(f"{failed}; session {session} goes on by itself as soon as it does") from None
    progress.show(status)
    give_up = time.monotonic() + RELEASE
    while True:
        try:
            if (status := source.wait(session, "released"))["state"] == "released":
                return status
            why = f"the source is still {status['state']}"
        except Failed as failed:
            if failed.code != "no-reply":
                raise
            why = str(failed)
        if time.monotonic() > give_up:
            raise Failed(f"session {session} is operative, but {why}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--key", metavar="FILE_secret", help="one's own key, for daemons with keys")
    parser.add_argument("--grow", action="store_true", help="the target's disks may be larger: what lies behind the source's end is dirty")
    parser.add_argument("--from", dest="source", required=True, metavar="EP", help="control endpoint of the source")
    parser.add_argument("--to", dest="target", required=True, metavar="EP", help="control endpoint of the target")
    parser.add_argument("bitmaps", nargs="+", type=moved, metavar="DISK/BITMAP[=DISK2/BITMAP2]")
    args = parser.parse_args()
    session = str(uuid.uuid4())
    context = zmq.Context()
    try:
        keys = load(args.key) if args.key else None
        source = Daemon(context, "source", args.source, keys)
        target = Daemon(context, "target", args.target, keys)
        source.ask("hello")
        progress = Progress(context, reachable(target.ask("hello")["events"], target.endpoint), session, target.key, keys)
        pivot_us = switch_over(source, target, session, args.bitmaps, args.grow)
        begin = time.monotonic()
        sent = follow(source, target, session, progress)
        print(json.dumps({"session": session, "state": "operative", "pivot_us": pivot_us,
                          "operative_ms": round((progress.last - begin) * 1000),
                          "frames": sent["frames"], "bytes": sent["bytes"]}))
    except Failed as failed:
        sys.exit(f"orchestrator: {failed}")
    except (KeyError, TypeError) as error:
        sys.exit(f"orchestrator: a reply is not as the protocol says: {error!r}")
    except KeyboardInterrupt:
        sys.exit(f"orchestrator: interrupted; session {session} goes on by itself, if it has begun")
    finally:
        context.destroy(linger=0)


if __name__ == "__main__":
    main()
