#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Faults: faults.py [OPTION]...   moves bitmaps while processes die and links fail.

A run is a seed: two daemons (tests/crash-daemon), a guest on each side that
writes (tests/fault-guest) and the orchestrator, which is this program; every
link goes through tests/proxy.py.  A run has a PLACE where something fails:

    ROLE:FROM>TO:WHEN   kill -9 at a step of the state table, before or after it
                        is written to the journal; the steps are those that
                        `proto-dump states` prints
    CALL:WHEN:N@ROLE    kill -9 at a call (keeper, receiver, disk)
    link:LINK:FAULT     LINK is control, data (source to target), source or target
                        (from the orchestrator)
    flow:FLOW           what the flow does by itself: `load` the source is dead for good and
                        its dump is loaded; `section` a write is under way at the pivot; `moved`
                        the target is reached at another endpoint; `workers` are processes and die;
                        `two` sessions at once
    random              several of all, at random times

What must hold, whatever fails:
    - at the end, the bitmaps are operative on the target and are the oracle's,
      bit for bit, or all is back on the source likewise; abandoned or
      inconsistent only where that was asked for or the host was restarted too.
      Of writes that the fence refused in the middle the marks may be there or not;
    - at every look, the bits that are needed are in the source's bitmap, in its
      dump or in the target's usable bitmap (invariant 6), and a usable bitmap on
      the target has all of them (1, 2, 4);
    - after the source's pivot no write succeeds there, and never are both sides
      written to (3);
    - a busy bitmap is not to be had (2).

A failing seed prints what is wrong, where its logs are, and the command that
repeats it.  Needs abs_top_builddir.
"""
import argparse
import itertools
import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
import traceback

sys.dont_write_bytecode = True
from faults_flows import Run                                    # noqa: E402
from faults_host import BUILD, LIBC, Wrong                      # noqa: E402
from faults_plan import all_places, make_plan, read_table       # noqa: E402

PATIENCE_S = 60                 # a run that is not over by then is stuck
LEAST_RUNS = 60


def run_one(seed, places, options):
    """In a process of its own: a dict about the run."""
    plan = make_plan(seed, places)
    shown = json.dumps(plan)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="df-faults.", dir="/tmp" if len(tempfile.gettempdir()) > 40 else None))
    result = {"seed": seed, "place": plan["place"], "flow": plan["flow"], "reached": [], "wrong": None, "outcome": None}
    run = None
    try:
        run = Run(plan, directory, options.patience)
        run.go()
        result["outcome"] = run.outcome
    except Wrong as wrong:
        result["wrong"] = str(wrong)
    except Exception as error:          # this program's own mistake is a failure too
        result["wrong"] = f"{type(error).__name__}: {error}"
        (directory / "traceback").write_text(traceback.format_exc())
    finally:
        signal.alarm(0)
        if run:
            if result["wrong"]:
                run.note(f"WRONG: {result['wrong']}")
            result["reached"] = [f"{point}@{host.role}" for host in run.hosts.values() for point in host.reached]
            result["seconds"] = round(run.clock(), 2)
            run.close()
        if result["wrong"]:
            (directory / "plan.json").write_text(shown)
            result["logs"] = str(keep_logs(seed, directory))
        shutil.rmtree(directory, ignore_errors=True)
    return result


def keep_logs(seed, directory):
    """All but the bits."""
    kept = pathlib.Path(os.environ.get("FAULTS_LOGS", BUILD / "tests/faults.logs")) / f"seed-{seed}"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(directory, kept, ignore=lambda _, names: [
        n for n in names if n.startswith("map-") or n.endswith((".control", ".data", ".events", ".bits"))])
    return kept


def hang_up(number, _):
    if number == signal.SIGALRM:
        raise Wrong("the run hangs")
    sys.exit(1)


def spawn(seed, places, options):
    """Fork: (pid, the pipe that brings the result)."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    LIBC.prctl(1, signal.SIGTERM)       # with the parent
    for number in signal.SIGALRM, signal.SIGTERM:
        signal.signal(number, hang_up)
    signal.alarm(int(options.patience) + 45)
    os.close(reader)
    try:
        result = run_one(seed, places, options)
        os.write(writer, json.dumps(result).encode())
    finally:
        os._exit(0)


def repeat_command(options, seed):
    env = f"abs_top_builddir={BUILD} " + "".join(f"{k}={os.environ[k]} " for k in ("DF_BREAK",) if k in os.environ)
    return f"{env}{sys.executable} {os.path.abspath(__file__)} --seed {seed}"


def run_all(seeds, places, options):
    """At most `jobs` at once, none begun after `minutes`."""
    until = time.monotonic() + options.minutes * 60 if options.minutes else None
    running, results = {}, []
    seeds = list(seeds)
    while seeds or running:
        while seeds and len(running) < options.jobs:
            if (until and time.monotonic() > until) or (options.first and any(r["wrong"] for r in results)):
                seeds.clear()
                break
            seed = seeds.pop(0)
            pid, reader = spawn(seed, places, options)
            running[pid] = seed, reader
        if not running:
            break
        pid, _ = os.wait()
        seed, reader = running.pop(pid)
        with os.fdopen(reader, "rb") as pipe:
            text = pipe.read()
        result = json.loads(text) if text else {"seed": seed, "place": "?", "wrong": "the run died", "reached": []}
        results.append(result)
        if result["wrong"]:
            print(f"FAILED: seed {seed}, {result['place']} ({result.get('flow')}): {result['wrong']}\n"
                  f"  logs: {result.get('logs')}\n  again: {repeat_command(options, seed)}", flush=True)
        elif options.verbose:
            print(f"seed {seed}: {result['place']} ({result['flow']}): {result['outcome']}, {result['seconds']} s", flush=True)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, help="this run only")
    parser.add_argument("--only", metavar="PLACE", help="this place only, --runs times")
    parser.add_argument("--flow", help="runs at random places with this flow only")
    parser.add_argument("--runs", type=int, help=f"[one for each place, at least {LEAST_RUNS}]")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=4 * (os.cpu_count() or 2))
    parser.add_argument("--minutes", type=float, help="begin no run after that")
    parser.add_argument("--at-least", type=int, default=0, help="so many must fit into the minutes")
    parser.add_argument("--patience", type=float, default=PATIENCE_S, metavar="S", help=f"a run that takes longer is stuck [{PATIENCE_S}]")
    parser.add_argument("--first", action="store_true", help="begin no run after a failure")
    parser.add_argument("--list", action="store_true", help="print the places")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    places = all_places(read_table())
    if options.list:
        for i, (place, flow) in enumerate(places.items()):
            print(f"{i:4} {place}  {flow or ''}")
        return
    runs = options.runs or max(LEAST_RUNS, len(places))
    seeds = range(options.first_seed, options.first_seed + runs)
    if options.seed is not None:
        seeds, options.verbose = [options.seed], True
    elif options.only:
        if options.only not in (*places, "random"):
            sys.exit(f"faults.py: there is no place '{options.only}': see --list")
        seeds = [s for s in range(100 * len(places)) if make_plan(s, places)["place"] == options.only][:options.runs or 1]
    elif options.flow:
        plans = (make_plan(s, places) for s in range(len(places), 1000 * len(places)))
        seeds = list(itertools.islice((p["seed"] for p in plans if p["flow"] == options.flow and p["place"] == "random"), options.runs or 1))
    begin = time.monotonic()
    results = run_all(seeds, places, options)
    failed = [r for r in results if r["wrong"]]
    died = sum(len(r["reached"]) for r in results)
    steps = {p.split("@")[0] for r in results for p in r["reached"]}
    hit = [p for p in places if not p.startswith(("link:", "flow:")) and p.partition(" ")[0].partition("@")[0] in steps]
    outcomes = {}
    for r in results:
        if not r["wrong"]:
            outcomes[r["outcome"]] = outcomes.get(r["outcome"], 0) + 1
    print(f"{len(results)} runs in {time.monotonic() - begin:.0f} s, {len(failed)} failed; {died} kills at points, "
          f"{len(hit)} of {sum(not p.startswith(('link:', 'flow:')) for p in places)} points hit; "
          + ", ".join(f"{n} {o}" for o, n in sorted(outcomes.items())))
    missed = [p for p in places if not p.startswith(("link:", "flow:")) and p not in hit]
    if missed and len(results) >= len(places) and not options.flow:
        print(f"not hit: {', '.join(missed)}")
        failed = failed or missed
    if options.minutes and len(results) < runs and options.seed is None and not (options.only or options.flow):
        print(f"only {len(results)} of {runs} runs fit into {options.minutes:g} minutes")
        failed = failed or len(results) < options.at_least
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
