#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Many writes in flight, on several connections at once: they run in parallel and each is recorded.
. "$(dirname "$0")/filter-common.sh"
requires_nbdkit
requires_libnbd

"$df_tool" disk-add "$state" $disk 64M
tool bitmap-add b 4K

# 16 in flight on each of two connections, all of them open at the same moment.
start --filter=delay memory 64M wdelay=2
export df_tool state disk
client <<'END'
import subprocess
def tool(command):
    return subprocess.check_output([os.environ["df_tool"], command, os.environ["state"], os.environ["disk"]], text=True).strip()
conns = [h, connect()]
assert h.can_multi_conn()
done = []
def writes(c, at):
    for i in range(16):
        buf = nbd.Buffer.from_bytearray(bytearray(b"%02d" % i))
        c.aio_pwrite(buf, at + i * 65536, lambda err: done.append(err.value) or 1)
for k, c in enumerate(conns):
    writes(c, k * 1048576)
    while c.aio_get_direction() & nbd.AIO_DIRECTION_WRITE:     # until all is sent
        c.poll(0)
limit = time.time() + 10
while tool("open-sections") != "32":
    for c in conns:
        c.poll(0)
    assert time.time() < limit, "only %s sections are open" % tool("open-sections")
while len(done) < 32:
    for c in conns:
        if c.aio_in_flight():
            c.poll(100)
assert done == [0] * 32, done
assert tool("open-sections") == "0"
END
ranges=()
for i in {0..31}; do
    ranges+=("$((i * 65536)) 4096")
done
expect_dirty b "${ranges[@]}"
stop
tool clear b

# Random writes, zeroes and trims of four connections, 16 in flight on each, against a list of what they touched.
start memory 64M
client >"$dir/want" <<'END'
import random
random.seed(7)
size = h.get_size()
touched = bytearray(size // 4096)
conns = [h] + [connect() for i in range(3)]
for round in range(4000):
    c = conns[round % 4]
    while c.aio_in_flight() >= 16:
        c.poll(-1)
    n = random.randint(1, 9000)
    at = random.randint(0, size // 2 - n)
    kind = random.randrange(3)
    if kind == 0:
        c.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(n)), at)
    elif kind == 1:
        c.aio_zero(n, at)
    else:
        c.aio_trim(n, at)
    for i in range(at // 4096, (at + n - 1) // 4096 + 1):
        touched[i] = 1
for c in conns:
    while c.aio_in_flight():
        c.poll(-1)
i = 0
while i < len(touched):
    j = i
    while j < len(touched) and touched[j] == touched[i]:
        j += 1
    if touched[i]:
        print(i * 4096, (j - i) * 4096)
    i = j
END
tool list-dirty b >"$dir/have"
[ -s "$dir/want" ] || fail "nothing was written"
diff "$dir/want" "$dir/have" || fail "< touched, > recorded"
stop
expect "exit status of nbdkit" $stop_status 0
