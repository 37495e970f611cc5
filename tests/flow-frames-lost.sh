#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Links that fail: the data connection is cut with frames in it, replies of the control socket are lost.
. "$(dirname "$0")/flow-common.sh"

# proxy NAME TARGET [OPTION]...: where it listens is in $proxy, its process in $proxy_pid.
proxy()
{
    local name=$1 line
    shift
    mkfifo "$dir/$name.ready"
    "$python" "$(dirname "$0")/proxy.py" "$@" --log "$dir/$name.failures" >"$dir/$name.ready" 2>"$dir/$name.err" &
    proxy_pid=$!
    read -r line <"$dir/$name.ready" || fail "the proxy did not start: $(cat "$dir/$name.err")"
    proxy=${line#ready }
}

failures()
{
    wc -l <"$dir/$1.failures"
}

start a

# ---- the data connection dies four times, some 150 kB of frames to send
start b
data_b=${data[b]}
stop b
# A port that was free a moment ago: the daemon must say where the proxy is before that knows the daemon.
proxy data "$data_b" --cut 40000,1,30000,20000
start b --data "${data_b/\[::ffff:127.0.0.1\]/127.0.0.1}" --advertise-data "$proxy"
expect "advertised endpoint" "${data[b]##*:}" "${data_b##*:}"
pair one 2G daily --granularity 512
ranges 1 2147483648 150000 1 | mark a one
before=$(bits a one daily)
result=$(migrate one/daily)
expect "bits over a link that fails" "$(bits b one daily)" "$before"
expect "connections cut" "$(failures data)" 4
[ "$(field resent_frames "$result")" -gt 0 ] || fail "frames were lost, none was sent again: $result"
expect "source" "$(a --json bitmap list one)" "[]"

# ---- the same without workers in the daemon, small chunks, two bitmaps
stop b
proxy again "$data_b" --cut 20000,20000,20000
start b --data "${data_b/\[::ffff:127.0.0.1\]/127.0.0.1}" --advertise-data "$proxy"
pair two 1G daily --granularity 512
a bitmap add two weekly --granularity 4K
a disk add ref --size 1G            # gets what must be on the target
a bitmap add ref daily --granularity 512
a bitmap add ref weekly --granularity 4K
ranges 2 1073741824 80000 1 >"$dir/ranges"
mark a two <"$dir/ranges"
mark a ref <"$dir/ranges"
session=$(prepared two --chunk-size 256 --workers 0)
pivot "$session"
b bitmap mark two 1073741823 1      # the children record meanwhile
a bitmap mark ref 1073741823 1
a worker "$session"
b wait "$session" >/dev/null
expect "bits of daily" "$(bits b two daily)" "$(bits a ref daily)"
expect "bits of weekly" "$(bits b two weekly)" "$(bits a ref weekly)"
expect "connections cut" "$(failures again)" 3
[ "$(a --json status "$session" | json 'd[0]["resent_frames"]')" -gt 0 ] || fail "no frame was sent again"

# ---- replies of the target's control socket are lost: the request is sent again, and not done twice
# Through this proxy the source's daemon and the client reach the target: offer, pivot, seal, wait.
proxy control "${control[b]}" --cut-reply offer,seal
pair three 1G daily
ranges 3 1073741824 100 90000 | mark a three
before=$(bits a three daily)
"$dirtyferry" --json migrate three/daily --from "${control[a]}" --to "$proxy" >"$dir/result"
expect "bits when replies are lost" "$(bits b three daily)" "$before"
expect "bitmaps on the target" "$(b --json bitmap list three | json 'len(d)')" 1
expect "replies lost" "$(failures control)" 2
finish
