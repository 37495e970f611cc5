#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# --json of every command is one JSON value with the promised fields; --help is for strangers.
. "$(dirname "$0")/flow-common.sh"
start a
start b

# check EXPRESSION COMMAND...: stdout is exactly one JSON value, of which the expression is true; stderr is empty.
check()
{
    local expression=$1
    shift
    "$@" >"$dir/stdout" 2>"$dir/stderr" || fail "'$*' fails: $(cat "$dir/stderr")"
    [ ! -s "$dir/stderr" ] || fail "'$*' prints on stderr: $(cat "$dir/stderr")"
    expect "'$*': $expression: $(cat "$dir/stdout")" "$(json "bool($expression)" <"$dir/stdout")" true
}

bitmap='{"name", "granularity", "count", "recording", "busy", "persistent", "inconsistent", "frozen", "readonly"}'
status='{"session", "role", "state", "epoch", "chunks", "chunks_done", "frames", "bytes", "resent_frames", "bitmaps"}'
# ---- commands that change something have nothing to tell, and say that in JSON
for name in a b; do
    check 'd == {}' on $name --json disk add vda --size 1G
    check 'd == {}' on $name --json disk add vdb --size 1G
    check 'd == {}' on $name disk add gone --size 1G --json
done
check 'd == {}' a --json disk remove gone
check 'd == {}' a --json bitmap add vda daily --persistent
check 'd == {}' a --json bitmap add vda weekly
check 'd == {}' a --json bitmap add vdb daily
check 'd == {}' a --json bitmap add vdb weekly
check 'd == {}' a --json bitmap mark vda 1M 1M
check 'd == {}' a --json bitmap disable vda weekly
check 'd == {}' a --json bitmap enable vda weekly
check 'd == {}' a --json bitmap merge vda weekly daily
check 'd == {}' a --json bitmap export vda daily "$dir/raw" --format raw
check 'd == {}' a --json bitmap export vda daily "$dir/json" --format json
check 'd == {}' a --json bitmap clear vda weekly
truncate -s 1G "$dir/image" "$dir/backup"
check 'd.keys() == {"diff", "disk", "bitmap", "state", "size", "granularity", "different", "read", "zero", "shared", "unread", "inconsistent"} and d["state"] == "complete"' \
    a --json bitmap diff vda weekly --against "$dir/backup" --data "$dir/image"
check 'd == {}' a --json bitmap remove vda weekly
check 'd == {}' a --json disk writable vda
# ---- lists and looks
check '[sorted(e.items()) for e in d if e["disk"] == "vda"] == [[("bitmaps", 1), ("disk", "vda"), ("readonly", False), ("size", 1 << 30)]]' a --json disk list
check "len(d) == 1 and d[0].keys() >= $bitmap" a bitmap list vda --json
check "d.keys() >= $bitmap | {'sha256'} and len(d['sha256']) == 64 and d['count'] == 1 << 20 and d['granularity'] == 65536 and d['persistent'] is True" \
    a --json bitmap show vda daily
expect "raw export" "$(sha256sum <"$dir/raw" | cut -d' ' -f1)" "$(field sha256 "$(cat "$dir/stdout")")"
expect "json export" "$(json '[(e["start"], e["length"], e["dirty"]) for e in d] == [(0, 1 << 20, False), (1 << 20, 1 << 20, True), (2 << 20, (1 << 30) - (2 << 20), False)]' <"$dir/json")" true
# ---- sessions
check 'd == []' a --json status
check 'd.keys() >= {"session", "state"} and d["state"] == "prepared"' "$dirtyferry" --json prepare vda/daily --from "${control[a]}" --to "${control[b]}" --workers 0
session=$(field session "$(cat "$dir/stdout")")
check "d.keys() >= $bitmap | {'session'} and d['busy'] is True and d['session'] == '$session'" a --json bitmap show vda daily
check "len(d) == 1 and d[0].keys() >= $status and d[0]['state'] == 'prepared' and d[0]['role'] == 'source' and d[0]['bitmaps'][0].keys() >= {'disk', 'bitmap', 'as_disk', 'as_bitmap', 'chunks', 'chunks_done'}" a --json status "$session"
check "d[0]['role'] == 'target'" b --json status "$session"
check "d.keys() >= {'session', 'pivot_us'} and 0 < d['pivot_us']" "$dirtyferry" --json pivot "$session" --from "${control[a]}" --to "${control[b]}"
check 'd == {}' a --json worker "$session"
check "d.keys() >= $status and d['state'] == 'operative' and d['chunks'] == d['chunks_done']" b --json wait "$session"
check 'd == {}' a --json disk writable vda
session=$("$dirtyferry" prepare vdb/daily --from "${control[a]}" --to "${control[b]}")
check "d.keys() >= $status and d['state'] == 'cancelled'" a --json cancel "$session"
session=$("$dirtyferry" prepare vdb/daily --from "${control[a]}" --to "${control[b]}")
"$dirtyferry" pivot "$session" --from "${control[a]}" >/dev/null
check "d.keys() >= $status and d['state'] == 'rolled-back'" a --json rollback "$session"
check "d.keys() >= {'session', 'state', 'pivot_us', 'operative_ms', 'frames', 'bytes', 'resent_frames', 'bitmaps'} and d['state'] == 'operative' and len(d['bitmaps']) == 2 and d['operative_ms'] * 1000 >= d['pivot_us'] > 0 and d['frames'] > 0" \
    migrate vdb
# ---- dumps, and what is left to do when the link is gone
check 'd == {}' a --json disk writable vdb
check 'd == {}' a --json bitmap add vdb hourly
check 'd == {}' a --json bitmap mark vdb 1M 1M
check "d.keys() >= {'file', 'session', 'epoch', 'bytes', 'blocks', 'bitmaps'} and d['file'] == '$dir/dump' and d['bitmaps'][0].keys() >= {'disk', 'bitmap', 'size', 'granularity'}" \
    a --json dump vdb/hourly "$dir/dump"
check "d.keys() >= $status and d['state'] == 'operative' and d['session'] == '$(field session "$(cat "$dir/stdout")")'" b --json load "$dir/dump"
check 'd == {}' b --json bitmap remove vdb hourly
session=$("$dirtyferry" prepare vdb/hourly --from "${control[a]}" --to "${control[b]}" --workers 0)
check "d.keys() >= $status | {'link'} and d['state'] == 'prepared' and d['link'] == 'up'" a --json resume "$session"
"$dirtyferry" pivot "$session" --from "${control[a]}" --to "${control[b]}" >/dev/null
check "d['session'] == '$session' and d['epoch'] == 1 and d['blocks'] >= 3" "$dirtyferry" --json dump "$session" "$dir/dump" --from "${control[a]}"
check "d.keys() >= $status and d['state'] == 'abandoned'" "$dirtyferry" --json abandon "$session" --to "${control[b]}" --all-dirty
refuse 1 "no disk 'none'" -- a --json bitmap list none

# ---- help: on stdout, status 0, the options that there are
help()      # "COMMAND" WORD...
{
    local command=$1 word
    shift
    # shellcheck disable=SC2086
    "$dirtyferry" $command --help >"$dir/stdout" 2>"$dir/stderr" || fail "'$command --help' fails"
    [ ! -s "$dir/stderr" ] || fail "'$command --help' prints on stderr"
    grep -q "^Usage: dirtyferry" "$dir/stdout" || fail "'$command --help' shows no usage"
    for word; do
        grep -q -e "$word" "$dir/stdout" || fail "'$command --help' does not name $word"
    done
}
help "" disk bitmap migrate prepare pivot wait status cancel rollback resume abandon dump load worker watch --json --connect -c DIRTYFERRY_CONNECT 'Exit status'
help disk add list remove writable --size
for word in add list remove writable; do
    help "disk $word" --size
done
help bitmap add remove clear enable disable merge list show mark export diff --against --data --cancel --granularity --disabled --persistent --format
for word in add remove clear enable disable merge list show mark export diff; do
    help "bitmap $word" "$word"
done
help migrate --from --to --as --chunk-size --workers --max-bandwidth --on-pivot --progress --json
help prepare --from --to --as --chunk-size --workers --max-bandwidth
help pivot --from --to --on-pivot
help "wait" SESSION --to
help status SESSION
help cancel SESSION --from --to
help rollback SESSION --from
help resume SESSION --from --to
help abandon SESSION --to --all-dirty
help dump SESSION DISK/BITMAP FILE --from
help load FILE --to
help worker SESSION
help watch SESSION
help diff OLD NEW --granularity --format --output --map --old-format --new-format --on-error --verify-against --bitmap --context --json
"$dirtyferryd" --help >"$dir/stdout" 2>"$dir/stderr" || fail "dirtyferryd --help fails"
[ ! -s "$dir/stderr" ] || fail "dirtyferryd --help prints on stderr"
for word in --state-dir --control --data --events --advertise-data --verbose --version 7440 7441 7442; do
    grep -q -e "$word" "$dir/stdout" || fail "dirtyferryd --help does not name $word"
done
grep -Eq "^dirtyferry [0-9]+\.[0-9]+" <<<"$("$dirtyferry" --version)" || fail "--version says $("$dirtyferry" --version)"
grep -Eq "^dirtyferryd [0-9]+\.[0-9]+" <<<"$("$dirtyferryd" --version)" || fail "dirtyferryd --version"
# Without arguments it shows the same, as a complaint.
refuse 2 "^Usage: dirtyferry" -- "$dirtyferry"
# The endpoint may come from the environment.
expect "DIRTYFERRY_CONNECT" "$(DIRTYFERRY_CONNECT=${control[b]} "$dirtyferry" --json bitmap list vda | json 'len(d)')" 1
finish
