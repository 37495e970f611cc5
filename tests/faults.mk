# SPDX-License-Identifier: BSD-3-Clause
# Faults: every step of the state table is killed, every link fails (tests/faults.py).

TESTS += tests/faults.sh tests/faults-found.sh tests/faults-qemu.sh
EXTRA_DIST += tests/faults.sh tests/faults-found.sh tests/faults-qemu.sh tests/faults_qemu.py tests/faults.py tests/faults_plan.py tests/faults_host.py \
	tests/faults_world.py tests/faults_orchestrator.py tests/faults_flows.py

check_PROGRAMS += tests/fault-guest tests/crash-daemon
tests_fault_guest_SOURCES = tests/fault-guest.c
tests_fault_guest_LDADD = libbitmap.la libbase.la $(NETTLE_LIBS)
tests_crash_daemon_SOURCES = $(dirtyferryd_SOURCES) tests/crash-daemon.c
tests_crash_daemon_CFLAGS = $(dirtyferryd_CFLAGS)
tests_crash_daemon_LDADD = $(dirtyferryd_LDADD)
tests_crash_daemon_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=journal_write -Wl,--wrap=journal_sync -Wl,--wrap=still_write \
	-Wl,--wrap=map_merge -Wl,--wrap=map_write_scaled -Wl,--wrap=txn_commit -Wl,--wrap=df_bitmap_unlock -Wl,--wrap=df_disk_fence \
	-Wl,--wrap=df_disk_unfence -Wl,--wrap=unlinkat -Wl,--wrap=qmp_call -Wl,--wrap=qmp_transaction \
	-Wl,--wrap=disk_compare_set -Wl,--wrap=comparison_write

# At least 500 runs, at most 20 minutes.
SOAK_RUNS = 2000
SOAK_MINUTES = 20
.PHONY: soak
soak: all tests/fault-guest$(EXEEXT) tests/crash-daemon$(EXEEXT) tests/proto-dump$(EXEEXT) tests/df-boot$(EXEEXT)
	$(AM_TESTS_ENVIRONMENT) bash $(srcdir)/tests/faults.sh --runs $(SOAK_RUNS) --minutes $(SOAK_MINUTES) --at-least 500
	$(AM_TESTS_ENVIRONMENT) bash $(srcdir)/tests/faults-qemu.sh 1 1

# What failing runs left.
.PHONY: clean-faults
clean-faults:
	rm -rf tests/faults.logs
clean-local: clean-faults
