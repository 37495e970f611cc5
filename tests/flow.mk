# SPDX-License-Identifier: BSD-3-Clause
# Flows with the real daemons and the command line, and checks of what is installed.
# The scripts' environment is set in tests/filter.mk.

flow_tests = \
	tests/flow-move.sh tests/flow-flags.sh tests/flow-many.sh tests/flow-geometry.sh \
	tests/flow-workers.sh tests/flow-frames-lost.sh tests/flow-cancel.sh tests/flow-fence.sh \
	tests/flow-bad-input.sh tests/flow-json-help.sh tests/flow-restart.sh tests/flow-bus.sh \
	tests/flow-dump.sh tests/flow-import.sh tests/flow-qcow2.sh tests/flow-nbd-import.sh \
	tests/flow-image-nbd.sh tests/flow-image-qemu.sh tests/flow-diff.sh tests/flow-diff-inputs.sh tests/flow-diff-shared.sh tests/flow-diff-errors.sh \
	tests/flow-resize.sh tests/flow-pivot.sh tests/flow-keygen.sh \
	tests/flow-keys.sh tests/flow-privilege.sh \
	tests/flow-files.sh tests/flow-scribble.sh tests/flow-livediff.sh tests/flow-livediff-kills.sh \
	tests/install-check.sh tests/layers.sh

TESTS += $(flow_tests)
EXTRA_DIST += $(flow_tests) tests/flow-common.sh tests/proxy.py tests/sandbox.py tests/qcow2_bits.py tests/diff_check.py tests/fuse_eio.py \
	tests/livediff-common.sh tests/livediff_oracle.py

check_PROGRAMS += tests/hold-section tests/df-inconsistent tests/df-scribble tests/df-image
tests_df_image_SOURCES = tests/df-image.c
tests_df_image_LDADD = libimage.la libbitmap.la libbase.la
tests_df_scribble_SOURCES = tests/df-scribble.c tests/scribble.h
tests_df_scribble_LDADD = libbitmap.la libbase.la $(NETTLE_LIBS)
tests_hold_section_SOURCES = tests/hold-section.c
tests_hold_section_LDADD = libbitmap.la libbase.la $(NETTLE_LIBS)
# The command line, whose reads wait.
check_PROGRAMS += tests/dirtyferry-slow
tests_dirtyferry_slow_SOURCES = $(dirtyferry_SOURCES) tests/slow-reads.c
tests_dirtyferry_slow_CFLAGS = $(dirtyferry_CFLAGS)
tests_dirtyferry_slow_LDADD = $(dirtyferry_LDADD)
tests_dirtyferry_slow_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=pread -Wl,--wrap=fault_is_on
tests_df_inconsistent_SOURCES = tests/df-inconsistent.c
tests_df_inconsistent_LDADD = libbitmap.la libbase.la $(NETTLE_LIBS)
