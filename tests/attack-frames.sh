#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Frames that are not the session's: out of range, badly encoded, of past attempts, replayed, overlapping, with wrong bits,
# of another key.
# Nothing of it is in the bitmap that arrives.
. "$(dirname "$0")/attack-common.sh"

# recorded NAME ENDPOINT: a relay that writes down what each connection says; it listens at $relay
recorded()
{
    local line
    rm -f "$dir/relay.ready"
    mkfifo "$dir/relay.ready"
    # Not by zmtp(): what is killed at the end must be the relay, not a shell that waits for it.
    "$python" "$tools/attack_zmtp.py" record "$2" "$dir/$1" >"$dir/relay.ready" 2>"$dir/relay.log" &
    relay_pid=$!
    read -r line <"$dir/relay.ready" || fail "the relay did not start: $(cat "$dir/relay.log")"
    relay=${line#ready }
}

wrong()         # N WHICH: frames for the honest session's handle
{
    messages "${by[@]}" frames "$data_b" "$1" --which "$2" --handle "$(handle)" --epoch "$(about b "$session" target epoch)"
}

replays()       # N FILE
{
    local i
    for ((i = 0; i < $1; i++)); do
        zmtp replay "$data_b" "$2"
    done
}

# More frames than the source says that it sent, and those of the lease that it has not counted yet.
grows()
{
    [ "$(about b "$session" target frames)" -gt $(($(about a "$session" source frames) + 20)) ]
}

# ---- without keys whoever reaches the socket may send: what he breaks is found by the digests and sent again
rate=24K
by=()
open_hosts
data_b=${data[b]}
stop b
recorded stream "$data_b"
start b "${tcp[@]}" --data "$data_b" --advertise-data "$relay"

assault "a replayed connection" 64 replays 3 "$dir/stream.1"
eventually "the replayed frames count" grows
expect "attempts while all that came was ignored" "$(about b "$session" target epoch)" 1
assault "bad frames" 64 wrong 20000 bad
told 1 'refused: 127\.0\.0\.1: data: a frame: chunks out of range'
told 1 'refused: 127\.0\.0\.1: data: a frame: a run that is damaged'
assault "frames of past attempts" 64 wrong 20000 past
assault "frames for unknown handles" 64 wrong 20000 unknown
assault "wrong bits for chunks of the session" 64 wrong 300 foreign
assault "overlapping frames" 64 wrong 300 overlap
broken=$session
finished "$session" "$disk"
session=
[ "$(about b "$broken" target epoch)" -gt 1 ] || fail "wrong bits were not sent again"
assault "a connection of a session that is over" 64 replays 5 "$dir/stream.1"
finished "$session" "$disk"
session=
stop b
stop a
kill "$relay_pid"

# ---- with keys another's frames have no effect at all, and what was recorded opens no connection
keyed_hosts
data_b=${data[b]}
stop b
recorded sealed "$data_b"
start_keyed b --data "$data_b" --advertise-data "$relay"
by mallory
assault "another key's frames" 64 wrong 20000 foreign
told 1 "refused: key 'mallory' at 127\.0\.0\.1: data: a frame: the session was opened by another key"
assault "a recorded connection" 64 replays 5 "$dir/sealed.1"
told "refused: $stranger: data: what was sent is no handshake"
assault "a message that is sent again" 64 zmtp "${by[@]}" repeated "$data_b"
expect "attempts beside another key's frames" "$(about b "$session" target epoch)" 1
done_attacking
