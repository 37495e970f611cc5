# SPDX-License-Identifier: BSD-3-Clause
# The protocol: unit tests of wire, net and the state table, and proto/.

EXTRA_DIST += proto/dirtyferry.md proto/dirtyferry.cddl proto/limits.txt proto/states.txt proto/errors.txt \
	proto/vectors/frames.txt proto/vectors/control.txt proto/vectors/hostile.txt proto/vectors/dumps.txt \
	tests/proto-agrees.sh tests/vectors.py tests/vectors_make.py

check_PROGRAMS += tests/proto-dump
TESTS += tests/proto-agrees.sh tests/vectors.py

tests_proto_dump_SOURCES = tests/proto-dump.c tests/wire-sample.h
tests_proto_dump_CFLAGS = $(AM_CFLAGS) $(MSGPACK_CFLAGS) $(ZMQ_CFLAGS)
tests_proto_dump_LDADD = $(ENGINE_LIBS)

if HAVE_CHECK
WIRE_TESTS = tests/unit-wire-scan tests/unit-wire-schema tests/unit-wire-frame tests/unit-wire-vectors tests/unit-wire-dump \
	tests/unit-wire-dump-hostile tests/unit-net tests/unit-net-calls tests/unit-state tests/unit-comparison tests/unit-comparison-work \
	tests/unit-keys tests/unit-keyfile tests/unit-allow tests/unit-allow-directory tests/unit-ipc tests/unit-quota \
	tests/unit-access tests/unit-guard tests/unit-guard-apart tests/unit-connections tests/unit-connections-limits \
	tests/unit-refusals tests/unit-clear tests/unit-hands
check_PROGRAMS += $(WIRE_TESTS)
TESTS += $(WIRE_TESTS)

WIRE_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(MSGPACK_CFLAGS) $(ZMQ_CFLAGS) $(JANSSON_CFLAGS)
WIRE_LIBS = libwire.la libbase.la $(MSGPACK_LIBS) $(CHECK_LIBS)

tests_unit_wire_scan_SOURCES = tests/unit-wire-scan.c tests/wire-sample.h tests/unit.h
tests_unit_wire_scan_CFLAGS = $(WIRE_CFLAGS)
tests_unit_wire_scan_LDADD = $(WIRE_LIBS)

tests_unit_wire_schema_SOURCES = tests/unit-wire-schema.c tests/wire-sample.h tests/unit.h
tests_unit_wire_schema_CFLAGS = $(WIRE_CFLAGS)
tests_unit_wire_schema_LDADD = $(WIRE_LIBS)

tests_unit_wire_frame_SOURCES = tests/unit-wire-frame.c tests/unit.h
tests_unit_wire_frame_CFLAGS = $(WIRE_CFLAGS)
tests_unit_wire_frame_LDADD = $(WIRE_LIBS)

tests_unit_wire_vectors_SOURCES = tests/unit-wire-vectors.c tests/vectors.h tests/unit.h
tests_unit_wire_vectors_CFLAGS = $(WIRE_CFLAGS)
tests_unit_wire_vectors_LDADD = $(WIRE_LIBS) $(JANSSON_LIBS)

tests_unit_wire_dump_SOURCES = tests/unit-wire-dump.c tests/dump-sample.h tests/unit.h
tests_unit_wire_dump_CFLAGS = $(WIRE_CFLAGS)
tests_unit_wire_dump_LDADD = $(WIRE_LIBS)

tests_unit_wire_dump_hostile_SOURCES = tests/unit-wire-dump-hostile.c tests/dump-sample.h tests/unit.h
tests_unit_wire_dump_hostile_CFLAGS = $(WIRE_CFLAGS)
tests_unit_wire_dump_hostile_LDADD = $(WIRE_LIBS)

tests_unit_net_SOURCES = tests/unit-net.c tests/unit-net.h tests/unit.h
tests_unit_net_CFLAGS = $(WIRE_CFLAGS)
tests_unit_net_LDADD = libnet.la $(WIRE_LIBS) $(ZMQ_LIBS) $(XXHASH_LIBS)

tests_unit_net_calls_SOURCES = tests/unit-net-calls.c tests/unit-net.h tests/unit.h
tests_unit_net_calls_CFLAGS = $(WIRE_CFLAGS)
tests_unit_net_calls_LDADD = $(tests_unit_net_LDADD)

tests_unit_keys_SOURCES = tests/unit-keys.c tests/unit-keys.h tests/unit.h
tests_unit_keys_CFLAGS = $(WIRE_CFLAGS)
tests_unit_keys_LDADD = $(tests_unit_net_LDADD)

tests_unit_keyfile_SOURCES = tests/unit-keyfile.c tests/unit-files.h tests/unit-keys.h tests/unit.h
tests_unit_keyfile_CFLAGS = $(WIRE_CFLAGS)
tests_unit_keyfile_LDADD = $(tests_unit_net_LDADD)

tests_unit_allow_SOURCES = tests/unit-allow.c tests/unit-allow.h tests/unit-files.h tests/unit.h
tests_unit_allow_CFLAGS = $(WIRE_CFLAGS)
tests_unit_allow_LDADD = $(tests_unit_net_LDADD)

tests_unit_allow_directory_SOURCES = tests/unit-allow-directory.c tests/unit-allow.h tests/unit-files.h tests/unit.h
tests_unit_allow_directory_CFLAGS = $(WIRE_CFLAGS)
tests_unit_allow_directory_LDADD = $(tests_unit_net_LDADD)

tests_unit_ipc_SOURCES = tests/unit-ipc.c tests/unit.h
tests_unit_ipc_CFLAGS = $(WIRE_CFLAGS)
tests_unit_ipc_LDADD = $(tests_unit_net_LDADD)
tests_unit_ipc_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=flock

tests_unit_quota_SOURCES = tests/unit-quota.c tests/unit.h
tests_unit_quota_CFLAGS = $(WIRE_CFLAGS)
tests_unit_quota_LDADD = $(ENGINE_LIBS) $(CHECK_LIBS)

tests_unit_access_SOURCES = tests/unit-access.c tests/unit.h
tests_unit_access_CFLAGS = $(WIRE_CFLAGS)
tests_unit_access_LDADD = $(tests_unit_net_LDADD)

tests_unit_guard_SOURCES = tests/unit-guard.c tests/unit-guard.h tests/unit-files.h tests/unit-net.h tests/unit.h
tests_unit_guard_CFLAGS = $(WIRE_CFLAGS)
tests_unit_guard_LDADD = $(tests_unit_net_LDADD)

tests_unit_guard_apart_SOURCES = tests/unit-guard-apart.c tests/unit-guard.h tests/unit-files.h tests/unit-net.h tests/unit.h
tests_unit_guard_apart_CFLAGS = $(WIRE_CFLAGS)
tests_unit_guard_apart_LDADD = $(tests_unit_net_LDADD)

tests_unit_connections_SOURCES = tests/unit-connections.c tests/unit-connections.h tests/unit-files.h tests/unit.h
tests_unit_connections_CFLAGS = $(WIRE_CFLAGS)
tests_unit_connections_LDADD = $(tests_unit_net_LDADD)

tests_unit_connections_limits_SOURCES = tests/unit-connections-limits.c tests/unit-connections.h tests/unit-files.h tests/unit.h
tests_unit_connections_limits_CFLAGS = $(WIRE_CFLAGS)
tests_unit_connections_limits_LDADD = $(tests_unit_net_LDADD)

tests_unit_refusals_SOURCES = tests/unit-refusals.c tests/unit.h
tests_unit_refusals_CFLAGS = $(WIRE_CFLAGS)
tests_unit_refusals_LDADD = $(tests_unit_net_LDADD)
tests_unit_refusals_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_gettime

tests_unit_hands_SOURCES = tests/unit-hands.c tests/unit.h
tests_unit_hands_CFLAGS = $(WIRE_CFLAGS)
tests_unit_hands_LDADD = libsession.la $(tests_unit_net_LDADD)

tests_unit_clear_SOURCES = tests/unit-clear.c tests/unit-guard.h tests/unit-files.h tests/unit-net.h tests/unit.h
tests_unit_clear_CFLAGS = $(WIRE_CFLAGS)
tests_unit_clear_LDADD = $(tests_unit_net_LDADD)

tests_unit_comparison_SOURCES = tests/unit-comparison.c tests/unit.h src/daemon/comparisonfile.c src/daemon/comparison.h
tests_unit_comparison_CFLAGS = $(WIRE_CFLAGS) $(XXHASH_CFLAGS)
tests_unit_comparison_LDADD = $(ENGINE_LIBS) $(CHECK_LIBS) $(XXHASH_LIBS)

tests_unit_comparison_work_SOURCES = tests/unit-comparison-work.c tests/unit.h src/daemon/comparisonwork.c src/daemon/comparisonqemu.c src/daemon/comparisonfile.c src/daemon/comparison.h
tests_unit_comparison_work_CFLAGS = $(WIRE_CFLAGS) $(XXHASH_CFLAGS)
tests_unit_comparison_work_LDADD = libqemu.la libimage.la $(ENGINE_LIBS) $(CHECK_LIBS)

tests_unit_state_SOURCES = tests/unit-state.c tests/unit.h
tests_unit_state_CFLAGS = $(WIRE_CFLAGS)
tests_unit_state_LDADD = $(ENGINE_LIBS) $(CHECK_LIBS)
endif
