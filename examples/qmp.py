#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A command for QEMU or its storage daemon: qmp.py SOCKET COMMAND [ARGUMENTS], a JSON object.

Prints what it returns, if that is anything, or fails with QEMU's sentence.  A monitor serves one client at a time, and
dirtyferryd may be one: an operator has a monitor of his own.

As a module: Qmp(path).call(command, name=value...), where `_` stands for `-`.
"""
import json
import socket
import sys


class QmpError(Exception):
    pass


class Qmp:
    def __init__(self, path, timeout=60):
        self.events = []
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.lines = self.socket.makefile("r", encoding="utf-8")
        json.loads(self.lines.readline())["QMP"]
        self.execute("qmp_capabilities", {})

    def _receive(self):
        line = self.lines.readline()
        if not line:
            raise QmpError("the monitor was closed")
        return json.loads(line)

    def execute(self, command, arguments):
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while True:
            message = self._receive()
            if "event" in message:
                self.events.append(message)
            elif "error" in message:
                raise QmpError(f"{command}: {message['error']['desc']}")
            else:
                return message["return"]

    def call(self, command, **arguments):
        return self.execute(command, {name.replace("_", "-"): value for name, value in arguments.items()})

    def wait_event(self, name, match=lambda data: True):
        """The first event of that name that was not taken yet and matches."""
        at = 0
        while True:
            while at < len(self.events):
                event = self.events[at]
                if event["event"] == name and match(event.get("data", {})):
                    del self.events[at]
                    return event
                at += 1
            message = self._receive()
            if "event" in message:
                self.events.append(message)

    def close(self):
        self.lines.close()
        self.socket.close()


def main():
    if len(sys.argv) not in (3, 4):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        result = Qmp(sys.argv[1]).execute(sys.argv[2], json.loads(sys.argv[3] if len(sys.argv) > 3 else "{}"))
    except (QmpError, OSError) as e:
        sys.exit(f"qmp: {e}")
    if result != {}:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
