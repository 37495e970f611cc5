#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Daemons that are stopped and started while nothing is under way; one daemon a state directory.  What happens to
# sessions and writers then: tests/fail-*.sh.
. "$(dirname "$0")/flow-common.sh"
start a
start b

# ---- bitmaps and ended sessions are there again, and a disk that was moved away stays read-only
pair one 10G daily --persistent
a bitmap add one off --disabled
ranges 1 10737418240 300 100000 | mark a one
before=$(bits a one daily)
stop a
expect "exit status" "$stop_status" 0
start a
expect "bits after the restart" "$(bits a one daily)" "$before"
expect "flags after the restart" "$(flags a one daily recording busy persistent inconsistent)" "recording=true busy=false persistent=true inconsistent=false"
expect "flags after the restart" "$(flags a one off recording count)" "recording=false count=0"
session=$(migrate one/daily | json 'd["session"]')
stop a
stop b
start a
start b
expect "a disk that was moved away" "$(a --json disk list | json '[e["readonly"] for e in d if e["disk"] == "one"]')" "[true]"
expect "the session" "$(state a "$session" source)/$(state b "$session" target)" released/operative
expect "bits after restart and move" "$(bits b one daily)" "$before"

# ---- one daemon a state directory
status=0
timeout 10 "$dirtyferryd" --state-dir "$dir/a" --control "ipc://$dir/x.sock" --data 'tcp://127.0.0.1:*' --events 'tcp://127.0.0.1:*' >"$dir/x.out" 2>"$dir/x.err" || status=$?
expect "exit status of a second daemon" $status 1
expect "what it prints" "$(cat "$dir/x.out")" ""
grep -q "^dirtyferryd: another dirtyferryd serves the state directory '$dir/a'" "$dir/x.err" || fail "it says: $(cat "$dir/x.err")"
a disk list >/dev/null || fail "the first daemon suffers from it"
finish
