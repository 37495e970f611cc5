# SPDX-License-Identifier: BSD-3-Clause
# Unit tests are programs named unit-*, flows with the real programs are scripts.

check_PROGRAMS =
TESTS =

# Pretends that the host was restarted: for the flows.
check_PROGRAMS += tests/df-boot
tests_df_boot_SOURCES = tests/df-boot.c
tests_df_boot_LDADD = libbitmap.la libbase.la $(NETTLE_LIBS)

# ---- unit tests of the bitmap core (check)

if HAVE_CHECK
UNIT_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
UNIT_LIBS = libbitmap.la libbase.la $(CHECK_LIBS)

UNIT_TESTS = tests/unit-base tests/unit-map tests/unit-scale tests/unit-mapfile tests/unit-bitmap \
	tests/unit-storage tests/unit-handover tests/unit-model tests/unit-writer \
	tests/unit-crash tests/unit-damage tests/unit-crash-model tests/unit-compare \
	tests/unit-hostile tests/unit-hostile-files tests/unit-hostile-scribble \
	tests/unit-hostile-group tests/unit-qcow2 tests/unit-qcow2-limits tests/unit-qcow2-hostile \
	tests/unit-nbd tests/unit-nbd-hostile tests/unit-nbdimage tests/unit-diff tests/stress-recording
check_PROGRAMS += $(UNIT_TESTS)
TESTS += $(UNIT_TESTS)

tests_unit_base_SOURCES = tests/unit-base.c tests/unit.h
tests_unit_base_CFLAGS = $(UNIT_CFLAGS)
tests_unit_base_LDADD = $(UNIT_LIBS)

# SHA-256 and XXH3 of the model
tests_unit_map_SOURCES = tests/unit-map.c tests/unit.h
tests_unit_map_CFLAGS = $(UNIT_CFLAGS) $(NETTLE_CFLAGS) $(XXHASH_CFLAGS)
tests_unit_map_LDADD = $(UNIT_LIBS) $(NETTLE_LIBS) $(XXHASH_LIBS)

tests_unit_scale_SOURCES = tests/unit-scale.c tests/unit.h
tests_unit_scale_CFLAGS = $(UNIT_CFLAGS)
tests_unit_scale_LDADD = $(UNIT_LIBS)
tests_unit_scale_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=map_write

tests_unit_mapfile_SOURCES = tests/unit-mapfile.c tests/unit.h
tests_unit_mapfile_CFLAGS = $(UNIT_CFLAGS)
tests_unit_mapfile_LDADD = $(UNIT_LIBS)

tests_unit_bitmap_SOURCES = tests/unit-bitmap.c tests/unit.h
tests_unit_bitmap_CFLAGS = $(UNIT_CFLAGS)
tests_unit_bitmap_LDADD = $(UNIT_LIBS)

tests_unit_storage_SOURCES = tests/unit-storage.c tests/unit.h
tests_unit_storage_CFLAGS = $(UNIT_CFLAGS)
tests_unit_storage_LDADD = $(UNIT_LIBS)

tests_unit_handover_SOURCES = tests/unit-handover.c tests/unit.h
tests_unit_handover_CFLAGS = $(UNIT_CFLAGS)
tests_unit_handover_LDADD = $(UNIT_LIBS)

tests_unit_model_SOURCES = tests/unit-model.c tests/unit.h
tests_unit_model_CFLAGS = $(UNIT_CFLAGS)
tests_unit_model_LDADD = $(UNIT_LIBS)

tests_unit_writer_SOURCES = tests/unit-writer.c tests/unit.h
tests_unit_writer_CFLAGS = $(UNIT_CFLAGS)
tests_unit_writer_LDADD = $(UNIT_LIBS)
tests_unit_writer_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=map_set

# Restarts of the host, and syncs that fail.
WITH_CRASHES = $(AM_LDFLAGS) -Wl,--wrap=boot_id -Wl,--wrap=fdatasync -Wl,--wrap=fsync
tests_unit_crash_SOURCES = tests/unit-crash.c tests/unit-crash.h tests/unit-boot.h tests/unit.h
tests_unit_crash_CFLAGS = $(UNIT_CFLAGS)
tests_unit_crash_LDADD = $(UNIT_LIBS)
tests_unit_crash_LDFLAGS = $(WITH_CRASHES) -Wl,--wrap=fcntl

tests_unit_damage_SOURCES = tests/unit-damage.c tests/unit-crash.h tests/unit-boot.h tests/unit.h
tests_unit_damage_CFLAGS = $(UNIT_CFLAGS)
tests_unit_damage_LDADD = $(UNIT_LIBS)
tests_unit_damage_LDFLAGS = $(WITH_CRASHES)

tests_unit_crash_model_SOURCES = tests/unit-crash-model.c tests/unit-boot.h tests/unit.h
tests_unit_crash_model_CFLAGS = $(UNIT_CFLAGS)
tests_unit_crash_model_LDADD = $(UNIT_LIBS)
tests_unit_crash_model_LDFLAGS = $(WITH_CRASHES)

tests_unit_compare_SOURCES = tests/unit-compare.c tests/unit-crash.h tests/unit-boot.h tests/unit.h
tests_unit_compare_CFLAGS = $(UNIT_CFLAGS)
tests_unit_compare_LDADD = $(UNIT_LIBS)
tests_unit_compare_LDFLAGS = $(WITH_CRASHES) -Wl,--wrap=txn_commit -Wl,--wrap=madvise

# Processes that write to the shared files past the library.
tests_unit_hostile_SOURCES = tests/unit-hostile.c tests/unit-hostile.h tests/unit.h
tests_unit_hostile_CFLAGS = $(UNIT_CFLAGS)
tests_unit_hostile_LDADD = $(UNIT_LIBS)
tests_unit_hostile_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=mapref_get -Wl,--wrap=map_next_set -Wl,--wrap=map_next_clear

tests_unit_hostile_files_SOURCES = tests/unit-hostile-files.c tests/unit-hostile.h tests/unit.h
tests_unit_hostile_files_CFLAGS = $(UNIT_CFLAGS)
tests_unit_hostile_files_LDADD = $(UNIT_LIBS)

tests_unit_hostile_scribble_SOURCES = tests/unit-hostile-scribble.c tests/unit-hostile.h tests/scribble.h tests/unit.h
tests_unit_hostile_scribble_CFLAGS = $(UNIT_CFLAGS)
tests_unit_hostile_scribble_LDADD = $(UNIT_LIBS)

tests_unit_hostile_group_SOURCES = tests/unit-hostile-group.c tests/unit-crash.h tests/unit-boot.h tests/unit.h
tests_unit_hostile_group_CFLAGS = $(UNIT_CFLAGS)
tests_unit_hostile_group_LDADD = $(UNIT_LIBS)
tests_unit_hostile_group_LDFLAGS = $(WITH_CRASHES)

tests_unit_diff_SOURCES = tests/unit-diff.c tests/unit.h
tests_unit_diff_CFLAGS = $(UNIT_CFLAGS)
tests_unit_diff_LDADD = libimage.la $(UNIT_LIBS)

tests_unit_nbd_SOURCES = tests/unit-nbd.c tests/nbd-server.h tests/unit.h
tests_unit_nbd_CFLAGS = $(UNIT_CFLAGS)
tests_unit_nbd_LDADD = libimage.la $(UNIT_LIBS)

tests_unit_nbd_hostile_SOURCES = tests/unit-nbd-hostile.c tests/nbd-server.h tests/unit.h
tests_unit_nbd_hostile_CFLAGS = $(UNIT_CFLAGS)
tests_unit_nbd_hostile_LDADD = libimage.la $(UNIT_LIBS)
tests_unit_nbd_hostile_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_gettime

tests_unit_nbdimage_SOURCES = tests/unit-nbdimage.c tests/nbd-server.h tests/unit.h
tests_unit_nbdimage_CFLAGS = $(UNIT_CFLAGS)
tests_unit_nbdimage_LDADD = libimage.la $(UNIT_LIBS)

tests_unit_qcow2_SOURCES = tests/unit-qcow2.c tests/unit-qcow2.h tests/unit.h
tests_unit_qcow2_CFLAGS = $(UNIT_CFLAGS)
tests_unit_qcow2_LDADD = libimage.la $(UNIT_LIBS)

tests_unit_qcow2_limits_SOURCES = tests/unit-qcow2-limits.c tests/unit-qcow2.h tests/unit.h
tests_unit_qcow2_limits_CFLAGS = $(UNIT_CFLAGS)
tests_unit_qcow2_limits_LDADD = libimage.la $(UNIT_LIBS)
tests_unit_qcow2_limits_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=files_pwrite

tests_unit_qcow2_hostile_SOURCES = tests/unit-qcow2-hostile.c tests/unit-qcow2.h tests/unit.h
tests_unit_qcow2_hostile_CFLAGS = $(UNIT_CFLAGS)
tests_unit_qcow2_hostile_LDADD = libimage.la $(UNIT_LIBS)

tests_stress_recording_SOURCES = tests/stress-recording.c tests/unit.h
tests_stress_recording_CFLAGS = $(UNIT_CFLAGS)
tests_stress_recording_LDADD = $(UNIT_LIBS)
endif
