# SPDX-License-Identifier: BSD-3-Clause
"""tests/faults.py: a host's state directory, its daemon, its guest."""
import ctypes
import os
import pathlib
import signal
import subprocess
import time

BUILD = pathlib.Path(os.environ.get("abs_top_builddir", ".")).resolve()
SOURCE, TARGET = "source", "target"
ROLES = SOURCE, TARGET
LIBC = ctypes.CDLL(None)


class Wrong(Exception):
    """One sentence about what must not be."""


class Refused(Exception):
    """A daemon's error."""

    def __init__(self, kind, error):
        super().__init__(f"'{kind}' is refused: {error['message']} ({error['code']})")
        self.code = error["code"]


class Died(Exception):
    """The orchestrator dies here."""


def die_with_parent():
    LIBC.prctl(1, signal.SIGKILL)


class Guest:
    """Writes past the daemon, which may be dead."""

    def __init__(self, state):
        self.process = subprocess.Popen([BUILD / "tests/fault-guest", state], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, bufsize=1, preexec_fn=die_with_parent)

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        answer = self.process.stdout.readline().split()
        if not answer:
            raise Wrong(f"the guest died of '{' '.join(map(str, words))}'")
        return answer

    def must(self, *words):
        answer = self.ask(*words)
        if answer[0] != "ok":
            raise Wrong(f"'{' '.join(map(str, words))}' failed: {answer[0]}")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Host:
    """A state directory, its daemon and its guest."""

    def __init__(self, run, role):
        self.run, self.role = run, role
        self.state = run.dir / role
        self.log = run.dir / f"{role}.log"
        self.control, self.data = f"ipc://{run.dir}/{role}.control", f"ipc://{run.dir}/{role}.data"
        self.advertise = []
        self.crashes = list(run.plan["crash"][role])
        self.crash = None               # of this life
        self.reached = []
        self.process, self.restart_at = None, 0
        self.lives, self.killed = 0, False
        self.memory = None
        self.away = False               # it is not started again
        self.state.mkdir(mode=0o700)
        self.guest = Guest(self.state)

    def start(self):
        env = {k: v for k, v in os.environ.items() if k not in ("DF_CRASH", "JOURNAL_STREAM")}
        self.crash = self.crashes.pop(0) if self.crashes else None
        if self.crash:
            env["DF_CRASH"] = self.crash
        env["DF_LIFE"] = str(self.lives + 1)
        self.lives += 1
        self.killed, self.restart_at = False, None
        with open(self.log, "a") as log:
            print(f"faults: life {self.lives}, {self.run.clock():.3f} s", file=log, flush=True)
            self.process = subprocess.Popen(
                [BUILD / "tests/crash-daemon", "--state-dir", self.state, "--control", self.control, "--data", self.data,
                 "--events", f"ipc://{self.run.dir}/{self.role}.events", "--verbose", *self.advertise],
                stdout=subprocess.DEVNULL, stderr=log, env=env, preexec_fn=die_with_parent)
        self.run.note(f"{self.role} starts, life {self.lives}" + (f", dies at {self.crash}" if self.crash else ""))

    def kill(self):
        if self.process:
            self.killed = True
            self.process.kill()

    def has_crashed(self):
        life = self.log.read_text(errors="replace").rpartition("faults: life ")[2]
        return self.crash and f"crash-daemon: dies at {self.crash}\n" in life

    def watch(self):
        """A daemon that died is seen, and started again."""
        if self.process and self.process.poll() is not None:
            status, self.process = self.process.returncode, None
            said = self.has_crashed()
            if status != -signal.SIGKILL or not (self.killed or said):
                raise Wrong(f"the {self.role}'s daemon ended by itself, status {status}")
            if said:
                self.reached.append(self.crash)
            self.run.note(f"{self.role} is dead" + (f" at {self.crash}" if said else ""))
            self.run.look()
            if self.run.plan["reboot"] == self.role and len(self.reached) == 1 and self.role not in self.run.rebooted:
                self.reboot()
            if self.memory:
                self.forget()
            self.restart_at = time.monotonic() + self.run.plan["pause"]
        if not self.process and not self.away and self.restart_at is not None and time.monotonic() >= self.restart_at:
            self.start()

    def remember(self, name):
        """When the daemon dies the next time, this file is put back as it is now: what came later had not reached the disk."""
        self.memory = name, (self.state / name).read_bytes()

    def forget(self):
        name, content = self.memory
        self.memory = None
        (self.state / name).write_bytes(content)
        self.run.note(f"{self.role}: {name} is an older one again")

    def renew_guest(self):
        self.guest.kill()
        self.guest = Guest(self.state)
        self.run.note(f"the {self.role}'s guest died")

    def reboot(self):
        self.run.rebooted.add(self.role)
        self.guest.kill()
        subprocess.run([BUILD / "tests/df-boot", self.state], check=True)
        self.guest = Guest(self.state)
        self.run.note(f"{self.role}'s host was restarted")

    def stop(self):
        """Cleanly, at the end."""
        self.away = False
        while True:
            self.run.until(f"the {self.role} to serve", lambda: self.run.is_serving(self))
            self.process.terminate()
            try:
                status = self.process.wait(20)
            except subprocess.TimeoutExpired:
                raise Wrong(f"the {self.role}'s daemon does not stop on SIGTERM") from None
            if status == -signal.SIGKILL and (self.killed or self.has_crashed()):
                self.watch()            # a point that came late
                continue
            if status:
                raise Wrong(f"the {self.role}'s daemon ends with status {status} on SIGTERM")
            self.process, self.away = None, True
            return


class Bitmap:
    """One that is moved, what must be in it, and what may: the marks of writes that the fence refused in the middle."""

    def __init__(self, disk, size, as_disk, name, granularity, grown):
        self.disk, self.size, self.as_disk, self.name, self.granularity = disk, size, as_disk, name, granularity
        self.as_name = name + ("-r" if as_disk != disk else "")
        self.must = self.may = 0
        self.larger = size + grown              # the target's disk, which must be dirty behind the source's end
        self.tail = self.granules(size, grown) if grown else 0

    def wanted(self, role):
        return self.must | (self.tail if role == TARGET else 0)

    def granules(self, offset, length):
        first, last = offset // self.granularity, (offset + length - 1) // self.granularity
        return ((1 << (last - first + 1)) - 1) << first

    def names(self, role):
        return (self.disk, self.name) if role == SOURCE else (self.as_disk, self.as_name)


def count(bits):
    return bin(bits).count("1")
