#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Each step of the state table is killed, before and after, and each link fails in each way: tests/faults.py.
# `make soak` calls this with more runs.
set -euo pipefail

python=${PYTHON3:-/usr/bin/python3}
"$python" -c 'import zmq, msgpack' 2>/dev/null || { echo "skipped: $python has no zmq or no msgpack"; exit 77; }
exec "$python" "${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}/tests/faults.py" "$@"
