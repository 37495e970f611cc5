#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A daemon dies before and after what it says to QEMU: tests/faults_qemu.py.  `make soak` takes every point, this a third.
set -euo pipefail

for program in qemu-storage-daemon qemu-img qemu-io; do
    command -v "$program" >/dev/null || { echo "skipped: there is no $program"; exit 77; }
done
here=${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}
exec "${PYTHON3:-/usr/bin/python3}" "$here/tests/faults_qemu.py" "${abs_top_builddir:-.}" "${1:-3}" "${2:-1}"
