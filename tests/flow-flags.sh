#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Flags, also changed on the way; names; several bitmaps of several disks in one session.
. "$(dirname "$0")/flow-common.sh"
start a
start b

# ---- enabled and persistent arrive as they were; a disabled bitmap collects nothing
a disk add flags --size 1G
b disk add flags --size 1G
a bitmap add flags on
a bitmap add flags on-kept --persistent
a bitmap add flags off
a bitmap add flags off-kept --persistent
a bitmap mark flags 1M 5M
a bitmap disable flags off
a bitmap disable flags off-kept
a bitmap mark flags 100M 1M
before=()
for bitmap in on on-kept off off-kept; do
    before[${#before[@]}]=$(bits a flags $bitmap)
done
session=$(prepared flags --workers 0)       # the whole disk
pivot "$session"
expect "recording while receiving" "$(b --json bitmap list flags | json 'sorted(e["name"] for e in d if e["recording"])')" '["on", "on-kept"]'
expect "persistent while receiving" "$(b --json bitmap list flags | json 'sorted(e["name"] for e in d if e["persistent"])')" '["off-kept", "on-kept"]'
b bitmap mark flags 500M 1M
a worker "$session"
b wait "$session" >/dev/null
i=0
for bitmap in on on-kept off off-kept; do
    case $bitmap in
    on*) recording=true plus=1048576 ;;
    off*) recording=false plus=0 ;;
    esac
    case $bitmap in
    *-kept) persistent=true ;;
    *) persistent=false ;;
    esac
    expect "flags of $bitmap" "$(flags b flags $bitmap recording persistent busy)" "recording=$recording persistent=$persistent busy=false"
    expect "count of $bitmap" "$(field count "$(b --json bitmap show flags $bitmap)")" $((${before[i]%% *} + plus))
    [ $plus != 0 ] || expect "bits of $bitmap" "$(bits b flags $bitmap)" "${before[i]}"
    i=$((i + 1))
done
b bitmap enable flags off
expect "enabled later" "$(flags b flags off recording)" "recording=true"

# ---- --transient: nothing arrives persistent; the source's flag is what it was, also after a way back
pair short 1G kept --persistent
a bitmap add short other
a bitmap mark short 3M 5M
before=("$(bits a short kept)")
session=$(prepared short --transient)
expect "persistent on the target" "$(b --json bitmap list short | json 'sum(e["persistent"] for e in d)')" 0
a cancel "$session" >/dev/null
expect "the source after the cancel" "$(flags a short kept persistent busy) $(flags a short other persistent busy)" "persistent=true busy=false persistent=false busy=false"
migrate short --transient >/dev/null
expect "bits of kept" "$(bits b short kept)" "${before[0]}"
for bitmap in kept other; do
    expect "flags of $bitmap" "$(flags b short $bitmap recording persistent busy)" "recording=true persistent=false busy=false"
done

# ---- the same by a source that was restarted: its answer to a repeated prepare; its dump, which says what was offered
pair carried 1G kept --persistent
a bitmap add carried still-kept --persistent
a bitmap mark carried 3M 5M
before=("$(bits a carried kept)")
again()         # SESSION TRANSIENT: a prepare; the flag is that of the first bitmap
{
    "$python" - "${control[a]}" "${control[b]}" "$@" <<'END'
import msgpack, sys, zmq
control, target, session, transient = sys.argv[1:]
s = zmq.Context().socket(zmq.REQ)
s.connect(control)
s.send(msgpack.packb({"v": 1, "type": "prepare", "id": 7, "session": session, "target": target, "workers": 0, "bitmaps": [
    {"disk": "carried", "bitmap": "kept", "transient": transient == "true"}, {"disk": "carried", "bitmap": "still-kept"}]}))
reply = msgpack.unpackb(s.recv())
print(reply["error"]["code"] if "error" in reply else reply["status"]["state"])
END
}
session=11111111-2222-4333-8444-555555555555
expect "prepare" "$(again $session true)" prepared
stop a
start a
expect "the same again" "$(again $session true)" prepared
expect "another one" "$(again $session false)" exists
pivot $session
a dump $session "$dir/carried.dump" >/dev/null
expect "persistent in the dump's header" "$("$python" -c '
import msgpack, struct, sys
d = open(sys.argv[1], "rb").read()
print([b["persistent"] for b in msgpack.unpackb(d[32:32 + struct.unpack_from("<I", d, 12)[0]])["bitmaps"]])' "$dir/carried.dump")" "[False, True]"
stop a KILL
b load "$dir/carried.dump" >/dev/null
for bitmap in kept still-kept; do
    expect "bits of $bitmap" "$(bits b carried $bitmap)" "${before[0]}"
done
expect "flags of the loaded ones" "$(flags b carried kept persistent busy) $(flags b carried still-kept persistent busy)" "persistent=false busy=false persistent=true busy=false"
start a
eventually "the source lets go" is_state a $session source released

# ---- names
long=$(printf 'n%.0s' {1..1023})
names=("$long" 'größe-日本語-🚢' 'daily backup' 'a/b//c' '/' ' ' '-x' "it's \"quoted\" \\ \$HOME *" '.')
a disk add 'disk with spaces' --size 300M
b disk add 'disk with spaces' --size 300M
i=0
for name in "${names[@]}"; do
    a bitmap add -- 'disk with spaces' "$name"
    a bitmap mark 'disk with spaces' $((i++))M 1
done
declare -A was=()
for name in "${names[@]}"; do
    was[$name]=$(on a --json bitmap show -- 'disk with spaces' "$name" | json 'd["count"], d["sha256"]')
done
migrate 'disk with spaces' >"$dir/result"
for name in "${names[@]}"; do
    expect "bits of '${name:0:40}'" "$(b --json bitmap show -- 'disk with spaces' "$name" | json 'd["count"], d["sha256"]')" "${was[$name]}"
done
expect "names" "$(b --json bitmap list 'disk with spaces' | json 'sorted(e["name"] for e in d) == sorted(sys.argv[2:])' "${names[@]}")" true
expect "names in the result" "$(json 'sorted(e["bitmap"] for e in d["bitmaps"]) == sorted(sys.argv[2:])' "${names[@]}" <"$dir/result")" true
expect "left on the source" "$(a --json bitmap list 'disk with spaces')" '[]'

# ---- 15 bitmaps of 256G at 512 bytes: 2^29 bits each
a disk add many --size 256G
b disk add many --size 256G
for i in {1..15}; do
    a bitmap add many "b$i" --granularity 512
    a bitmap mark many $((i * 17))G $((i * 1000))
done
expected=$(a --json bitmap list many | json '[[e["name"], e["count"]] for e in d]')
a bitmap export many b1 "$dir/a.json" --format json
migrate many >"$dir/result"
expect "bitmaps in the result" "$(json 'len(d["bitmaps"])' <"$dir/result")" 15
expect "counts" "$(b --json bitmap list many | json '[[e["name"], e["count"]] for e in d]')" "$expected"
b bitmap export many b1 "$dir/b.json" --format json
cmp "$dir/a.json" "$dir/b.json" || fail "extents of b1 differ"

# ---- two disks with two bitmaps each, every name crossed
for disk in x y; do
    a disk add $disk --size 64M
    b disk add $disk --size 64M
    for bitmap in 1 2; do
        a bitmap add $disk $bitmap --granularity 4K
    done
done
a bitmap disable x 2
a bitmap mark x 0 1M
a bitmap enable x 2
a bitmap mark x 8M 1M
a bitmap disable y 1
a bitmap mark y 16M 3M
a bitmap enable y 1
a bitmap mark y 32M 5000
x1=$(bits a x 1) x2=$(bits a x 2) y1=$(bits a y 1) y2=$(bits a y 2)
expect "four different bitmaps" "$(printf '%s\n' "$x1" "$x2" "$y1" "$y2" | sort -u | wc -l)" 4
migrate x/1 --as y/2 x/2 --as y/1 y/1 --as x/2 y/2 --as x/1 >"$dir/result"
expect "x/1 became y/2" "$(bits b y 2)" "$x1"
expect "x/2 became y/1" "$(bits b y 1)" "$x2"
expect "y/1 became x/2" "$(bits b x 2)" "$y1"
expect "y/2 became x/1" "$(bits b x 1)" "$y2"
expect "read-only disks" "$(a --json disk list | json 'sorted(e["disk"] for e in d if e["readonly"])')" '["carried", "disk with spaces", "flags", "many", "short", "x", "y"]'
finish
