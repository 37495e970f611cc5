#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Disks whose bitmaps are QEMU's: every command about disks and bitmaps does what QEMU would have done, every refusal says
# whose and why, and a QEMU that hangs, is gone or is busy with somebody else harms nobody else.
. "$(dirname "$0")/qemu-common.sh"

img() { qemu-img "$@" >/dev/null; }

for name in d0 d1 v0; do
    truncate -s 64M "$dir/$name.img"
done
truncate -s 1M "$dir/small.img"
img create -f qcow2 "$dir/q.qcow2" 64M
node() { echo "--blockdev driver=$2,node-name=$1,file.driver=file,file.filename=$dir/$3"; }
# shellcheck disable=SC2046
serve_all() { storage s $(node d0 raw d0.img) $(node d1 raw d1.img) $(node small raw small.img) $(node q qcow2 q.qcow2); }

serve_all
# shellcheck disable=SC2046
machine v $(node v0 raw v0.img)
start a
a disk add native --size 64M
a bitmap add native b

# ---- adding a disk: QEMU says the size; all or nothing
disks() { (cd "$dir/a/disks" && echo -- * .n* .g*); }
before=$(disks)
refuse 1 "cannot connect to QEMU at '$dir/none'.*-qmp" -- a disk add x --qemu "$dir/none" --node d0
refuse 1 "'$dir/s.qmp' has no node 'none'.*query-named-block-nodes" -- a disk add x --qemu "$dir/s.qmp" --node none
refuse 1 "what came from '$dir/a.sock'.*is not QMP" -- a disk add x --qemu "$dir/a.sock" --node d0
refuse 1 "at most 107" -- a disk add x --qemu "$(printf '/%0.s' {1..108})" --node d0
refuse 1 "'nowhere:0'.*HOST:PORT" -- a disk add x --qemu "$dir/s.qmp" --node d0 --nbd nowhere:0
refuse 1 "'\.bad'.*dot" -- a disk add .bad --qemu "$dir/s.qmp" --node d0
refuse 1 "'native' exists already" -- a disk add native --qemu "$dir/s.qmp" --node d0
refuse 2 "either --size or --qemu" -- a disk add x
refuse 2 "either --size or --qemu" -- a disk add x --size 1M --qemu "$dir/s.qmp" --node d0
refuse 2 "go together" -- a disk add x --qemu "$dir/s.qmp"
refuse 2 "go together" -- a disk add x --size 1M --node d0
refuse 2 "--nbd" -- a disk add x --size 1M --nbd h:1
expect "disks after refused ones" "$(disks)" "$before"
(cd "$dir" && a disk add d0 --qemu s.qmp --node d0 --nbd localhost:10809)      # relative
a disk add d1 --qemu "$dir/s.qmp" --node d1
a disk add small --qemu "$dir/s.qmp" --node small --nbd "$dir/some.nbd"
a disk add q --qemu "$dir/s.qmp" --node q
a disk add v0 --qemu "$dir/v.qmp" --node v0
refuse 1 "node 'd0'.*'$dir/s.qmp' is disk 'd0' already" -- a disk add again --qemu "$dir/s.qmp" --node d0
expect "sizes" "$(a --json disk list | json '[[e["disk"], e["size"], e.get("qemu")] for e in sorted(d, key=lambda e: e["disk"])]')" \
    "[[\"d0\", 67108864, \"$dir/s.qmp d0\"], [\"d1\", 67108864, \"$dir/s.qmp d1\"], [\"native\", 67108864, null], [\"q\", 67108864, \"$dir/s.qmp q\"], [\"small\", 1048576, \"$dir/s.qmp small\"], [\"v0\", 67108864, \"$dir/v.qmp v0\"]]"
a disk list | grep -q "^d0 .*64M .*qemu: $dir/s.qmp d0$" || fail "disk list: $(a disk list)"
expect "what is kept" "$(json '[d["socket"], d["node"], d["nbd"]]' <"$dir/a/disks/d0/qemu")" "[\"$dir/s.qmp\", \"d0\", \"localhost:10809\"]"
expect "its mode" "$(stat -c %a "$dir/a/disks/d0/qemu")" 600

# ---- the bitmaps are QEMU's: what each of both does, the other one shows
same()          # DISK QEMU BITMAP: fields and hash
{
    { a --json bitmap show "$1" "$3"; qmp "$2" query-named-block-nodes '{"flat": true}'
      qmp "$2" x-debug-block-dirty-bitmap-sha256 "{\"node\": \"$1\", \"name\": \"$3\"}"; } | "$python" -c '
import json, sys
shown, nodes, hashed = map(json.loads, sys.stdin)
is_so = [b for n in nodes if n["node-name"] == sys.argv[1] for b in n["dirty-bitmaps"] if b["name"] == sys.argv[2]][0]
is_so = {"inconsistent": False, "frozen": False, "readonly": False, **is_so, **hashed}
if shown != is_so:
    sys.exit("%s is shown, QEMU has %s" % (shown, is_so))' "$1" "$3" || fail "bitmap '$3' of disk '$1'"
}

long=$(printf 'n%.0s' {1..1023})
for disk in d0 v0; do
    qemu=${disk/d0/s}
    qemu=${qemu/v0/v}
    a bitmap add $disk daily
    a bitmap add $disk fine --granularity 512
    a bitmap add $disk off --disabled
    a bitmap add $disk "$long" --granularity 2G
    a bitmap add $disk "grün/=' %"
    for bitmap in daily fine off "$long" "grün/=' %"; do
        same $disk $qemu "$bitmap"
    done
    serve $qemu $disk
    guest_write $qemu $disk 64K 128K
    guest_write $qemu $disk 10M 1000
    expect "dirty bytes of $disk" "$(field count "$(a --json bitmap show $disk daily)") $(field count "$(a --json bitmap show $disk off)")" "$((3 * 65536)) 0"
    for bitmap in daily fine off "$long"; do
        same $disk $qemu "$bitmap"
    done
    a bitmap merge $disk off daily fine
    expect "merged" "$(field count "$(a --json bitmap show $disk off)")" $((3 * 65536))
    a bitmap clear $disk daily
    a bitmap disable $disk daily
    a bitmap enable $disk off
    guest_write $qemu $disk 32M 64K
    expect "cleared and disabled" "$(flags a $disk daily count recording) $(flags a $disk off count recording)" "count=0 recording=false count=$((4 * 65536)) recording=true"
    same $disk $qemu daily
    same $disk $qemu off
    a bitmap remove $disk fine
    a bitmap remove $disk "$long"
    a bitmap remove $disk "grün/=' %"
    expect "left in QEMU" "$(qemu_bitmaps $qemu $disk)" "daily off"
    expect "listed" "$(a --json bitmap list $disk | json '" ".join(sorted(e["name"] for e in d))')" "daily off"
    a bitmap list $disk | grep -q '^daily  *64K  *0  *-$' || fail "bitmap list: $(a bitmap list $disk)"

    # ---- refusals
    refuse 1 "'$dir/$qemu.qmp' refused block-dirty-bitmap-add: .*already exists: daily" -- a bitmap add $disk daily
    refuse 1 "power of 2|granularity|Granularity" -- a bitmap add $disk x --granularity 1000
    refuse 1 "granularity|Granularity" -- a bitmap add $disk x --granularity 0
    refuse 1 "granularity|Granularity|integer|uint32" -- a bitmap add $disk x --granularity 4G
    refuse 1 "persistent" -- a bitmap add $disk x --persistent
    for verb in remove clear enable disable; do
        refuse 1 "refused block-dirty-bitmap-$verb: .*'none' not found" -- a bitmap $verb $disk none
    done
    refuse 1 "node '$disk'.*no bitmap 'none'" -- a bitmap show $disk none
    refuse 1 "not found" -- a bitmap merge $disk daily none
    refuse 1 "not found" -- a bitmap merge $disk none daily
    refuse 1 "'$disk'.*QEMU records.*write through QEMU" -- a bitmap mark $disk 0 64K
    refuse 1 "'daily'.*'$disk'.*block-export-add.*nbdinfo" -- a bitmap export $disk daily "$dir/x" --format json
    refuse 1 "'native' is not in the QEMU of disk '$disk'" -- a bitmap merge $disk daily native/b
    refuse 1 "'$disk' is QEMU's and disk 'native' is not" -- a bitmap merge native b $disk/daily
    refuse 1 "no disk 'none'|'none' is not in" -- a bitmap merge $disk daily none/b
    for verb in add remove clear enable disable show; do
        refuse 1 "begin with 'dirtyferry-'.*choose another" -- a bitmap $verb $disk dirtyferry-x
    done
    refuse 1 "begin with 'dirtyferry-'" -- a bitmap merge $disk dirtyferry-x daily
    refuse 1 "begin with 'dirtyferry-'" -- a bitmap merge $disk daily dirtyferry-x
    expect "after the refused ones" "$(qemu_bitmaps $qemu $disk)" "daily off"
    expect "the kinds of refusals" "$("$python" - "$top_srcdir" "${control[a]}" $disk <<'END'
import sys, zmq, msgpack
s = zmq.Context().socket(zmq.REQ)
s.connect(sys.argv[2])
def ask(type, **fields):
    s.send(msgpack.packb({"v": 1, "type": type, "id": 7, "disk": sys.argv[3], **fields}))
    return msgpack.unpackb(s.recv()).get("error", {}).get("code")
print(ask("bitmap-add", bitmap="daily"), ask("bitmap-clear", bitmap="none"), ask("bitmap-show", bitmap="none"), ask("bitmap-merge", bitmap="daily", sources=[{"bitmap": "none"}]),
      ask("bitmap-mark", offset=0, length=1), ask("bitmap-extents", bitmap="daily", offset=0), ask("disk-add", qemu="relative", node="n"), ask("disk-add"),
      ask("disk-add", size=1, node="n"), ask("disk-add", qemu="/x", size=1, node="n"))
END
)" "exists not-found not-found not-found unsupported unsupported invalid invalid invalid invalid"
done
refuse 1 "'v0' is not in the QEMU of disk 'd0'" -- a bitmap merge d0 daily v0/daily
a bitmap add small daily
refuse 1 "refused block-dirty-bitmap-merge" -- a bitmap merge d0 daily small/daily     # other size
a bitmap add d1 other --granularity 4K
serve s d1
guest_write s d1 1M 4K
a bitmap merge d0 daily d1/other
expect "merged from another node" "$(field count "$(a --json bitmap show d0 daily)")" 65536

# ---- bitmaps that are not the users'
qmp s block-dirty-bitmap-add '{"node": "d1", "name": "dirtyferry-child"}' >/dev/null
qmp s block-dirty-bitmap-add '{"node": "d1", "name": "bell\u0007"}' >/dev/null
expect "hidden ones" "$(a --json bitmap list d1 | json '[e["name"] for e in d]')" '["other"]'

# ---- busy: QEMU exports it
qmp s block-dirty-bitmap-add '{"node": "d1", "name": "exported", "disabled": true}' >/dev/null
qmp s block-export-add '{"type": "nbd", "id": "e", "node-name": "d1", "name": "e", "bitmaps": ["exported"]}' >/dev/null
expect "busy" "$(flags a d1 exported busy)" "busy=true"
for verb in remove clear enable disable; do
    refuse 1 "'exported'.*in use" -- a bitmap $verb d1 exported
done

# ---- persistent, and inconsistent once QEMU was killed
a bitmap add q kept --persistent
a bitmap add q lost
same q s kept
sync_persistent() { qmp s blockdev-del '{"node-name": "q"}' >/dev/null && qmp s blockdev-add "{\"driver\": \"qcow2\", \"node-name\": \"q\", \"file\": {\"driver\": \"file\", \"filename\": \"$dir/q.qcow2\"}}" >/dev/null; }
sync_persistent
expect "after the node was closed" "$(a --json bitmap list q | json '[e["name"] for e in d]')" '["kept"]'

# ---- QEMU is gone; is back
gone s
refuse 1 "cannot connect to QEMU at '$dir/s.qmp': Connection refused" -- a bitmap list d0
refuse 1 "cannot connect to QEMU" -- a bitmap add d0 x
refuse 1 "cannot connect to QEMU" -- a bitmap merge d0 daily off
refuse 1 "write through QEMU" -- a bitmap mark d0 0 1
expect "disks without their QEMU" "$(a --json disk list | json 'len(d), any("damaged" in e for e in d)')" '(6, False)'
serve_all
expect "a QEMU that was started again" "$(a --json bitmap list d0)" '[]'
expect "inconsistent" "$(flags a q kept inconsistent recording busy)" "inconsistent=true recording=false busy=false"
for verb in clear enable disable; do
    refuse 1 "'kept' is inconsistent" -- a bitmap $verb q kept
done
a bitmap remove q kept
a bitmap add d0 daily

# ---- the monitor serves somebody else; or nobody, and what is not QEMU's goes on
mkfifo "$dir/leave"
"$python" -c '
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.makefile().readline()
print("in", flush=True)
sys.stdin.read()' "$dir/s.qmp" <"$dir/leave" >"$dir/in" &
other=$!
exec 8>"$dir/leave"
eventually "another client" grep -q in "$dir/in"
refuse 1 "has not greeted within 3000 ms.*another program" -- a bitmap add d0 x
exec 8>&-
wait $other
a bitmap list d0 >/dev/null

kill -STOP "${qemu_pid[s]}"
a bitmap add d0 x >"$dir/out" 2>"$dir/err" &
hangs=$!
a bitmap add native meanwhile
a bitmap clear native b
a bitmap list native >/dev/null
a disk list >/dev/null
kill -0 $hangs || fail "a stopped QEMU has answered: $(cat "$dir/out" "$dir/err")"
wait $hangs && fail "a stopped QEMU has added a bitmap"
grep -q "'$dir/s.qmp' has not greeted within 3000 ms: it hangs" "$dir/err" || fail "a stopped QEMU: $(cat "$dir/err")"
kill -CONT "${qemu_pid[s]}"
expect "a QEMU that goes on" "$(a --json bitmap list d0 | json '[e["name"] for e in d]')" '["daily"]'

# ---- it stays QEMU's after a restart, also with a group of writers
stop a
start a --writer-group "$(id -g)"
expect "after a restart" "$(a --json bitmap list d0 | json '[e["name"] for e in d]')" '["daily"]'
a disk add d1-again --qemu "$dir/s.qmp" --node "d1" 2>/dev/null && fail "d1 was added twice"
a disk remove d1
expect "QEMU keeps what a removed disk had" "$(qemu_bitmaps s d1)" ""
a disk add d1 --qemu "$dir/s.qmp" --node d1
expect "modes with a group" "$(cd "$dir/a/disks" && stat -c '%a' d0 d0/disk d0/qemu d1/disk d1/qemu | tr '\n' ' ')" "2750 660 600 660 600 "

# ---- a file that is not what it should be
spoil()         # WHAT PATTERN
{
    refuse 1 "$2" -- a bitmap list d1
    refuse 1 "$2" -- a bitmap mark d1 0 1
    a --json disk list | json '[e["damaged"] for e in d if e["disk"] == "d1"][0]' | grep -Eq "$2" || fail "$1: $(a disk list)"
}
file=$dir/a/disks/d1/qemu
cp "$file" "$dir/good"
for text in '' 'x' '[]' '{"socket": "s.qmp", "node": "d1"}' '{"socket": "/s"}' '{"socket": 1, "node": "d1"}' '{"socket": "/s", "node": ""}' \
    "{\"socket\": \"/s\", \"node\": \"$(printf 'n%.0s' {1..256})\"}" '{"socket": "/s", "node": "n", "nbd": "h"}'; do
    echo "$text" >"$file"
    spoil "'$text'" "'d1' is damaged: remove the disk"
done
head -c 5000 /dev/zero | tr '\0' ' ' >"$file"
spoil "a long file" "'d1'.*too long"
cp "$dir/good" "$file"
chmod 660 "$file"
spoil "a file that others can write" "written by others"
rm "$file"
ln -s "$dir/good" "$file"
spoil "a link" "symbolic link"
a disk remove d1
[ -e "$dir/good" ] || fail "what a link led to is gone"
expect "what is left" "$(a --json disk list | json 'sorted(e["disk"] for e in d)')" '["d0", "native", "q", "small", "v0"]'

a disk remove d0
[ ! -e "$dir/a/disks/d0" ] || fail "disk d0 is removed and there"
expect "QEMU's own" "$(qemu_bitmaps s d0)" "daily"
gone s
gone v
finish
