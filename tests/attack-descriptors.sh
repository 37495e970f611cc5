#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A daemon that may have few descriptors, and connections by the thousand: some are left for its sessions and its files.
. "$(dirname "$0")/attack-common.sh"

# 512 is the least with which a daemon starts.
cat >"$dir/limited" <<EOF
#!/bin/sh
ulimit -n 512
exec "$dirtyferryd" "\$@"
EOF
chmod +x "$dir/limited"
start a "${tcp[@]}"
dirtyferryd=$dir/limited
start b "${tcp[@]}"

# What a new session needs: files, maps, sockets.
new_session()
{
    small_disk "small$((++disks))"
    migrate "small$disks" >/dev/null
    exact b "small$disks"
}

for what in control data events; do
    declare -n endpoint=$what
    during "1000 connections on $what" zmtp hold "${endpoint[b]}" 1000
    new_session
    over 64
    told "refused: $stranger: $what: too many connections"
done

# ---- faster than the guard hears of it, which stands still here: libzmq would abort for want of a descriptor
start c
threads=()
for thread in $(ls "/proc/${daemon_pid[c]}/task" | sort -n); do
    [ "$(cat "/proc/${daemon_pid[c]}/task/$thread/comm")" = "$(cat "/proc/${daemon_pid[c]}/comm")" ] && threads+=("$thread")
done
coproc still { "$python" "$tools/attack_still.py" "${threads[1]}"; }    # behind main() the first that is started
still_in=${still[1]}        # bash forgets it when the process ends
read -r answer <&"${still[0]}" || answer="no answer"
if [ "$answer" = ready ]; then
    "$python" - "$dir/c.sock" <<'PYTHON' || fail "the daemon does not take what it can"
import socket, sys, time
sockets = []
until = time.monotonic() + 30
while len(sockets) < 700 and time.monotonic() < until:      # what is accepted, and 100 that wait in the kernel
    s = socket.socket(socket.AF_UNIX)
    s.setblocking(False)
    try:
        s.connect(sys.argv[1])
        sockets.append(s)
    except BlockingIOError:
        s.close()
        if len(sockets) > 512:
            break
        time.sleep(0.001)
    except OSError as error:
        sys.exit(f"after {len(sockets)} connections: {error}")
sys.exit(len(sockets) <= 512)
PYTHON
    kill -0 "${daemon_pid[c]}" 2>/dev/null || fail "without a descriptor the daemon ends"
else
    echo "not tried: $answer"
fi
eval "exec $still_in>&-"
expect "disks afterwards" "$(on c --json disk list)" "[]"

# ---- sessions take their part, and no more
for side in a b; do
    on $side disk add many --size 1G
    on $side disk add more --size 1G
done
for ((i = 0; i < 40; i++)); do
    a bitmap add many "b$i"
    a bitmap add more "b$i"
done
first=$(prepared many)
refuse 1 'refuses: 2? ?[0-9]+ sessions are under way.*LimitNOFILE' -- "$dirtyferry" prepare more --from "${control[a]}" --to "${control[b]}"
expect "bitmaps left by the one that is refused" "$(b --json bitmap list more)" "[]"
new_session
a cancel "$first" >/dev/null
a cancel "$(prepared more)" >/dev/null
done_attacking
