#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A load with many requests in flight, verified: each block that is not zero afterwards is dirty.
. "$(dirname "$0")/filter-common.sh"
requires_nbdkit
requires_libnbd
requires_fio_nbd

"$df_tool" disk-add "$state" $disk 256M
tool bitmap-add fine 4K
tool bitmap-add coarse 64K
start memory 256M
fio --name=verify --ioengine=nbd --uri="nbd+unix:///?socket=$sock" --rw=randwrite --bsrange=512-16k --blockalign=512 \
    --iodepth=32 --size=256M --io_size=64M --norandommap=0 --verify=crc32c --do_verify=1 --verify_fatal=1 \
    --randseed=11 --output="$dir/fio" || fail "fio: $(cat "$dir/fio")"

for granularity in 4096 65536; do
    bitmap=fine
    [ $granularity = 4096 ] || bitmap=coarse
    tool list-dirty $bitmap >"$dir/dirty"
    client "$dir/dirty" $granularity <<'END' || fail "blocks of $granularity bytes"
dirty = set()
granularity = int(sys.argv[2])
for line in open(sys.argv[1]):
    offset, length = map(int, line.split())
    dirty.update(range(offset // granularity, (offset + length) // granularity))
zero = bytes(granularity)
written = set()
for at in range(0, h.get_size(), 1 << 20):
    data = h.pread(1 << 20, at)
    for i in range(0, 1 << 20, granularity):
        if data[i:i + granularity] != zero:
            written.add((at + i) // granularity)
assert len(written) > 100, "fio wrote %d blocks" % len(written)
assert not written - dirty, "written and not dirty: %s" % sorted(written - dirty)[:5]
assert not dirty - written, "dirty and not written: %s" % sorted(dirty - written)[:5]
END
done
stop
