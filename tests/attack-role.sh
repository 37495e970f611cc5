#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Keys that are allowed, but not for that: a monitor that changes things, a peer that manages or touches another key's
# session, keys on sockets that are not theirs.
. "$(dirname "$0")/attack-common.sh"
keyed_hosts
b disk add looked-at --size 1G
b bitmap add looked-at daily
honest
own() { b --json bitmap list looked-at; b --json disk list | json 'sorted(e["disk"] for e in d if not e["disk"].startswith("honest"))'; }
before=$(own)

# denied NAME TYPE [FIELD=VALUE]...: hundreds of times
denied()
{
    local name=$1 said
    shift
    by "$name"
    said=$(messages "${by[@]}" --times 200 ask "${control[b]%%,*}" "$@")
    [[ $said == "denied "* ]] || fail "$name asks $*: $said"
    echo "$said"
}

# ---- a monitor looks
look() { "$dirtyferry" --key "$dir/keys/eye_secret" -c "${control[b]}" "$@"; }
expect "what a monitor sees" "$(look --json bitmap list looked-at | json 'd[0]["name"]')" daily
refuse 1 "not allowed to key 'eye', whose roles are: monitor" -- look bitmap clear looked-at daily
refuse 1 "not allowed to key 'eye'" -- "$dirtyferry" --key "$dir/keys/eye_secret" pivot "$session" --from "${control[a]}" --to "${control[b]}"
for request in "pivot session=$session role=target" "cancel session=$session role=target" "abandon session=$session" \
    "disk-remove disk=looked-at" "bitmap-remove disk=looked-at bitmap=daily" "heartbeat session=$session epoch=1"; do
    assault "a monitor: ${request%% *}" 64 denied eye $request
    told 1 "refused: key 'eye' at 127\.0\.0\.1: control: ${request%% *}"
done

# ---- a peer manages nothing
for request in "disk-list" "status" "bitmap-show disk=looked-at bitmap=daily" "pivot session=$session role=target" "rollback session=$session role=source" \
    "disk-add disk=new size=1048576" "abandon session=$session" "lease session=$session worker=w"; do
    assault "a peer: ${request%% *}" 64 denied mallory $request
    told 1 "refused: key 'mallory' at 127\.0\.0\.1: control: ${request%% *}"
done
# ---- and has no part in another key's session
for request in "heartbeat session=$session epoch=1" "attempt session=$session epoch=4000000000" "wait session=$session role=target state=operative timeout_ms=10" \
    "cancel session=$session role=target" "seal session=$session epoch=1 handle=$(handle) digests=hex:0000000000000000"; do
    assault "another key's session: ${request%% *}" 64 denied mallory $request
    told 1 "refused: key 'mallory' at 127\.0\.0\.1: control: ${request%% *}: another key's session"
done

# ---- sockets that are not theirs
by boss
assault "an orchestrator on data" 64 zmtp "${by[@]}" --socket PUSH knock "${data[b]}" 100
told 1 "refused: key 'boss' at 127\.0\.0\.1: data: the roles of this key do not let it connect"
by mallory
assault "a peer on events" 64 zmtp "${by[@]}" --socket SUB knock "${events[b]}" 100
told 1 "refused: key 'mallory' at 127\.0\.0\.1: events: the roles of this key do not let it connect"

expect "what b has after all of that" "$(own)" "$before"
done_attacking
