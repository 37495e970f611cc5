#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# tests/faults.py sees it when the engine is broken: each fault of tests/crash-daemon.c, and for the reason it should give.
set -euo pipefail

dir=$(mktemp -d "${TMPDIR:-/tmp}/df-found.XXXXXX")
trap 'kill $(jobs -p) 2>/dev/null || :; wait; rm -rf "$dir"' EXIT
trap 'exit 143' INT TERM HUP
faults=$(cd "$(dirname "$0")" && pwd)/faults.sh
status=0
bash "$faults" --list >"$dir/list" || status=$?
[ $status -ne 77 ] || { cat "$dir/list"; exit 77; }
[ $status -eq 0 ] || exit 1
export FAULTS_LOGS=$dir/logs

# find FAULT PLACE PATTERN: the run at that place fails, and says so.
find()
{
    local got=0
    DF_BREAK=$1 bash "$faults" --only "$2" --patience 30 >"$dir/$1.out" 2>&1 || got=$?
    if [ "$got" = 1 ] && grep -Eq "^FAILED: .*($3)" "$dir/$1.out"; then
        echo "fault '$1' at $2 is found: $(sed -n 's/^FAILED: [^:]*, [^(]*([^)]*): //p' "$dir/$1.out")"
    else
        echo "FAILED: fault '$1' at $2 is not found as /$3/, exit status $got:"
        sed 's/^/    /' "$dir/$1.out"
        return 1
    fi
}

pids=()
find journal 'source:streaming>sealing:before' 'invariant 3' & pids+=($!)
find unlock 'target:prepared>receiving:after' 'lacks [0-9]+ granules' & pids+=($!)
find merge 'target:receiving>merging:before' 'lacks [0-9]+ granules' & pids+=($!)
find extra 'target:receiving>merging:before' 'lacks 0 granules and has [1-9][0-9]* too many' & pids+=($!)
find tail 'map_write_scaled:before:1@target' 'lacks [1-9][0-9]* granules' & pids+=($!)
find letgo 'target:filled>merging:before' 'invariant 6' & pids+=($!)
find fence 'source:fencing>streaming:after' 'invariant 3|lacks [0-9]+ granules' & pids+=($!)
find unfence 'source:sealed>rolled-back:before' 'refused on the source' & pids+=($!)
find dump 'source:interrupted>streaming:before' 'left behind: .*dump' & pids+=($!)
for pid in "${pids[@]}"; do
    wait "$pid" || status=1
done
exit $status
