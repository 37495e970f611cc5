#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The target's host crashes: before its pivot nothing is lost; after it what it recorded is, and the bitmap says so.
. "$(dirname "$0")/fail-common.sh"

crash()
{
    die b
    boot b
    host b
}

host a
host b

# ---- prepared: the source has everything, and goes on as before
small_disk one --persistent
session=$(prepared one/daily)
record a one 20
crash
eventually "it is abandoned there, for it may have recorded" is_state b "$session" target abandoned
expect "target" "$(flags b one daily busy inconsistent)" "busy=false inconsistent=true"
says b "$session" target "restarted without a clean stop" || fail "the target says: $(about b "$session" target message)"
says_given_up() { says a "$session" source "given session $session up: it is abandoned"; }
eventually "the source says so" says_given_up
expect "source" "$(state a "$session" source)/$(flags a one daily busy recording)" "prepared/busy=true recording=true"
a cancel "$session" >/dev/null
record a one 20
exact a one
b bitmap remove one daily
migrate one/daily >/dev/null
exact b one

# ---- receiving: abandoned, the source keeps its bits
big_disk two --persistent
slow two/daily
pivot "$session"
record b two 50
mid_stream "$session"
before=$(bits a two daily)
crash
eventually "it is abandoned" is_state b "$session" target abandoned
expect "target" "$(flags b two daily busy inconsistent recording)" "busy=false inconsistent=true recording=true"
refuse 1 "inconsistent" -- b bitmap export two daily "$dir/x" --format raw
eventually "the source hears of it" is_state a "$session" source abandoned
expect "source" "$(flags a two daily busy readonly inconsistent)" "busy=false readonly=true inconsistent=false"
expect "the source's bits" "$(bits a two daily)" "$before"
says a "$session" source "abandoned session $session: the bits stay here" || fail "the source says: $(about a "$session" source message)"

# ---- operative: a clean stop keeps a persistent bitmap, a crash makes it inconsistent
small_disk three --persistent
session=$(prepared three/daily)
pivot "$session"
record b three 20
finished "$session" three
before=$(bits b three daily)
stop b
boot b
host b
expect "after a clean stop" "$(flags b three daily persistent inconsistent recording) $(bits b three daily)" "persistent=true inconsistent=false recording=true $before"
record b three 20
crash
expect "after a crash" "$(flags b three daily inconsistent recording)" "inconsistent=true recording=true"
expect "state of the session" "$(state b "$session" target)" operative
finish
