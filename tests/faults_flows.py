# SPDX-License-Identifier: BSD-3-Clause
"""tests/faults.py: the flows, each of which brings about some steps of the state table."""
import shutil
import subprocess

from faults_host import BUILD, ROLES, SOURCE, TARGET, Died, Refused, Wrong, die_with_parent
from faults_orchestrator import Orchestrator

# How the link for data is so that the source stays in a state.
DATA_LINK = {"streaming": "down", "sealing": "discard", "interrupted": "down"}


class Run(Orchestrator):
    # ---- flows

    def flow_move(self):
        for _ in range(6):
            if self.prepare():
                break
            self.expect_failed()
        else:
            raise Wrong("prepare is refused again and again")
        return self.go_on()

    def expect_failed(self):
        """prepare was refused: nothing has changed, maybe with the help of a cancel.  How the session ended."""
        if TARGET in self.rebooted or SOURCE in self.rebooted:
            raise Refused("prepare", {"code": "failed", "message": "a host was restarted"})
        if self.undo() != "back":
            raise Wrong("the target has pivoted and nobody asked it")
        return self.check_back()

    def move_instead(self):
        """What a flow does whose prepare is refused."""
        self.expect_failed()
        return self.flow_move()

    def pivot_both(self, data):
        """With the link for data so: True; False if one is refused."""
        self.link("data", data)
        try:
            self.pivot_source()
            self.pivot_target()
        except Refused as refused:
            self.note(refused)
            return False
        return True

    def give_up(self):
        """What a flow does whose pivot is refused."""
        self.link("data", "up")
        return self.turn_back()

    def turn_back(self):
        """Undo it, and see how it ended."""
        return self.undone(self.undo())

    def go_on(self):
        """From `prepared` to the end."""
        order = self.plan["order"]
        try:
            if order == "early":
                self.link("data", "down")
            self.pivot_source()
            if order == "late":
                self.until("the target to be filled", lambda: self.state(TARGET) not in ("prepared",), 15)
            if self.plan["flow"] in ("reboot-target", "forget"):
                self.until("the source to be sealed", lambda: self.state(SOURCE) == "sealed", 15)
            self.pivot_target()
            self.write_for(20)
        except Refused as refused:
            self.note(refused)
            if order == "early":
                self.link("data", "up")
            return self.turn_back()
        if order == "early":
            self.link("data", "up")
        return self.finish()

    def undone(self, way):
        if way == "forward":
            self.phase = "fenced"
            return self.finish()
        return self.check_abandoned() if way == "abandoned" else self.check_back()

    def flow_late(self):
        self.plan["order"] = "late"
        return self.flow_move()

    def flow_refused(self):
        b = self.bitmaps[0]
        self.may_exist = True
        self.hosts[TARGET].guest.must("bitmap", b.as_disk, b.as_name, b.granularity)
        if self.prepare():
            raise Wrong("the target takes a bitmap that it has already")
        self.expect_failed()
        self.hosts[TARGET].guest.must("remove", b.as_disk, b.as_name)
        self.may_exist = False
        return "back"

    def flow_cancel(self):
        if not self.prepare():
            return self.expect_failed()
        return self.turn_back()

    def flow_rollback(self):
        """In the state `hold` of the source; as it passes quickly, again until the planned point was reached."""
        for _ in range(8):
            result = self.roll_back_once()
            if result != "back" or self.all_reached():
                return result
        return result

    def roll_back_once(self):
        if not self.prepare():
            return self.expect_failed()
        hold = self.plan["hold"]
        try:
            if hold in DATA_LINK:
                self.link("data", DATA_LINK[hold])
            self.pivot_source()
            if hold == "interrupted":
                self.link("control", "down")
            if hold in ("sealing", "sealed", "interrupted"):
                self.until(f"the source to be {hold}", lambda: self.state(SOURCE) == hold, 12)
            if hold == "interrupted":
                self.at(0.3, lambda: self.link("control", "up"))
            way = self.undo()
        except Refused as refused:
            self.note(refused)
            way = self.undo()
        if hold != "sealed":
            self.link("data", "up")
        return self.undone(way)

    def flow_lost(self):
        """The stream is interrupted in the state `hold`."""
        if not self.prepare():
            return self.move_instead()
        if not self.pivot_both("discard" if self.plan["hold"] == "sealing" else "down"):
            return self.give_up()
        if self.plan["slow_loss"]:
            self.interrupt()
            self.link("control", "up")
        else:
            self.resume_again_and_again()
        self.link("data", "up")
        return self.finish()

    def interrupt(self):
        """The target does not answer, long enough for the source to notice."""
        self.link("control", "down")
        self.until("the source to notice it", lambda: self.state(SOURCE) == "interrupted", 10)

    def resume_again_and_again(self):
        for _ in range(20):
            hold = "sealing" if self.plan["hold"] == "sealing" else "streaming"
            self.until(f"the source to be {hold}", lambda: self.state(SOURCE) in (hold, "released"), 3)
            if self.state(SOURCE) == "released":
                break           # another fault let the stream through
            try:
                self.ask(SOURCE, "resume", session=self.session, target=self.links["control"].endpoint)
            except Refused as refused:
                self.note(refused)
            if self.all_reached():
                break

    def flow_moved(self):
        """The old endpoint of the target is gone for good."""
        if not self.prepare():
            return self.move_instead()
        if not self.pivot_both("down"):
            return self.give_up()
        self.link("control", "down")
        self.until("the source to notice it", lambda: self.state(SOURCE) != "streaming", 10)
        self.link("data", "up")
        while True:
            self.where = "resume"
            try:
                self.ask(SOURCE, "resume", session=self.session, target=self.links["control2"].endpoint)
                break
            except Refused as refused:
                self.note(refused)
                if refused.code not in ("busy", "timeout"):
                    break
        return self.finish()

    def flow_workers(self):
        """The stream is slow enough for some to die in the middle."""
        if not self.prepare():
            return self.expect_failed()
        self.workers = [None] * self.plan["geometry"]["workers"]
        result = self.go_on()
        self.stop_workers()
        return result

    def flow_section(self):
        """A write is under way when the source pivots: it ends, or its process dies, or the pivot fails after 10 s."""
        if not self.prepare():
            return self.move_instead()
        b, host = self.bitmaps[0], self.hosts[SOURCE]
        host.guest.must("begin", b.disk, 0, 1)
        self.record(b.disk, 0, 1)
        self.plan["guest_dies"] = False
        if self.plan["slow_loss"]:
            self.at(11, host.renew_guest)
        else:
            self.at(0.3, host.renew_guest)
        return self.go_on()

    def flow_two(self):
        """Two sessions at once, on one disk or two; both are prepared before the first pivots."""
        sessions = []
        for self.moving in self.bitmaps[:1], self.bitmaps[1:]:
            for _ in range(6):
                if self.prepare():
                    break
                self.copying = False
                self.cancel_target()
            else:
                raise Wrong("prepare is refused again and again")
            sessions.append(self.session)
        self.copying, self.phase = False, "pivoting"
        for role in ROLES:
            for self.session in sessions:
                self.step("pivot" if role == SOURCE else "pivot-target")
                self.about(role, "pivot")
            self.phase = "fenced"
            for b in self.bitmaps:
                b.at_pivot = b.must
        self.phase = TARGET
        for self.session in sessions:
            self.until("the end", lambda: (self.state(SOURCE), self.state(TARGET)) == ("released", "operative"))
        return self.check_moved()

    def flow_load(self):
        """The source's daemon is dead for good, its dump travels by other means; much later it comes back all the same."""
        if not self.prepare():
            return self.move_instead()
        if not self.pivot_both("down"):
            return self.give_up()
        self.link("control", "down")
        host, dump = self.hosts[SOURCE], self.hosts[SOURCE].state / "dumps" / f"{self.session}.dump"
        self.until("the dump", dump.exists)
        kept = self.dir / "kept.dump"
        shutil.copyfile(dump, kept)
        host.away = True
        host.kill()
        self.until("the source to be dead", lambda: not host.process)
        self.link("control", "up")
        self.link("data", "up")
        self.write_for(20)
        self.load(kept)
        self.until("the target to be operative", lambda: self.state(TARGET) == "operative")
        self.write_for(20)
        for b in self.bitmaps:
            self.expect_exact(TARGET, b)
        host.away, host.restart_at = False, 0
        return self.finish()

    def load(self, dump):
        """Again when the target dies meanwhile."""
        for _ in range(10):
            self.until("the target to serve", lambda: self.is_serving(self.hosts[TARGET]))
            process = subprocess.Popen([BUILD / "dirtyferry", "-c", self.hosts[TARGET].control, "load", dump],
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=die_with_parent)
            self.until("load", lambda: process.poll() is not None)
            said = process.stdout.read().strip()
            self.note(f"load: {process.returncode} {said}")
            if process.returncode == 0 or self.state(TARGET) == "operative":
                return
        raise Wrong(f"the source's dump cannot be loaded: {said}")

    def flow_inexact(self):
        if not self.prepare():
            return self.move_instead()
        if not self.pivot_both("discard"):
            return self.give_up()
        self.until("another attempt", lambda: self.all_reached() or self.epoch() > 1, 10)
        self.link("data", "up")
        return self.finish()

    def epoch(self):
        try:
            return next((s["epoch"] for s in self.ask(SOURCE, "status", session=self.session)["sessions"] if s["role"] == SOURCE), 0)
        except Refused:
            return 0

    def flow_abandon(self):
        if not self.prepare():
            return self.move_instead()
        if not self.pivot_both("down"):
            return self.give_up()
        if self.plan["slow_loss"]:
            self.interrupt()
        self.abandoned, self.where = True, "abandon"
        try:
            self.ask(TARGET, "abandon", session=self.session, all_dirty=self.plan["all_dirty"])
        except Refused as refused:
            self.note(refused)              # the link was good for a while, and all is there
            self.abandoned = False
        self.link("control", "up")
        self.link("data", "up")
        if not self.abandoned:
            return self.finish()
        return self.check_abandoned()

    def flow_reboot(self):
        """A host is restarted without a clean stop; what follows depends on when."""
        try:
            return self.flow_move()
        except Refused as refused:      # prepare, maybe because the answer was not there any more
            self.note(refused)
        return self.turn_back()

    flow_reboot_target = flow_reboot
    flow_again = flow_forget = flow_move

    # ---- the whole

    def all_reached(self):
        return all(not host.crashes and (not host.crash or host.crash in host.reached) for host in self.hosts.values())

    def take_over(self):
        """Another orchestrator, which knows the session's UUID."""
        self.sockets.clear()
        self.link("data", "up")
        self.link("control", "up")
        if self.phase == SOURCE:
            self.phase = "pivoting"         # nobody knows
        self.copying = False
        source, target = self.state(SOURCE), self.state(TARGET)
        self.note(f"another orchestrator; source {source}, target {target}")
        if target in ("receiving", "merging", "operative"):
            self.phase = TARGET if self.phase == TARGET else "fenced"
            return self.finish()
        if self.plan["undo"] or source in ("", "preparing", "failed"):
            return self.turn_back()
        return self.go_on()

    def go(self):
        plan = self.plan
        self.where = "start"
        for host in self.hosts.values():
            host.start()
        for host in self.hosts.values():
            self.until(f"the {host.role} to start", lambda host=host: self.is_serving(host))
        for _ in range(plan["marks"]):
            b = self.rng.choice(self.bitmaps)
            answer, offset, length = self.mark(SOURCE, b.disk, b.size)
            if answer != "ok":
                raise Wrong(f"a write fails with {answer}")
            self.record(b.disk, offset, length)
        for role, seconds in plan["kills"]:
            self.at(seconds, self.hosts[role].kill)
        try:
            self.outcome = getattr(self, "flow_" + plan["flow"].replace("-", "_"))()
        except Died as died:
            self.note(f"the orchestrator died: {died}")
            self.outcome = self.take_over()
        except Refused as refused:
            raise Wrong(str(refused)) from None
        if self.outcome == "back" and plan["again"] and not self.rebooted:
            plan["orchestrator"] = None
            plan["order"] = "free"
            self.outcome = "back, " + self.flow_move()
        self.expect_reached()
        self.end()

    def expect_reached(self):
        if not self.plan["must_reach"]:
            return
        for host in self.hosts.values():
            for point in [*([host.crash] if host.crash and host.crash not in host.reached else []), *host.crashes]:
                raise Wrong(f"point not reached: {point} of the {host.role}")

    def end(self):
        """Stopped cleanly, nothing has changed."""
        for host in self.hosts.values():
            host.crashes = []
            host.stop()
        moved = "moved" in self.outcome
        for host in self.hosts.values():
            for line in host.log.read_text(errors="replace").splitlines():
                if "runtime error:" in line or "ERROR: " in line:
                    raise Wrong(f"a sanitizer complains about the {host.role}: {line}")
        for b in self.bitmaps:
            if "abandoned" not in self.outcome:
                self.expect_exact(TARGET if moved else SOURCE, b)

    def close(self):
        self.stop_workers()
        for host in self.hosts.values():
            if host.process:
                host.process.kill()
                host.process.wait()
            host.guest.kill()
        self.proxy.stop()
        self.thread.join(5)
        self.context.destroy(linger=0)
        self.trace.close()
