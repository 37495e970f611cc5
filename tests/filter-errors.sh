#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What cannot work says why, in one sentence, and never lets a write pass unrecorded.
. "$(dirname "$0")/filter-common.sh"
requires_nbdkit
requires_libnbd
[ -z "$sanitizers" ] || skip "with a sanitizer nbdkit hangs in exit() after an error (see filter-common.sh)"

"$df_tool" disk-add "$state" $disk 1M
tool bitmap-add b 4K

# refuses PATTERN ARGUMENT...: nbdkit exits by itself, PATTERN is in the one error that it prints.
refuses()
{
    local pattern=$1 status=0
    shift
    (nbdkit_preloaded -f --exit-with-parent -U "$sock" --filter="$filter" memory 1M "$@" --run true) >"$dir/out" 2>&1 || status=$?
    [ $status -ne 0 ] || fail "nbdkit started with: $*"
    grep -q -- "error: .*$pattern" "$dir/out" || fail "expected '$pattern', nbdkit says: $(cat "$dir/out")"
    expect "errors printed for $*" "$(grep -c 'error:' "$dir/out")" 1
}
refuses "dirtyferry-state=DIR is missing" dirtyferry-disk=$disk
refuses "dirtyferry-disk=DISK is missing" dirtyferry-state="$state"
refuses "there is no disk 'other'" dirtyferry-state="$state" dirtyferry-disk=other
refuses "state directory '$dir/nowhere'" dirtyferry-state="$dir/nowhere" dirtyferry-disk=$disk
refuses "disk name '../x'" dirtyferry-state="$state" dirtyferry-disk=../x
refuses "disk name '' has 0 bytes" dirtyferry-state="$state" dirtyferry-disk=
# A daemon says it before it goes into the background.
(nbdkit_preloaded -U "$sock" --filter="$filter" memory 1M dirtyferry-state="$state" dirtyferry-disk=other) 2>"$dir/out" &&
    fail "nbdkit went into the background without its disk"
grep -q "there is no disk 'other'" "$dir/out" || fail "a daemon says: $(cat "$dir/out")"
rm -f "$sock"

# Another size: the connection is refused, the log names both, the server lives.
start memory size=1048577
client <<'END' 2>/dev/null && fail "a connection to a plugin of another size" || :
END
grep -q "serves 1048577 bytes but disk 'disk1' has 1048576" "$dir/log" || fail "the log does not name both sizes"
kill -0 $nbdkit_pid || fail "nbdkit is gone"
stop

# No writer is left: EIO and a reason; when there is one again the same connection goes on.
start memory 1M
mkfifo "$dir/hold"
tool hold-slots <"$dir/hold" >"$dir/held" &
holder=$!
exec 9>"$dir/hold"
for _ in $(seq 500); do [ -s "$dir/held" ] && break; sleep 0.02; done
expect "slots left beside nbdkit's own" "$(cat "$dir/held")" 4095
client <<'END'
assert errno_of(h.pwrite, b"x", 0) == "EIO"
assert errno_of(h.zero, 512, 0) == "EIO"
assert errno_of(h.trim, 512, 0) == "EIO"
assert h.pread(1, 0) == b"\0", "a write passed unrecorded"
END
grep -q "write of 1 bytes at 0 was refused, because it cannot be recorded: disk 'disk1' has 4096 writers" "$dir/log" || fail "no reason in the log"
expect_dirty b
exec 9>&-
wait $holder
client <<'END'
h.pwrite(b"x", 0)
END
expect_dirty b "0 4096"

# The disk cannot be removed while nbdkit runs, not even between two connections.
tool disk-remove 2>"$dir/out" && fail "the disk was removed under nbdkit" || :
grep -q "has it open" "$dir/out" || fail "removal says: $(cat "$dir/out")"
stop

# As a daemon, with a relative path: nbdkit changes to / and forks.
tool clear b
rm -f "$dir/pid" "$sock"
(cd "$dir" && nbdkit_preloaded -U "$sock" -P "$dir/pid" --filter="$filter" memory 1M dirtyferry-state=state dirtyferry-disk=$disk)
for _ in $(seq 500); do [ -s "$dir/pid" ] && break; sleep 0.02; done
daemon_pid=$(cat "$dir/pid")
client <<'END'
h.pwrite(b"x", 8192)
END
expect_dirty b "8192 4096"
kill "$daemon_pid"
for _ in $(seq 500); do kill -0 "$daemon_pid" 2>/dev/null || break; sleep 0.02; done
! kill -0 "$daemon_pid" 2>/dev/null || fail "the daemon does not stop"
daemon_pid=
tool disk-remove || fail "a slot is held by nobody"
