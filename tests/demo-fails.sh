#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The demo, small: green with the engine as it is, red with each fault of
# tests/demo-broken.c, and for the reason that this fault should give.
set -euo pipefail

build=${abs_top_builddir:-$PWD}
demo=${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/demo.sh
export DEMO_SIZE=${DEMO_SIZE:-96M} DEMO_SECONDS=${DEMO_SECONDS:-3}
dir=$(mktemp -d "${TMPDIR:-/tmp}/demo-fails.XXXXXX")
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || :; rm -rf "$dir"' EXIT
trap 'exit 143' INT TERM HUP

# expect STATUS VERDICT CHECKS: the checks that match this expression, and no other, say NO.
expect()
{
    local status=0
    bash "$demo" >"$dir/log" 2>&1 &
    pid=$!
    wait $pid || status=$?
    pid=
    [ $status -ne 77 ] || { cat "$dir/log"; exit 77; }
    { grep '^- ' "$dir/log" | grep -E "$3" || :; } | sed 's/ \.\.\. .*//' >"$dir/want"
    sed -n 's/^\(- .*\) \.\.\. NO$/\1/p' "$dir/log" >"$dir/have"
    if [ $status -eq "$1" ] && [ "$(tail -n 1 "$dir/log")" = "verdict: $2" ] && cmp -s "$dir/have" "$dir/want"; then
        echo "fault '${DF_FAULT-none}': $2, as it should be"
        sed 's/$/ ... NO/' "$dir/have"
        return
    fi
    cat "$dir/log"
    echo "FAILED: fault '${DF_FAULT-none}': status $status; expected status $1, verdict $2, and NO from the checks /$3/ only"
    exit 1
}

expect 0 GREEN "^nothing$"
export DIRTYFERRYD=$build/tests/dirtyferryd-broken
DF_FAULT=merge expect 1 RED 'bit for bit|the bitmap holds'
DF_FAULT=lock expect 1 RED 'the bitmap holds|its child locked'
