#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Both hosts are shut down and started in the middle of a session: persistent bitmaps are there again, and it goes on.
. "$(dirname "$0")/fail-common.sh"
host a
host b

shut_down()
{
    local name
    for name; do
        stop "$name"
        expect "exit status of $name" "$stop_status" 0
        boot "$name"
    done
}

# ---- in mid-stream: both
big_disk one --persistent
slow one/daily
pivot "$session"
record b one 50
mid_stream "$session"
shut_down a b
host b
expect "target" "$(state b "$session" target)/$(flags b one daily busy inconsistent recording)" "receiving/busy=true inconsistent=false recording=true"
host a
expect "source" "$(flags a one daily busy inconsistent readonly)" "busy=true inconsistent=false readonly=true"
record b one 50
finished "$session" one

# ---- prepared: both
small_disk two --persistent
session=$(prepared two/daily)
record a two 20
shut_down a b
host a
host b
expect "source" "$(state a "$session" source)/$(flags a two daily busy inconsistent recording)" "prepared/busy=true inconsistent=false recording=true"
record a two 20
pivot "$session"
record b two 20
finished "$session" two

# ---- in mid-stream: the source only, the target only
for name in a b; do
    big_disk only$name --persistent
    full=$(undisturbed only$name)
    slow only$name/daily
    pivot "$session"
    mid_stream "$session"
    frames=$(about b "$session" target frames)
    shut_down $name
    host $name
    record b only$name 50
    finished "$session" only$name
    resent=$(about a "$session" source resent_frames)
    case $name in
    a) [ "$resent" -le $((full - frames + 8)) ] || fail "the target was not restarted, and $resent of $full frames were sent again" ;;
    b) [ "$resent" -ge $((frames - 8)) ] || fail "the target's host was restarted, and only $resent of the $frames frames that had come were sent again" ;;
    esac
done

# ---- a bitmap that is not persistent does not survive it, and says so
small_disk three
stop a
boot a
host a
expect "after a clean stop" "$(flags a three daily persistent inconsistent recording)" "persistent=false inconsistent=true recording=true"
finish
