#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Only the data endpoint is dead; the control link is there.
. "$(dirname "$0")/fail-common.sh"
host a
host_b_linked
link_up
big_disk one
slow one/daily          # by the control endpoint of b itself: only the data go by the link
pivot "$session"
mid_stream "$session"
link_stall
says_so() { is_state a "$session" source interrupted && says a "$session" source "data endpoint '$link_data'"; }
eventually "the source says that the data endpoint is dead" says_so
expect "link" "$(about a "$session" source link)" lost
record b one 50
link_go
finished "$session" one

# The same with a connection that dies at once.
big_disk two
slow two/daily
pivot "$session"
mid_stream "$session"
link_cut
eventually "the source says that the data endpoint is dead" says_so
record b two 50
link_up
finished "$session" two
finish
