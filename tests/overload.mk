# SPDX-License-Identifier: BSD-3-Clause
# Bounds under load: fail-overload.sh, and its longer part in `make soak`.

TESTS += tests/fail-overload.sh
EXTRA_DIST += tests/fail-overload.sh tests/many-sessions.py
check_PROGRAMS += tests/dirtyferryd-slow bench/bench-fill

tests_dirtyferryd_slow_SOURCES = $(dirtyferryd_SOURCES) tests/slow-disk.c
tests_dirtyferryd_slow_CFLAGS = $(dirtyferryd_CFLAGS)
tests_dirtyferryd_slow_LDADD = $(dirtyferryd_LDADD)
tests_dirtyferryd_slow_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=pwrite

# Ten thousand moves: no descriptor, thread or file is left behind.
.PHONY: soak-sessions
soak-sessions: all
	$(AM_TESTS_ENVIRONMENT) $${PYTHON3:-/usr/bin/python3} $(srcdir)/tests/many-sessions.py $(abs_top_builddir)/dirtyferryd 10000
soak: soak-sessions
