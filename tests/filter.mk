# SPDX-License-Identifier: BSD-3-Clause
# The nbdkit filter: flows with nbdkit, NBD clients and fio.

filter_tests = \
	tests/filter-ranges.sh tests/filter-fua.sh tests/filter-fence.sh tests/filter-errors.sh \
	tests/filter-parallel.sh tests/filter-connections.sh tests/filter-kill.sh tests/filter-restart.sh tests/filter-fio.sh

EXTRA_DIST += $(filter_tests) tests/filter-common.sh bench/bench-fio.sh

if HAVE_NBDKIT
check_PROGRAMS += tests/df-tool
TESTS += $(filter_tests)
endif

tests_df_tool_SOURCES = tests/df-tool.c
tests_df_tool_LDADD = libbitmap.la libbase.la $(NETTLE_LIBS)

# For all scripts: where the build is, and the sources.
AM_TESTS_ENVIRONMENT = \
	abs_top_builddir='$(abs_top_builddir)'; abs_top_srcdir='$(abs_top_srcdir)'; \
	export abs_top_builddir abs_top_srcdir;
