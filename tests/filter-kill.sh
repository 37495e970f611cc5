#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdkit is killed while it writes: what it acknowledged and what it had begun stays dirty.
. "$(dirname "$0")/filter-common.sh"
requires_nbdkit
requires_libnbd

"$df_tool" disk-add "$state" $disk 64M
tool bitmap-add b 4K

# Killed in full flight; the client notes each write that was acknowledged.
for round in 1 2 3; do
    start memory 64M
    client >"$dir/acknowledged" 2>/dev/null <<'END' &
import random
random.seed(os.getpid())
def done(at):
    def note(err):
        if err.value == 0:
            os.write(1, b"%d\n" % at)
        return 1
    return note
while True:
    while h.aio_in_flight() >= 16:
        h.poll(-1)
    at = random.randrange(16384) * 4096
    h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(b"x")), at, done(at))
END
    writer=$!
    for _ in $(seq 500); do
        [ "$(wc -l <"$dir/acknowledged")" -ge 2000 ] && break
        sleep 0.02
    done
    stop KILL
    wait $writer || :
    [ "$(wc -l <"$dir/acknowledged")" -ge 2000 ] || fail "the client wrote hardly anything"
    tool list-dirty b >"$dir/dirty"
    awk 'NR == FNR { for (i = $1; i < $1 + $2; i += 4096) dirty[i] = 1; next }
         !($1 in dirty) { print "acknowledged and not dirty:", $1; bad = 1 } END { exit bad }' \
        "$dir/dirty" "$dir/acknowledged" || fail "round $round"
    expect "open sections after the kill" "$(tool open-sections)" 0
    tool clear b
done

# A backup clears the bitmap while a write is open, then nbdkit dies: part of that write may be on the disk.
start --filter=delay memory 64M wdelay=60
client 2>/dev/null <<'END' &
h.pwrite(bytes(8192), 1048576)
END
writer=$!
for _ in $(seq 500); do
    [ "$(tool open-sections)" = 1 ] && break
    sleep 0.02
done
expect_dirty b "1048576 8192"
tool clear b
expect_dirty b
stop KILL
wait $writer || :
expect "open sections after the kill" "$(tool open-sections)" 0
expect_dirty b "1048576 8192"
tool disk-remove || fail "a slot is held by nobody"
