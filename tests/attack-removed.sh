#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A key that is taken away in mid-session, or loses its role: its connections end at once, its session waits, and goes on when
# the key is there again.
. "$(dirname "$0")/attack-common.sh"
keyed_hosts
rate=24K

interrupted()   # WHAT PATTERN
{
    local pattern=$2
    eventually "$1: the source is interrupted" is_state a "$session" source interrupted
    eventually "$1: the target waits" is_about b "$session" target link lost
    frames=$(about b "$session" target frames)
    record b "$disk" 20
    is_refused() { grep -Eq "refused: .*127\.0\.0\.1.*control: $pattern" "$dir/b.log"; }
    eventually "$1: the log of b says who is refused" is_refused
    expect "$1: frames that came since" "$(about b "$session" target frames)" "$frames"
}

goes_on()       # WHAT
{
    eventually "$1: the source streams again" is_state a "$session" source streaming
    more() { [ "$(about b "$session" target frames)" -gt "$frames" ]; }
    eventually "$1: frames come again" more
}

# ---- removed
honest
rm "$dir/allow-b/a"
interrupted "a key that is removed" "this key is not allowed"
expect "link of the source" "$(about a "$session" source link)" lost
allow b a
goes_on "a key that is there again"

# ---- another role
honest
mv "$dir/keys/a" "$dir/keys/a.peer"
sed 's/roles = "peer"/roles = "monitor"/' "$dir/keys/a.peer" >"$dir/keys/a"
cmp -s "$dir/keys/a" "$dir/keys/a.peer" && fail "the certificate has no role peer"
allow b a
interrupted "a key that is a monitor's now" "(heartbeat|attempt)"
says a "$session" source "not allowed to key 'a', whose roles are: monitor" || fail "the source says: $(about a "$session" source message)"
mv "$dir/keys/a.peer" "$dir/keys/a"
allow b a
goes_on "a key that is a peer's again"

# ---- a monitor that watches
"$dirtyferry" --key "$dir/keys/eye_secret" -c "${control[b]}" --json watch >"$dir/watch.out" 2>"$dir/watch.err" &
watch=$!
sees() { grep -q snapshot "$dir/watch.out"; }
eventually "a monitor sees events" sees
rm "$dir/allow-b/eye"
eventually "a watch by a key that is removed ends" eval '! kill -0 $watch 2>/dev/null'
done_attacking
