#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The target comes back somewhere else: `resume --to` tells the source, and it stays told.
. "$(dirname "$0")/fail-common.sh"
host a
host b --advertise-data "$link_data"
link_up
to=$link
big_disk one
slow one/daily
pivot "$session"
mid_stream "$session"
link_cut
eventually "the source is interrupted" is_state a "$session" source interrupted
refuse 1 "$link.*(answer|interrupted)" -- a resume "$session"
expect "after a resume that reached nobody" "$(state a "$session" source)" interrupted
refuse 1 "nowhere" -- a resume "$session" --to nowhere

# Elsewhere: another control socket, another data socket.
stop b
start b --control "ipc://$dir/new.sock" --data "ipc://$dir/new.data" --events "ipc://$dir/b.events"
record b one 50
"$dirtyferry" resume "$session" --from "${control[a]}" --to "${control[b]}" >/dev/null
expect "the peer" "$(about a "$session" source peer)" "${control[b]}"
# A restart of the source does not forget it.
die a
host a
finished "$session" one
finish
