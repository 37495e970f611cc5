#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Would the unit's sandbox have let a daemon do what it did?

    sandbox.py UNIT TRACE...

UNIT is the .service file; a TRACE is what `strace -f -o TRACE` wrote, and begins to count where the
daemon is executed.  systemd-analyze says which system calls are in the groups of SystemCallFilter=.
Prints what would have been refused; status 1 then.
"""
import re
import subprocess
import sys


def groups():
    """Name of a group: its system calls and groups."""
    found, name = {}, None
    for line in subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager"], capture_output=True, text=True, check=True).stdout.splitlines():
        if line.startswith("@"):
            name = line.strip()
            found[name] = set()
        elif name and line.startswith("    ") and not line.strip().startswith("#"):
            found[name].add(line.strip())
        elif line.startswith("#"):      # after the groups: system calls that are in none
            name = None
    return found


def expand(word, known):
    if not word.startswith("@"):
        return {word}
    return set().union(*(expand(w, known) for w in known[word]))


def settings(unit, key):
    return [line.split("=", 1)[1] for line in open(unit) if line.startswith(key + "=")]


def allowed_calls(unit):
    """Lists apply in their order; those of @default are allowed whatever they say."""
    known = groups()
    allowed = set()
    for value in settings(unit, "SystemCallFilter"):
        calls = set().union(*(expand(w, known) for w in value.strip().lstrip("~").split()))
        allowed = allowed - calls if value.startswith("~") else allowed | calls
    return allowed | expand("@default", known)


def lines_of_daemon(trace):
    counts = False
    for line in open(trace, errors="replace"):
        executed = re.match(r'\d+ +execve\("([^"]*)"', line)
        if executed:
            counts = executed[1].endswith("/dirtyferryd")
        elif counts:
            yield line


def main():
    unit, traces = sys.argv[1], sys.argv[2:]
    allowed, families = allowed_calls(unit), " ".join(settings(unit, "RestrictAddressFamilies")).split()
    calls, sockets, refused = set(), set(), []
    for trace in traces:
        for line in lines_of_daemon(trace):
            call = re.match(r"\d+ +(?:<\.\.\. )?([a-z_0-9]+)(?:\(| resumed>)", line)
            if call:
                calls.add(call[1])
            family = re.search(r"\bsocket\((AF_[A-Z0-9]+)", line)
            if family:
                sockets.add(family[1])
            # MemoryDenyWriteExecute=: nothing is both, and nothing becomes executable.
            if re.search(r"\bmmap\(.*PROT_WRITE\|PROT_EXEC|\bmprotect\(.*PROT_EXEC", line):
                refused.append(line.strip())
    refused += sorted(calls - allowed) + sorted(sockets - set(families))
    print(f"{len(calls)} system calls, sockets of {' '.join(sorted(sockets))}")
    for what in refused:
        print(f"refused by the sandbox of {unit}: {what}")
    # What a session cannot do without: is the trace that of a daemon?
    lacking = {"sendto", "epoll_wait", "pwrite64", "flock", "prctl", "fdatasync"} - calls
    if lacking or "AF_UNIX" not in sockets:
        print(f"that is no session: {' '.join(sorted(lacking))} lacking, sockets {sorted(sockets)}")
    return bool(refused or lacking or "AF_UNIX" not in sockets)


sys.exit(main())
