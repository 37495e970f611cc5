#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Messages without an end, and frames above every limit, without keys and from keys that are allowed.
. "$(dirname "$0")/attack-common.sh"

attacks()       # WHO
{
    assault "endless multipart on data" 192 zmtp "${by[@]}" endless "${data[b]}" 512
    told 1 "refused: $1: data: a message without an end"
    assault "many messages without an end" 256 zmtp "${by[@]}" unfinished "${data[b]}" 20
    told 1 "refused: $1: data: many messages without an end"
    assault "endless small parts on data" 192 zmtp "${by[@]}" endless "${data[b]}" 256 --frame 200
    assault "endless multipart on control" 192 zmtp "${by[@]}" endless "${control[b]%%,*}" 512 --socket REQ
    told 1 "refused: $1: control: a message without an end"
    for socket in "${control[b]%%,*} REQ" "${data[b]} PUSH"; do
        assault "oversize frame of ${socket#* }" 64 zmtp "${by[@]}" oversize "${socket% *}" --socket "${socket#* }"
    done
    [ ${#by[@]} -eq 0 ] || by eye
    assault "endless multipart on events" 64 zmtp "${by[@]}" endless "${events[b]}" 512 --socket SUB
    assault "endless small parts on events" 64 zmtp "${by[@]}" endless "${events[b]}" 64 --socket SUB --frame 200
    assault "oversize frame of SUB" 64 zmtp "${by[@]}" oversize "${events[b]}" --socket SUB
    assault "subscriptions" 64 zmtp "${by[@]}" subscriptions "${events[b]}" 5000 --socket SUB
    told 1 "refused: $1: events: (too many subscriptions|a subscriber with too many subscriptions)"
    finished "$session" "$disk"
    session=
}

by=()
open_hosts
attacks '127\.0\.0\.1'
stop a
stop b
keyed_hosts
by mallory
attacks '127\.0\.0\.1'
done_attacking
