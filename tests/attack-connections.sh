#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A thousand connections that say nothing, stop in the handshake, or never finish a message, and come again when they are
# cut. Pivots beside them are measured and printed, no more: tests assert no times.
. "$(dirname "$0")/attack-common.sh"
keyed_hosts
n=1000
each=3
stages=(silent greeting hello drip ready message)
ready_pivots $(((1 + ${#stages[@]}) * each))
latency $each
echo "pivot of both sides, quiet: $median_ms ms"

by mallory
for stage in "${stages[@]}"; do
    during "$n connections: $stage" zmtp "${by[@]}" hold "${control[b]%%,*}" $n --stage "$stage" --socket REQ
    latency $each
    echo "pivot of both sides beside $n connections that stop at '$stage': $median_ms ms"
    over 64
done
grep -q "refused: 127\.0\.0\.1: control: too many connections that say nothing" "$dir/b.log" || fail "the log does not say who says nothing"
during "$n connections on data" zmtp "${by[@]}" hold "${data[b]}" $n --stage message
over 64
by eye
during "$n connections on events" zmtp "${by[@]}" hold "${events[b]}" $n --stage ready --socket SUB
over 64
done_attacking
