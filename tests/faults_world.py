# SPDX-License-Identifier: BSD-3-Clause
"""tests/faults.py: one run's hosts, links and guests, and what must hold all the time."""
import heapq
import random
import subprocess
import threading
import time

import msgpack
import proxy as proxies
import zmq

from faults_host import BUILD, ROLES, SOURCE, TARGET, Bitmap, Died, Host, Refused, Wrong, count, die_with_parent

LOOK_S = 0.1                    # between two looks at all bitmaps
RESEND_S = 0.4                  # the same request again


class World:
    """What goes on whatever the orchestrator does: tick() is called whenever that one waits."""

    def __init__(self, plan, directory, patience):
        self.plan, self.dir = plan, directory
        self.begin = time.monotonic()
        self.deadline = self.begin + patience
        self.trace = open(directory / "trace.log", "w", buffering=1)
        self.rng = random.Random(plan["seed"] ^ 0x5EED)         # of the writes: how many there are depends on time
        self.rebooted, self.abandoned = set(), False
        self.phase = SOURCE             # who may write: see write_some()
        self.copying = False            # the disk is being copied to the target
        self.may_exist = False          # a bitmap of the target that is no session's
        self.writes, self.next_look, self.looking = 0, 0, False
        self.workers, self.worker_deaths = [], 3
        self.timers = []
        self.session, self.moving = None, None      # the bitmaps of the session, if not all
        self.outcome = None
        self.context = zmq.Context()
        self.sockets = {}
        self.hosts = {role: Host(self, role) for role in ROLES}
        self.make_links()
        self.make_disks()

    def clock(self):
        return time.monotonic() - self.begin

    def note(self, text):
        print(f"{self.clock():8.3f} {text}", file=self.trace)

    # ---- set up

    def make_links(self):
        self.proxy = proxies.Proxy()
        hosts = self.hosts
        ends = {"control": hosts[TARGET].control, "control2": hosts[TARGET].control, "data": hosts[TARGET].data, SOURCE: hosts[SOURCE].control, TARGET: hosts[TARGET].control}
        self.links = {name: self.proxy.add(end, self.trace) for name, end in ends.items()}
        self.thread = threading.Thread(target=self.proxy.run, daemon=True)
        self.thread.start()
        hosts[TARGET].advertise = ["--advertise-data", self.links["data"].endpoint]

    def make_disks(self):
        self.bitmaps = []
        for i, disk in enumerate(self.plan["geometry"]["disks"]):
            name, as_name = f"d{i}", f"{disk['as']}d{i}"
            self.hosts[SOURCE].guest.must("disk", name, disk["size"])
            self.hosts[TARGET].guest.must("disk", as_name, disk["size"] + disk["grown"])
            for k, granularity in enumerate(disk["bitmaps"]):
                self.hosts[SOURCE].guest.must("bitmap", name, f"b{k}", granularity)
                self.bitmaps.append(Bitmap(name, disk["size"], as_name, f"b{k}", granularity, disk["grown"]))

    # ---- links

    def link(self, name, command):
        self.note(f"link {name}: {command}")
        self.proxy.command(self.links[name], command)

    def at(self, seconds, call):
        heapq.heappush(self.timers, (time.monotonic() + seconds, len(self.timers), call))

    def step(self, name):
        """A place of the flow.  The planned link fault may begin here, the orchestrator may die."""
        self.where = name
        self.note(f"-- {name}")
        plan = self.plan["link"]
        if plan and plan["step"] == name and not plan.get("begun"):
            plan["begun"] = True
            fault = plan["fault"]
            self.link(plan["link"], f"{fault} {plan['ms']}" if fault == "delay" else
                      fault if fault in ("down", "stall", "discard") else f"{fault} {plan['bytes']}")
            if fault in ("down", "stall", "delay", "discard"):
                self.at(plan["seconds"], lambda: self.link(plan["link"], "up"))
        if self.plan["orchestrator"] == [name, "before"]:
            self.plan["orchestrator"] = None
            raise Died(name)

    # ---- what goes on all the time

    def tick(self, timeout=0.005):
        """Everything that is not the orchestrator, which calls this whenever it waits."""
        now = time.monotonic()
        if now > self.deadline:
            raise Wrong(f"stuck in '{self.where}' for too long: {self.describe()}")
        while self.timers and self.timers[0][0] <= now:
            heapq.heappop(self.timers)[2]()
        for host in self.hosts.values():
            host.watch()
        self.supervise()
        self.write_some()
        if now >= self.next_look:
            self.look()
            self.next_look = time.monotonic() + LOOK_S
        if timeout:
            time.sleep(timeout)

    def supervise(self):
        """Worker processes: one that ends is started again, and each is killed in the middle now and then."""
        for i, worker in enumerate(self.workers):
            if worker is None or worker.poll() is not None:
                with open(self.dir / "workers.log", "a") as log:
                    self.workers[i] = subprocess.Popen(
                        [BUILD / "dirtyferry", "-c", self.hosts[SOURCE].control, "worker", self.session],
                        stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent)
                if self.worker_deaths:
                    self.worker_deaths -= 1
                    self.at(self.rng.uniform(0, 0.4), self.workers[i].kill)

    def stop_workers(self):
        for worker in self.workers:
            if worker:
                worker.kill()
                worker.wait()
        self.workers = []

    def describe(self):
        """What both daemons say, past the links; the replies are in the trace."""
        text = []
        for role, host in self.hosts.items():
            with self.context.socket(zmq.REQ) as s:
                s.set(zmq.LINGER, 0)
                s.connect(host.control)
                s.send(msgpack.packb({"v": 1, "type": "status", "id": 1, "session": self.session}))
                reply = msgpack.unpackb(s.recv()) if s.poll(1000) else {}
            self.note(f"{role}: {reply}")
            status = next((x for x in reply.get("sessions", []) if x["role"] == role), {})
            text.append(f"the {role} is {status.get('state', 'silent')}" + (f" ({status['message']})" if status.get("message") else ""))
        return ", ".join(text)

    def mark(self, role, disk, size):
        offset = self.rng.randrange(size)
        length = min(size - offset, int(2 ** self.rng.uniform(0, 18)))
        answer = " ".join(self.hosts[role].guest.ask("mark", disk, offset, length))
        if answer == "EROFS late" and self.phase == "pivoting":
            self.note(f"the fence came in the middle of a write of {length} bytes at {offset} of {disk}")
            for b in self.bitmaps_of(disk):
                b.may |= b.granules(offset, length)
            answer = "EROFS"
        return answer, offset, length

    def record(self, disk, offset, length):
        for b in self.bitmaps_of(disk):
            b.must |= b.granules(offset, length)

    def bitmaps_of(self, disk):
        return [b for b in self.bitmaps if b.disk == disk]

    def write_some(self):
        """By phase: `source` writes there succeed; `pivoting` they may; `fenced` they do not; `target` those there do."""
        if self.writes > 600 or self.rng.random() < 0.5:
            return
        self.writes += 1
        b = self.rng.choice(self.bitmaps)
        if self.phase != TARGET or self.rng.random() < 0.2:
            answer, offset, length = self.mark(SOURCE, b.disk, b.size)
            if answer == "ok":
                self.record(b.disk, offset, length)
            if answer not in ("ok", "EROFS"):
                raise Wrong(f"a write on the source fails with {answer}")
            if answer == "ok" and self.phase in ("fenced", TARGET):
                raise Wrong("a write succeeded on the source after its pivot was acknowledged (invariant 3)")
            if answer != "ok" and self.phase == SOURCE and SOURCE not in self.rebooted:
                raise Wrong("a write is refused on the source although no pivot is under way")
        if self.phase == TARGET:
            answer, offset, length = self.mark(TARGET, b.as_disk, b.size)
            if answer != "ok":
                raise Wrong(f"a write on the target fails with {answer} after its pivot was acknowledged")
            self.record(b.disk, offset, length)
        elif self.copying and self.rng.random() < 0.3:
            if self.mark(TARGET, b.as_disk, b.size)[0] != "ok":
                raise Wrong("a write of the copy is refused on the target")

    # ---- looking

    def bits(self, role, b):
        """(flags, bits) or (None, 0) if it is not there."""
        path = self.dir / f"{role}.bits"
        answer = self.hosts[role].guest.ask("bits", *b.names(role), path)
        if answer[0] == "ENOENT":
            return None, 0
        if answer[0] != "ok":
            raise Wrong(f"bitmap {b.names(role)} of the {role} cannot be looked at: {answer[0]}")
        return set(answer[1:]), int.from_bytes(path.read_bytes(), "little")

    def look(self):
        if self.looking:
            return
        self.looking = True
        try:
            for b in self.bitmaps:
                self.look_at(b)
        finally:
            self.looking = False

    def look_at(self, b):
        on_source, there = self.bits(SOURCE, b)
        kept = on_source is not None and not b.must & ~there
        on_target, here = self.bits(TARGET, b)
        own = on_target is not None and not self.may_exist
        usable = own and "busy" not in on_target and "inconsistent" not in on_target
        lacks = b.wanted(TARGET) & ~here
        if self.phase != TARGET and not kept and not (usable and not lacks):
            lost = b.must & ~there
            raise Wrong(f"nobody has {count(lost)} granules of {b.disk}/{b.name} (invariant 6): source "
                        f"{'has no bitmap' if on_source is None else on_source}, target {on_target}")
        if usable and lacks:
            raise Wrong(f"{b.as_disk}/{b.as_name} can be used on the target and lacks {count(lacks)} granules (invariants 1 and 2)")
        if own and "recording" in on_target and TARGET not in self.rebooted and self.mark(SOURCE, b.disk, b.size)[0] != "EROFS":
            raise Wrong("the target records and a write succeeds on the source (invariant 3)")
        if self.phase == TARGET and on_source is not None:
            self.look_before_pivot(b, there)
        for role, flags, allowed in ((SOURCE, on_source, SOURCE in self.rebooted),
                                     (TARGET, on_target, TARGET in self.rebooted or self.abandoned)):
            if flags and "inconsistent" in flags and not allowed:
                raise Wrong(f"{b.disk}/{b.name} is inconsistent on the {role}, and no host was restarted")

    def look_before_pivot(self, b, there):
        """The source's copy is what was there when it was fenced, as long as it exists."""
        if b.at_pivot & ~there:
            raise Wrong(f"the source's copy of {b.disk}/{b.name} lost {count(b.at_pivot & ~there)} granules (invariant 6)")

    # ---- requests

    def socket(self, role):
        if role not in self.sockets:
            s = self.context.socket(zmq.REQ)
            for option, value in ((zmq.REQ_RELAXED, 1), (zmq.REQ_CORRELATE, 1), (zmq.LINGER, 0), (zmq.RECONNECT_IVL, 20),
                                  (zmq.HEARTBEAT_IVL, 500), (zmq.HEARTBEAT_TIMEOUT, 1500)):
                s.set(option, value)
            s.connect(self.links[role].endpoint)
            self.sockets[role] = s
        return self.sockets[role]

    def ask(self, to, kind, seconds=None, /, **fields):
        """Until there is a reply; None if there is none within `seconds`."""
        number = random.getrandbits(64)
        body = msgpack.packb({"v": 1, "type": kind, "id": number, **fields})
        s = self.socket(to)
        give_up = time.monotonic() + seconds if seconds else None
        dies = self.plan["orchestrator"] == [self.where, "sent"]
        while not give_up or time.monotonic() < give_up:
            s.send(body)
            if dies:
                self.plan["orchestrator"] = None
                time.sleep(self.rng.uniform(0, 0.01))
                raise Died(f"{self.where}, sent")
            again = time.monotonic() + RESEND_S
            while time.monotonic() < again:
                if s.poll(4):
                    reply = msgpack.unpackb(s.recv())
                    if reply.get("id") == number and reply["type"] == kind:
                        if "error" in reply:
                            raise Refused(kind, reply["error"])
                        return reply
                self.tick(0)
        return None

    def is_serving(self, host):
        self.where = "start"
        try:
            return self.ask(host.role, "hello", 0.2) is not None
        except Refused:
            return False

    def state(self, role):
        """Of the session: its state, "" if it is not known there."""
        try:
            reply = self.ask(role, "status", session=self.session)
        except Refused as refused:
            if refused.code == "not-found":
                return ""
            raise
        return next((s["state"] for s in reply["sessions"] if s["role"] == role), "")

    def about(self, role, kind, **fields):
        return self.ask(role, kind, session=self.session, role=role, **fields)["status"]["state"]

    def until(self, what, condition, seconds=None):
        self.note(f"waits for {what}")
        self.where = what
        give_up = time.monotonic() + seconds if seconds else None
        while not condition():
            if give_up and time.monotonic() > give_up:
                return False
            self.tick(0.01)
        return True
