#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Peers that fill a queue and leave it while the daemon's control thread does not come to read it.  libzmq 4.3.4 aborts when
# a heartbeat is due on such a connection, so the daemon's sockets have none.
. "$(dirname "$0")/attack-common.sh"
open_hosts
status=0
"$python" "$tools/attack_still.py" "${daemon_pid[b]}" </dev/null >"$dir/still.out" || status=$?
[ $status -ne 77 ] || skip "$(cat "$dir/still.out")"

held()          # COMMAND...: meanwhile the control thread of b stands still
{
    messages "$@"
    # Two heartbeats of 500 ms would be due: nothing is waited for but that.
    sleep 1.2
}

for attack_on in "events subscribe" "control hello"; do
    declare -n endpoint=${attack_on% *}
    during "what is left unread on ${attack_on% *}" "$python" "$tools/attack_still.py" "${daemon_pid[b]}"
    held burst "${endpoint[b]}" "${attack_on#* }" 8
    over 64
done
assault "frames that are left" 64 messages burst "${data[b]}" data 8
done_attacking
