# SPDX-License-Identifier: BSD-3-Clause
# The demo, the proof that it can fail, and what `./bootstrap check` runs under sanitizers.

EXTRA_DIST += bootstrap .ci/run examples/copy-extents.py \
	tests/demo.sh tests/demo-check.py tests/demo-fails.sh

if HAVE_NBDKIT
check_PROGRAMS += tests/dirtyferryd-broken
TESTS += tests/demo-fails.sh
endif

tests_dirtyferryd_broken_SOURCES = $(dirtyferryd_SOURCES) tests/demo-broken.c
tests_dirtyferryd_broken_CFLAGS = $(dirtyferryd_CFLAGS)
tests_dirtyferryd_broken_LDADD = $(dirtyferryd_LDADD)
tests_dirtyferryd_broken_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=map_merge -Wl,--wrap=df_bitmap_add_frozen

.PHONY: demo check-units
demo: all
	$(AM_TESTS_ENVIRONMENT) bash $(srcdir)/tests/demo.sh

# The programs only, without those that the other tests need.
unit_programs = $(filter tests/unit-% tests/stress-%,$(check_PROGRAMS))
check-units:
	$(MAKE) $(AM_MAKEFLAGS) check-TESTS check_PROGRAMS='$(unit_programs) $(fuzz_targets)' TESTS='$(unit_programs) tests/fuzz-replay.sh'

# The whole suite has run in the build that makes the tarball: one test of each
# kind shows that it can be built, tested and installed.
sample = tests/unit-bitmap tests/filter-ranges.sh tests/flow-move.sh
.PHONY: distcheck-sample
distcheck-sample:
	$(MAKE) $(AM_MAKEFLAGS) distcheck TESTS='$(filter $(sample),$(TESTS))'

# In a clone: the tarball has every file that git has, but for the dotfiles.
distcheck-hook:
	git -C $(srcdir) ls-files 2>/dev/null | grep -v '^\.' | { \
		status=0; \
		while read -r file; do \
			test -e $(distdir)/$$file || { echo "not in the tarball: $$file" >&2; status=1; }; \
		done; \
		exit $$status; }
