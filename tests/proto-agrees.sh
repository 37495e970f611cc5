#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# proto/ says what the programs do: the tables are equal, no limit is left out,
# and a daemon understands and survives every request of the schema.
set -u

src=${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}
build=${abs_top_builddir:-$PWD}
dump=$build/tests/proto-dump
work=$(mktemp -d) || exit 99
daemon=
failed=0

finish() {
    [ -z "$daemon" ] || kill "$daemon" 2>/dev/null
    [ -z "$daemon" ] || wait "$daemon" 2>/dev/null
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

fail() {
    echo "proto-agrees: $*" >&2
    failed=1
}

# compare WHAT FILE: the file without comments and blank lines, and the dump without blank lines.
compare() {
    "$dump" "$1" | sed '/^$/d' >"$work/is" || exit 99
    sed '/^[[:space:]]*;/d; /^[[:space:]]*$/d' "$src/proto/$2" >"$work/says" || exit 99
    [ -s "$work/is" ] || fail "$1: the dump is empty"
    diff -u "$work/says" "$work/is" >&2 || fail "proto/$2 (-) and the programs (+) differ"
}

compare cddl dirtyferry.cddl
compare limits limits.txt
compare states states.txt
compare errors errors.txt

for name in $(sed -n 's/^#define \(WIRE_[A-Z_]*\) .*/\1/p' "$src/src/wire/limits.h" | grep -v '^WIRE_LIMITS_H$'); do
    grep -q "^$name " "$src/proto/limits.txt" || fail "$name of limits.h is not in proto/limits.txt"
done
for type in $(sed -n 's/^\([a-z-]*\)-request = {$/\1/p' "$src/proto/dirtyferry.cddl"); do
    grep -q "\`$type\`\*\*" "$src/proto/dirtyferry.md" || fail "the message '$type' is not in proto/dirtyferry.md"
done
for type in $(sed -n 's/^\([a-z-]*\)-event = {$/\1/p' "$src/proto/dirtyferry.cddl"); do
    grep -q "^- \`$type\`:" "$src/proto/dirtyferry.md" || fail "the event '$type' is not in proto/dirtyferry.md"
done
for field in $(sed -n 's/^  ?* *\([a-z_0-9]*\): .*/\1/p' "$src/proto/dirtyferry.cddl" | sort -u); do
    grep -q -e "\`$field\`" -e "^| [0-9] | $field |" "$src/proto/dirtyferry.md" || fail "the field '$field' is not in proto/dirtyferry.md"
done
for code in $("$dump" errors); do
    grep -q "\`$code\`" "$src/proto/dirtyferry.md" || fail "the error '$code' is not in proto/dirtyferry.md"
done
for state in $("$dump" states | sed 's/ (end)$//' | awk '{ print $4 }' | sort -u); do
    grep -q "^| \`$state\` |" "$src/proto/dirtyferry.md" || fail "the state '$state' is not in proto/dirtyferry.md"
done

# ---- every request, to a daemon

mkfifo "$work/ready"
"$build/dirtyferryd" --state-dir "$work/state" --control "ipc://$work/control" --data "ipc://$work/data" \
    --events "ipc://$work/events" >"$work/ready" 2>"$work/log" &
daemon=$!
read -r ready <"$work/ready"
case $ready in
ready*) "$dump" poke "ipc://$work/control" >"$work/poke" || { fail "a request is not served:"; cat "$work/poke" "$work/log" >&2; } ;;
*) fail "the daemon did not start"; cat "$work/log" >&2 ;;
esac
kill -0 "$daemon" 2>/dev/null || fail "the daemon has died"

exit $failed
