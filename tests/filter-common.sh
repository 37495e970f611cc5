# SPDX-License-Identifier: BSD-3-Clause
# Sourced by tests/filter-*.sh and bench/bench-fio.sh: a state directory with
# one disk, nbdkit with the filter in front, an NBD client.  All of it lives in
# $dir and ends with the script.

set -euo pipefail

top_builddir=${abs_top_builddir:-$PWD}
filter=$top_builddir/.libs/nbdkit-dirtyferry-filter.so
python=${PYTHON3:-/usr/bin/python3}
df_tool=$top_builddir/tests/df-tool
nbdkit_pid=
daemon_pid=             # one in the background, which is no child of this shell

skip()
{
    echo "skipped: $*"
    exit 77
}

fail()
{
    echo "FAILED: $*" >&2
    [ ! -f "$dir/log" ] || tail -n 20 "$dir/log" | sed 's/^/log: /' >&2
    exit 1
}

requires_nbdkit()
{
    command -v nbdkit >/dev/null || skip "nbdkit is not installed"
    [ -f "$filter" ] || skip "the filter is not built: $filter"
}

requires_libnbd()
{
    "$python" -c 'import nbd' 2>/dev/null || skip "python3-libnbd is not installed ($python cannot import nbd)"
}

requires_fio_nbd()
{
    command -v fio >/dev/null || skip "fio is not installed"
    fio --enghelp=nbd 2>/dev/null | grep -q uri || skip "this fio has no nbd engine"
}

# Nothing is left behind: the server by its pid, children of this shell, the directory.
cleanup()
{
    local status=$?
    trap - EXIT
    local pids
    pids="$(jobs -p) $daemon_pid"
    # shellcheck disable=SC2086
    [ "$pids" = ' ' ] || kill -9 $pids 2>/dev/null || :
    wait 2>/dev/null || :
    rm -rf "$dir"
    exit "$status"
}

dir=$(mktemp -d "${TMPDIR:-/tmp}/df-filter.XXXXXX")
trap cleanup EXIT
trap 'exit 143' INT TERM HUP
state=$dir/state
disk=disk1
export sock=$dir/sock

tool()
{
    local command=$1
    shift
    "$df_tool" "$command" "$state" "$disk" "$@"
}

# A build with sanitizers needs their library loaded before anything else.
sanitizers=
[ ! -f "$filter" ] || sanitizers=$(ldd "$filter" | awk '/lib[atu][a-z]*san\.so/ { printf "%s ", $3 }')

nbdkit_preloaded()
{
    LD_PRELOAD=$sanitizers ASAN_OPTIONS=${ASAN_OPTIONS-detect_leaks=0} exec nbdkit "$@"
}

# With a sanitizer's library in it any nbdkit that has called strerror() in a
# thread hangs in exit(), in p11-kit's destructor, without our filter too.  All
# filters are unloaded by then.
end_sanitized()
{
    for _ in $(seq 100); do
        kill -0 $nbdkit_pid 2>/dev/null || break
        sleep 0.02
    done
    kill -9 $nbdkit_pid 2>/dev/null || :
    wait $nbdkit_pid 2>/dev/null || stop_status=$?
    [ $stop_status -ne 137 ] || stop_status=0
    ! grep -q -E 'ERROR: .*Sanitizer|WARNING: ThreadSanitizer|runtime error:' "$dir/log" || fail "the sanitizer found something"
}

# start_plain ARGUMENT...: nbdkit on $sock, answering when this returns.
start_plain()
{
    rm -f "$dir/pid" "$sock"
    (nbdkit_preloaded -f --exit-with-parent -U "$sock" -P "$dir/pid" "$@") 2>>"$dir/log" &
    nbdkit_pid=$!
    for _ in $(seq 500); do
        [ ! -s "$dir/pid" ] || return 0
        kill -0 $nbdkit_pid 2>/dev/null || fail "nbdkit $* did not start"
        sleep 0.02
    done
    fail "nbdkit $* did not answer within 10 s"
}

# start ARGUMENT...: the same with the filter outermost.
start()
{
    start_plain --filter="$filter" "$@" dirtyferry-state="$state" dirtyferry-disk="$disk"
}

# stop [SIGNAL]: nbdkit ends; its exit status is in $stop_status.
stop()
{
    stop_status=0
    kill -"${1:-TERM}" $nbdkit_pid
    if [ -n "$sanitizers" ]; then
        end_sanitized
    else
        wait $nbdkit_pid 2>/dev/null || stop_status=$?
    fi
    nbdkit_pid=
}

# An NBD client in Python, program on stdin; h is connected, errno_of(call) says how a call fails.
client()
{
    "$python" -c '
import os, sys, time, nbd
def connect():
    h = nbd.NBD()
    h.set_strict_mode(0)
    h.add_meta_context("base:allocation")
    h.connect_unix(os.environ["sock"])
    return h
def errno_of(call, *args):
    try:
        call(*args)
    except nbd.Error as e:
        return e.errno
    return None
h = connect()
exec(sys.stdin.read())
' "$@"
}

# expect_dirty BITMAP "OFFSET LENGTH"...: exactly these stretches.
expect_dirty()
{
    local bitmap=$1 want have
    shift
    want=$(for range; do echo "$range"; done)
    have=$(tool list-dirty "$bitmap")
    [ "$have" = "$want" ] || fail "dirty in $bitmap:" $'\n'"$have"$'\n'"expected:"$'\n'"$want"
}

expect()
{
    local what=$1 have=$2 want=$3
    [ "$have" = "$want" ] || fail "$what: '$have', expected '$want'"
}
