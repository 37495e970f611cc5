#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The link of tests/fail-*.sh: relay.py LISTEN TARGET [LISTEN TARGET]..., paths of sockets.

SIGKILL cuts it, SIGSTOP makes it swallow everything without a word, SIGCONT lets
it go on, and a new one at the same paths is the link that is there again.
Prints one line, "ready".
"""
import os
import socket
import sys
import threading


def pump(source, sink, note=lambda block: None):
    """Until one of them ends; `note` gets everything first."""
    try:
        while block := source.recv(65536):
            note(block)
            sink.sendall(block)
    except OSError:
        pass
    for end in source, sink:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(listener, target):
    while True:
        source, _ = listener.accept()
        sink = socket.socket(socket.AF_UNIX)
        try:
            sink.connect(target)
        except OSError:
            source.close()
            sink.close()
            continue
        for ends in (source, sink), (sink, source):
            threading.Thread(target=pump, args=ends, daemon=True).start()


def main():
    threads = []
    for path, target in zip(sys.argv[1::2], sys.argv[2::2]):
        if os.path.exists(path):
            os.unlink(path)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(64)
        threads.append(threading.Thread(target=serve, args=(listener, target)))
    for thread in threads:
        thread.start()
    print("ready", flush=True)


if __name__ == "__main__":
    main()
