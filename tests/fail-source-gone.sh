#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The source is gone for good after the pivot: the target records on, says whom it waits for, and offers load and abandon.
. "$(dirname "$0")/fail-common.sh"
host a
host_b_linked
link_up
to=$link
declare -A sessions
for disk in load abandon dirty; do
    big_disk $disk
    slow $disk/daily
    sessions[$disk]=$session
done
for disk in load abandon dirty; do
    pivot "${sessions[$disk]}"
    record b $disk 20
done
for disk in load abandon dirty; do
    mid_stream "${sessions[$disk]}" 10
done
link_cut
for disk in load abandon dirty; do
    eventually "the dump is there" test -f "$dir/a/dumps/${sessions[$disk]}.dump"
done
die a

for disk in load abandon dirty; do
    session=${sessions[$disk]}
    record b $disk 20
    eventually "the target notices" is_about b "$session" target link lost
    says b "$session" target "^waiting for source.*load.*abandon" || fail "the target says: $(about b "$session" target message)"
    expect "target" "$(flags b $disk daily busy frozen recording inconsistent)" "busy=true frozen=true recording=true inconsistent=false"
    refuse 1 "busy" -- b bitmap export $disk daily "$dir/x" --format raw
done

# ---- the dump of its state directory has travelled here
b load "$dir/a/dumps/${sessions[load]}.dump" >/dev/null
eventually "the target is operative" is_state b "${sessions[load]}" target operative
record b load 20
exact b load
loaded=$(bits b load daily)
refuse 1 "${sessions[load]}.*operative" -- b load "$dir/a/dumps/${sessions[load]}.dump"
expect "bits after a second load" "$(bits b load daily)" "$loaded"

# ---- there is none: the bits are lost, and it says so
b abandon "${sessions[abandon]}" >/dev/null
expect "state" "$(state b "${sessions[abandon]}" target)" abandoned
expect "target" "$(flags b abandon daily busy frozen recording inconsistent)" "busy=false frozen=false recording=true inconsistent=true"
refuse 1 "inconsistent" -- b bitmap export abandon daily "$dir/x" --format raw
b bitmap remove abandon daily

# ---- there is none, and the chain of backups shall go on: the next one is full
b abandon "${sessions[dirty]}" --all-dirty >/dev/null
expect "target" "$(flags b dirty daily busy frozen recording inconsistent count)" "busy=false frozen=false recording=true inconsistent=false count=$disk_bytes"
b bitmap export dirty daily "$dir/all.json" --format json
expect "what a backup copies" "$(json '[(e["start"], e["length"], e["dirty"]) for e in d]' <"$dir/all.json")" "[[0, $disk_bytes, true]]"
b bitmap clear dirty daily
rm "$dir/oracle.dirty"
record b dirty 20
exact b dirty
finish
