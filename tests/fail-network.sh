#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A real network between the daemons: two namespaces, a veth pair; down and up, packets dropped, connections killed.
. "$(dirname "$0")/fail-common.sh"
[ "$(id -u)" -eq 0 ] || skip "network namespaces need root"
for tool in ip ss nft; do
    command -v $tool >/dev/null || skip "$tool is not installed"
done
net=df$$
at_exit()
{
    ip netns delete ${net}a 2>/dev/null
    ip netns delete ${net}b 2>/dev/null
}

ip netns add ${net}a 2>/dev/null && ip netns add ${net}b || skip "no network namespace can be made"
ip -n ${net}a link add v0 type veth peer name v0 netns ${net}b 2>/dev/null || skip "no veth pair can be made"
ip -n ${net}a address add 10.199.0.1/24 dev v0
ip -n ${net}b address add 10.199.0.2/24 dev v0
for side in a b; do
    ip -n $net$side link set v0 up
    ip -n $net$side link set lo up
done

# The daemon of b listens in its namespace; the command line reaches it from here by a unix socket that ends there.
daemon_in()     # NAME OPTION...
{
    local name=$1 program=$dirtyferryd
    shift
    printf '#!/bin/sh\nexec ip netns exec %s "%s" "$@"\n' "$net$name" "$program" >"$dir/$name.program"
    chmod +x "$dir/$name.program"
    dirtyferryd="$dir/$name.program"
    start "$name" --events "ipc://$dir/$name.events" "$@"
    dirtyferryd=$program
}

in_net()        # NAME COMMAND...
{
    local name=$1
    shift
    ip netns exec "$net$name" "$@"
}

daemon_in a
target=tcp://10.199.0.2:7440
daemon_in b --insecure --control "$target" --data tcp://10.199.0.2:7441
b()
{
    in_net b "$dirtyferry" -c "$target" "$@"
}
on()
{
    local name=$1
    shift
    if [ "$name" = b ]; then b "$@"; else "$dirtyferry" -c "${control[$name]}" "$@"; fi
}

# begin DISK: a slow session in mid-stream
begin()
{
    big_disk "$1"
    session=$(in_net a "$dirtyferry" --json prepare --from "${control[a]}" --to "$target" --workers 1 --chunk-size 256 --max-bandwidth 32K "$1/daily" | json 'd["session"]')
    in_net a "$dirtyferry" pivot "$session" --from "${control[a]}" --to "$target" >/dev/null
    mid_stream "$session"
}

interrupted()
{
    local since_ms
    since_ms=$(now_ms)
    eventually "the source is interrupted by $1" is_state a "$session" source interrupted
    eventually "the link is lost by $1" is_about a "$session" source link lost
    echo "$1: interrupted after $(($(now_ms) - since_ms)) ms"
    eventually "the dump is there" test -f "$dir/a/dumps/$session.dump"
}

# drop NAME EXPRESSION: what comes in there is dropped
drop()
{
    in_net "$1" nft -f - <<<"table ip df { chain in { type filter hook input priority 0; $2 drop; }; }"
}

# ---- the link goes down and up
begin down
ip -n ${net}b link set v0 down
interrupted "link down"
record b down 50
ip -n ${net}b link set v0 up
finished "$session" down

# ---- all packets are dropped for a while
begin drop
drop b ""
interrupted "packets dropped"
record b drop 50
in_net b nft delete table ip df
finished "$session" drop

# ---- connections are killed, all of them, again and again
begin kill
for _ in 1 2 3; do
    in_net a ss -K dst 10.199.0.2 >>"$dir/killed" 2>&1 || :
    record b kill 10
done
grep -q ESTAB "$dir/killed" || echo "this kernel cannot kill connections (ss -K): that is not tested here"
finished "$session" kill

# ---- one packet in eight is lost, both ways
begin lossy
for side in a b; do
    drop $side "numgen random mod 8 0"
done
record b lossy 50
finished "$session" lossy
for side in a b; do
    in_net $side nft delete table ip df
done

# ---- the target has another address
begin moved
ip -n ${net}b address delete 10.199.0.2/24 dev v0
ip -n ${net}b address add 10.199.0.3/24 dev v0
interrupted "address gone"
target=tcp://10.199.0.3:7440
stop b
daemon_in b --insecure --control "$target" --data tcp://10.199.0.3:7441
record b moved 50
a resume "$session" --to "$target" >/dev/null
finished "$session" moved
finish
