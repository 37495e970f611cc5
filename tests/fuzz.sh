#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
#     fuzz.sh SECONDS NAME...
#
# Runs the fuzzers that `make fuzz` has built in fuzz/, as many at once as there
# are cores.  fuzz/corpus/NAME grows from run to run; fuzz/findings/NAME-* is
# what found a bug; fuzz/NAME.log is what it said.
set -uo pipefail
export LC_ALL=C.UTF-8

seconds=$1
shift
src=${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}
build=${abs_top_builddir:-$PWD}/fuzz
declare -A longest=([control]=4096 [data]=8192 [events]=4096 [dump]=8192 [journal]=4096 [keys]=2048 [disk]=1024 [map]=1024 [qcow2]=8192)
cores=$(nproc)
cd "$build" || exit 1
mkdir -p findings
rm -f -- *.trs

scratch=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo "${TMPDIR:-/tmp}")/df-fuzz.XXXXXX")
export TMPDIR=$scratch
# shellcheck disable=SC2046
trap 'kill $(jobs -pr) 2>/dev/null; wait; rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM

rm -rf seeds
"${PYTHON3:-/usr/bin/python3}" "$src/tests/fuzz/seeds.py" seeds || { echo "fuzz.sh: no seeds" >&2; exit 1; }

number()        # LOG WHAT: of libFuzzer's last lines
{
    sed -n "s/^stat::$2: *//p" "$1"
}

told()          # NAME RESULT
{
    local log=$1.log edges
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)
    printf '%s: fuzz-%-8s %10s runs %7s/s %6s edges %6s MiB\n' "$2" "$1" "$(number "$log" number_of_executed_units)" \
        "$(number "$log" average_exec_per_sec)" "$edges" "$(number "$log" peak_rss_mb)"
    echo ":test-result: $2 fuzz-$1" >"$1.trs"
}

# Sizes: messages have at most 1 MiB and so has what is made of them; 64 MiB at once is a count that was believed.
run()           # NAME
{
    local name=$1 fuzzer status=0 found
    local known=$src/tests/fuzz/regressions/$name
    mkdir -p "corpus/$name"
    [ -d "$known" ] || known=
    trap 'kill "$fuzzer" 2>/dev/null; exit 1' TERM
    ASAN_OPTIONS=allocator_may_return_null=1:quarantine_size_mb=32 UBSAN_OPTIONS=print_stacktrace=1 \
        "tests/fuzz/fuzz-$name" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=512 -malloc_limit_mb=64 -max_len="${longest[$name]}" \
        -artifact_prefix="findings/$name-" -print_final_stats=1 "corpus/$name" "seeds/$name" ${known:+"$known"} >"$name.log" 2>&1 &
    fuzzer=$!
    wait "$fuzzer" || status=$?
    if [ $status -eq 0 ]; then
        told "$name" PASS
        return
    fi
    told "$name" FAIL
    found=$(sed -n 's/.*Test unit written to //p' "$name.log" | tail -1)
    grep -v '^#[0-9]*[[:space:]]*\(NEW\|REDUCE\|pulse\|RELOAD\|INITED\|READ\)' "$name.log" | tail -n 60
    echo "fuzz-$name ended with status $status; its log is $build/$name.log"
    [ -z "$found" ] || echo "repeat it with: $build/tests/fuzz/fuzz-$name $build/$found"
    return 1
}

for name; do
    while [ "$(jobs -pr | wc -l)" -ge "$cores" ]; do
        wait -n || :
    done
    run "$name" &
done
wait
! grep -ql FAIL -- *.trs && [ "$(cat -- *.trs | wc -l)" -eq $# ]
