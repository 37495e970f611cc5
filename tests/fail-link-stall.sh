#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Packets vanish and nobody says so: the source notices within 2 s and goes on by itself when they pass again.
. "$(dirname "$0")/fail-common.sh"
host a
host_b_linked
link_up
to=$link
big_disk one
slow one/daily
pivot "$session"
record b one 50
mid_stream "$session"
stall_ms=$(now_ms)
link_stall
eventually "the source is interrupted" is_state a "$session" source interrupted
took=$(($(now_ms) - stall_ms))
echo "interrupted $took ms after the stall"
[ $took -lt 10000 ] || fail "noticed after $took ms only"
expect "link" "$(about a "$session" source link)" lost
eventually "the target notices too" is_about b "$session" target link lost
eventually "the dump is there" test -f "$dir/a/dumps/$session.dump"
record b one 50
link_go
finished "$session" one
finish
