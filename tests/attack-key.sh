#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Keys that nobody allowed, no key at all, a key for another server, a certificate without roles: nobody gets in, on no socket.
. "$(dirname "$0")/attack-common.sh"
keyed_hosts
key nothing
allow b nothing
declare -A speaks=([control]=REQ [data]=PUSH [events]=SUB)

for what in control data events; do
    declare -n endpoint=$what
    to_b=${endpoint[b]%%,*}
    by stranger
    assault "an unknown key on $what" 64 zmtp "${by[@]}" --socket "${speaks[$what]}" knock "$to_b" 60
    told "refused: 127\.0\.0\.1, key .{40}: $what: this key is not allowed"
    by nothing
    assault "a key without roles on $what" 64 zmtp "${by[@]}" --socket "${speaks[$what]}" knock "$to_b" 60
    told "refused: .*127\.0\.0\.1.*: $what: this key is not allowed"
    assault "no key on $what" 64 zmtp --socket "${speaks[$what]}" knock "$to_b" 60
    told "refused: $stranger: $what: what was sent is no handshake, or one side has a key and the other has none"
    assault "a key for another server on $what" 64 zmtp --key "$dir/keys/mallory_secret" --server "$dir/keys/a" \
        --socket "${speaks[$what]}" knock "$to_b" 60
done

# ---- what the command line says
refuse 1 "does not let this key in" -- "$dirtyferry" --key "$dir/keys/stranger_secret" -c "${control[b]}" disk list
refuse 1 "one side has a key and the other has none" -- env -u DIRTYFERRY_KEY "$dirtyferry" -c "${control[b]%%,*}" disk list
refuse 1 "certificate that was named for it is not its own" -- "$dirtyferry" -c "${control[b]%%,*},$dir/keys/a" disk list
done_attacking
