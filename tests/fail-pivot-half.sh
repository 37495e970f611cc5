#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The second half of the pivot fails: `migrate` finishes it or takes it back by itself.
. "$(dirname "$0")/fail-common.sh"
host a
host b

writable_again()    # DISK
{
    expect "source" "$(flags a "$1" daily busy recording readonly)" "busy=false recording=true readonly=false"
    expect "bitmaps left on the target" "$(b --json bitmap list "$1")" "[]"
    record a "$1" 20
    exact a "$1"
}

# ---- the command between the pivots fails
small_disk one
refuse 1 "exit status 7" "rolled back" "writable again" -- migrate one/daily --on-pivot 'exit 7'
writable_again one

# ---- the reply to the target's pivot is lost: it was done, and is not done twice
small_disk two
mkfifo "$dir/proxy.ready"
"$python" "$(dirname "$0")/proxy.py" "${control[b]}" --cut-reply pivot --log "$dir/lost" >"$dir/proxy.ready" 2>"$dir/proxy.err" &
read -r line <"$dir/proxy.ready" || fail "the proxy did not start: $(cat "$dir/proxy.err")"
"$dirtyferry" --json migrate two/daily --from "${control[a]}" --to "${line#ready }" >"$dir/result"
expect "replies lost" "$(wc -l <"$dir/lost")" 1
session=$(field session "$(cat "$dir/result")")
record b two 20
finished "$session" two

# ---- the target's daemon dies between the pivots, and is started again: one way or the other, not half
small_disk three
b_pid=${daemon_pid[b]}
migrate three/daily --on-pivot "kill -9 $b_pid" >"$dir/result" 2>"$dir/error" &
moving=$!
wait "$b_pid" 2>/dev/null || :      # the command has killed it
host b
if wait $moving; then
    session=$(field session "$(cat "$dir/result")")
    record b three 20
    finished "$session" three
else
    grep -q "rolled back.*writable again" "$dir/error" || fail "migrate says: $(cat "$dir/error")"
    writable_again three
fi

# ---- the target refuses its pivot, for somebody has cancelled there
small_disk four
refuse 1 "rolled back" "writable again" -- migrate four/daily --on-pivot \
    "'$dirtyferry' -c '${control[b]}' cancel \"\$('$dirtyferry' -c '${control[b]}' --json status | sed 's/.*\"session\":\"\\([^\"]*\\)\",\"role\":\"target\",\"state\":\"\\(prepared\\|filled\\)\".*/\\1/')\" >/dev/null"
writable_again four
finish
