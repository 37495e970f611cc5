#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# bitmap diff: a disk that is written to is compared with its backup; what is refused meanwhile; it goes
# on, is stopped, cancelled; the bitmap is inconsistent until all of it was compared.
. "$(dirname "$0")/flow-common.sh"
. "$(dirname "$0")/livediff-common.sh"

start a
start b
b disk add vda --size "$size"
images 1
a disk add vda --size "$size" --data "$dir/new"
expect "data" "$(field data "$(a --json disk list)")" "$dir/new"
(cd "$dir" && a disk add relative --size 1M --data new)
a disk add uri --size 1M --data 'nbd+unix:///x?socket=/run/y'
expect "data of all" "$(a --json disk list | json '" ".join(sorted(e["data"] for e in d))')" "$dir/new $dir/new nbd+unix:///x?socket=/run/y"
a disk list | grep -q "^vda .* data: $dir/new\$" || fail "disk list does not show where the data is"
a disk remove relative
a disk remove uri
a bitmap add vda daily
a bitmap add vda other

# ---- nobody writes: all granularities, sizes that are none of them, other lengths
a --json bitmap diff vda daily --against "$dir/old" >"$dir/result"
expect "keys" "$(json '" ".join(d)' <"$dir/result")" "diff disk bitmap state size granularity different read zero shared unread inconsistent"
expect "state" "$(field state "$(cat "$dir/result")")" complete
expect "read" "$(field read "$(cat "$dir/result")")" $((2 * size))
check_bits "plain"
expect "different" "$(field different "$(cat "$dir/result")")" "$(field count "$(a --json bitmap show vda daily)")"
expect "flags" "$(flags a vda daily busy inconsistent recording)" "busy=false inconsistent=false recording=true"
for lengths in "1000001 1000001 512" "1000001 700003 4096" "1000001 1500000 65536" "65536 65537 65536" "1 1 512" "3145728 3145727 2097152"; do
    read -r new old granularity <<<"$lengths"
    head -c "$new" "$dir/new" >"$dir/n"
    head -c "$old" "$dir/old" >"$dir/o"
    a disk add odd --size "$new"
    a bitmap add odd b --granularity "$granularity"
    a bitmap diff odd b --against "$dir/o" --data "$dir/n" >"$dir/result"
    expect "lengths $lengths" "$(bits a odd b)" "$("$python" "$top_srcdir/tests/livediff_oracle.py" "$dir/o" "$dir/n" "$granularity")"
    grep -q "^bitmap 'b' of disk 'odd' has all that differs from '$dir/o': " "$dir/result" || fail "it says: $(cat "$dir/result")"
    a disk remove odd
done

# ---- the guest writes, before and behind the place where it is; what others may do meanwhile
a bitmap clear vda daily
guest 0 4096                    # before it began
held $((8 * MiB))
eventually "something is compared" is_on_its_way
guest 65536 4096                # compared already
guest $((15 * MiB)) 100000      # not yet
shown=$(a --json bitmap show vda daily)
expect "flags" "$(flags a vda daily busy inconsistent recording)" "busy=true inconsistent=false recording=true"
uuid=$(field diff "$shown")
a bitmap show vda daily | grep -q "^diff  *$uuid\$" || fail "bitmap show does not show the comparison"
for words in "clear vda daily" "disable vda daily" "enable vda daily" "remove vda daily" "merge vda daily other" "merge vda other daily" "export vda daily $dir/x --format raw"; do
    # shellcheck disable=SC2086
    refuse 1 "a comparison fills it; let 'dirtyferry bitmap diff' come to its end, or cancel it" -- a bitmap $words
done
refuse 1 "a comparison fills its bitmap 'daily'" -- a disk remove vda
refuse 1 "a comparison fills it" -- a dump vda/daily "$dir/x"
refuse 1 "is being compared with '$dir/old' \([0-9]+ of $size bytes\): 'dirtyferry bitmap diff vda daily --against $dir/old' goes on with that, 'dirtyferry bitmap diff vda daily --cancel' ends it" -- \
    a bitmap diff vda daily --against "$dir/other"
touch -d '2001-02-03' "$dir/old"
refuse 1 "with '$dir/old' as it was .*has changed since, .*--cancel' ends that, then begin again" -- a bitmap diff vda daily --against "$dir/old"
refuse 1 "cannot be moved: a comparison fills it" -- "$dirtyferry" prepare vda/daily --from "${control[a]}" --to "${control[b]}"
# Another bitmap of the disk may be compared at the same time, or moved.
a bitmap diff vda other --against "$dir/other" >/dev/null
a cancel "$("$dirtyferry" prepare vda/other --from "${control[a]}" --to "${control[b]}")" >/dev/null
go
join 0
expect "it is the same comparison" "$(field diff "$(cat "$dir/held.out")")" "$uuid"
check_bits "with writes"
refuse 1 "is complete: there is nothing to cancel" -- a bitmap diff vda daily --cancel
refuse 1 "bitmap 'none' of disk 'vda' is not being compared" -- a bitmap diff vda none --cancel

# ---- stopped: it goes on, and reads the rest only
for signal in TERM INT KILL; do
    a bitmap clear vda daily
    marks=()
    held $((8 * MiB))
    eventually "something is compared" is_on_its_way
    guest $((2 * MiB)) 512
    uuid=$(field diff "$(a --json bitmap show vda daily)")
    # A command in the background of a script does not hear of SIGINT unless it asks for it: it does.
    kill -"$signal" "$held"
    if [ "$signal" = KILL ]; then
        wait "$held" 2>/dev/null || :
    else
        go
        join 1
        grep -Eq "^dirtyferry: stopped at [0-9]+ of $size bytes, bitmap 'daily' of disk 'vda' stays busy: the same command goes on, with --cancel" "$dir/held.err" || fail "it says: $(cat "$dir/held.err")"
    fi
    at=$(position)
    [ "$at" -gt 0 ] || fail "nothing is kept of what was compared until SIG$signal"
    guest $((at + 4096)) 512
    a --json bitmap diff vda daily --against "$dir/old" >"$dir/result"
    expect "it goes on" "$(field diff "$(cat "$dir/result")")" "$uuid"
    expect "what was read behind $at" "$(field read "$(cat "$dir/result")")" $((2 * (size - at)))
    check_bits "stopped by SIG$signal"
done

# ---- inconsistent: until it is complete, through kills and restarts; a cancel gives it back
marks=()
a bitmap clear vda daily
"$df_inconsistent" "$dir/a" vda daily
refuse 1 "is inconsistent and cannot be read: .*or compare the disk with its last one by 'dirtyferry bitmap diff'" -- a bitmap export vda daily "$dir/x" --format raw
for end in cancel complete; do
    held $((8 * MiB))
    eventually "something is compared" is_on_its_way
    expect "flags" "$(flags a vda daily busy inconsistent)" "busy=true inconsistent=true"
    kill -KILL "$held"
    wait "$held" 2>/dev/null || :
    stop a
    expect "a clean stop in the middle" "$stop_status" 0
    start a
    expect "flags after a restart" "$(flags a vda daily busy inconsistent)" "busy=true inconsistent=true"
    at=$(position)
    [ "$at" -gt 0 ] || fail "the daemon has forgotten where the comparison was"
    if [ $end = cancel ]; then
        expect "cancel" "$(a --json bitmap diff vda daily --cancel)" "{}"
        a bitmap diff vda daily --cancel
        expect "flags after a cancel" "$(flags a vda daily busy inconsistent)" "busy=false inconsistent=true"
    else
        a --json bitmap diff vda daily --against "$dir/old" >"$dir/result"
        expect "what was read behind $at" "$(field read "$(cat "$dir/result")")" $((2 * (size - at)))
        expect "flags when it is complete" "$(flags a vda daily busy inconsistent)" "busy=false inconsistent=false"
    fi
done
check_bits "what was inconsistent"

# ---- a write that could not be recorded meanwhile: once more
held $((8 * MiB))
eventually "something is compared" is_on_its_way
"$df_inconsistent" "$dir/a" vda daily
go
join 1
grep -q "is inconsistent all the same: a write could not be recorded while it was compared; .*compare once more" "$dir/held.err" || fail "it says: $(cat "$dir/held.err")"
expect "the object" "$(field inconsistent "$(cat "$dir/held.out")")" true
expect "flags" "$(flags a vda daily busy inconsistent)" "busy=false inconsistent=true"
a bitmap diff vda daily --against "$dir/old" >/dev/null
expect "flags" "$(flags a vda daily busy inconsistent)" "busy=false inconsistent=false"
check_bits "once more"

# ---- cancelled by somebody else: who compares hears of it
held $((8 * MiB))
eventually "something is compared" is_on_its_way
a bitmap diff vda daily --cancel
go
join 1
grep -q "^dirtyferry: the comparison of bitmap 'daily' of disk 'vda' was cancelled" "$dir/held.err" || fail "it says: $(cat "$dir/held.err")"
check_bits "a cancelled one: it has what differs, and had it before"

# ---- two at once: each goes on where the other is, and one of them completes it
held $((8 * MiB))
eventually "something is compared" is_on_its_way
a bitmap diff vda daily --against "$dir/old" >/dev/null
go
wait "$held" || fail "the slower one ends with $?: $(cat "$dir/held.err")"
expect "the slower one" "$(field state "$(cat "$dir/held.out")")" complete
check_bits "two at once"

# ---- one of the wrong disk is not gone on with; the disk itself is no backup of it
cp "$dir/old" "$dir/wrong"
held $((8 * MiB)) --data "$dir/wrong"
eventually "something is compared" is_on_its_way
kill -KILL "$held"
wait "$held" 2>/dev/null || :
refuse 1 "or it or the disk is read from another place.*--cancel" -- a bitmap diff vda daily --against "$dir/old"
a bitmap diff vda daily --cancel
if command -v qemu-nbd >/dev/null; then
    # The same overlay, and another file behind it.
    qemu-img create -q -f qcow2 -b old -F raw "$dir/over.qcow2"
    "$slow" -c "${control[a]}" bitmap diff vda daily --against "$dir/over.qcow2" >/dev/null
    held $((8 * MiB)) --against "$dir/over.qcow2"
    eventually "something is compared" is_on_its_way
    kill -KILL "$held"
    wait "$held" 2>/dev/null || :
    cp -p "$dir/old" "$dir/old.kept"
    mv "$dir/old.kept" "$dir/old"
    refuse 1 "with '$dir/over.qcow2' as it was .*has changed since" -- a bitmap diff vda daily --against "$dir/over.qcow2"
    a bitmap diff vda daily --cancel
fi
ln "$dir/new" "$dir/link"
refuse 1 "'$dir/link' is the disk 'vda' itself: name its last backup" -- a bitmap diff vda daily --against "$dir/link"
rm "$dir/link"

# ---- what cannot be read
DF_EIO=$((9 * MiB + 5)) refuse 1 "stays busy: the same command goes on at" -- "$slow" -c "${control[a]}" bitmap diff vda daily --against "$dir/old"
[ "$(position)" -ge $((8 * MiB)) ] || fail "what was compared before the error is not kept"
DF_EIO=$((9 * MiB + 5)) "$slow" -c "${control[a]}" --json bitmap diff vda daily --against "$dir/old" --on-error dirty >"$dir/result"
expect "unread" "$(field unread "$(cat "$dir/result")")" 65536
marks=($((9 * MiB)) 1)
check_bits "one cluster cannot be read"
marks=()

# ---- wrong input, which leaves nothing busy
a disk add nowhere --size 1M
a bitmap add nowhere b
a bitmap add nowhere off --disabled
refuse 1 "there is no disk 'nix'" -- a bitmap diff nix b --against "$dir/old"
refuse 1 "has no bitmap 'nix'" -- a bitmap diff vda nix --against "$dir/old"
refuse 1 "where the contents of disk 'nowhere' can be read is not known: .*--data" -- a bitmap diff nowhere b --against "$dir/old"
refuse 1 "disk 'nowhere' has 1048576 bytes and '$dir/new' $size: the sizes must be equal; .*NBD server" -- a bitmap diff nowhere b --against "$dir/old" --data "$dir/new"
head -c 1M "$dir/new" >"$dir/n"
refuse 1 "does not record and cannot be compared: .*enable it first" -- a bitmap diff nowhere off --against "$dir/old" --data "$dir/n"
refuse 1 "cannot read '$dir/none'" -- a bitmap diff nowhere b --against "$dir/none" --data "$dir/n"
refuse 1 "cannot read '$dir/none'" -- a bitmap diff nowhere b --against "$dir/old" --data "$dir/none"
refuse 1 "is a directory" -- a bitmap diff nowhere b --against "$dir" --data "$dir/n"
refuse 2 "either --against or --cancel" -- a bitmap diff nowhere b
refuse 2 "--cancel stands alone" -- a bitmap diff nowhere b --cancel --against "$dir/old"
refuse 2 "--on-error 'ignore' is not known" -- a bitmap diff nowhere b --against "$dir/old" --on-error ignore
expect "nothing is busy" "$(a --json bitmap list nowhere | json '[b["name"] for b in d if b["busy"]]')" "[]"
expect "nothing is left" "$(find "$dir/a/comparisons" -type f | wc -l)" 2
finish
