# SPDX-License-Identifier: BSD-3-Clause
# Fuzz targets (tests/fuzz/fuzz-NAME.c), in two ways: `make fuzz` builds them with clang and libFuzzer in fuzz/ and runs
# them; `make check` gives the seeds and what was found before to the same targets as this build compiles them.

fuzz_names = control data events dump journal keys disk map qcow2
fuzz_targets = tests/fuzz/fuzz-control tests/fuzz/fuzz-data tests/fuzz/fuzz-events tests/fuzz/fuzz-dump \
	tests/fuzz/fuzz-journal tests/fuzz/fuzz-keys tests/fuzz/fuzz-disk tests/fuzz/fuzz-map tests/fuzz/fuzz-qcow2

# Not the whole directory: the build has objects in one of that name.
EXTRA_DIST += tests/fuzz.sh tests/fuzz-replay.sh tests/fuzz/seeds.py tests/fuzz/regressions

# In fuzz/ main() is libFuzzer's.
if FUZZERS
EXTRA_PROGRAMS += $(fuzz_targets)
fuzz_main =
fuzz_ldflags = $(AM_LDFLAGS) -fsanitize=fuzzer
else
check_PROGRAMS += $(fuzz_targets)
TESTS += tests/fuzz-replay.sh
fuzz_main = tests/fuzz/main.c
fuzz_ldflags = $(AM_LDFLAGS)
endif

fuzz_cppflags = $(AM_CPPFLAGS) -I$(top_srcdir)/tests/fuzz
fuzz_cflags = $(AM_CFLAGS) $(MSGPACK_CFLAGS) $(ZMQ_CFLAGS) $(XXHASH_CFLAGS)
fuzz_session = $(ENGINE_LIBS) $(XXHASH_LIBS)
fuzz_wraps = -Wl,--wrap=mmap -Wl,--wrap=munmap

tests_fuzz_fuzz_control_SOURCES = tests/fuzz/fuzz-control.c tests/fuzz/fuzz.h tests/fuzz/fields.h $(fuzz_main)
tests_fuzz_fuzz_control_CPPFLAGS = $(fuzz_cppflags)
tests_fuzz_fuzz_control_CFLAGS = $(fuzz_cflags)
tests_fuzz_fuzz_control_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_control_LDADD = libwire.la libbase.la $(MSGPACK_LIBS)

tests_fuzz_fuzz_events_SOURCES = tests/fuzz/fuzz-events.c tests/fuzz/fuzz.h tests/fuzz/fields.h $(fuzz_main)
tests_fuzz_fuzz_events_CPPFLAGS = $(fuzz_cppflags)
tests_fuzz_fuzz_events_CFLAGS = $(fuzz_cflags)
tests_fuzz_fuzz_events_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_events_LDADD = $(fuzz_session)

tests_fuzz_fuzz_data_SOURCES = tests/fuzz/fuzz-data.c tests/fuzz/fuzz.h tests/fuzz/intakes.h $(fuzz_main)
tests_fuzz_fuzz_data_CPPFLAGS = $(fuzz_cppflags)
tests_fuzz_fuzz_data_CFLAGS = $(fuzz_cflags)
tests_fuzz_fuzz_data_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_data_LDADD = $(fuzz_session)

tests_fuzz_fuzz_dump_SOURCES = tests/fuzz/fuzz-dump.c tests/fuzz/fuzz.h tests/fuzz/intakes.h $(fuzz_main)
tests_fuzz_fuzz_dump_CPPFLAGS = $(fuzz_cppflags)
tests_fuzz_fuzz_dump_CFLAGS = $(fuzz_cflags)
tests_fuzz_fuzz_dump_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_dump_LDADD = $(fuzz_session)

tests_fuzz_fuzz_journal_SOURCES = tests/fuzz/fuzz-journal.c tests/fuzz/fuzz.h tests/fuzz/fields.h $(fuzz_main)
tests_fuzz_fuzz_journal_CPPFLAGS = $(fuzz_cppflags)
tests_fuzz_fuzz_journal_CFLAGS = $(fuzz_cflags)
tests_fuzz_fuzz_journal_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_journal_LDADD = $(fuzz_session)

tests_fuzz_fuzz_keys_SOURCES = tests/fuzz/fuzz-keys.c tests/fuzz/fuzz.h $(fuzz_main)
tests_fuzz_fuzz_keys_CPPFLAGS = $(fuzz_cppflags)
tests_fuzz_fuzz_keys_CFLAGS = $(fuzz_cflags)
tests_fuzz_fuzz_keys_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_keys_LDADD = $(fuzz_session)

tests_fuzz_fuzz_map_SOURCES = tests/fuzz/fuzz-map.c tests/fuzz/fuzz.h tests/fuzz/guards.h $(fuzz_main)
tests_fuzz_fuzz_map_CPPFLAGS = $(fuzz_cppflags)
tests_fuzz_fuzz_map_CFLAGS = $(fuzz_cflags)
tests_fuzz_fuzz_map_LDFLAGS = $(fuzz_ldflags) $(fuzz_wraps)
tests_fuzz_fuzz_map_LDADD = libbitmap.la libbase.la

tests_fuzz_fuzz_disk_SOURCES = tests/fuzz/fuzz-disk.c tests/fuzz/fuzz.h tests/fuzz/guards.h tests/fuzz/disks.h $(fuzz_main)
tests_fuzz_fuzz_disk_CPPFLAGS = $(fuzz_cppflags)
tests_fuzz_fuzz_disk_CFLAGS = $(fuzz_cflags)
tests_fuzz_fuzz_disk_LDFLAGS = $(fuzz_ldflags) $(fuzz_wraps) -Wl,--wrap=fcntl -Wl,--wrap=openat -Wl,--wrap=fstat
tests_fuzz_fuzz_disk_LDADD = libbitmap.la libbase.la

tests_fuzz_fuzz_qcow2_SOURCES = tests/fuzz/fuzz-qcow2.c tests/fuzz/fuzz.h $(fuzz_main)
tests_fuzz_fuzz_qcow2_CPPFLAGS = $(fuzz_cppflags)
tests_fuzz_fuzz_qcow2_CFLAGS = $(fuzz_cflags)
tests_fuzz_fuzz_qcow2_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_qcow2_LDADD = libimage.la libbitmap.la libbase.la

# ---- make fuzz

FUZZ_SECONDS = 30
FUZZ_CC = clang
.PHONY: fuzz fuzz-long fuzz-targets clean-fuzz
fuzz-targets: $(fuzz_targets)
fuzz:
	mkdir -p fuzz
	test -e fuzz/config.status || { cd fuzz && $(abs_top_srcdir)/configure -q CC='$(FUZZ_CC)' CFLAGS='-g -O1' \
		--with-sanitizers=fuzzer-no-link,address,undefined; }
	$(MAKE) -C fuzz fuzz-targets
	$(AM_TESTS_ENVIRONMENT) bash $(srcdir)/tests/fuzz.sh $(FUZZ_SECONDS) $(fuzz_names)
fuzz-long:
	$(MAKE) $(AM_MAKEFLAGS) fuzz FUZZ_SECONDS=1200
clean-fuzz:
	rm -rf fuzz
clean-local: clean-fuzz
