#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Daemons with keys: the whole move, with everything that has a part in it.
. "$(dirname "$0")/flow-common.sh"

# a and b know each other as peers, both an operator and a monitor.
for key in a b; do
    "$dirtyferry" keygen "$dir/$key.cert" --role peer >"$dir/keygen.out"
    mkdir -m 700 "$dir/allow.$key"
done
"$dirtyferry" keygen "$dir/op" --role orchestrator >"$dir/keygen.out"
"$dirtyferry" keygen "$dir/eye" --role monitor >"$dir/keygen.out"
cp "$dir/op" "$dir/eye" "$dir/b.cert" "$dir/allow.a"
cp "$dir/op" "$dir/eye" "$dir/a.cert" "$dir/allow.b"

keyed()         # NAME [OPTION]...: EP,CERTIFICATE is then what it is called by
{
    local name=$1
    shift
    start "$name" --key "$dir/$name.cert_secret" --allow "$dir/allow.$name" "$@"
    control[$name]+=",$dir/$name.cert"
}
export DIRTYFERRY_KEY=$dir/op_secret

keyed a --control 'tcp://127.0.0.1:*'
keyed b --control 'tcp://127.0.0.1:*'

# ---- bits arrive, whatever the size of a frame: the largest ones are a little larger on the wire
pair vm 1G daily --granularity 512
ranges 1 1073741824 30000 100000 >"$dir/writes"
mark a vm <"$dir/writes"
mark a vm <<<"0 1"
was=$(bits a vm daily)
for size in 1M 1K 64K; do
    migrate vm --chunk-size $size >"$dir/migrated"
    expect "bits, chunks of $size" "$(bits b vm daily)" "$was"
    a disk writable vm
    b bitmap remove vm daily
    a bitmap add vm daily --granularity 512
    mark a vm <"$dir/writes"
    mark a vm <<<"0 1"
done

# ---- a chunk that no encoding makes smaller: raw, a whole MiB
pair raw 4G odd --granularity 512
"$python" -c 'for i in range(0, 1 << 23, 7): print(i * 512, 512)' >"$dir/seventh"
mark a raw <"$dir/seventh"
was=$(bits a raw odd)
migrate raw --chunk-size 1M >"$dir/migrated"
expect "raw bits" "$(bits b raw odd)" "$was"

# ---- a worker process is the daemon: it has its key, and no other will do
session=$(prepared vm --workers 0)
refuse 1 "'lease' is not allowed to key 'eye'" -- "$dirtyferry" --key "$dir/eye_secret" -c "${control[a]}" worker "$session"
"$dirtyferry" --key "$dir/a.cert_secret" -c "${control[a]}" worker "$session" >"$dir/worker.out" 2>"$dir/worker.log" &
worker=$!
pivot "$session"
b wait "$session" >"$dir/wait.out"
wait "$worker" || fail "the worker failed: $(cat "$dir/worker.log")"

# ---- who only looks
"$dirtyferry" --key "$dir/eye_secret" -c "${control[b]}" bitmap show vm daily >"$dir/shown"
for command in "disk add x --size 1M" "disk remove vm" "bitmap remove vm daily" "bitmap clear vm daily" "bitmap mark vm 0 1" \
               "cancel $session" "rollback $session" "dump vm/daily $dir/dump" "pivot $session --to ${control[b]}"; do
    # shellcheck disable=SC2086
    refuse 1 "is not allowed to key 'eye', whose roles are: monitor" -- "$dirtyferry" --key "$dir/eye_secret" -c "${control[b]}" $command
done
"$dirtyferry" --key "$dir/eye_secret" -c "${control[b]}" watch >"$dir/watched" 2>"$dir/watch.log" &
watch=$!
eventually "the monitor hears events" grep -q operative "$dir/watched"
kill "$watch"
refuse 1 'cannot be followed: it does not let this key in' -- "$dirtyferry" --key "$dir/a.cert_secret" -c "${control[b]}" watch

# ---- what the command line says when keys do not fit
ep=${control[b]%,*}
refuse 1 'this side has a key, so that of the daemon there must be named too' -- "$dirtyferry" -c "$ep" status
refuse 1 'the daemon there has a key and this program has none' -- env -u DIRTYFERRY_KEY "$dirtyferry" -c "${control[b]}" status
refuse 1 'one side has a key and the other has none|it may have a key' -- env -u DIRTYFERRY_KEY "$dirtyferry" -c "$ep" status
refuse 1 'cannot.*no-such-file' -- "$dirtyferry" -c "$ep,$dir/no-such-file" status
refuse 1 'op_secret.*secret key' -- "$dirtyferry" -c "$ep,$dir/op_secret" status

# ---- a restart: a session goes on under its owner's key, and under no other
pair again 1G daily
mark a again <<<"0 1000000"
session=$(prepared again)
for name in a b; do
    stop $name KILL
done
keyed a --control "${control[a]%,*}"
keyed b --control "${control[b]%,*}"
pivot "$session"
b wait "$session" >"$dir/wait.out"
expect "bits after the restart" "$(flags b again daily count busy)" "count=1048576 busy=false"

# ---- one that was prepared without keys belongs to nobody
pair plain 1G daily
stop a
stop b
unset DIRTYFERRY_KEY
start a
start b
session=$(prepared plain)
stop b
export DIRTYFERRY_KEY=$dir/op_secret
keyed b
expect "state of a session without an owner" "$(state b "$session" target)" prepared
b cancel "$session" >"$dir/cancel.out"
stop b
stop a
refuse_daemon()     # PATTERN OPTION...
{
    local pattern=$1 got=0
    shift
    "$dirtyferryd" --state-dir "$dir/c" --control 'tcp://127.0.0.1:*' --data 'tcp://127.0.0.1:*' --events 'tcp://127.0.0.1:*' "$@" \
        >"$dir/out" 2>"$dir/err" || got=$?
    [ $got -ne 0 ] || fail "a daemon starts with $*"
    grep -Eq -- "$pattern" "$dir/err" || fail "'$pattern' is not in: $(cat "$dir/err")"
    [ ! -s "$dir/out" ] || fail "it is refused and says: $(cat "$dir/out")"
}

# ---- nothing is served where keys would not hold
mkdir -m 700 "$dir/empty"
key=$dir/a.cert_secret
refuse_daemon 'go together' --key "$key"
refuse_daemon 'go together' --allow "$dir/allow.a"
refuse_daemon 'without a key' --key "$key" --allow "$dir/allow.a" --insecure
refuse_daemon 'no-such' --key "$key" --allow "$dir/no-such"
refuse_daemon 'empty' --key "$key" --allow "$dir/empty"
chmod 644 "$key"
refuse_daemon 'cert_secret' --key "$key" --allow "$dir/allow.a"
chmod 600 "$key"
refuse_daemon "'tcp://0.0.0.0:\*' without keys" --control 'tcp://0.0.0.0:*'
refuse_daemon "'tcp://\*:\*' without keys" --data 'tcp://*:*'

# ---- and no secret is told
for key in a.cert b.cert op eye; do
    secret=$(sed -n 's/.*secret-key = "\(.*\)"/\1/p' "$dir/${key}_secret")
    [ ${#secret} -eq 40 ] || fail "there is no secret in ${key}_secret"
    ! grep -qF -- "$secret" "$dir"/*.log "$dir"/*.out "$dir"/err || fail "the secret of $key is told"
done
finish
