# SPDX-License-Identifier: BSD-3-Clause
# QEMU and its storage daemon: the QMP client against a monitor in a thread, flows with the real programs.

if HAVE_CHECK
QEMU_TESTS = tests/unit-qmp tests/unit-qmp-stream
check_PROGRAMS += $(QEMU_TESTS)
TESTS += $(QEMU_TESTS)

tests_unit_qmp_SOURCES = tests/unit-qmp.c tests/unit-qmp.h tests/unit.h
tests_unit_qmp_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_qmp_LDADD = libqemu.la libbase.la $(JANSSON_LIBS) $(CHECK_LIBS)

tests_unit_qmp_stream_SOURCES = tests/unit-qmp-stream.c tests/unit-qmp.h tests/unit.h
tests_unit_qmp_stream_CFLAGS = $(tests_unit_qmp_CFLAGS)
tests_unit_qmp_stream_LDADD = $(tests_unit_qmp_LDADD)
endif

qemu_flows = tests/flow-qemu-disk.sh tests/flow-qemu-transient.sh tests/flow-qemu-steps.sh \
	tests/flow-qemu-storage.sh tests/flow-qemu-machines.sh tests/flow-qemu-mixed.sh tests/flow-qemu-writes.sh \
	tests/flow-qemu-many.sh tests/flow-qemu-flags.sh tests/flow-qemu-link.sh \
	tests/flow-qemu-nothing-left.sh tests/flow-qemu-changes.sh tests/flow-qemu-monitor.sh tests/flow-qemu-diff.sh tests/flow-qemu-diff-ends.sh tests/flow-qemu-diff-kills.sh \
	tests/flow-backup.sh
TESTS += $(qemu_flows)
EXTRA_DIST += $(qemu_flows) doc/incremental-backup.md tests/qemu-common.sh tests/qdiff-common.sh tests/qbits.py tests/qguest.py examples/qmp.py
