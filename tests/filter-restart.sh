#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdkit that ends closes its disk cleanly, the last of two; one that is killed does not.
. "$(dirname "$0")/filter-common.sh"
requires_nbdkit
requires_libnbd
df_boot=$top_builddir/tests/df-boot

"$df_tool" disk-add "$state" $disk 64M
tool bitmap-add b 64K persistent
tool bitmap-add plain 64K

write_at()
{
    client <<<"h.pwrite(bytes(4096), $1)"
}

start memory 64M
write_at 131072
stop TERM
"$df_boot" "$state"
expect "dirty after a clean stop and a restart of the host" "$(tool list-dirty b)" "131072 65536"
tool list-dirty plain 2>"$dir/error" && fail "a bitmap that is not persistent outlived the host"
grep -q 'inconsistent.*full backup' "$dir/error" || fail "it says: $(cat "$dir/error")"

# It goes on, and a client that never disconnected is no hindrance.
start memory 64M
client 2>/dev/null <<'END' &
import time
h.pwrite(bytes(4096), 0)
print("written", flush=True)
time.sleep(60)
END
for _ in $(seq 500); do
    [ "$(tool list-dirty b | wc -l)" = 2 ] && break
    sleep 0.02
done
stop TERM
"$df_boot" "$state" $disk
expect "dirty after the second" "$(tool list-dirty b | tr '\n' ' ')" "0 65536 131072 65536 "

# Somebody else still writes: it is up to him, and he is killed.
mkfifo "$dir/hold"
"$top_builddir/tests/hold-section" "$state" $disk <"$dir/hold" >/dev/null &
holder=$!
exec 9>"$dir/hold"
for _ in $(seq 500); do
    [ "$(tool slots)" = 0 ] || break
    sleep 0.02
done
start memory 64M
write_at 1048576
stop TERM
! grep -q 'dirtyferry: disk' "$dir/log" || fail "a disk in use is no error"
kill -9 $holder
wait $holder 2>/dev/null || :
"$df_boot" "$state"
tool list-dirty b 2>"$dir/error" && fail "a bitmap of a disk that was not closed is good"
grep -q inconsistent "$dir/error" || fail "it says: $(cat "$dir/error")"

# A list of bitmaps that is lost: the disk can be removed.
"$df_boot" --torn 2 "$state" $disk
tool count b 2>"$dir/error" && fail "a disk without a table was opened"
grep -q 'damaged when the host crashed.*remove the disk' "$dir/error" || fail "it says: $(cat "$dir/error")"
"$df_tool" disk-remove "$state" $disk
