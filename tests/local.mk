# SPDX-License-Identifier: BSD-3-Clause
# Unit tests are programs named unit-*, flows with the real programs are scripts.

check_PROGRAMS =
TESTS =
