#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Targets of another geometry: larger disks (--grow), other granularities (--granularity), both; daemons
# that are killed meanwhile, ways back, dumps, refusals.
. "$(dirname "$0")/fail-common.sh"
host a
host b

# The oracle is the list of all writes: those to the source's disk as its bitmap had them, the tail, those to the target's.
# pair_of DISK SIZE GRANULARITY TARGET-SIZE TARGET-GRANULARITY, in bytes; the options of the move are then in $resize.
declare -A geometry=()
pair_of()
{
    local disk=$1
    geometry[$disk]="$2 $3 $4 $5"
    a disk add "$disk" --size "$2"
    b disk add "$disk" --size "$4"
    a bitmap add "$disk" daily --granularity "$3" --persistent
    resize=()
    [ "$2" = "$4" ] || resize+=(--grow)
    [ "$3" = "$5" ] || resize+=(--granularity "$5")
    : >"$dir/source.$disk"
    : >"$dir/target.$disk"
}

# write_source DISK NUMBER LENGTH; write_target likewise
write_source()
{
    local size _
    read -r size _ <<<"${geometry[$1]}"
    ranges $((++record_seed)) "$size" "$2" "$3" >"$dir/writes"
    mark a "$1" <"$dir/writes"
    cat "$dir/writes" >>"$dir/source.$1"
}

write_target()
{
    local size _
    read -r _ _ size _ <<<"${geometry[$1]}"
    ranges $((++record_seed)) "$size" "$2" "$3" >"$dir/writes"
    mark b "$1" <"$dir/writes"
    cat "$dir/writes" >>"$dir/target.$1"
}

# What the source's bits cover, and the tail.
outwards()
{
    "$python" -c '
import sys
size, granularity, larger = map(int, sys.argv[1:])
for line in sys.stdin:
    offset, length = map(int, line.split())
    first = offset // granularity * granularity
    print(first, min(-(-(offset + length) // granularity) * granularity, size) - first)
if larger > size:
    print(size, larger - size)' "$@"
}

# resized DISK [NAME]: the bitmap there has these bits, no more and no less
resized()
{
    local disk=$1 size granularity larger wanted
    read -r size granularity larger wanted <<<"${geometry[$disk]}"
    b disk add "oracle-$disk" --size "$larger"
    b bitmap add "oracle-$disk" daily --granularity "$wanted"
    outwards "$size" "$granularity" "$larger" <"$dir/source.$disk" >"$dir/covered"
    mark b "oracle-$disk" <"$dir/covered"
    mark b "oracle-$disk" <"$dir/target.$disk"
    expect "bits of $disk, ${geometry[$disk]}" "$(bits b "$disk" daily)" "$(bits b "oracle-$disk" daily)"
    expect "granularity of $disk" "$(field granularity "$(b --json bitmap show "$disk" daily)")" "$wanted"
    b bitmap remove "oracle-$disk" daily
    b disk remove "oracle-$disk"
}

beside()        # SESSION: maps beside the target's journal
{
    find "$dir/b/sessions" -name "$1.received*" -printf '%f\n' | sed 's/^[^.]*\.//' | sort | tr '\n' ' '
}

# done_with SESSION DISK: operative, let go, exact; nothing is left
done_with()
{
    eventually "the target is operative" is_state b "$1" target operative
    eventually "the source lets go" is_state a "$1" source released
    resized "$2"
    expect "flags of the moved bitmap" "$(flags b "$2" daily busy recording persistent inconsistent frozen)" \
        "busy=false recording=true persistent=true inconsistent=false frozen=false"
    expect "the source's copy" "$(a --json bitmap list "$2")" "[]"
    expect "maps left beside the journal" "$(beside "$1")" ""
}

# ---- moves with writes on the target before, during and after the stream
n=0
move()
{
    local disk=m$((++n)) chunks
    pair_of $disk "$@"
    write_source $disk 200 100000
    a bitmap mark $disk 0 1                                 # first and last byte
    a bitmap mark $disk $(($1 - 1)) 1
    printf '%s\n' "0 1" "$(($1 - 1)) 1" >>"$dir/source.$disk"
    session=$(prepared $disk/daily --workers 0 "${resize[@]}")
    mark b $disk <<<"0 $3"                                  # of the disk's copy: not recorded
    pivot "$session"
    write_target $disk 50 100000
    a worker "$session" &
    write_target $disk 50 100000
    wait $!
    chunks=$(about b "$session" target chunks)
    expect "chunks count in the source's geometry" "$chunks" $(((($1 - 1) / $2) / 8192 + 1))
    expect "chunks that have come" "$(about b "$session" target chunks_done)" "$chunks"
    write_target $disk 50 100000
    done_with "$session" $disk
}

G=$((1 << 30))
move $G 65536 $((2 * G)) 65536                              # grown
move $((G + 1)) 65536 $((G + 2)) 65536                      # by a byte, within the last granule
move $((G + 511)) 4096 $((G + 7777777)) 4096                # neither is a multiple of anything
move $G 4096 $G 65536                                       # coarser
move $((G + 4097)) 4096 $((G + 4097)) $((1 << 31))          # one bit is left of it
move $G 65536 $G 512                                        # finer
move $((G + 12345)) $((1 << 20)) $((G + 12345)) 512
move $((G + 12345)) 4096 $((G + 100000)) 65536              # grown and coarser
move $((G + 12345)) 65536 $((3 * G + 1)) 512                # grown and finer
move 1 $((1 << 31)) $((5 * G)) 512                          # a disk of a byte

# ---- by migrate; two disks, of which one is larger; nothing has to be larger or other
pair_of one $G 65536 $((G + 1000000)) 131072
pair_of two $G 65536 $G 131072
write_source one 100 100000
write_source two 100 100000
migrate one two --grow --granularity 128K >/dev/null
resized one
resized two
pair_of three $G 65536 $G 65536
write_source three 100 100000
session=$(prepared three --workers 0 --grow --granularity 64K)
expect "the parent is filled in place" "$(beside "$session")" "received-0 "
pivot "$session"
a worker "$session"
done_with "$session" three

# ---- refused, and nothing has changed
pair_of four $G 65536 $((2 * G)) 65536
state=$(snapshot a b)
refused()       # SENTENCE OPTION...
{
    local sentence=$1
    shift
    refuse 1 "^dirtyferry: $sentence\$" -- "$dirtyferry" prepare four/daily --from "${control[a]}" --to "${control[b]}" "$@"
    expect "what is refused changes nothing" "$(snapshot a b)" "$state"
}
refused "the target at '.*' refuses: disk 'four' has 2147483648 bytes on the target and 1073741824 on the source: the sizes must be equal, or be accepted by '--grow', which makes what lies behind the source's end dirty"
refused "granularity 1000 is out of range: a power of two from 512 to 2147483648 bytes is possible" --grow --granularity 1000
refused "the message's field 'as_granularity' is out of range: 256, possible are 512 to 2147483648" --grow --granularity 256
refused "the message's field 'as_granularity' is out of range: 4294967296, possible are 512 to 2147483648" --grow --granularity 4G
b disk remove four
b disk add four --size $((G - 1))
state=$(snapshot a b)
refused "the target at '.*' refuses: disk 'four' has 1073741823 bytes on the target and 1073741824 on the source: a smaller disk cannot hold it, make it at least as large" --grow
refused "the target at '.*' refuses: disk 'four' has 1073741823 bytes on the target and 1073741824 on the source: a smaller disk cannot hold it, make it at least as large"
b disk remove four
b disk add four --size $((1 << 60))
state=$(snapshot a b)
refused "the target at '.*' refuses: a granularity of 512 bytes needs 2251799813685248 bits for the 1152921504606846976 bytes of disk 'four': 2199023255552 are possible, choose a larger granularity" --grow --granularity 512
refuse 2 "--granularity 'much'" -- "$dirtyferry" prepare four/daily --to "${control[b]}" --granularity much
# A bitmap's dump goes to a disk of its size.
b disk remove four
b disk add four --size $((2 * G))
a dump four/daily "$dir/four.dump" >/dev/null
refuse 1 "^dirtyferry: .*sizes must be equal$" -- b load "$dir/four.dump"

# ---- the target is killed in mid-stream: what had come counts
pair_of five $G 512 $((G + 1000000)) 1024
write_source five 60000 1
slow five/daily "${resize[@]}"
pivot "$session"
write_target five 50 100000
mid_stream "$session"
die b
write_target five 50 100000
eventually "the source is interrupted" is_state a "$session" source interrupted
host b
expect "target" "$(state b "$session" target)/$(flags b five daily busy frozen recording)" "receiving/busy=true frozen=true recording=true"
[ "$(about b "$session" target chunks_done)" -gt 10 ] || fail "what had come does not count"
write_target five 50 100000
done_with "$session" five

# ---- the same, and the bits that had come are lost: all of them come again
pair_of six $G 512 $((G + 1000000)) 4096
write_source six 60000 1
slow six/daily "${resize[@]}"
pivot "$session"
mid_stream "$session"
die b
rm "$dir/b/sessions/$session.received-bits-0"
kill -STOP "${daemon_pid[a]}"
host b
expect "chunks that have come" "$(about b "$session" target chunks_done)" 0
kill -CONT "${daemon_pid[a]}"
done_with "$session" six

# ---- killed when all bits are here; the host is shut down and started then
for how in die stop; do
    disk=filled-$how
    pair_of $disk $G 65536 $((G + 1000000)) 4096
    write_source $disk 200 100000
    session=$(prepared $disk/daily "${resize[@]}")
    "$dirtyferry" pivot "$session" --from "${control[a]}" >/dev/null
    eventually "everything is there" is_state a "$session" source sealed
    expect "target" "$(state b "$session" target)" filled
    $how b
    [ $how = die ] || boot b
    host b
    expect "target" "$(state b "$session" target)" filled
    "$dirtyferry" pivot "$session" --to "${control[b]}" >/dev/null
    write_target $disk 50 100000
    done_with "$session" $disk
done

# ---- ways back: cancel; roll-back when everything is there
pair_of seven $G 65536 $((G + 1000000)) 4096
write_source seven 100 100000
state=$(bits a seven daily)
session=$(prepared seven/daily "${resize[@]}")
expect "maps beside the journal" "$(beside "$session")" "received-0 received-bits-0 "
a cancel "$session" >/dev/null
expect "bitmaps left on the target" "$(b --json bitmap list seven)" "[]"
no_maps() { [ -z "$(beside "$session")" ]; }
eventually "the maps are gone" no_maps
session=$(prepared seven/daily "${resize[@]}")
"$dirtyferry" pivot "$session" --from "${control[a]}" >/dev/null
eventually "everything is there" is_state a "$session" source sealed
a rollback "$session" >/dev/null
expect "bitmaps left on the target" "$(b --json bitmap list seven)" "[]"
eventually "the maps are gone" no_maps
expect "bits on the source" "$(bits a seven daily)" "$state"
migrate seven "${resize[@]}" >/dev/null
resized seven

# ---- abandoned: all dirty means all of the target's disk
pair_of eight $G 65536 $((G + 1000000)) 4096
write_source eight 100 100000
session=$(prepared eight/daily --workers 0 "${resize[@]}")
pivot "$session"
b abandon "$session" --all-dirty >/dev/null
expect "an all-dirty bitmap" "$(flags b eight daily busy inconsistent count)" "busy=false inconsistent=false count=$(((G + 1000000 + 4095) / 4096 * 4096))"
eventually "the maps are gone" no_maps
pair_of nine $G 65536 $G 4096
session=$(prepared nine/daily --workers 0 "${resize[@]}")
pivot "$session"
b abandon "$session" >/dev/null
expect "an abandoned bitmap" "$(flags b nine daily busy inconsistent)" "busy=false inconsistent=true"

# ---- the session's dump, carried by hand; part of the stream was here before it
pair_of ten $G 512 $((G + 1000000)) 4096
write_source ten 60000 1
slow ten/daily "${resize[@]}"
pivot "$session"
mid_stream "$session"
a dump "$session" "$dir/ten.dump" >/dev/null
die a
write_target ten 50 100000
b load "$dir/ten.dump" >/dev/null
host a
done_with "$session" ten

# ---- the bits that are gathered count for the quota: parent and child of 32768 bits, 16384 bits, two chunks
pair_of eleven $G 65536 $((2 * G)) 65536
write_source eleven 100 100000
stop b
rm -r "$dir/b"
host b --max-bitmap-bytes 49151
b disk add eleven --size $((2 * G))
refuse 1 "the session would need 49152 bytes, and 0 of the 49151 " -- "$dirtyferry" prepare eleven --grow --from "${control[a]}" --to "${control[b]}"
stop b
host b --max-bitmap-bytes 49152
migrate eleven --grow >/dev/null
stop b
host b
resized eleven
finish
