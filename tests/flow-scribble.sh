#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A program that may write to the files of one disk scribbles on them and cuts them: the daemons go
# on, sessions of other disks end exact, the disk is shown as damaged and can be removed.
. "$(dirname "$0")/flow-common.sh"
df_scribble=$top_builddir/tests/df-scribble
seed=${DF_SEED:-$RANDOM}
echo "seed $seed"
start a
start b

pair good 1T day
pair bad 1T day
b bitmap add bad other
a bitmap add bad idle --persistent
ranges "$seed" $((1 << 40)) 400 $((1 << 22)) >"$dir/ranges"
mark a good day <"$dir/ranges"
mark a bad day <"$dir/ranges"
before=$(bits a good day)

# Whatever it answers, within the time of the script; only that it answers.
try()
{
    "$@" >/dev/null 2>&1 || [ $? = 1 ] || fail "'$*': exit status $?"
}

use()   # DAEMON DISK
{
    try "$1" bitmap list "$2"
    try "$1" bitmap show "$2" day
    try "$1" bitmap mark "$2" 3G 64K
    try "$1" bitmap export "$2" day "$dir/export.json" --format json
    try "$1" bitmap add "$2" new
    try "$1" bitmap clear "$2" idle
    try "$1" bitmap merge "$2" day new
    try "$1" bitmap remove "$2" new
    try "$1" disk list
}

# ---- while it is scribbled on, with and without cuts, in a session and not
victim=$(prepared bad/day)
for cut in '' --cut; do
    for name in a b; do
        "$df_scribble" $cut "$dir/$name" bad "$seed" 1000000000 2>>"$dir/scribble.log" &
    done
    use a bad
    use b bad
    [ -n "$cut" ] || try pivot "$victim"
    if [ -z "$cut" ]; then
        migrate good/day >"$dir/moved"
        expect "bits of the good disk" "$(bits b good day)" "$before"
        expect "flags of the good bitmap" "$(flags b good day busy inconsistent)" "busy=false inconsistent=false"
    else
        a disk writable good
        "$dirtyferry" --json migrate --from "${control[b]}" --to "${control[a]}" good/day --as good/back >"$dir/moved"
        expect "bits of the good disk, moved back" "$(bits a good back)" "$before"
    fi
    use a bad
    use b bad
    for pid in $(jobs -p); do
        [[ " ${daemon_pid[*]} " != *" $pid "* ]] || continue
        status=0
        kill -9 "$pid" && { wait "$pid" 2>/dev/null || status=$?; }
        expect "end of the scribbler" "$status" 137     # until now it was at work
    done
done

# ---- cut for good
for name in a b; do
    truncate -s 0 "$dir/$name/disks/bad/disk"
    on "$name" --json disk list | json '[("damaged" in e) == (e["disk"] == "bad") for e in d]' >"$dir/listed"
    expect "what $name lists as damaged" "$(cat "$dir/listed")" "[true, true]"
    refuse 1 "disk 'bad'.*remove the disk" -- on "$name" bitmap list bad
    on "$name" disk list | grep -q "bad.*damaged" || fail "$name does not show the disk as damaged: $(on "$name" disk list)"
    on "$name" disk remove bad
    on "$name" disk add bad --size 1G
    on "$name" bitmap add bad day
    on "$name" bitmap mark bad 0 1M
    expect "the new disk of $name" "$(flags "$name" bad day inconsistent count)" "inconsistent=false count=1048576"
done
finish
