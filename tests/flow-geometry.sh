#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Sizes, granularities, chunk sizes and patterns, the odd ones and the largest.
. "$(dirname "$0")/flow-common.sh"
start a
start b
n=0

# move SIZE GRANULARITY CHUNK-SIZE <ranges; hashes only where the bitmap is small enough to hash it twice.
# The result is in $result.
move()
{
    local size=$1 granularity=$2 chunk=$3 hash=$4 disk=d$((++n)) before
    cat >"$dir/ranges"
    pair $disk "$size" b --granularity "$granularity"
    mark a $disk <"$dir/ranges"
    before=$(look a $disk "$hash")
    result=$(migrate $disk/b --chunk-size "$chunk")
    expect "$size by $granularity in chunks of $chunk" "$(look b $disk "$hash")" "$before"
    expect "granularity" "$(field granularity "$(b --json bitmap list $disk)")" "$(field granularity "$before")"
    expect "epoch 1 suffices" "$(field resent_frames "$result")" 0
    b bitmap remove $disk b
}

# What is compared: all of `show`, or the extents and the list where a hash would read gigabytes.
look()
{
    if [ "$3" = hash ]; then
        on "$1" --json bitmap show "$2" b
    else
        on "$1" --json bitmap list "$2"
        on "$1" bitmap export "$2" b "$dir/export" --format json
        sha256sum <"$dir/export"
    fi
}

count()
{
    field count "$(on "$1" --json bitmap show "$2" b)"
}

# ---- sizes that are no multiples, one bit and two
move 1 512 1K hash <<<"0 1"
move 1 2G 32 hash </dev/null
move 513 512 1K hash <<<"512 1"
move 513 512 32 hash <<<"0 513"
move 131073 512 32 hash <<<"131072 1"                        # 257 bits: a bit more than one chunk
move 268435456 32K 1K hash < <(ranges 1 268435456 3000 1)     # exactly one chunk
move 1099511627783 64K 1K hash < <(ranges 2 1099511627783 2000 9000000; echo "1099511627782 1")
move 1E 512K 1K extents < <(ranges 3 1152921504606846976 40 90000000; echo "1152921504606846975 1"; echo "0 1")
move 1E 2G 1M hash < <(ranges 4 1152921504606846976 100 9000000000)

# ---- every granularity from 512 to 2G
for ((shift = 9; shift <= 31; shift += 2)); do
    move $(((1 << shift) * 9000 + 17)) $((1 << shift)) 1K hash < <(ranges $shift $(((1 << shift) * 9000 + 17)) 500 $((3 << shift)))
done

# ---- chunk sizes by patterns; 1G by 512 is 2^21 bits, 256K of bitmap
size=1073741824
for chunk in 32 1K 64K 1M; do
    move $size 512 $chunk hash </dev/null                                              # empty
    move $size 512 $chunk hash <<<"0 $size"                                       # all ones
    move $size 512 $chunk hash < <(ranges 6 $size 50 1)                           # sparse
    move $size 512 $chunk hash < <(ranges 7 $size 2000 400000)                    # dense, in ranges
    move $size 512 $chunk hash < <(seq -f '%.0f 1' $((size / 2)) 1024 $((size * 5 / 8)))  # every other bit of a part
done
a disk add all --size $size
a bitmap add all b
echo "0 $size" | mark a all
expect "all ones are all" "$(count a all)" $size

# ---- what an empty bitmap costs
move 16T 64K 1K hash </dev/null
bytes=$(field bytes "$result")
[ "$bytes" -le 200 ] && [ "$bytes" -gt 0 ] || fail "an empty bitmap of 16T takes $bytes bytes on the data socket, at most 200 are allowed"
# 0.1 % at random: 1.2 times 2 bytes a set bit
move 16T 64K 1K hash < <(ranges 8 17592186044416 20000 1)
bytes=$(field bytes "$result")
[ "$bytes" -le 48000 ] || fail "20000 bits take $bytes bytes on the data socket, at most 48000 are allowed"
finish
