#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Files of the state directory swapped for symbolic links to somebody else's file, which a daemon with more rights might
# write, truncate or remove: it never goes through a link.
. "$(dirname "$0")/attack-common.sh"

victim=$dir/victim
echo 'somebody else wrote this' >"$victim"
look_at_victim()
{
    stat -c '%i %s %Y %Z %a' "$victim" "$dir/victims" && cat "$victim" && ls -A "$dir/victims"
}

swapped()       # PATH: it is a link to the victim now
{
    mv "$1" "$1.kept"
    ln -s "$victim" "$1"
}

restored()      # PATH
{
    rm -f "$1"
    mv "$1.kept" "$1"
}

unhurt()        # WHAT
{
    expect "the victim after '$1'" "$(look_at_victim)" "$victim_was"
}

# survives PATH PATTERN: b starts and says in the log what it found
survives()
{
    start b "${fixed[@]}"
    grep -Eq -- "$2" "$dir/b.log" || fail "'$2' is not in the log of b"
    unhurt "${1##*/}"
}

again_b()
{
    start b "${fixed[@]}"
}

mkdir "$dir/victims"
victim_was=$(look_at_victim)
start a "${tcp[@]}"
start b "${tcp[@]}"
fixed=(--control "${control[b]}" --data "${data[b]}" --events "${events[b]}")
b disk add small --size 1G
b bitmap add small daily
honest

# ---- while it runs: the journal's, the received map's and the dump's names are links
journal=$dir/b/sessions/$session.target
received=$dir/b/sessions/$session.received-0
map=$(ls "$dir"/b/disks/small/map-*)
swapped "$journal"
swapped "$received"
ln -s "$victim" "$dir/a/dumps/$session.dump"
ln -s "$victim" "$dir/a/dumps/$session.dump.new"
die b
eventually "the source is interrupted" is_state a "$session" source interrupted
dump_is_there() { [ -f "$dir/a/dumps/$session.dump" ] && [ ! -L "$dir/a/dumps/$session.dump" ]; }
eventually "the log says what is in the dump's place" grep -q "cannot write the dump of session $session: '$session.dump'" "$dir/a.log"
unhurt "the dump's name"
rm "$dir/a/dumps/$session.dump"
eventually "the log says what is beside it" grep -q "'$session.dump.new' is not a file of this program" "$dir/a.log"
unhurt "the name under which the dump is written"
rm "$dir/a/dumps/$session.dump.new"
eventually "the dump is written" dump_is_there

# ---- at a start: directories and the lock
restored "$journal"
restored "$received"
for name in lock sessions; do
    mv "$dir/b/$name" "$dir/b/$name.kept"
    ln -s "$([ $name = lock ] && echo "$victim" || echo "$dir/victims")" "$dir/b/$name"
    refuse 1 "$name" -- try_start b "${fixed[@]}"
    unhurt "$name"
    restored "$dir/b/$name"
done

# ---- at a start: the received map is begun anew, so its chunks are sent again
swapped "$received"
again_b
unhurt "the received map"
finished "$session" "$disk"
session=
rm -f "$received.kept"

# ---- a bitmap's map: it says inconsistent; a disk's table: that disk cannot be used; all others can
stop b
swapped "$map"
again_b
unhurt "a bitmap's map"
expect "a bitmap whose map is a link" "$(flags b small daily inconsistent)" "inconsistent=true"
refuse 1 "'daily'.*inconsistent" -- b bitmap export small daily "$dir/stolen" --format raw
stop b
restored "$map"
swapped "$dir/b/disks/small/disk"
again_b
unhurt "a disk's table"
refuse 1 "'small'" -- b bitmap show small daily
refuse 1 "'small'" -- b bitmap mark small 0 1
stop b
restored "$dir/b/disks/small/disk"
again_b

# ---- a journal: the session is as one whose journal is damaged, others go on
honest
small_disk lost
lost=$(prepared lost/daily)
mv "$dir/a/dumps" "$dir/a/dumps.kept"
ln -s "$dir/victims" "$dir/a/dumps"
die b
eventually "the log says that there is no dump" grep -Eq "cannot open '$dir/a/dumps'" "$dir/a.log"
unhurt "the directory of dumps"
restored "$dir/a/dumps"
swapped "$dir/b/sessions/$lost.target"
survives "$dir/b/sessions/$lost.target" "$lost"

# ---- the disks' directory: no session is given up for it
die b
swapped "$dir/b/disks"
refuse 1 disks -- try_start b "${fixed[@]}"
unhurt disks
restored "$dir/b/disks"
again_b
done_attacking
