#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What is no ZMTP: garbage, handshakes and messages that break off, malformed commands and lengths, on all three sockets.
. "$(dirname "$0")/attack-common.sh"
declare -A speaks=([control]=REQ [data]=PUSH [events]=SUB)

attacks()
{
    local what to_b socket
    for what in control data events; do
        declare -n endpoint=$what
        to_b=${endpoint[b]%%,*}
        socket=${speaks[$what]}
        assault "garbage on $what" 64 zmtp garbage "$to_b" 200 --socket "$socket"
        told "refused: $stranger: $what: what was sent is no handshake"
        assault "truncated on $what" 64 zmtp "${by[@]}" truncated "$to_b" --socket "$socket"
        assault "malformed commands on $what" 64 zmtp "${by[@]}" commands "$to_b" --socket "$socket"
    done
}

by=()
open_hosts
attacks
finished "$session" "$disk"
session=
stop a
stop b
keyed_hosts
by mallory
attacks
done_attacking
