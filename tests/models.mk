# SPDX-License-Identifier: BSD-3-Clause
# The models of the recording and of the hand-over, checked by spin.

TESTS += tests/models.sh
EXTRA_DIST += tests/models.sh proto/recording.pml proto/handover.pml
