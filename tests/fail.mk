# SPDX-License-Identifier: BSD-3-Clause
# What happens when something fails: a script for each row of README.md's table "When something fails" (tests/docs.sh compares).

fail_tests = \
	tests/fail-link-cut.sh tests/fail-link-stall.sh tests/fail-data-link.sh tests/fail-new-endpoint.sh tests/fail-network.sh \
	tests/fail-source-killed.sh tests/fail-target-killed.sh tests/fail-both-killed.sh \
	tests/fail-writer-killed.sh tests/fail-daemon-of-writers.sh \
	tests/fail-source-gone.sh tests/fail-lost-for-good.sh tests/fail-target-gone.sh tests/fail-pivot-half.sh tests/fail-rollback-late.sh \
	tests/fail-source-host.sh tests/fail-target-host.sh tests/fail-clean-stop.sh \
	tests/fail-disk-full.sh tests/fail-journal-damaged.sh \
	tests/fail-qemu-killed.sh tests/fail-qemu-hangs.sh

TESTS += $(fail_tests)
EXTRA_DIST += $(fail_tests) tests/fail-common.sh tests/relay.py
