#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Bad input: exit status 1 (2 for usage), one sentence that names the value and the limit, and nothing
# has changed on either side.
. "$(dirname "$0")/flow-common.sh"
start a
start b
c='absent'
control[c]=ipc://$dir/$c.sock

pair good 1G daily
pair size 1G daily
b disk remove size
b disk add size --size 2G
pair exists 1G daily
b bitmap add exists daily
pair readonly 1G daily
b bitmap add readonly other
"$dirtyferry" migrate readonly/other --as good/from-b --from "${control[b]}" --to "${control[a]}" >/dev/null    # b's disk is fenced now
a disk add fenced --size 1G
a bitmap add fenced stays
a bitmap add fenced gone
b disk add fenced --size 1G
migrate fenced/gone >/dev/null
a disk add only-here --size 1G
a bitmap add only-here daily
a disk add no-bitmap --size 1G
b disk add no-bitmap --size 1G
pair broken 1G daily
a bitmap add broken fine
"$df_inconsistent" "$dir/a" broken daily
pair busy 1G daily
a bitmap add busy free
session=$(prepared busy/daily --workers 0)
a disk add large --size 1E
b disk add large --size 1E
a bitmap add large daily --granularity 512K
a bitmap mark good 1M 1M
disks=(good size exists readonly fenced only-here no-bitmap broken busy large)
cases=0

# Both sides as their users see them, and the files: a bitmap that comes or goes changes those.
look()
{
    local name disk
    for name in a b; do
        on $name --json disk list
        for disk in "${disks[@]}"; do
            on $name --json bitmap list "$disk" 2>&1 || :
        done
    done
    files
}

files()
{
    (cd "$dir" && shopt -s dotglob globstar nullglob && echo a/disks/** b/disks/**)
}

# bad STATUS PATTERN... -- COMMAND...: as `refuse`, and nothing has changed.
bad()
{
    refuse "$@"
    cases=$((cases + 1))
    expect "files after a refused '${*: -5}'" "$(files)" "$files"
}

# Looks closer, once a group of commands.
unchanged()
{
    expect "state after the refused commands about $1" "$(look)" "$state"
}
state=$(look)
files=$(files)

m()     # migrate without the two ends
{
    "$dirtyferry" migrate --from "${control[a]}" --to "${control[b]}" "$@"
}

n256=$(printf 'd%.0s' {1..256})
n1024=$(printf 'b%.0s' {1..1024})
newline=$'new\nline'

# ---- sizes
bad 1 "\b0\b.*1 to 1152921504606846976" -- a disk add new --size 0
bad 1 "1152921504606846977.*1 to 1152921504606846976" -- a disk add new --size 1152921504606846977
bad 1 "2305843009213693952.*1152921504606846976" -- a disk add new --size 2E
bad 2 "'18446744073709551616'" -- a disk add new --size 18446744073709551616
bad 2 "'16E'" -- a disk add new --size 16E
bad 2 "'-1'" -- a disk add new --size -1
bad 2 "'1X'" -- a disk add new --size 1X
bad 2 "''" -- a disk add new --size ''
bad 2 "'0.5'" -- a disk add new --size 0.5
bad 2 "--size" -- a disk add new
unchanged 'sizes'
# ---- names of disks
bad 1 "'good' exists" -- a disk add good --size 1G
bad 1 "256.*1 to 255" -- a disk add "$n256" --size 1G
bad 1 "\b0\b.*1 to 255" -- a disk add '' --size 1G
bad 1 "'a/b'.*'/'" -- a disk add a/b --size 1G
bad 1 "'\.\.'.*dot" -- a disk add .. --size 1G
bad 1 "control character" -- a disk add "$newline" --size 1G
bad 1 "'none'" -- a disk remove none
bad 1 "'none'" -- a disk writable none
bad 1 "'busy'.*'daily'" -- a disk remove busy
bad 1 "'busy'.*'daily'" -- b disk remove busy
unchanged 'names of disks'
# ---- names of bitmaps
bad 1 "'good'.*'daily'.*already" -- a bitmap add good daily
bad 1 "1024.*1 to 1023" -- a bitmap add good "$n1024"
bad 1 "\b0\b.*1 to 1023" -- a bitmap add good ''
bad 1 "control character" -- a bitmap add good "$newline"
bad 1 "no disk 'none'" -- a bitmap add none daily
unchanged 'names of bitmaps'
# ---- granularities
for granularity in 0 1 511 513 65537 3G 96K 256; do
    bytes=${granularity/3G/3221225472}
    bytes=${bytes/96K/98304}
    bad 1 "granularity $bytes\b.*power of two.*512.*2147483648" -- a bitmap add good new --granularity "$granularity"
done
bad 1 "granularity 4294967296\b.*512.*2147483648" -- a bitmap add good new --granularity 4G
bad 1 "granularity 17592186044416\b.*512.*2147483648" -- a bitmap add good new --granularity 16T
bad 2 "'many'" -- a bitmap add good new --granularity many
bad 1 "64K|65536" "17592186044416 bits.*'large'.*2199023255552" -- a bitmap add large new --granularity 64K
unchanged 'granularities'
# ---- unknown bitmaps, and what a state forbids
for verb in remove clear enable disable show; do
    bad 1 "'good'.*'none'" -- a bitmap $verb good none
    bad 1 "no disk 'none'" -- a bitmap $verb none daily
done
for verb in remove clear enable disable; do
    bad 1 "'daily'.*'busy' is busy" -- a bitmap $verb busy daily
    bad 1 "'daily'.*'busy' is busy" -- b bitmap $verb busy daily
done
for verb in clear enable disable; do
    bad 1 "'daily'.*'broken' is inconsistent" -- a bitmap $verb broken daily
    bad 1 "'stays'.*'fenced' is read-only" -- a bitmap $verb fenced stays
done
bad 1 "no disk 'none'" -- a bitmap list none
unchanged 'unknown bitmaps, and what a state forbids'
# ---- marks
bad 1 "\b0 bytes at 0\b.*1073741824.*'good'" -- a bitmap mark good 0 0
bad 1 "\b2 bytes at 1073741823\b.*1073741824.*'good'" -- a bitmap mark good 1073741823 2
bad 1 "\b1 bytes at 1073741824\b.*1073741824.*'good'" -- a bitmap mark good 1G 1
bad 1 "18446744073709551615" -- a bitmap mark good 4096 18446744073709551615
bad 1 "'fenced' is read-only" -- a bitmap mark fenced 0 1
bad 1 "no disk 'none'" -- a bitmap mark none 0 1
bad 2 "'x'" -- a bitmap mark good x 1
bad 2 "'-5'|option" -- a bitmap mark good 0 -5
unchanged 'marks'
# ---- merge
bad 1 "'size'.*1073741824.*'large'.*1152921504606846976|'large'.*1152921504606846976.*1073741824" -- a bitmap merge good daily large/daily
bad 1 "'daily'.*'busy' is busy" -- a bitmap merge busy free daily
bad 1 "'daily'.*'busy' is busy" -- a bitmap merge busy daily free
bad 1 "'daily'.*'broken' is inconsistent" -- a bitmap merge broken fine daily
bad 1 "'daily'.*'broken' is inconsistent" -- a bitmap merge broken daily fine
bad 1 "'stays'.*'fenced' is read-only" -- a bitmap merge fenced stays good/daily
bad 1 "'good'.*'none'" -- a bitmap merge good daily none
bad 1 "no disk 'none'" -- a bitmap merge good daily none/daily
unchanged 'merge'
# ---- export
bad 1 "'daily'.*'busy' is busy" -- a bitmap export busy daily "$dir/x" --format raw
bad 1 "'daily'.*'broken' is inconsistent" -- a bitmap export broken daily "$dir/x" --format json
bad 1 "'good'.*'none'" -- a bitmap export good none "$dir/x" --format json
bad 1 "'$dir/no/such/x" -- a bitmap export good daily "$dir/no/such/x" --format json
bad 2 "'png'.*json, raw, qcow2 or svg" -- a bitmap export good daily "$dir/x" --format png
bad 2 "--format.*json, raw, qcow2 or svg" -- a bitmap export good daily "$dir/x"
[ -z "$(compgen -G "$dir/x*")" ] || fail "a refused export leaves files behind"
unchanged 'export'
# ---- what cannot be moved
bad 1 "no disk 'none'" -- m none
bad 1 "no disk 'none'" -- m none/daily
bad 1 "'good'.*'none'" -- m good/none
bad 1 "'no-bitmap' has no bitmap" -- m no-bitmap
bad 1 "'daily'.*'busy' is busy|'daily'.*another session|'busy' is being moved by session $session" -- m busy/daily
bad 1 "'daily'.*'broken' is inconsistent" -- m broken/daily
bad 1 "'daily'.*'broken' is inconsistent" -- m good/daily broken/daily    # all or nothing
unchanged 'a session of which one bitmap cannot be moved'
bad 1 "'stays'.*'fenced' is read-only" -- m fenced/stays
bad 1 "'exists'.*'daily'.*already" -- m exists/daily
bad 1 "no disk 'only-here'" -- m only-here/daily
bad 1 "'size'.*2147483648.*1073741824" -- m size/daily
bad 1 "'readonly' is read-only" -- m readonly/daily
bad 1 "no disk 'elsewhere'" -- m good/daily --as elsewhere/daily
bad 1 "1024.*1 to 1023" -- m good/daily --as "good/$n1024"
bad 1 "256.*1 to 255" -- m "$n256/daily"
bad 1 "256.*1 to 255" -- m good/daily --as "$n256/daily"
bad 1 "'daily'.*'good'.*twice" -- m good/daily good/daily --as good/other
bad 1 "two bitmaps.*'x'.*'good'" -- m good/daily --as good/x good/from-b --as good/x
bad 1 "whole disk.*good/x" -- m good --as good/x
bad 1 "'exists'.*'daily'.*already" -- m good/daily exists/daily      # all or nothing
unchanged 'what cannot be moved'
# ---- how it shall be moved
for chunk in 0 1 16 31 33 1000 1025 1500000 2M; do
    bytes=${chunk/2M/2097152}
    bad 1 "chunk.size.* $bytes\b.*32.*1048576" -- m good/daily --chunk-size "$chunk"
done
bad 1 "chunk.size.* 4294967296\b.*32.*1048576" -- m good/daily --chunk-size 4G
bad 2 "'big'" -- m good/daily --chunk-size big
bad 1 "chunk size 32.*2199023255552 bits.*8589934592 chunks.*4294967295" -- m large/daily --chunk-size 32
bad 1 "\b17 workers.*16" -- m good/daily --workers 17
bad 1 "\b4294967296 workers.*16" -- m good/daily --workers 4294967296
bad 2 "'two'" -- m good/daily --workers two
bad 2 "'fast'" -- m good/daily --max-bandwidth fast
unchanged 'how it shall be moved'
# ---- endpoints and daemons that are not there
for endpoint in nonsense tcp:// tcp://host tcp://127.0.0.1:65536 tcp://127.0.0.1:-1 tcp://127.0.0.1:port udp://127.0.0.1:1 \
    ipc:// "ipc:///tmp/$n256" "tcp://$n256:1"; do
    bad 1 "'${endpoint:0:100}.*(tcp://HOST:PORT|65535)" -- "$dirtyferry" -c "$endpoint" disk list
    bad 1 "'${endpoint:0:100}.*(tcp://HOST:PORT|65535)" -- "$dirtyferry" migrate good/daily --from "${control[a]}" --to "$endpoint"
done
bad 1 "'${control[c]}'.*dirtyferryd" -- "$dirtyferry" -c "${control[c]}" disk list
bad 1 "'${control[c]}'.*dirtyferryd" -- "$dirtyferry" migrate good/daily --from "${control[a]}" --to "${control[c]}"
unchanged 'endpoints and daemons that are not there'
# ---- sessions
none=00000000-0000-4000-8000-000000000000
for command in wait status cancel rollback worker; do
    bad 1 "$none" -- a $command $none
    bad 2 "'garbage'.*UUID" -- a $command garbage
    bad 2 "UUID" -- a $command "${none}0"
done
bad 1 "$none" -- "$dirtyferry" pivot $none --from "${control[a]}" --to "${control[b]}"
bad 2 "'garbage'.*UUID" -- "$dirtyferry" pivot garbage --from "${control[a]}"
bad 2 "'garbage'.*UUID" -- timeout 5 "$dirtyferry" -c "${control[a]}" watch garbage
bad 1 "$session" -- b rollback "$session"
bad 1 "$session" -- a rollback "$session"                # there was no pivot
unchanged 'sessions'
# ---- usage
for words in '' 'nonsense' 'disk' 'disk nonsense' 'disk add' 'disk list more' 'disk remove' 'disk writable a b' 'bitmap' \
    'bitmap nonsense' 'bitmap add good' 'bitmap add good x y' 'bitmap add good x --nonsense' 'bitmap show good' 'bitmap list' \
    'bitmap merge good daily' 'bitmap mark good 0' 'bitmap export good daily' 'migrate' 'migrate good' 'prepare good' \
    "prepare good --to ${control[b]} --on-pivot true" "migrate --as x good --to ${control[b]}" \
    "migrate good --as x --as y --to ${control[b]}" 'pivot' "pivot $none" 'wait' 'cancel' 'rollback' 'worker' 'watch a b' \
    'status a b' '--nonsense' 'wait --nonsense x' 'migrate good --to' 'disk -h'; do
    # shellcheck disable=SC2086
    bad 2 -- a $words
done
unchanged 'usage'
# ---- the daemon
daemon()        # STATUS PATTERN ARGUMENT...
{
    local status=$1 pattern=$2 got=0
    shift 2
    timeout 10 "$dirtyferryd" "$@" >"$dir/stdout" 2>"$dir/stderr" || got=$?
    expect "exit status of dirtyferryd $*" $got "$status"
    [ ! -s "$dir/stdout" ] || fail "dirtyferryd $* prints: $(cat "$dir/stdout")"
    grep -Eq -e "$pattern" "$dir/stderr" || fail "dirtyferryd $* says: $(cat "$dir/stderr")"
    cases=$((cases + 1))
}
free=(--control "ipc://$dir/f.sock" --data 'tcp://127.0.0.1:*' --events 'tcp://127.0.0.1:*')
daemon 2 "--state-dir"
daemon 2 "'more'" --state-dir "$dir/f" more
daemon 2 "nonsense" --state-dir "$dir/f" --nonsense
daemon 1 "'nonsense'.*tcp://HOST:PORT" --state-dir "$dir/f" "${free[@]}" --control nonsense
daemon 1 "'nonsense'.*tcp://HOST:PORT" --state-dir "$dir/f" "${free[@]}" --data nonsense
daemon 1 "'nonsense'.*tcp://HOST:PORT" --state-dir "$dir/f" "${free[@]}" --events nonsense
daemon 1 "'nonsense'.*tcp://HOST:PORT" --state-dir "$dir/f" "${free[@]}" --advertise-data nonsense
daemon 1 "'tcp://127.0.0.1:70000'" --state-dir "$dir/f" "${free[@]}" --data tcp://127.0.0.1:70000
daemon 1 "listen on '${data[a]/\[::ffff:127.0.0.1\]/127.0.0.1}'.*in use" --state-dir "$dir/f" "${free[@]}" --data "${data[a]/\[::ffff:127.0.0.1\]/127.0.0.1}"
daemon 1 "'$dir/no/such'" --state-dir "$dir/no/such" "${free[@]}"
daemon 1 "'$dir/file'" --state-dir "$dir/$(touch "$dir/file" && echo file)" "${free[@]}"
unchanged daemons
echo "$cases cases"

# After all of this it still works.
a cancel "$session" >/dev/null
migrate good/daily busy broken/fine >/dev/null
expect "what was marked" "$(field count "$(b --json bitmap show good daily)")" 1048576
finish
