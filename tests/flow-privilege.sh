#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The daemon has no privilege when it serves, whoever started it; it works as a user of its own and
# in the sandbox of the systemd unit, of which the exposure is that in SECURITY.md.
. "$(dirname "$0")/flow-common.sh"
unit=$dir/unit/dirtyferryd.service
not_tried=()
mkdir "$dir/unit" "$dir/unit/dirtyferryd.service.d"
# systemd looks whether the program is there.
sed "s|^ExecStart=[^ ]*|ExecStart=$dirtyferryd|" "$top_builddir/dirtyferryd.service" >"$unit"

# ---- the unit: nothing that systemd complains about, alone and with the example for writers
verified()
{
    local said status=0
    said=$(systemd-analyze verify --man=no "$unit" 2>&1) || status=$?
    [ $status = 0 ] && ! grep -F dirtyferryd.service <<<"$said" || fail "systemd-analyze verify: status $status: $said"
}

if command -v systemd-analyze >/dev/null; then
    verified
    cp "$top_srcdir/contrib/systemd/writer-group.conf" "$dir/unit/dirtyferryd.service.d"
    verified
    rm "$dir/unit/dirtyferryd.service.d/writer-group.conf"
    read -r version exposure < <(tr '\n' ' ' <"$top_srcdir/SECURITY.md" | grep -oE 'systemd [0-9]+ gives the unit an exposure of [0-9]+\.[0-9]' | awk '{ print $2, $NF }') ||
        fail "SECURITY.md does not say the exposure of the unit"
    found=$(systemd-analyze --version | awk 'NR == 1 { print $2 }')
    if [ "$found" = "$version" ]; then
        systemd-analyze security --no-pager --offline=true --threshold="${exposure/./}" "$unit" >"$dir/exposure" ||
            fail "the exposure has grown beyond $exposure: $(tail -n 1 "$dir/exposure")"
        tail -n 1 "$dir/exposure"
    else
        not_tried+=("the exposure: this is systemd $found, which weighs otherwise than $version")
    fi
    [[ $(systemd-sysusers --dry-run --root="$dir" "$top_srcdir/contrib/systemd/sysusers.d/dirtyferry.conf" 2>&1) == *dirtyferry* ]] ||
        fail "systemd-sysusers would not make the user dirtyferry"
else
    not_tried+=("the unit: systemd-analyze is not there")
fi

# ---- a daemon without more ado, of root or of who runs this: no thread of it can do what its user cannot
start a
start b
threads=0
for status in "/proc/${daemon_pid[a]}"/task/*/status; do
    threads=$((threads + 1))
    for set in CapInh CapPrm CapEff CapAmb; do
        expect "$set of a thread" "$(awk -v s=$set: '$1 == s { print $2 }' "$status")" 0000000000000000
    done
    # Who is not root cannot lower the bound; no_new_privs makes it worthless.
    [ "$(id -u)" -ne 0 ] || expect "CapBnd of a thread" "$(awk '$1 == "CapBnd:" { print $2 }' "$status")" 0000000000000000
    expect "no_new_privs of a thread" "$(awk '$1 == "NoNewPrivs:" { print $2 }' "$status")" 1
done
[ $threads -ge 4 ] || fail "the daemon has $threads threads: were they looked at?"
stop a
stop b

# ---- a session as the user nobody where root runs this; what the daemons do is traced if strace is there
as_nobody=()
if [ "$(id -u)" -eq 0 ]; then
    as_nobody=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
    chmod 711 "$dir"
else
    not_tried+=("daemons of another user: only root can start them")
fi
for name in a b; do
    mkdir "$dir/of-$name"
    [ ${#as_nobody[@]} -eq 0 ] || chown nobody:nogroup "$dir/of-$name"
done

tracer=()
if ! command -v strace >/dev/null; then
    not_tried+=("the unit's filter: strace is not there")
elif grep -q '^SANITIZER_CFLAGS = .*-fsanitize' "$top_builddir/Makefile"; then
    not_tried+=("the unit's filter: this build has sanitizers, which do what the daemon does not")
elif ! strace -o "$dir/tried" true 2>/dev/null; then
    not_tried+=("the unit's filter: strace may not trace here")
else
    tracer=(strace -D -f -A -s 300)
fi

start_bare()    # NAME: with the user, the state directory and the socket of its own
{
    daemon_under=("${tracer[@]}" ${tracer:+-o "$dir/$1.trace"} "${as_nobody[@]}")
    start "$1" --state-dir "$dir/of-$1/state" --control "ipc://$dir/of-$1/control"
    daemon_under=()
}

start_bare a
start_bare b
if [ ${#as_nobody[@]} -gt 0 ]; then
    expect "owner of its memory, which is not dumpable" "$(stat -c %U "/proc/${daemon_pid[a]}/mem")" root
    expect "user of the daemon" "$(awk '$1 == "Uid:" { print $2, $3, $4 }' "/proc/${daemon_pid[a]}/status")" "$(id -u nobody) $(id -u nobody) $(id -u nobody)"
    expect "mode and owner of the state directory" "$(stat -c '%a %U' "$dir/of-a/state")" "700 nobody"
fi
pair vda 100G daily --persistent
ranges 1 107374182400 50 20971520 | while read -r offset length; do
    a bitmap mark vda "$offset" "$length"
done
before=$(bits a vda daily)
[ "${before%% *}" -gt 1000000 ] || fail "the marks were not recorded: $before"
session=$(prepared vda/daily)
# Stopped and started: the journal is read too.
stop a
expect "exit status on SIGTERM" "$stop_status" 0
start_bare a
# It is refused until the link is up again.
pivots()
{
    pivot "$session" 2>/dev/null
}
eventually "the pivot" pivots
b --json wait "$session" >"$dir/waited"
expect "state" "$(field state "$(cat "$dir/waited")")" operative
expect "bits on the target" "$(bits b vda daily)" "$before"
eventually "the source lets go" is_state a "$session" source released
for name in a b; do
    stop $name
    expect "exit status of $name on SIGTERM" "$stop_status" 0
done

# ---- and the unit's filter would have let them
ended()
{
    [ "$(grep -c "+++ exited with 0 +++" "$dir/a.trace")" -ge 2 ] && grep -q "+++ exited with 0 +++" "$dir/b.trace"
}
if [ ${#tracer[@]} -gt 0 ] && command -v systemd-analyze >/dev/null; then
    eventually "strace has written it all" ended
    "$python" "$top_srcdir/tests/sandbox.py" "$unit" "$dir/a.trace" "$dir/b.trace" || fail "the unit's sandbox does not suit the daemon"
fi

# ---- root's daemon keeps no right to pass over owners
if [ "$(id -u)" -eq 0 ]; then
    refuse 1 "'$dir/of-a/state'.* belongs to uid 65534 and this program runs as uid 0" -- try_start of-a/state
fi

# ---- systemctl start returns when it serves: READY=1, to a path and to an abstract name
heard()         # ADDRESS
{
    local listener
    mkfifo "$dir/listening"
    timeout 20 "$python" -c '
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1].replace("@", "\0"))
open(sys.argv[2], "w").close()
print(s.recv(100).decode())' "$1" "$dir/listening" >"$dir/heard" &
    listener=$!
    cat "$dir/listening"
    NOTIFY_SOCKET=$1 start c
    wait $listener || fail "nothing came to $1"
    expect "what came to $1" "$(cat "$dir/heard")" READY=1
    stop c
    rm "$dir/listening"
}
heard "$dir/notify"
heard "@dirtyferry-test-$$"
status=0
NOTIFY_SOCKET=$dir/nobody-there try_start x >"$dir/stdout" 2>"$dir/stderr" || status=$?
expect "exit status without a service manager behind NOTIFY_SOCKET" "$status" 1
grep -q "cannot tell the service manager at NOTIFY_SOCKET '$dir/nobody-there'" "$dir/stderr" || fail "it says: $(cat "$dir/stderr")"

finish
[ ${#not_tried[@]} -eq 0 ] || skip "$(printf 'not tried: %s. ' "${not_tried[@]}")"
