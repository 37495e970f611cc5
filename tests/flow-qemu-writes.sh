#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Guests write all the time, also while QEMU merges: the result is what the source had at the pivot and what the target
# wrote since its own, by a model that has the acknowledged writes only.
. "$(dirname "$0")/qemu-common.sh"
host a
host b
size=1073741824
declare -A guests=()
names=([1]=one [2]=two)
twins one two

# guest_runs NAME NODE SEED: in the background; what it wrote is in $dir/SEED
guest_runs()
{
    "$python" "$tests/qguest.py" nbd "nbd+unix:///$2?socket=$dir/$1.nbd" < <(ranges "$3" $size 200000 3000 2>/dev/null) >"$dir/$3" 2>>"$dir/guests.log" &
    guests[$3]=$!
    eventually "guest $3 writes" test -s "$dir/$3"
}

# More than when this was called.
writes_on()     # SEED
{
    local lines
    lines=$(wc -l <"$dir/$1")
    more() { [ "$(wc -l <"$dir/$1")" -gt $((lines + 20)) ]; }
    eventually "guest $1 writes on" more "$1"
}

guest_ends()    # SEED
{
    kill "${guests[$1]}"
    wait "${guests[$1]}" || fail "guest $1: $(cat "$dir/guests.log")"
}

filled qa one daily 1 512
filled qa two daily 2 4096
guest_runs qa one 11
guest_runs qa two 12
session=$(prepared one/daily two/daily --workers 1 --chunk-size 256 --max-bandwidth 128K)
writes_on 11
writes_on 12
# The copy of the disk.
ranges 13 $size 500 3000 | guest qb one
guest_ends 11
guest_ends 12
pivot "$session"
guest_runs qb one 21
guest_runs qb two 22
mid_stream "$session"
writes_on 21
b wait "$session" >/dev/null
writes_on 21
writes_on 22
guest_ends 21
guest_ends 22
for disk in 1 2; do
    granularity=$((disk == 1 ? 512 : 4096))
    cat "$dir/1$disk" "$dir/2$disk" | range_bits $size $granularity >"$dir/writes.raw"
    arrived qb ${names[disk]} daily "$dir/$disk.raw" "$dir/writes.raw"
done
echo "$(cat "$dir"/1[12] | wc -l) writes on the source, $(cat "$dir"/2[12] | wc -l) on the target"
no_traces qa a
finish
