#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The source's pivot: no write passes after it, one under way is waited for, reads go on.
. "$(dirname "$0")/filter-common.sh"
requires_nbdkit
requires_libnbd

"$df_tool" disk-add "$state" $disk 1M
tool bitmap-add b 4K
start -v memory 1M
export df_tool state disk
client <<'END'
import subprocess
def tool(command):
    return subprocess.check_output([os.environ["df_tool"], command, os.environ["state"], os.environ["disk"]], text=True).strip()
h.pwrite(b"before", 0)
tool("fence")
for c in h, connect():                  # an old connection and a new one
    assert errno_of(c.pwrite, b"after", 8192) == "EPERM"
    assert errno_of(c.zero, 512, 0) == "EPERM"
    assert errno_of(c.trim, 512, 0) == "EPERM"
    assert errno_of(c.pwrite, b"after", 0) == "EPERM", "a dirty bit lets it through"
    assert c.pread(6, 0) == b"before"
    assert c.pread(6, 8192) == bytes(6)
    c.flush()
assert tool("open-sections") == "0"
tool("unfence")
h.pwrite(b"again", 16384)
END
expect_dirty b "0 4096" "16384 4096"
# NBD has no EROFS: nbdkit tells its clients EPERM, and its debug log the real thing.
expect "refusals" "$(grep -c 'sending error reply: Read-only file system' "$dir/log")" 8
expect "the log names the reason, once a connection" "$(grep -c "error: dirtyferry: disk 'disk1' is read-only" "$dir/log")" 2
stop

# A slow write is under way when the fence comes: it is counted until it is done, and it succeeds.
start --filter=delay memory 1M wdelay=1500ms
client <<'END'
import subprocess
def tool(command):
    return subprocess.check_output([os.environ["df_tool"], command, os.environ["state"], os.environ["disk"]], text=True).strip()
done = []
buf = nbd.Buffer.from_bytearray(bytearray(b"slow"))
h.aio_pwrite(buf, 65536, lambda err: done.append(err.value) or 1)
limit = time.time() + 10
while tool("open-sections") != "1":
    assert time.time() < limit, "the write does not begin"
tool("fence")
assert tool("open-sections") == "1", "the fence does not see the open write"
assert errno_of(connect().pwrite, b"x", 0) == "EPERM"
while not done:
    h.poll(-1)
assert done == [0], done
assert h.pread(4, 65536) == b"slow"
assert tool("open-sections") == "0"
END
expect_dirty b "0 4096" "16384 4096" "65536 4096"
stop
expect "exit status of nbdkit" $stop_status 0
