#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The flags of a request arrive beneath the filter as they came, and only then.
. "$(dirname "$0")/filter-common.sh"
requires_nbdkit
requires_libnbd

"$df_tool" disk-add "$state" $disk 1M
tool bitmap-add b 64K
truncate -s 1M "$dir/image"
start --filter=log file "$dir/image" logfile="$dir/requests"
client <<'END'
fua = nbd.CMD_FLAG_FUA
assert h.can_fua()
h.pwrite(bytes(512), 512, fua)
h.pwrite(bytes(512), 1024)
h.zero(512, 2048, fua)
h.zero(512, 4096, nbd.CMD_FLAG_NO_HOLE)
h.trim(512, 8192, fua)
h.trim(512, 16384)
h.flush()
END
stop

# flags OPERATION OFFSET: what the log says of the request at OFFSET
flags()
{
    sed -n "s/.* $1 id=[0-9]* offset=$2 count=0x200 \(.*\) \.\.\..*/\1/p" "$dir/requests"
}
expect "write with FUA" "$(flags Write 0x200)" "fua=1"
expect "write" "$(flags Write 0x400)" "fua=0"
case $(flags Zero 0x800) in *fua=1*) ;; *) fail "zero with FUA: '$(flags Zero 0x800)'";; esac
case $(flags Zero 0x800) in *trim=1*) ;; *) fail "zero that may trim: '$(flags Zero 0x800)'";; esac
case $(flags Zero 0x1000) in *trim=0*fua=0*) ;; *) fail "zero without hole: '$(flags Zero 0x1000)'";; esac
expect "trim with FUA" "$(flags Trim 0x2000)" "fua=1"
expect "trim" "$(flags Trim 0x4000)" "fua=0"
expect "requests seen" "$(grep -c -E ' (Write|Zero|Trim|Flush) ' "$dir/requests")" 7
