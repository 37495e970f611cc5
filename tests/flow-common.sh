# SPDX-License-Identifier: BSD-3-Clause
# Sourced by tests/flow-*.sh: daemons by name, the command line, assertions.
# Everything lives in $dir and ends with the script, whatever ends that.
#
#   start a [OPTION]...   a daemon with the state directory $dir/a; ${control[a]},
#                         ${data[a]} and ${events[a]} say where it serves; the command
#                         in the array $daemon_under, if any, runs it
#   a ARGUMENT...         dirtyferry for that daemon; b likewise
#   finish                last line of each script: every daemon ends with 0

# Nothing may hang for ever: after two minutes the whole process group goes.
if [ -z "${DF_FLOW_BOUNDED:-}" ]; then
    DF_FLOW_BOUNDED=1 exec timeout -k 10 120 bash "$0" "$@"
fi
unset DF_FLOW_BOUNDED

set -euo pipefail
export LC_ALL=C.UTF-8

top_builddir=${abs_top_builddir:-$PWD}
top_srcdir=${abs_top_srcdir:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
dirtyferry=$top_builddir/dirtyferry
dirtyferryd=$top_builddir/dirtyferryd
hold_section=$top_builddir/tests/hold-section
df_inconsistent=$top_builddir/tests/df-inconsistent
python=${PYTHON3:-/usr/bin/python3}
unset DIRTYFERRY_CONNECT JOURNAL_STREAM

declare -A control=() data=() events=() daemon_pid=()
daemon_under=()

skip()
{
    echo "skipped: $*"
    exit 77
}

fail()
{
    echo "FAILED: $*" >&2
    local log
    for log in "$dir"/*.log; do
        [ ! -s "$log" ] || tail -n 12 "$log" | sed "s|^|${log##*/}: |" >&2
    done
    exit 1
}

cleanup()
{
    local status=$? pid
    trap - EXIT
    for pid in "${daemon_pid[@]}" $(jobs -p); do
        kill -9 "$pid" 2>/dev/null || :
        wait "$pid" 2>/dev/null || :
    done
    ! declare -F at_exit >/dev/null || at_exit || :     # a script may have one
    rm -rf "$dir"
    exit "$status"
}

dir=$(mktemp -d "${TMPDIR:-/tmp}/df-flow.XXXXXX")
[ ${#dir} -lt 80 ] || { rmdir "$dir"; dir=$(mktemp -d /tmp/df-flow.XXXXXX); }     # a socket's path has 107 bytes
trap cleanup EXIT
trap 'exit 143' INT TERM HUP
[ -x "$dirtyferry" ] && [ -x "$dirtyferryd" ] || fail "dirtyferry is not built in $top_builddir"
[ -x "$python" ] || skip "$python is not there"

# ---------------------------------------------------------------- daemons

# The pipe gives the line, or its end when the daemon could not start.
start()
{
    local name=$1 line=
    shift
    rm -f "$dir/$name.ready"
    mkfifo "$dir/$name.ready"
    "${daemon_under[@]}" "$dirtyferryd" --state-dir "$dir/$name" --control "ipc://$dir/$name.sock" --data 'tcp://127.0.0.1:*' \
        --events 'tcp://127.0.0.1:*' "$@" >"$dir/$name.ready" 2>>"$dir/$name.log" &
    daemon_pid[$name]=$!
    read -r line <"$dir/$name.ready" || fail "daemon $name did not start"
    [[ $line =~ ^ready\ control=([^ ]+)\ data=([^ ]+)\ events=([^ ]+)$ ]] || fail "daemon $name says: $line"
    control[$name]=${BASH_REMATCH[1]}
    data[$name]=${BASH_REMATCH[2]}
    events[$name]=${BASH_REMATCH[3]}
}

# try_start NAME [OPTION]...: for `refuse`; what it logs before is left out.
try_start()
{
    local name=$1 status=0
    shift
    timeout -k 5 20 "${daemon_under[@]}" "$dirtyferryd" --state-dir "$dir/$name" --control "ipc://$dir/$name.sock" --data 'tcp://127.0.0.1:*' \
        --events 'tcp://127.0.0.1:*' "$@" 2>"$dir/tried" || status=$?
    grep '^dirtyferryd: ' "$dir/tried" >&2 || :
    return $status
}

# stop NAME [SIGNAL]: its exit status is in $stop_status.
stop()
{
    local pid=${daemon_pid[$1]}
    stop_status=0
    kill -"${2:-TERM}" "$pid"
    # The shell's word that it was killed is not wanted.
    wait "$pid" 2>/dev/null || stop_status=$?
    unset "daemon_pid[$1]"
}

finish()
{
    local name
    for name in "${!daemon_pid[@]}"; do
        stop "$name"
        expect "exit status of daemon $name on SIGTERM" "$stop_status" 0
    done
    if grep -n 'ERROR: \|runtime error: ' "$dir"/*.log; then
        fail "a sanitizer complains"
    fi
}

on()
{
    local name=$1
    shift
    "$dirtyferry" -c "${control[$name]}" "$@"
}

a()
{
    on a "$@"
}

b()
{
    on b "$@"
}

# ------------------------------------------------------------- assertions

expect()
{
    [ "$2" = "$3" ] || fail "$1: '$2', expected '$3'"
}

# refuse STATUS PATTERN... -- COMMAND...: the command line or try_start fails with that status, one sentence on stderr that has
# every pattern (extended regular expressions) in it, nothing on stdout.  Status 2 may add the usage.
refuse()
{
    local status=$1 got=0 patterns=() pattern lines
    shift
    while [ "$1" != -- ]; do
        patterns+=("$1")
        shift
    done
    shift
    "$@" >"$dir/stdout" 2>"$dir/stderr" || got=$?
    [ "$got" = "$status" ] || fail "'$*': exit status $got, expected $status: $(cat "$dir/stderr")"
    [ ! -s "$dir/stdout" ] || fail "'$*' is refused and prints '$(head -c 200 "$dir/stdout")' on stdout"
    lines=$(wc -l <"$dir/stderr")
    if [ "$status" = 1 ]; then
        [ "$lines" = 1 ] || fail "'$*': $lines lines on stderr, expected one sentence: $(cat "$dir/stderr")"
        grep -q '^dirtyferryd\?: ' "$dir/stderr" || fail "'$*': stderr is '$(cat "$dir/stderr")'"
    else
        [ "$lines" -ge 1 ] || fail "'$*': nothing on stderr"
    fi
    for pattern in "${patterns[@]}"; do
        grep -Eq -e "$pattern" "$dir/stderr" || fail "'$*': '$pattern' is not in: $(cat "$dir/stderr")"
    done
}

# eventually WHAT COMMAND...: looks again until it is so, 20 s at most.
eventually()
{
    local what=$1 i
    shift
    for ((i = 0; i < 800; i++)); do
        ! "$@" || return 0
        sleep 0.025
    done
    fail "never happened: $what"
}

# ------------------------------------------------------------------- JSON

# field NAME JSON: the first value of that name.
field()
{
    [[ $2 =~ \"$1\":(\"([^\"]*)\"|[^],}]*) ]] || fail "there is no field '$1' in: $2"
    [ "${BASH_REMATCH[1]:0:1}" = '"' ] && echo "${BASH_REMATCH[2]}" || echo "${BASH_REMATCH[1]}"
}

# json EXPRESSION [ARGUMENT]...: Python on stdin as `d`; prints the value.
json()
{
    "$python" -c '
import json, sys
d = json.load(sys.stdin)
v = eval(sys.argv[1])
print(json.dumps(v) if isinstance(v, (dict, list, bool)) or v is None else v)' "$@"
}

# bits NAME DISK BITMAP: what must arrive unchanged.
bits()
{
    local shown
    shown=$(on "$1" --json bitmap show "$2" "$3")
    echo "$(field count "$shown") $(field sha256 "$shown")"
}

# flag NAME DISK BITMAP FLAG...
flags()
{
    local shown name=$1 disk=$2 bitmap=$3 flag text=
    shift 3
    shown=$(on "$name" --json bitmap show "$disk" "$bitmap")
    for flag; do
        text+="${text:+ }$flag=$(field "$flag" "$shown")"
    done
    echo "$text"
}

# state NAME SESSION ROLE
state()
{
    on "$1" --json status "$2" | json '[s["state"] for s in d if s["role"] == sys.argv[2]][0]' "$3"
}

is_state()
{
    [ "$(state "$1" "$2" "$3")" = "$4" ]
}

# Everything that a refused command must leave as it was.
snapshot()
{
    local name disk
    for name; do
        on "$name" --json disk list | json 'json.dumps(sorted(d, key=lambda e: e["disk"]))'
        for disk in $(on "$name" --json disk list | json '" ".join(sorted(e["disk"] for e in d))'); do
            on "$name" --json bitmap list "$disk"
        done
    done
}

# ------------------------------------------------------------------ marks

# ranges SEED SIZE NUMBER LENGTH: that many "offset length" lines, lengths 1 to LENGTH bytes.
ranges()
{
    "$python" -c '
import random, sys
seed, size, n, length = map(int, sys.argv[1:])
r = random.Random(seed)
for _ in range(n):
    o = r.randrange(size)
    print(o, min(r.randint(1, length), size - o))' "$@"
}

# mark NAME DISK <ranges: records writes past the daemon, as a guest does.
mark()
{
    sed 's/^/mark /' | "$hold_section" "$dir/$1" "$2" >"$dir/marked"
    ! grep -vx ok "$dir/marked" || fail "marks on disk $2 of $1 were refused"
}

# A disk of the same size on both, one bitmap on a: pair DISK SIZE BITMAP [OPTION]...
pair()
{
    local disk=$1 size=$2 bitmap=$3
    shift 3
    a disk add "$disk" --size "$size"
    b disk add "$disk" --size "$size"
    a bitmap add "$disk" "$bitmap" "$@"
}

prepared()
{
    "$dirtyferry" --json prepare --from "${control[a]}" --to "${control[b]}" "$@" | json 'd["session"]'
}

pivot()
{
    "$dirtyferry" pivot "$1" --from "${control[a]}" --to "${control[b]}" >"$dir/pivot.out"
}

migrate()
{
    "$dirtyferry" --json migrate --from "${control[a]}" --to "${control[b]}" "$@"
}
