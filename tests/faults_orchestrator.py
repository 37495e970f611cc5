# SPDX-License-Identifier: BSD-3-Clause
"""tests/faults.py: the steps of an orchestrator, and how a session may end."""
import uuid

from faults_host import ROLES, SOURCE, TARGET, Refused, Wrong, count
from faults_world import World


class Orchestrator(World):
    # ---- the steps of an orchestrator

    def prepare(self):
        """True; False if it is refused, and nothing has changed."""
        self.session, self.where = str(uuid.uuid4()), "prepare"
        self.note(f"session {self.session}")
        self.step("prepare")
        items = [{"disk": b.disk, "bitmap": b.name, "as_disk": b.as_disk, "as_bitmap": b.as_name} for b in self.moving or self.bitmaps]
        geometry = self.plan["geometry"]
        try:
            self.ask(SOURCE, "prepare", session=self.session, target=self.links["control"].endpoint, bitmaps=items,
                     chunk_size=geometry["chunk_size"], grow=True, workers=0 if self.plan["flow"] == "workers" else geometry["workers"],
                     **self.bandwidth())
        except Refused as refused:
            self.note(refused)
            return False
        self.copying = True
        if self.plan["flow"] == "forget":
            self.hosts[TARGET].remember(f"sessions/{self.session}.target")
        self.step("prepared")
        self.try_busy(SOURCE)
        self.write_for(5)
        return True

    def bandwidth(self):
        """By an estimate of what the frames will have: the plan wants the stream to last."""
        seconds = self.plan["stream_s"]
        nbytes = sum(min(b.size // b.granularity // 8, 2 * count(b.must)) for b in self.bitmaps)
        return {"max_bandwidth": max(256, int(nbytes / seconds))} if seconds else {}

    def write_for(self, ticks):
        for _ in range(ticks):
            self.tick(0)

    def try_busy(self, role):
        """Invariant 2.  Once a bitmap of the target can be had it stays so."""
        b = self.bitmaps[0]
        disk, name = b.names(role)
        try:
            if not self.ask(role, "bitmap-extents", 1, disk=disk, bitmap=name, offset=0):
                return
        except Refused:
            return
        flags, _ = self.bits(role, b)
        if flags and "busy" in flags:
            raise Wrong(f"the busy bitmap {disk}/{name} of the {role} was given out (invariant 2)")

    def guest_dies(self):
        """In the middle of a write, which must not hold up anything."""
        if not self.plan["guest_dies"]:
            return
        self.plan["guest_dies"] = False
        b, host = self.bitmaps[0], self.hosts[SOURCE]
        offset = self.rng.randrange(b.size)
        length = min(b.size - offset, 5000)
        host.guest.must("begin", b.disk, offset, length)
        self.record(b.disk, offset, length)
        host.renew_guest()

    def pivot_source(self):
        self.copying = False
        self.guest_dies()
        self.phase = "pivoting"
        self.step("pivot")
        self.about(SOURCE, "pivot")
        self.phase = "fenced"
        self.note("the source has pivoted")
        for b in self.bitmaps:
            if self.mark(SOURCE, b.disk, b.size)[0] != "EROFS":
                raise Wrong("a write succeeded on the source after its pivot was acknowledged (invariant 3)")
        self.step("fenced")

    def pivot_target(self):
        for b in self.bitmaps:
            b.at_pivot = b.must
        self.step("pivot-target")
        self.about(TARGET, "pivot")
        self.phase = TARGET
        self.note("the target has pivoted")
        self.step("pivoted")
        self.try_busy(TARGET)

    def undo(self):
        """As examples/orchestrator.py: "back", or "forward" if the target has pivoted after all."""
        if self.phase != SOURCE:
            self.phase = "pivoting"
        while True:
            done = False
            for kind in ("cancel", "rollback"):
                self.where = kind
                try:
                    self.about(SOURCE, kind)
                    done = True
                except Refused as refused:
                    self.note(refused)
                    done = refused.code == "not-found"
                    if refused.code == "refused":
                        continue
                break
            if not done and self.state(SOURCE) in ("failed", "cancelled", "rolled-back"):
                done = True
            if done:
                self.copying = False
                self.cancel_target()
                self.phase = SOURCE
                self.note("all is back")
                return "back"
            if self.state(TARGET) in ("receiving", "merging", "operative"):
                return "forward"
            if self.state(TARGET) in ("abandoning", "abandoned"):
                return "abandoned"
            self.tick(0.05)

    def cancel_target(self):
        try:
            self.about(TARGET, "cancel")
        except Refused as refused:
            if refused.code != "not-found" and not (TARGET in self.rebooted or self.abandoned):
                self.note(f"the target: {refused}")

    # ---- how a session ends

    def finish(self):
        """Both sides have pivoted, or will by themselves."""
        self.step("moving")
        self.until("the end", self.is_over)
        states = self.state(SOURCE), self.state(TARGET)
        if states == ("released", "operative"):
            return self.check_moved()
        if states[1] in ("abandoned", "abandoning"):
            return self.check_abandoned()
        raise Wrong(f"the session ended as {states}")

    def is_over(self):
        source, target = self.state(SOURCE), self.state(TARGET)
        if SOURCE in self.rebooted and source == "interrupted" and target == "receiving" and not self.abandoned:
            self.abandoned = True
            self.ask(TARGET, "abandon", session=self.session, all_dirty=self.plan["all_dirty"])
        if self.rng.random() < 0.1:
            self.try_busy(TARGET)
        if target == "operative" and self.phase == "fenced":
            self.phase = TARGET         # another orchestrator's, who is dead
            for b in self.bitmaps:
                b.at_pivot = 0
        return source in ("released", "abandoned", "failed", "cancelled", "rolled-back", "") and target in ("operative", "abandoned", "cancelled", "")

    def check_moved(self):
        self.write_for(10)
        self.look()
        for b in self.bitmaps:
            self.expect_exact(TARGET, b)
            if self.bits(SOURCE, b)[0] is not None:
                raise Wrong(f"{b.disk}/{b.name} is moved and still on the source")
        self.expect_clean()
        return "moved"

    def check_back(self):
        self.write_for(10)
        self.look()
        for b in self.bitmaps:
            self.expect_exact(SOURCE, b)
            flags, _ = self.bits(TARGET, b)
            if flags is not None and not self.may_exist and TARGET not in self.rebooted:
                raise Wrong(f"all is back, and {b.as_disk}/{b.as_name} is left on the target ({flags})")
        self.expect_clean()
        return "back"

    def expect_exact(self, role, b):
        flags, bits = self.bits(role, b)
        if flags is None:
            raise Wrong(f"{b.names(role)} is gone from the {role}")
        want = {"recording"} | ({"inconsistent"} if role in self.rebooted else set())
        if flags != want:
            raise Wrong(f"{b.names(role)} of the {role} is {flags}, expected {want}")
        wanted = b.wanted(role)
        lacks, extra = wanted & ~bits, bits & ~(wanted | b.may)
        if lacks or extra:
            raise Wrong(f"{b.names(role)} of the {role} lacks {count(lacks)} granules and has {count(extra)} too many of {count(wanted)}")

    def check_abandoned(self):
        if not (self.abandoned or self.rebooted):
            raise Wrong("the session is abandoned and nobody has asked for that")
        if not self.until("the source to hear of it", lambda: self.state(SOURCE) == "abandoned", 20):
            raise Wrong(f"the target has abandoned the session and the source is {self.state(SOURCE)}")
        self.until("the target to be done", lambda: self.state(TARGET) == "abandoned")
        if self.phase == "fenced":
            self.phase = "pivoting"
        self.look()
        for b in self.bitmaps:
            there, bits = self.bits(SOURCE, b)
            if there is None or "busy" in there or "readonly" not in there:
                raise Wrong(f"abandoned: {b.disk}/{b.name} of the source is {there}, expected it to be there, free and read-only")
            flags, bits = self.bits(TARGET, b)
            nbits = -(-b.larger // b.granularity)
            if flags is None or "busy" in flags:
                raise Wrong(f"abandoned: {b.as_disk}/{b.as_name} of the target is {flags}")
            if "inconsistent" not in flags and bits != (1 << nbits) - 1:
                raise Wrong(f"abandoned: {b.as_disk}/{b.as_name} of the target is neither inconsistent nor all dirty")
        return "abandoned"

    def expect_clean(self):
        """Nothing is left behind: no dump, no receiver's file."""
        def leftovers():
            return [p for role in ROLES for p in (*self.hosts[role].state.glob("dumps/*"), *self.hosts[role].state.glob("sessions/*.received-*"),
                                                  *self.hosts[role].state.glob("sessions/*.damaged"))]
        if not self.until("leftovers to go", lambda: not leftovers(), 5):
            raise Wrong(f"left behind: {', '.join(str(p.relative_to(self.dir)) for p in leftovers())}")
