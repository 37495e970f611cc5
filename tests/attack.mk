# SPDX-License-Identifier: BSD-3-Clause
# What somebody does on purpose: a script for each row of SECURITY.md's table "Attacks and results" (tests/docs.sh compares).

attack_tests = \
	tests/attack-key.sh tests/attack-role.sh tests/attack-removed.sh \
	tests/attack-frames.sh tests/attack-msgpack.sh tests/attack-multipart.sh tests/attack-zmtp.sh tests/attack-gone.sh \
	tests/attack-connections.sh tests/attack-descriptors.sh tests/attack-flood.sh tests/attack-symlink.sh

TESTS += $(attack_tests)
EXTRA_DIST += $(attack_tests) tests/attack-common.sh tests/attack_zmtp.py tests/attack_messages.py tests/attack_still.py
