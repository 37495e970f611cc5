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
