#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Copy what a dirty bitmap says from one disk to another.

    copy-extents.py MAP SOURCE DEST

MAP is what 'dirtyferry bitmap export DISK BITMAP MAP --format json' wrote.
SOURCE and DEST are NBD URIs or files.  Only the dirty extents are read and
written, so with the disk as SOURCE and the last backup as DEST this is an
incremental backup; with two disks it is the last round of a mirror.

An NBD server may take its time for each request, so many are under way at once.
"""
import json
import os
import select
import sys

REQUEST = 1 << 20       # bytes in one request at most
IN_FLIGHT = 64          # requests that are read or written at the same time


class Failure(Exception):
    """A sentence for the user."""


class File:
    """A file: each request is done when the call returns."""

    def __init__(self, path, writing):
        self.name = path
        try:
            self.fd = os.open(path, os.O_RDWR if writing else os.O_RDONLY)
            self.size = os.lseek(self.fd, 0, os.SEEK_END)
        except OSError as e:
            raise Failure(f"cannot open '{path}': {e.strerror}") from e

    def read(self, offset, length, done):
        data = bytearray()
        while len(data) < length:
            part = os.pread(self.fd, length - len(data), offset + len(data))
            if not part:
                raise Failure(f"'{self.name}' ends at byte {offset + len(data)}")
            data += part
        done(data)

    def write(self, offset, data, done):
        view = memoryview(data)
        while view:
            n = os.pwrite(self.fd, view, offset)
            offset, view = offset + n, view[n:]
        done()

    def flush(self):
        os.fsync(self.fd)


class Nbd:
    """An NBD server: requests are begun here and finished by wait()."""

    def __init__(self, uri, writing):
        self.name = uri
        try:
            import nbd      # only those who name a URI need python3-libnbd
        except ImportError as e:
            raise Failure(f"'{uri}' is an NBD URI and python3-libnbd is not installed") from e
        self.nbd = nbd
        self.handle = nbd.NBD()
        try:
            self.handle.connect_uri(uri)
            self.size = self.handle.get_size()
            readonly = writing and self.handle.is_read_only()
        except nbd.Error as e:
            raise Failure(f"cannot connect to '{uri}': {e.string}") from e
        if readonly:
            raise Failure(f"'{uri}' is read-only")
        self.error = 0

    def read(self, offset, length, done):
        buffer = self.nbd.Buffer(length)

        def completed(error):
            self.note(error)
            if not error.value:
                done(buffer.to_bytearray())
            return 1
        self.handle.aio_pread(buffer, offset, completed)

    def write(self, offset, data, done):
        buffer = self.nbd.Buffer.from_bytearray(data)

        def completed(error):
            self.note(error)
            if not error.value:
                done()
            return 1
        self.handle.aio_pwrite(buffer, offset, completed)

    def note(self, error):
        """An exception would not leave a callback of libnbd: wait() raises it."""
        self.error = self.error or error.value

    def wants(self):
        direction = self.handle.aio_get_direction()
        return ((select.POLLIN if direction & self.nbd.AIO_DIRECTION_READ else 0)
                | (select.POLLOUT if direction & self.nbd.AIO_DIRECTION_WRITE else 0))

    def progress(self, events):
        """The direction may have changed since poll() was asked."""
        if events & (select.POLLIN | select.POLLHUP | select.POLLERR) and self.wants() & select.POLLIN:
            self.handle.aio_notify_read()
        elif events & select.POLLOUT and self.wants() & select.POLLOUT:
            self.handle.aio_notify_write()

    def flush(self):
        if self.handle.can_flush():
            self.handle.flush()


def open_end(name, writing):
    return (Nbd if "://" in name else File)(name, writing)


def dirty_extents(path):
    """(start, length) of each dirty extent of the map."""
    try:
        with open(path, encoding="utf-8") as f:
            extents = [(e["start"], e["length"]) for e in json.load(f) if e["dirty"]]
    except OSError as e:
        raise Failure(f"cannot read the map '{path}': {e.strerror}") from e
    except (ValueError, KeyError, TypeError) as e:
        raise Failure(f"'{path}' is not a map: a JSON list of objects with start, length and dirty is expected") from e
    for start, length in extents:
        if type(start) is not int or type(length) is not int or start < 0 or length < 1:
            raise Failure(f"'{path}' has an extent of {length!r} bytes at {start!r}")
    return extents


def requests(extents):
    for start, length in extents:
        for offset in range(start, start + length, REQUEST):
            yield offset, min(REQUEST, start + length - offset)


def wait(ends):
    """Until an NBD server has answered something."""
    servers = {e.handle.aio_get_fd(): e for e in ends if isinstance(e, Nbd)}
    poll = select.poll()
    for fd, end in servers.items():
        poll.register(fd, end.wants())
    for fd, events in poll.poll():
        servers[fd].progress(events)
    for end in servers.values():
        if end.error:
            raise Failure(f"a request to '{end.name}' failed: {os.strerror(end.error)}")


def copy(extents, source, dest):
    """Returns how many bytes were written."""
    left = requests(extents)
    begun = finished = total = 0
    arrived = []        # read and not yet written

    def written(length):
        nonlocal finished, total
        finished, total = finished + 1, total + length

    request = next(left, None)
    while request or begun != finished:
        while request and begun - finished < IN_FLIGHT:
            begun += 1
            source.read(*request, lambda data, at=request[0]: arrived.append((at, data)))
            request = next(left, None)
        while arrived:
            at, data = arrived.pop()
            dest.write(at, data, lambda n=len(data): written(n))
        if begun != finished:
            wait((source, dest))
    return total


def main(arguments):
    if len(arguments) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    extents = dirty_extents(arguments[0])
    source, dest = open_end(arguments[1], False), open_end(arguments[2], True)
    end = max((start + length for start, length in extents), default=0)
    for side in source, dest:
        if side.size < end:
            raise Failure(f"the map reaches up to byte {end}, but '{side.name}' has {side.size} bytes")
    total = copy(extents, source, dest)
    dest.flush()
    print(f"copied {total} bytes in {len(extents)} extents")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Failure as e:
        sys.exit(f"copy-extents.py: {e}")
    except OSError as e:
        sys.exit(f"copy-extents.py: {e.strerror or e}")
    except Exception as e:      # nbd.Error, whose class is known only where libnbd is
        if type(e).__module__ != "nbd":
            raise
        sys.exit(f"copy-extents.py: {e.string}")
