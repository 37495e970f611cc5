#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# examples/orchestrator.py, which knows the protocol's document only, with two real daemons:
# a move of two bitmaps, refusals, and the ways back.
. "${abs_top_srcdir:-.}/tests/flow-common.sh"

"$python" -c 'import zmq, msgpack' 2>/dev/null || skip "$python has no zmq or no msgpack"

# orchestrate ARGUMENT...: stdout in $dir/printed, stderr in $dir/said, at most 60 s.
orchestrate()
{
    timeout 60 "$python" "$top_srcdir/examples/orchestrator.py" --from "${control[a]}" "$@" >"$dir/printed" 2>"$dir/said"
}

# gives_up PATTERN ARGUMENT...: exit status 1, one sentence with the pattern, no result.
gives_up()
{
    local pattern=$1 got=0
    shift
    orchestrate "$@" || got=$?
    expect "exit status of '$*' ($(cat "$dir/said"))" "$got" 1
    expect "lines on stderr of '$*'" "$(wc -l <"$dir/said")" 1
    grep -Eq "^orchestrator: .*$pattern" "$dir/said" || fail "'$*': '$pattern' is not in: $(cat "$dir/said")"
    ! grep -q '^{' "$dir/printed" || fail "'$*' gives up and prints a result"
}

start a
start b

# ---- two bitmaps of two disks, one under other names
for disk in d0 d1; do
    a disk add "$disk" --size 1T
    a bitmap add "$disk" b0
done
b disk add d0 --size 1T
b disk add e1 --size 1T
ranges 1 1099511627776 3000 1000000 | mark a d0
ranges 2 1099511627776 500 90000000 | mark a d1
before=("$(bits a d0 b0)" "$(bits a d1 b0)")
orchestrate --to "${control[b]}" d0/b0 d1/b0=e1/r0 || fail "the orchestrator gave up: $(cat "$dir/said")"
expect "stderr" "$(<"$dir/said")" ""
expect "bits of d0/b0" "$(bits b d0 b0)" "${before[0]}"
expect "bits of d1/b0, now e1/r0" "$(bits b e1 r0)" "${before[1]}"
for disk in d0 d1; do
    expect "bitmaps left on $disk" "$(a --json bitmap list "$disk")" "[]"
done
expect "flags at the target" "$(flags b e1 r0 recording busy frozen)" "recording=true busy=false frozen=false"

# Lines "STATE n%", the last of them the end; no line twice in a row.
head -n -1 "$dir/printed" >"$dir/progress"
! grep -Evx '(prepared|filled|receiving|merging|operative) [0-9]+%' "$dir/progress" || fail "that is no progress line"
expect "last progress line" "$(tail -n 1 "$dir/progress")" "operative 100%"
[ "$(wc -l <"$dir/progress")" -ge 2 ] || fail "there is one progress line only"
expect "lines that repeat" "$(uniq -d "$dir/progress")" ""

result=$(tail -n 1 "$dir/printed")
expect "fields of the result" "$(json 'sorted(d)' <<<"$result")" \
    '["bytes", "frames", "operative_ms", "pivot_us", "session", "state"]'
expect "state" "$(field state "${result// /}")" operative
expect "numbers" "$(json 'all(d[k] > 0 for k in ("pivot_us", "frames", "bytes")) and d["operative_ms"] >= 0' <<<"$result")" true
expect "source's session" "$(state a "$(json 'd["session"]' <<<"$result")" source)" released

# ---- refused by the source, by the target, and no target at all
pair d2 1G b0
gives_up "d2.*'?no'?" --to "${control[b]}" d2/b0 d2/no
a disk add d3 --size 1G
a bitmap add d3 b0
gives_up "d3" --to "${control[b]}" d2/b0 d3/b0
gives_up "did not answer" --to "ipc://$dir/nobody.sock" d2/b0
gives_up "is not an endpoint" --to nonsense d2/b0
for disk in d2 d3; do
    expect "$disk after refusals" "$(flags a "$disk" b0 recording busy readonly)" "recording=true busy=false readonly=false"
done
expect "bitmaps of the target after refusals" "$(b --json bitmap list d2)" "[]"

# ---- a larger disk, by consent
a disk add small --size 1G
b disk add large --size 2G
a bitmap add small b0
gives_up "'--grow'" --to "${control[b]}" small/b0=large/b0
orchestrate --grow --to "${control[b]}" small/b0=large/b0 || fail "the orchestrator gave up: $(cat "$dir/said")"
expect "the tail is dirty" "$(flags b large b0 count busy)" "count=1073741824 busy=false"

# ---- a write that does not end: the source's pivot fails after 10 s, the session is cancelled
coproc "$hold_section" "$dir/a" d2
# Bash forgets COPROC_PID as soon as it sees the process end.
holder=$COPROC_PID
echo "begin 0 4096" >&"${COPROC[1]}"
read -r answer <&"${COPROC[0]}"
expect "a write is under way" "$answer" ok
gives_up "'pivot'.*; the session is cancelled" --to "${control[b]}" d2/b0
kill "$holder"
wait "$holder" 2>/dev/null || :
expect "d2 after the cancel" "$(flags a d2 b0 recording busy readonly)" "recording=true busy=false readonly=false"
expect "the target after the cancel" "$(b --json bitmap list d2)" "[]"

# ---- replies of the target that are lost: asked again, done once
coproc proxy { exec "$python" "$top_srcdir/tests/proxy.py" "${control[b]}" --cut-reply hello,pivot,wait --log "$dir/cuts"; }
read -r _ endpoint <&"${proxy[0]}"
before=("$(bits a d2 b0)")
orchestrate --to "$endpoint" d2/b0 || fail "the orchestrator gave up: $(cat "$dir/said")"
expect "stderr" "$(<"$dir/said")" ""
expect "bits of d2/b0" "$(bits b d2 b0)" "${before[0]}"
[ "$(wc -l <"$dir/cuts")" -ge 2 ] || fail "no reply was lost: $(cat "$dir/cuts")"

# ---- with keys
for key in a b op; do
    "$dirtyferry" keygen "$dir/$key.cert" --role "$([ $key = op ] && echo orchestrator || echo peer)" >/dev/null
done
for name in a b; do
    mkdir -m 700 "$dir/allow.$name"
    cp "$dir"/*.cert "$dir/allow.$name"
    stop $name
    start $name --key "$dir/$name.cert_secret" --allow "$dir/allow.$name"
done
to=${control[b]},$dir/b.cert
gives_up "go together" --to "$to" d2/b0
control[a]+=,$dir/a.cert
control[b]=$to
export DIRTYFERRY_KEY=$dir/op.cert_secret
a disk add d4 --size 1G
b disk add d4 --size 1G
a bitmap add d4 b0
a bitmap mark d4 1M 5M
orchestrate --key "$dir/op.cert_secret" --to "$to" d4/b0 || fail "the orchestrator gave up: $(cat "$dir/said")"
expect "d4 at the target" "$(flags b d4 b0 count busy)" "count=5242880 busy=false"
gives_up "'prepare' is not allowed to key 'own'" --key "$dir/a.cert_secret" --to "$to" d4/b0
gives_up "cannot be read" --key "$dir/none_secret" --to "$to" d4/b0

finish
