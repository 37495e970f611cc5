#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What the nbdkit filter costs: IOPS of random 4 KiB writes (fio, nbd engine,
# 32 in flight) to nbdkit's memory plugin
#
#     plain       without the filter
#     idle        with it, no bitmap records
#     recording   with it, one bitmap of 64 KiB records
#
# The three run one after the other in each round, in another order each time,
# because the machine's speed drifts.  Prints `name value unit`; a ratio is the
# median of the rounds' ratios, goal 0.97 or better.
#
#     bench/bench-fio.sh [ROUNDS [SECONDS]]       (in the build directory)
. "$(dirname "$0")/../tests/filter-common.sh"
requires_nbdkit
requires_fio_nbd

rounds=${1:-9}
seconds=${2:-5}
size=256M

load()
{
    fio --name=b --ioengine=nbd --uri="nbd+unix:///?socket=$sock" --size=$size --output-format=terse --terse-version=3 "$@"
}

# measure MODE: one line of IOPS
measure()
{
    rm -rf "$state"
    if [ "$1" = plain ]; then
        start_plain memory $size
    else
        "$df_tool" disk-add "$state" $disk $size
        [ "$1" = idle ] || tool bitmap-add b 64K
        start memory $size
    fi
    # The image is full and warm before it is measured: the first write of a page is the plugin's malloc.
    load --rw=write --bs=1M --iodepth=4 >/dev/null
    load --rw=randwrite --bs=4k --iodepth=32 --time_based --ramp_time=1 --runtime="$seconds" |
        awk -F';' 'NF > 50 { print $49 }'
    stop
}

# median FILE; spread FILE: lowest and highest
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
lowest() { sort -n "$1" | head -n 1; }
highest() { sort -n "$1" | tail -n 1; }

report()
{
    echo "$1 $(median "$2") $3"
    echo "$1_min $(lowest "$2") $3"
    echo "$1_max $(highest "$2") $3"
}

orders=("plain idle recording" "recording plain idle" "idle recording plain")
measure plain >/dev/null                # warms the machine up
for ((round = 0; round < rounds; round++)); do
    for mode in ${orders[round % 3]}; do
        measure $mode >>"$dir/$mode"
    done
done
for mode in plain idle recording; do
    report iops_$mode "$dir/$mode" iops
done
for mode in idle recording; do
    paste "$dir/$mode" "$dir/plain" | awk '{ printf "%.4f\n", $1 / $2 }' >"$dir/ratio"
    report ratio_$mode "$dir/ratio" ratio
done
