#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Connections come and go: no writer's slot is left behind, and nbdkit stops
# cleanly whatever is connected.
. "$(dirname "$0")/filter-common.sh"
requires_nbdkit
requires_libnbd

"$df_tool" disk-add "$state" $disk 1M
tool bitmap-add b 4K
start memory 1M

# One connection after the other, four writes in flight on each: never more than 5 slots, with nbdkit's own.
client <<'END'
for i in range(100):
    c = connect()
    for k in range(4):
        c.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(b"x")), k)
    while c.aio_in_flight():
        c.poll(-1)
    c.shutdown()
END
# nbdkit closes a connection a moment after its client has gone, so a few may overlap.
slots=$(tool slots)
[ "$slots" -ge 2 ] && [ "$slots" -le 60 ] || fail "100 connections used $slots slots"
files=$(find /proc/$nbdkit_pid/fd | wc -l)
[ "$files" -lt 30 ] || fail "$files files are open after 100 connections"

# The same with clients that just vanish.
client <<'END'
for i in range(100):
    c = connect()
    c.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(b"x")), 4096)
    c.poll(0)
    del c
END
slots=$(tool slots)
[ "$slots" -le 100 ] || fail "200 connections used $slots slots"

fifty_at_once()
{
    client <<'END'
conns = [connect() for i in range(50)]
for c in conns:
    c.pwrite(b"x", 8192)
END
}

# 50 at once need their own, and give them back.
fifty_at_once
sleep 0.2
before=$(tool slots)
[ "$before" -ge 51 ] || fail "50 connections with $before slots"
fifty_at_once
after=$(tool slots)
[ "$after" -lt $((before + 40)) ] || fail "another 50 connections: $after slots, before $before"

# Stopped while clients are connected and writing; a few times, for the order at the end is a race.
for threads in 1 16 16 16; do
    stop
    expect "exit status of nbdkit" $stop_status 0
    start --threads=$threads memory 1M
    rm -f "$dir/ready"
    client <<'END' >"$dir/ready" 2>/dev/null &
conns = [h] + [connect() for i in range(3)]
for c in conns:
    c.pwrite(b"x", 12288)
print("ready", flush=True)
while True:
    for c in conns:
        c.pwrite(b"y", 12289)
END
    writer=$!
    for _ in $(seq 500); do [ -s "$dir/ready" ] && break; sleep 0.02; done
    expect "client" "$(cat "$dir/ready")" ready
    stop
    expect "exit status of nbdkit" $stop_status 0
    wait $writer || :
    start memory 1M
done
stop
expect "open sections" "$(tool open-sections)" 0
tool disk-remove || fail "a slot is held by nobody"
