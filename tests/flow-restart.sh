#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Daemons that die: idle, and in the middle of a session (src/daemon/orphans.h).
. "$(dirname "$0")/flow-common.sh"
start a
start b

# ---- idle: bitmaps are there again, and writers have recorded without the daemon
pair one 10G daily --persistent
a bitmap add one off --disabled
ranges 1 10737418240 300 100000 >"$dir/first"
ranges 2 10737418240 300 100000 >"$dir/second"
a disk add ref --size 10G
a bitmap add ref daily
mark a one <"$dir/first"
mark a ref <"$dir/first"
mark a ref <"$dir/second"
stop a KILL
mark a one <"$dir/second"
refuse 1 "${control[a]}" -- a bitmap list one
start a
expect "bits after the restart" "$(bits a one daily)" "$(bits a ref daily)"
expect "flags after the restart" "$(flags a one daily recording busy persistent inconsistent)" "recording=true busy=false persistent=true inconsistent=false"
expect "flags after the restart" "$(flags a one off recording count)" "recording=false count=0"
migrate one >/dev/null
expect "bits after restart and move" "$(bits b one daily)" "$(bits a ref daily)"
stop a
expect "exit status" "$stop_status" 0
start a
expect "a disk that was moved away stays read-only" "$(a --json disk list | json '[e["readonly"] for e in d if e["disk"] == "one"]')" "[true]"

# ---- one daemon a state directory
status=0
timeout 10 "$dirtyferryd" --state-dir "$dir/a" --control "ipc://$dir/x.sock" --data 'tcp://127.0.0.1:*' --events 'tcp://127.0.0.1:*' >"$dir/x.out" 2>"$dir/x.err" || status=$?
expect "exit status of a second daemon" $status 1
expect "what it prints" "$(cat "$dir/x.out")" ""
grep -q "^dirtyferryd: another dirtyferryd serves the state directory '$dir/a'" "$dir/x.err" || fail "it says: $(cat "$dir/x.err")"
a disk list >/dev/null || fail "the first daemon suffers from it"

# ---- the source's daemon dies: before the pivot the bitmap records on, all bits kept
pair two 1G daily
a bitmap mark two 0 1M
session=$(prepared two/daily --workers 0)
stop a KILL
echo "104857600 65536" | mark a two
start a
expect "source, before the pivot" "$(flags a two daily busy recording inconsistent readonly count)" "busy=false recording=true inconsistent=false readonly=false count=1114112"
b cancel "$session" >/dev/null          # what the source left behind
expect "the target is clean" "$(b --json bitmap list two)" "[]"

# ... and between the pivots: all bits kept, the fence as well
session=$(prepared two/daily --workers 0)
"$dirtyferry" pivot "$session" --from "${control[a]}" >/dev/null
before=$(bits a two daily)
stop a KILL
start a
expect "source, after its pivot" "$(flags a two daily busy inconsistent readonly)" "busy=false inconsistent=false readonly=true"
expect "bits, after its pivot" "$(bits a two daily)" "$before"
refuse 1 "disk 'two' is read-only" -- a bitmap mark two 0 1
b cancel "$session" >/dev/null
a disk writable two
migrate two/daily >/dev/null
expect "bits after all" "$(bits b two daily)" "$before"

# ---- the target's daemon dies before its pivot: nothing is left of the bitmap
pair three 1G daily
a bitmap mark three 0 3M
session=$(prepared three/daily --workers 0)
stop b KILL
start b
expect "target, before the pivot" "$(b --json bitmap list three)" "[]"
# The source can still go back, before its pivot and after.
a cancel "$session" >/dev/null
expect "source after the cancel" "$(flags a three daily busy recording count)" "busy=false recording=true count=3145728"

# ---- after its pivot: its own writes are kept, those without a daemon too, and it says inconsistent
session=$(prepared three/daily --workers 0)
pivot "$session"
b bitmap mark three 100M 1M
stop b KILL
echo "209715200 1048576" | mark b three
start b
expect "target, after the pivot" "$(flags b three daily busy recording inconsistent count)" "busy=false recording=true inconsistent=true count=2097152"
expect "the source keeps its copy" "$(flags a three daily busy count)" "busy=true count=3145728"
refuse 1 "'daily'.*inconsistent" -- b bitmap export three daily "$dir/x" --format raw
b bitmap remove three daily

# ---- stopped cleanly in mid-session, while workers stream slowly: exit 0 as well
pair four 1G daily --granularity 512
ranges 3 1073741824 50000 1 | mark a four
session=$(prepared four/daily --max-bandwidth 4K)
pivot "$session"
eventually "frames arrive" eval '[ "$(b --json status "$session" | json "d[0][\"frames\"]")" -gt 0 ]'
before=$(bits a four daily)
stop a
expect "exit status of a source in mid-session" "$stop_status" 0
stop b
expect "exit status of a target in mid-session" "$stop_status" 0
start a
start b
expect "bits on the source" "$(bits a four daily)" "$before"
expect "target" "$(flags b four daily busy recording inconsistent)" "busy=false recording=true inconsistent=true"
finish
