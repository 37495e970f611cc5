#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The target has pivoted: a roll-back is refused and changes nothing, also when the target has forgotten or was killed.
. "$(dirname "$0")/fail-common.sh"
host a
host b
small_disk one
session=$(prepared one/daily --workers 0)
pivot "$session"
record b one 20
before=$(snapshot a b)
refuse 1 "$session.*(recorded|way back)" -- a rollback "$session"
refuse 1 "$session.*(recorded|way back)" -- a rollback "$session" --force
refuse 1 "$session.*cancel" -- a cancel "$session"
expect "refused ways back change nothing" "$(snapshot a b)" "$before"
expect "states" "$(state a "$session" source)/$(state b "$session" target)" streaming/receiving
refuse 1 "read-only" -- a bitmap mark one 0 1
# Nor does it change anything when the target was killed since.
die b
host b
refuse 1 "$session.*(recorded|way back)" -- a rollback "$session"
refuse 1 "read-only" -- a bitmap mark one 0 1
a worker "$session"
finished "$session" one
refuse 1 "$session.*released" -- a rollback "$session"
finish
