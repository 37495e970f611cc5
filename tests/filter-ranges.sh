#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What is recorded: writes, zeroes and trims, at odd places, to the bit; nothing else.
. "$(dirname "$0")/filter-common.sh"
requires_nbdkit
requires_libnbd

size=$((8 * 1024 * 1024 + 513))         # the last bit is not a whole one

check_plugin()
{
    rm -rf "$state"
    "$df_tool" disk-add "$state" $disk $size
    tool bitmap-add fine 512
    tool bitmap-add coarse 64K
    tool bitmap-add off 64K disabled
    start "$@"
    client <<'END'
end = h.get_size()
assert h.pread(4096, 512) == bytes(4096)
h.pread(1, end - 1)
h.block_status(end, 0, lambda *a: 0)
h.flush()
if h.can_cache():
    h.cache(65536, 0)
END
    expect_dirty fine
    expect_dirty coarse

    client <<'END'
end = h.get_size()
h.pwrite(b"a", 1023)                    # the last byte of a bit
h.pwrite(b"b" * 514, 2047)              # the last of one, a whole one, the first of the next
h.pwrite(b"c", end - 1)                 # the last byte of the disk
END
    expect_dirty fine "512 512" "1536 1536" "8389120 1"
    expect_dirty coarse "0 65536" "8388608 513"

    client <<'END'
h.zero(3, 100000)
h.zero(131073, 1048575, nbd.CMD_FLAG_NO_HOLE)
assert h.pread(131073, 1048575) == bytes(131073)
END
    expect_dirty fine "512 512" "1536 1536" "99840 512" "1048064 131584" "8389120 1"
    tool clear fine
    tool clear coarse

    client <<'END'
assert h.can_trim()
h.trim(1, 4194304)
h.trim(4097, 5000001)
h.trim(3000000, 5242880 + 7)
END
    expect_dirty fine "4194304 512" "4999680 4608" "5242880 3000320"
    expect_dirty coarse "4194304 65536" "4980736 65536" "5242880 3014656"
    expect_dirty off

    client <<'END'
assert h.pread(1, 1023) == b"a"
assert h.pread(514, 2047) == b"b" * 514
assert h.pread(1, h.get_size() - 1) == b"c"
assert errno_of(h.pwrite, b"xx", h.get_size() - 1) is not None, "beyond the end"
END
    expect_dirty coarse "4194304 65536" "4980736 65536" "5242880 3014656"
    stop
    expect "exit status of nbdkit" $stop_status 0
}

check_plugin memory size=$size
truncate -s $size "$dir/image"
check_plugin file "$dir/image"
# A plugin that cannot zero: nbdkit writes in its stead, beneath or above the filter.
check_plugin --filter=nozero memory size=$size zeromode=emulate
check_plugin --filter=noparallel memory size=$size
# sizes of a disk and its plugin
tool disk-remove
