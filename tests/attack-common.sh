# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-3-Clause
# Sourced by tests/attack-*.sh, one for each row of SECURITY.md's table "Attacks and results".  An honest session is
# always in mid-stream while something attacks the target b (or the source a).
#
#   open_hosts [OPTION]...    a and b without keys, on tcp
#   keyed_hosts [OPTION]...   with keys: those of keys_make; the command line is the orchestrator
#   honest                there is a session in mid-stream: in $session, of $disk
#   assault WHAT MIB COMMAND...   the command attacks b: the daemons live and answer, b's memory grew by less than that,
#                         the log by a few lines.  What the command prints is shown.
#   told [MOST] PATTERN...    ... and 1 to MOST (2) of those lines have all of these patterns
#   during COMMAND... / over  the same in two halves: the command attacks until `over`
#   done_attacking        the honest session finishes exact, no descriptor is left open, no secret was printed, all ends well
. "$(dirname "${BASH_SOURCE[0]}")/fail-common.sh"

tools=$(dirname "${BASH_SOURCE[0]}")
command -v "$python" >/dev/null && "$python" -c 'import zmq, msgpack' 2>/dev/null || skip "python3-zmq or python3-msgpack is not there"
# Who is refused in a handshake: when libzmq has closed the connection before the daemon looks at it, nobody can say.
stranger='(127\.0\.0\.1|somebody who has left)'
lines_most=12       # of the log in one assault, those of sessions apart

zmtp()
{
    "$python" "$tools/attack_zmtp.py" "$@"
}

messages()
{
    "$python" "$tools/attack_messages.py" "$@"
}

# ---------------------------------------------------------------- daemons

tcp=(--control 'tcp://127.0.0.1:*' --data 'tcp://127.0.0.1:*' --events 'tcp://127.0.0.1:*')

open_hosts()
{
    start a "${tcp[@]}" "$@"
    start b "${tcp[@]}" "$@"
}

# key NAME ROLE...: $dir/keys/NAME and NAME_secret
key()
{
    local name=$1 role roles=()
    shift
    for role; do
        roles+=(--role "$role")
    done
    mkdir -p "$dir/keys"
    "$dirtyferry" keygen "$dir/keys/$name" "${roles[@]}" >>"$dir/keygen.out"
}

# allow HOST NAME...: from now on
allow()
{
    local host=$1 name
    shift
    mkdir -p -m 700 "$dir/allow-$host"
    for name; do
        cp "$dir/keys/$name" "$dir/allow-$host/$name.new~"
        mv "$dir/allow-$host/$name.new~" "$dir/allow-$host/$name"
    done
}

start_keyed()
{
    local name=$1
    shift
    start "$name" "${tcp[@]}" --key "$dir/keys/${name}_secret" --allow "$dir/allow-$name" "$@"
    control[$name]+=,$dir/keys/$name
}

# Keys: a and b of the daemons, boss the orchestrator's; mallory a peer that is allowed, eye a monitor,
# stranger nobody's.
keyed_hosts()
{
    key a peer
    key b peer
    key boss orchestrator
    key mallory peer
    key eye monitor
    key stranger orchestrator peer monitor
    allow a b boss mallory eye
    allow b a boss mallory eye
    start_keyed a "$@"
    start_keyed b "$@"
    export DIRTYFERRY_KEY=$dir/keys/boss_secret
}

# by NAME: the options of the attack tools for that key, against b
by()
{
    by=(--key "$dir/keys/${1}_secret" --server "$dir/keys/b")
}

# ---------------------------------------------------------- honest sessions

declare -A descriptors_of=()
disks=0
disk=
session=

# slower than `slow`, so that one session is there for several assaults
honest()
{
    [ -z "$session" ] || ! is_state b "$session" target operative || { finished "$session" "$disk"; session=; }
    if [ -z "$session" ]; then
        disk=honest$((++disks))
        big_disk "$disk"
        session=$("$dirtyferry" --json prepare --from "${control[a]}" --to "${to:-${control[b]}}" --workers 1 --chunk-size 256 \
            --max-bandwidth "${rate:-48K}" "$disk/daily" | json 'd["session"]')
        pivot "$session"
        mid_stream "$session" 5
    fi
    record b "$disk" 20
}

# The session's handle at b, by which frames name it: from b's journal.
handle()
{
    "$python" -c '
import sys, msgpack
data = open(sys.argv[1], "rb").read()
unpacker = msgpack.Unpacker()
unpacker.feed(data[data.index(b"\xa6handle") + 7:])
print(unpacker.unpack())' "$dir/b/sessions/$session.target"
}

# ------------------------------------------------------------------ attacks

usage()         # NAME FIELD: KiB, from /proc
{
    awk -v f="$2:" '$1 == f { print $2 }' "/proc/${daemon_pid[$1]}/status"
}

is_alive()
{
    [ "$(awk '$1 == "State:" { print $2 }' "/proc/${daemon_pid[$1]}/status" 2>/dev/null)" != Z ] && [ -d "/proc/${daemon_pid[$1]}" ]
}

descriptors()
{
    ls "/proc/${daemon_pid[b]}/fd" | wc -l
}

attack_begins()
{
    honest
    [ -n "${descriptors_of[${daemon_pid[b]}]-}" ] || descriptors_of[${daemon_pid[b]}]=$(descriptors)
    attack=$1
    attack_lines=$(wc -l <"$dir/b.log")
    attack_kib=$(usage b VmRSS)
    # VmHWM begins anew.  Who is not root may not; then it has grown by more than it did.
    { echo 5 >"/proc/${daemon_pid[b]}/clear_refs"; } 2>/dev/null || :
}

# What b has logged since then.  Its own words about sessions are no part of the attack.
attack_log()
{
    tail -n "+$((attack_lines + 1))" "$dir/b.log" | { grep -v '^session ' || :; }
}

attack_ends()   # MIB
{
    local grown lines
    is_alive a || fail "$attack: daemon a is dead"
    is_alive b || fail "$attack: daemon b is dead"
    b status >/dev/null || fail "$attack: daemon b does not answer"
    grown=$((($(usage b VmHWM) - attack_kib) / 1024))
    lines=$(attack_log | wc -l)
    echo "$attack: memory grew by $grown MiB at most, $lines lines of log; $(tail -n 1 "$dir/attack.out")"
    [ "$grown" -lt "$1" ] || fail "$attack: memory grew by $grown MiB, $1 are the bound"
    [ "$lines" -le "$lines_most" ] || fail "$attack: $lines lines of log: $(attack_log | head -n 20)"
}

# The output is for no_secret too.
assault()
{
    local what=$1 mib=$2
    shift 2
    attack_begins "$what"
    "$@" >"$dir/attack.out" 2>&1 || fail "$what: status $?: $(tail -n 3 "$dir/attack.out")"
    cat "$dir/attack.out" >>"$dir/attacks.out"
    attack_ends "$mib"
}

during()        # WHAT COMMAND...: it says "ready", and ends with its stdin
{
    local line what=$1
    shift
    attack_begins "$what"
    rm -f "$dir/during.in" "$dir/during.ready"
    mkfifo "$dir/during.in" "$dir/during.ready"
    "$@" <"$dir/during.in" >"$dir/during.ready" 2>"$dir/attack.err" &
    during_pid=$!
    exec {during_in}>"$dir/during.in" {during_out}<"$dir/during.ready"
    read -r line <&"$during_out" && [[ $line == ready* ]] || fail "$what: it did not begin: $line $(cat "$dir/attack.err")"
}

over()          # MIB
{
    exec {during_in}>&-
    cat <&"$during_out" >"$dir/attack.out"
    exec {during_out}<&-
    wait "$during_pid" || fail "$attack: status $?: $(cat "$dir/attack.err")"
    cat "$dir/attack.out" "$dir/attack.err" >>"$dir/attacks.out"
    attack_ends "$1"
}

# told [MOST] PATTERN...
told()
{
    local most=2
    [[ ! $1 =~ ^[0-9]+$ ]] || { most=$1; shift; }
    patterns=("$@")
    eventually "after '$attack' the log has a line with: $*" is_told
    local n
    n=$(told_lines | wc -l)
    [ "$n" -le "$most" ] || fail "$attack: $n lines say $*"
}

told_lines()
{
    local pattern lines
    lines=$(attack_log)
    for pattern in "${patterns[@]}"; do
        lines=$(grep -E -e "$pattern" <<<"$lines" || :)
    done
    [ -z "$lines" ] || echo "$lines"
}

is_told()
{
    [ -n "$(told_lines)" ]
}

# ---------------------------------------------------------------- pivots

# ready_pivots N: sessions that are prepared, for `latency`
ready_pivots()
{
    local i
    ready=()
    for ((i = 0; i < $1; i++)); do
        pair "pivot$((++disks))" 1T daily
        ready+=("$(prepared "pivot$disks/daily")")
    done
}

# latency N: pivots so many of them, both sides; prints the median in ms
latency()
{
    local i times=()
    for ((i = 0; i < $1; i++)); do
        pivot "${ready[0]}"
        times+=("$(awk '{ print $2 }' "$dir/pivot.out")")
        ready=("${ready[@]:1}")
    done
    median_ms=$(printf '%s\n' "${times[@]}" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }')
}

# ------------------------------------------------------------------- the end

no_secret()
{
    local file secret
    for file in "$dir"/keys/*_secret; do
        [ -e "$file" ] || continue
        secret=$(sed -n 's/.*secret-key *= *"\(.*\)".*/\1/p' "$file")
        [ ${#secret} -eq 40 ] || fail "there is no secret key in $file"
        ! grep -qrF -e "$secret" "$dir" --include='*.log' --include='*.out' --include='*.err' --include='std*' || fail "the secret of $file was printed"
    done
}

# No connection of an attack is left.
has_let_go()
{
    [ "$(descriptors)" -le "${descriptors_of[${daemon_pid[b]}]-65536}" ]
}

done_attacking()
{
    [ -z "$session" ] || finished "$session" "$disk"
    session=
    eventually "b has no more descriptors than before the first attack" has_let_go
    no_secret
    finish
}
