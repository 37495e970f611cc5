# SPDX-License-Identifier: BSD-3-Clause
"""tests/faults.py: the places where something fails, and what a run is to do."""
import random
import subprocess
import sys

from faults_host import BUILD, ROLES, SOURCE, TARGET

WHENS = "before", "after"

# Steps of the table by event: which flow brings them about.  A new event must be put here.
FLOWS = {
    "start": "move", "accepted": "move", "pivot": "move", "drained": "move", "sent": "move", "exact": "move", "operative": "move",
    "resumed": "lost", "lost": "lost", "inexact": "inexact", "refused": "refused", "cancel": "cancel", "rollback": "rollback",
    "stuck": "again", "crashed": "reboot", "abandon": "abandon", "abandoned": "abandon",
}
# ... and those that another flow than their event's brings about.
SPECIAL = {
    (SOURCE, "interrupted", "released"): "again",
    (SOURCE, "sealed", "abandoned"): "reboot-target",
    (SOURCE, "sealed", "interrupted"): "forget",
    (TARGET, "prepared", "filled"): "late",
    (TARGET, "filled", "merging"): "late",
    (TARGET, "filled", "cancelled"): "rollback",
    (TARGET, "prepared", "abandoning"): "reboot",
    (TARGET, "filled", "abandoning"): "reboot",
    (TARGET, "merging", "abandoning"): "reboot",
}
# Where a daemon that is to die in its second life dies in the first, if not when it enters the state.
FIRST_DEATH = {
    (SOURCE, "interrupted", "released"): "source:sealing>sealed:before",
    (SOURCE, "preparing", "interrupted"): "source:preparing>prepared:before",       # the bitmap is taken
}
# The steps of a move that goes well: how a state is entered.
WAY = {
    SOURCE: ("none>preparing", "preparing>prepared", "prepared>fencing", "fencing>streaming", "streaming>sealing", "sealing>sealed"),
    TARGET: ("none>prepared", "prepared>receiving", "prepared>filled", "receiving>merging"),
}
# Steps that no flow reaches: {(role, from, to): why}.
UNREACHABLE = {}
# Steps that are written twice: the second time what they announce is done.
TWICE = ["source:sealed>released"]
# Calls around which a daemon dies: call, role, how many times it comes by in a move of one disk.
CALLS = [("journal_sync", SOURCE, 2), ("journal_sync", TARGET, 1), ("map_merge", TARGET, 1), ("map_write_scaled", TARGET, 1), ("still_write", SOURCE, 1),
         ("txn_commit", SOURCE, 3), ("txn_commit", TARGET, 4)]
LINKS = "control", "data", SOURCE, TARGET
PLAIN = "load", "section", "moved", "workers", "two"
LINK_FAULTS = "down", "stall", "delay", "truncate", "truncate-back", "half-close", "half-close-back", "discard"
STEPS = "prepare", "prepared", "pivot", "fenced", "pivot-target", "pivoted", "moving"


# ---------------------------------------------------------------------- places

def read_table():
    """[(role, from, event, to)], from the program."""
    text = subprocess.run([BUILD / "tests/proto-dump", "states"], check=True, capture_output=True, text=True).stdout
    return [tuple(line.split()[:4]) for line in text.splitlines()]


def step_flow(role, before, event, after):
    """The flow, or None if this program knows none."""
    if (role, before, after) in SPECIAL:
        return SPECIAL[role, before, after]
    return FLOWS.get(event)


def step_places(table):
    """Kill points of the table -> flow.  Two events that do the same step are two places."""
    places, unknown = {}, []
    for role, before, event, after in table:
        flow = step_flow(role, before, event, after)
        if (role, before, after) in UNREACHABLE:
            continue
        if not flow:
            unknown.append(f"{role} {before} {event} {after}")
            continue
        step = f"{role}:{before}>{after}"
        for when in WHENS:
            place = f"{step}:{when}"
            if place in places and places[place] != flow:
                place += f" ({flow})"
            places[place] = flow
    if unknown:
        sys.exit("faults.py: no flow is known for these steps of the state table, put their events into FLOWS: " + "; ".join(unknown))
    return places


def all_places(table):
    places = step_places(table)
    for step in TWICE:
        for when in WHENS:
            places[f"{step}:{when}:2"] = "move"
    for call, role, times in CALLS:
        for n in range(1, times + 1):
            for when in WHENS:
                places[f"{call}:{when}:{n}@{role}"] = "lost" if call == "still_write" else "move"
    for link in LINKS:
        for fault in LINK_FAULTS:
            if fault != "discard" or link == "data":
                places[f"link:{link}:{fault}"] = None
    for flow in PLAIN:
        places[f"flow:{flow}"] = flow
    return places


# --------------------------------------------------------------------- the plan

def make_plan(seed, places):
    """All that is decided before the run."""
    names = list(places)
    rng = random.Random(seed)
    place = names[seed] if seed < len(names) else rng.choice([*names, *["random"] * (len(names) // 2)])
    plan = {"seed": seed, "place": place, "flow": places.get(place), "crash": {SOURCE: [], TARGET: []}, "kills": [], "link": None,
            "hold": "streaming", "reboot": None}
    plan["geometry"] = {
        "chunk_size": 1 << rng.randint(5, 10), "workers": rng.randint(1, 3),
        "disks": [{"size": rng.randint(1 << 20, 1 << 26), "as": rng.choice(["", "x"]),
                   "bitmaps": [1 << rng.randint(9, 12) for _ in range(rng.choice([1, 1, 2]))]} for _ in range(rng.choice([1, 1, 1, 2]))]}
    grows = random.Random(seed ^ 0x6120)        # of its own: seeds that found something repeat the rest
    for disk in plan["geometry"]["disks"]:
        disk["grown"] = grows.choice([0, 0, 0, 1, grows.randint(1, 1 << 20)])
    plan["marks"] = rng.randint(20, 200)
    plan["pause"] = rng.choice([0, 0, 0.1, 0.3, 1.0])           # until a dead daemon is started again
    plan["order"] = rng.choice(["early", "late", "free", "free"])       # target's pivot before the stream, after it, as it comes
    plan["guest_dies"] = rng.random() < 0.25
    plan["orchestrator"] = None
    plan["undo"] = rng.random() < 0.3           # how the next orchestrator goes on, and what comes of a target that refuses
    plan["all_dirty"] = rng.random() < 0.5
    plan["again"] = rng.random() < 0.5          # after a way back another session
    plan["slow_loss"] = rng.random() < 0.2
    plan["stream_s"] = None                     # how long the stream takes
    plan["must_reach"] = True
    if place == "flow:workers":
        plan["stream_s"] = 1
    if place == "random":
        plan_random(plan, rng)
    elif place.startswith("link:"):
        plan_link(plan, rng, *place.split(":")[1:])
    elif not place.startswith("flow:"):
        plan_kill(plan, place)
    if seed >= len(names) and place != "random" and not plan["reboot"] and rng.random() < 0.5:
        plan_more(plan, rng)
    if plan["stream_s"]:
        slow_down(plan["geometry"])
    if plan["flow"] == "two":
        disks = plan["geometry"]["disks"]
        disks[0]["bitmaps"] += [512] if len(disks) == 1 and len(disks[0]["bitmaps"]) == 1 else []
        plan["orchestrator"] = None
    return plan


def slow_down(geometry):
    """Many frames."""
    geometry["chunk_size"] = min(geometry["chunk_size"], 64)
    for disk in geometry["disks"]:
        disk["size"] = max(disk["size"], 32 << 20)


def plan_more(plan, rng):
    """Beside the place; it may not be reached then."""
    plan["must_reach"] = False
    plan["stream_s"] = rng.choice([None, 0.5, 1.5])
    role = rng.choice(ROLES)
    if rng.random() < 0.4 and not plan["link"]:
        plan_link(plan, rng, rng.choice(LINKS[:2]), rng.choice(LINK_FAULTS[:-1]))
    elif rng.random() < 0.5:
        plan["crash"][role].append(f"write:{rng.choice(WHENS)}:{rng.randint(1, 4)}")
    else:
        plan["kills"].append((role, round(rng.uniform(0, 1.5), 3)))


def plan_link(plan, rng, link, fault):
    plan["flow"] = plan["flow"] or rng.choice(["move", "move", "move", "cancel", "rollback"])
    plan["link"] = {"link": link, "fault": fault, "step": rng.choice(STEPS[:-1]), "bytes": int(2 ** rng.uniform(0, 11)),
                    "ms": rng.randint(5, 60), "seconds": rng.choice([0.1, 0.5, 1.0, 2.2])}


def plan_kill(plan, place):
    point, _, role = place.partition(" ")[0].partition("@")
    if not role:                                # a step of the table
        role, step = point.split(":")[:2]
        before, after = step.split(">")
        if plan["flow"] in ("again", "reboot"):
            plan["crash"][role].append(FIRST_DEATH.get((role, before, after)) or entering(role, before))
        plan["hold"] = before if plan["flow"] in ("rollback", "lost") and role == SOURCE else "streaming"
        if plan["flow"] == "reboot":
            plan["reboot"] = role
        if plan["flow"] in ("reboot-target", "forget"):
            plan["crash"][TARGET].append("target:filled>merging:before")
            plan["reboot"] = TARGET if plan["flow"] == "reboot-target" else None
        plan["order"] = order_for(role, before, after, plan)
        if (role, before) == (TARGET, "filled") and plan["flow"] == "rollback":
            plan["hold"] = "sealed"
    elif point.startswith(("map_merge", "map_write_scaled", "txn_commit")):
        plan["geometry"]["disks"] = plan["geometry"]["disks"][:1]
        if point.startswith("map_write_scaled"):
            plan["geometry"]["disks"][0]["grown"] = 100000
        plan["geometry"]["disks"][0]["bitmaps"] = plan["geometry"]["disks"][0]["bitmaps"][:1]
    plan["crash"][role].append(point)


def entering(role, state):
    """The step by which a move comes into that state."""
    for step in WAY[role]:
        if step.endswith(f">{state}"):
            return f"{role}:{step}:after"
    raise SystemExit(f"faults.py: no move comes into the state {state} of the {role}: put the step into WAY")


def order_for(role, before, after, plan):
    if plan["flow"] in ("late", "reboot-target", "forget"):
        return "late"
    if role == TARGET:
        return "late" if "filled" in (before, after) else "early"
    return "early" if plan["flow"] in ("abandon", "lost", "inexact") else plan["order"]


def plan_random(plan, rng):
    plan["flow"] = rng.choice(["move"] * 6 + ["late", "lost", "inexact", "refused", "cancel", "rollback", "rollback", "abandon", *PLAIN])
    plan["stream_s"] = rng.choice([None, 0.5, 1.5])
    plan["must_reach"] = False
    plan["hold"] = rng.choice(["streaming", "sealing", "sealed", "interrupted"])
    for _ in range(rng.randint(0, 2)):
        plan["crash"][rng.choice(ROLES)].append(f"write:{rng.choice(WHENS)}:{rng.randint(1, 8)}")
    for _ in range(rng.randint(0, 3)):
        plan["kills"].append((rng.choice(ROLES), round(rng.uniform(0, 1.5), 3)))
    if rng.random() < 0.5:
        plan_link(plan, rng, rng.choice(LINKS[:2]), rng.choice(LINK_FAULTS[:-1]))
    if rng.random() < 0.3 and plan["flow"] in ("move", "late", "lost", "inexact"):
        plan["orchestrator"] = [rng.choice(STEPS), rng.choice(["before", "sent"])]
