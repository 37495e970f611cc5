#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Each fuzz target takes its seeds (tests/fuzz/seeds.py) and what once found a bug (tests/fuzz/regressions), as this build compiles it.
set -uo pipefail

src=${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}
build=${abs_top_builddir:-$PWD}
export TMPDIR
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/df-fuzz.XXXXXX")
trap 'rm -rf "$TMPDIR"' EXIT
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}allocator_may_return_null=1

status=0
"${PYTHON3:-/usr/bin/python3}" "$src/tests/fuzz/seeds.py" "$TMPDIR/seeds" || status=$?
if [ $status -ne 0 ]; then
    echo "fuzz-replay.sh: the seeds cannot be made"
    exit $status        # 77: no python3-msgpack
fi
targets=0
for source in "$src"/tests/fuzz/fuzz-*.c; do
    name=$(basename "$source" .c)
    target=$build/tests/fuzz/$name
    [ -x "$target" ] || continue
    targets=$((targets + 1))
    inputs=("$TMPDIR/seeds/${name#fuzz-}")
    [ ! -d "$src/tests/fuzz/regressions/${name#fuzz-}" ] || inputs+=("$src/tests/fuzz/regressions/${name#fuzz-}")
    printf '%s: ' "$name"
    if ! timeout 100 "$target" "${inputs[@]}"; then
        status=1
        # Which one was it?
        while read -r input; do
            timeout 20 "$target" "$input" >/dev/null 2>&1 || echo "FAILED: $name $input"
        done < <(find "${inputs[@]}" -type f | sort)
    fi
done
[ $targets -ge 8 ] || { echo "only $targets targets are here"; exit 1; }
exit $status
