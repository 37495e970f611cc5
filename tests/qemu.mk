# SPDX-License-Identifier: BSD-3-Clause
# QEMU and its storage daemon: the QMP client against a monitor in a thread, flows with the real programs.

if HAVE_CHECK
QEMU_TESTS = tests/unit-qmp
check_PROGRAMS += $(QEMU_TESTS)
TESTS += $(QEMU_TESTS)

tests_unit_qmp_SOURCES = tests/unit-qmp.c tests/unit.h
tests_unit_qmp_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_qmp_LDADD = libqemu.la libbase.la $(JANSSON_LIBS) $(CHECK_LIBS)
endif

TESTS += tests/flow-qemu-disk.sh tests/flow-qemu-transient.sh
EXTRA_DIST += tests/flow-qemu-disk.sh tests/flow-qemu-transient.sh tests/qemu-common.sh tests/qbits.py tests/qguest.py examples/qmp.py
