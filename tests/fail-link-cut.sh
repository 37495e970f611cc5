#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The link dies in mid-stream and comes back: a dump is written, nothing is lost, only what is missing is sent again.
. "$(dirname "$0")/fail-common.sh"
host a
host_b_linked
link_up
to=$link
big_disk one
full=$(undisturbed one)
slow one/daily
"$dirtyferry" -c "${control[a]}" --json watch "$session" >"$dir/seen.a" &
"$dirtyferry" -c "${control[b]}" --json watch "$session" >"$dir/seen.b" &
has_event() { grep -q "\"event\":\"$2\"" "$dir/seen.$1"; }
eventually "the events of a come" has_event a snapshot
eventually "the events of b come" has_event b snapshot
pivot "$session"
record b one 50
mid_stream "$session"

cut_ms=$(now_ms)
link_cut
eventually "the source is interrupted" is_state a "$session" source interrupted
echo "interrupted $(($(now_ms) - cut_ms)) ms after the cut"
frames=$(about b "$session" target frames)
[ "$frames" -lt "$full" ] || fail "all was sent before the cut: $frames frames"
eventually "the source says that the link is lost" is_about a "$session" source link lost
eventually "the target says that the link is lost" is_about b "$session" target link lost
says a "$session" source "resume" || fail "the source does not say what to do: $(about a "$session" source message)"
says b "$session" target "^waiting for source.*load.*abandon" || fail "the target says: $(about b "$session" target message)"
eventually "the event of the lost link at the source" grep -q '"link":"lost".*"event":"link"' "$dir/seen.a"
eventually "the event of the lost link at the target" grep -q '"link":"lost".*"event":"link"' "$dir/seen.b"
grep -q "session $session source: the link is lost" "$dir/a.log" || fail "the source's log does not have it"
grep -q "session $session target: the link is lost" "$dir/b.log" || fail "the target's log does not have it"

# The dump is a whole one, of this session.
dump=$dir/a/dumps/$session.dump
dump_is_shown() { is_about a "$session" source dump "$dump"; }
eventually "the dump is shown" dump_is_shown
[ -f "$dump" ] || fail "there is no dump '$dump'"
host c
c() { on c "$@"; }
refuse 1 "the dump is of session $session, which has no target here" -- c load "$dump"
head -c $(($(stat -c %s "$dump") - 1)) "$dump" >"$dir/short.dump"
refuse 1 "short.dump" -- c load "$dir/short.dump"

# The target records on.
record b one 50
link_up
finished "$session" one
frames_in_all=$(about b "$session" target frames)
[ "$frames_in_all" -le $((full + 8)) ] || fail "more than what was missing was sent again: $frames before the cut, $frames_in_all in all, undisturbed $full"
[ "$(about a "$session" source epoch)" -gt 1 ] || fail "the attempt is still the first"
expect "link at the end" "$(about a "$session" source link)" ""
[ ! -e "$dump" ] || fail "the dump is left"
grep -q "the link is there again" "$dir/a.log" || fail "the source's log does not have the link again"

# ---- the dump travels by other means while the link is dead: the source hears of it when it is back
big_disk two
slow two/daily
pivot "$session"
mid_stream "$session"
link_cut
eventually "the dump is there" test -f "$dir/a/dumps/$session.dump"
record b two 50
b load "$dir/a/dumps/$session.dump" >/dev/null
eventually "the target is operative" is_state b "$session" target operative
expect "source" "$(state a "$session" source)" interrupted
link_up
finished "$session" two

# ---- the operator gives up while the link is dead: the source keeps its bits and says so
big_disk three
slow three/daily
pivot "$session"
before=$(bits a three daily)
mid_stream "$session"
link_cut
eventually "the source is interrupted" is_state a "$session" source interrupted
b abandon "$session" >/dev/null
link_up
eventually "the source hears of it" is_state a "$session" source abandoned
expect "source" "$(flags a three daily busy readonly inconsistent) $(bits a three daily)" "busy=false readonly=true inconsistent=false $before"
finish
