#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# 20 sessions at once from 20 clients, in both directions; one daemon as source and target.
. "$(dirname "$0")/flow-common.sh"
start a
start b

# ---- 10 moves from a to b and 10 from b to a
names=()
declare -A was
for i in {1..10}; do
    for from in a b; do
        disk=$from$i
        names+=("$from $disk")
        a disk add $disk --size $((i * 3))G
        b disk add $disk --size $((i * 3))G
        on $from bitmap add $disk daily
        ranges $i$i $((i * 3 << 30)) 200 500000 | mark $from $disk
        was[$disk]=$(bits $from $disk daily)
    done
done
pids=()
for name in "${names[@]}"; do
    read -r from disk <<<"$name"
    [ $from = a ] && to=b || to=a
    "$dirtyferry" --json migrate $disk --from "${control[$from]}" --to "${control[$to]}" >"$dir/$disk.result" 2>"$dir/$disk.err" &
    pids+=($!)
done
for pid in "${pids[@]}"; do
    wait "$pid" || fail "a migrate failed: $(cat "$dir"/*.err)"
done
for name in "${names[@]}"; do
    read -r from disk <<<"$name"
    [ $from = a ] && to=b || to=a
    expect "bits of $disk" "$(bits $to $disk daily)" "${was[$disk]}"
    expect "$disk on its source" "$(on $from --json bitmap list $disk)" "[]"
    expect "state of $disk" "$(field state "$(cat "$dir/$disk.result")")" operative
done
expect "sessions are all different" "$(cat "$dir"/*.result | sed 's/.*"session":"\([^"]*\)".*/\1/' | sort -u | wc -l)" 20
expect "status of a" "$(a --json status | json 'sorted({(s["role"], s["state"]) for s in d}), len(d)')" "([('source', 'released'), ('target', 'operative')], 20)"

# ---- from a daemon to itself
a disk add here --size 5G
a disk add there --size 5G
a bitmap add here daily
a bitmap add there daily        # of another move: it stays
ranges 5 5368709120 500 100000 | mark a here
before=$(bits a here daily)
"$dirtyferry" migrate here/daily --as there/moved --from "${control[a]}" --to "${control[a]}" >/dev/null
expect "bits after the move within a" "$(bits a there moved)" "$before"
expect "source's disk" "$(a --json disk list | json '[(e["readonly"], e["bitmaps"]) for e in d if e["disk"] == "here"]')" '[[true, 0]]'
expect "target's disk" "$(a --json disk list | json '[(e["readonly"], e["bitmaps"]) for e in d if e["disk"] == "there"]')" '[[false, 2]]'

# ---- onto itself, and in a ring: refused, and nothing is lost
for disk in one two; do
    a disk add $disk --size 1G
    a bitmap add $disk daily
    a bitmap mark $disk 1M ${#disk}M
done
state=$(snapshot a)
refuse 1 "'one'.*'daily'" -- "$dirtyferry" migrate one/daily --from "${control[a]}" --to "${control[a]}"
expect "a move onto itself changes nothing" "$(snapshot a)" "$state"
refuse 1 "'daily'" -- "$dirtyferry" migrate one/daily --as two/daily two/daily --as one/daily --from "${control[a]}" --to "${control[a]}"
expect "a ring changes nothing" "$(snapshot a)" "$state"
a bitmap mark one 500M 1
expect "it records" "$(field count "$(a --json bitmap show one daily)")" $((3145728 + 65536))
finish
