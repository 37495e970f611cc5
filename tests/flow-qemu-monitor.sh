#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The monitor's connection ends at each step of a move, and somebody else has the monitor: the next try is a new connection.
. "$(dirname "$0")/qemu-common.sh"
host a
host b
for q in qa qb; do
    null disk 1G
    storage $q "${null[@]}"
    relayed $q.link $q.qmp
done
on a disk add disk --qemu "$dir/qa.link" --node disk
on b disk add disk --qemu "$dir/qb.link" --node disk

again()         # ends all connections
{
    for q in qa qb; do
        relay_does KILL $q.link
        relayed $q.link $q.qmp
    done
}

filled qa disk daily 1 512
again
session=$(prepared disk/daily --workers 0)
again
"$dirtyferry" pivot "$session" --from "${control[a]}" >/dev/null
again
"$dirtyferry" pivot "$session" --to "${control[b]}" >/dev/null
again
a worker "$session"
b wait "$session" >/dev/null
arrived qb disk daily "$dir/1.raw"
eventually "the source lets go" is_state a "$session" source released
again
expect "look" "$(field sha256 "$(b --json bitmap show disk daily)")" "$(bits_of "$dir/1.raw")"
no_traces qa a

# ---- nobody is there
relay_does KILL qa.link
refuse 1 "qa.link" -- a bitmap list disk
refuse 1 "qa.link" -- migrate disk
relayed qa.link qa.qmp
expect "bitmaps" "$(a --json bitmap list disk)" "[]"

# ---- somebody else has the monitor, and then has not
filled qa disk second 2 512
mkfifo "$dir/hold"
"$python" -c '
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
print(s.recv(1), flush=True)
sys.stdin.read()' "$dir/qa.qmp" <"$dir/hold" >"$dir/other" &
other=$!
exec {hold}>"$dir/hold"
eventually "somebody else has the monitor" test -s "$dir/other"
refuse 1 "qa.link.*one at a time" -- migrate disk/second
exec {hold}>&-
wait $other
migrate disk >"$dir/result"
arrived qb disk second "$dir/2.raw"
finish
