#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The events: every state of a move in order on both sides, snapshots, and late subscribers.
. "$(dirname "$0")/flow-common.sh"
start a
start b

# watch NAME FILE [SESSION]: in the background; its process is in $watch_pid.
watch()
{
    local name=$1 file=$2
    shift 2
    "$dirtyferry" -c "${control[$name]}" --json watch "$@" >"$file" &
    watch_pid=$!
}

# has FILE ROLE STATE [EVENT]
has()
{
    grep -q "\"role\":\"$2\",\"state\":\"$3\".*\"event\":\"${4:-}" "$1"
}

# A session that stays lets us see that the subscriptions are there.
pair probe 1M daily
probe=$(prepared probe/daily --workers 0)
watch a "$dir/a.events"
watcher_a=$watch_pid
watch b "$dir/b.events"
watcher_b=$watch_pid
eventually "a snapshot of the source" has "$dir/a.events" source prepared snapshot
eventually "a snapshot of the target" has "$dir/b.events" target prepared snapshot

# ---- one move, with progress
pair one 1G daily --granularity 4K
ranges 1 1073741824 40000 1 | mark a one
session=$(prepared one/daily --max-bandwidth 64K)
watch a "$dir/only.events" "$session"
watcher_only=$watch_pid
eventually "the subscription to one session" has "$dir/only.events" source prepared snapshot
pivot "$session"
b wait "$session" >/dev/null
eventually "the source's last state" has "$dir/a.events" source released state
eventually "the target's last state" has "$dir/b.events" target operative state
eventually "the source's last state for a subscriber of one session" has "$dir/only.events" source released state

# ---- a late subscriber, one of the session alone: the end, by a snapshot
watch b "$dir/late.events" "$session"
watcher_late=$watch_pid
eventually "a snapshot of the end" has "$dir/late.events" target operative snapshot

for pid in $watcher_a $watcher_b $watcher_only $watcher_late; do
    kill -0 "$pid" || fail "a watch ended by itself"
    kill "$pid"
    wait "$pid" 2>/dev/null || :
done

"$python" - "$dir" "$session" "$probe" <<'END' || fail "the events are not as they must be"
import json, sys
directory, session, probe = sys.argv[1:]
def load(name):
    return [json.loads(line) for line in open(f"{directory}/{name}.events") if line.endswith("\n")]
fields = {"session", "role", "state", "epoch", "chunks", "chunks_done", "frames", "bytes", "resent_frames", "seq", "event"}
for name, role, states in (("a", "source", ["preparing", "prepared", "fencing", "streaming", "sealing", "sealed", "released"]),
                           ("b", "target", ["prepared", "receiving", "merging", "operative"])):
    events = load(name)
    for e in events:
        assert fields <= e.keys(), e
        assert e["event"] in ("state", "progress", "snapshot"), e
        assert e["role"] == role, e
    seqs = [e["seq"] for e in events]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs))), f"{name}: events are missing or out of order: {seqs}"
    mine = [e for e in events if e["session"] == session]
    assert [e["state"] for e in mine if e["event"] == "state"] == states, [e["state"] for e in mine]
    every = [e["state"] for e in mine]
    order = [states.index(s) for s in every]
    assert order == sorted(order), every
    assert mine[-1]["state"] == states[-1]
    done = [e["chunks_done"] for e in mine]
    assert done == sorted(done) and done[-1] == mine[-1]["chunks"] > 0, done
    assert any(e["event"] == "progress" for e in mine) or name == "a", "no progress on the way"
    assert {e["session"] for e in events} == {session, probe}
for name in "only", "late":
    assert {e["session"] for e in load(name)} == {session}, name
END

# ---- the same as lines
timeout 5 "$dirtyferry" -c "${control[b]}" watch "$session" 2>&1 | head -n 1 >"$dir/line" || :
grep -Eq "^ *[0-9]+ $session target operative +\[#+\] 100 %" "$dir/line" || fail "watch prints: $(cat "$dir/line")"

# ---- a progress bar on stderr
pair two 1G daily --granularity 4K
ranges 2 1073741824 20000 1 | mark a two
"$dirtyferry" migrate two/daily --from "${control[a]}" --to "${control[b]}" --progress --max-bandwidth 64K >"$dir/out" 2>"$dir/bar"
grep -q '\[#*\.*\] .* %' "$dir/bar" || fail "no progress bar: $(cat "$dir/bar")"
finish
