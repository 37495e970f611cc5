#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Steps of a session in QEMU that meet what somebody else does there, an answer that is long in coming, or a daemon that is
# killed: nothing is lost, nothing stays, and there is a way out.
. "$(dirname "$0")/qemu-common.sh"

for name in s t v w; do
    qemu-img create -q -f qcow2 "$dir/$name.img" 64M
done
node() { echo "--blockdev driver=qcow2,node-name=d,file.driver=file,file.filename=$dir/$1.img"; }
# shellcheck disable=SC2046
{ storage s $(node s); storage t $(node t); }
start a
start b
a disk add d --qemu "$dir/s.qmp" --node d
b disk add d --qemu "$dir/t.qmp" --node d

add() { qmp s block-dirty-bitmap-add "{\"node\": \"d\", \"name\": \"$1\", \"persistent\": ${2:-false}}" >/dev/null; }
late()
{
    serve s d
    guest_write s d "$1" 64k
    qmp s nbd-server-stop >/dev/null
    rm -f "$dir/s.nbd"
}
prepare() { a prepare "d/$1" --to "${control[b]}" --workers 0; }
left()          # NAME: what is there of sessions
{
    qmp "$1" query-named-block-nodes '{"flat": true}' |
        json '[n["node-name"] for n in d if n["node-name"].startswith("dirtyferry")] + [b["name"] for n in d for b in n.get("dirty-bitmaps", []) if b["name"].startswith("dirtyferry")]'
}
is_clean() { [ "$(left "$1")" = '[]' ]; }
files() { find "$dir/a/disks" "$dir/b/disks" "$dir/a/qemu" "$dir/b/qemu" -name 'map-*' -o -name '*.qcow2'; }

# ---- what cannot be done is refused at the prepare, and nothing stays; what is staged is no bitmap to dump
add b0 true
late 0
before=$(bits a d b0)
refuse 1 "no bitmap 'none' on node 'd'" -- a prepare d/b0 d/none --to "${control[b]}"
expect "files after a refused prepare" "$(files)" ""
refuse 1 "cannot be dumped" -- a dump d/b0 "$dir/dump"

# ---- a bitmap in a session is busy for users, and so is the name that it will have
session=$(prepare b0)
for verb in clear remove enable disable; do
    refuse 1 "'b0' of disk 'd' is busy: a session is moving it" -- a bitmap $verb d b0
done
add other
refuse 1 "is busy" -- a bitmap merge d b0 other
refuse 1 "is busy" -- a bitmap merge d other b0
refuse 1 "is busy" -- b bitmap add d b0
a bitmap clear d other
qmp s block-dirty-bitmap-remove '{"node": "d", "name": "other"}' >/dev/null

# ---- a target whose monitor is held says so before its pivot, when there is a way back still
hold()          # NAME: somebody else has dirtyferry's monitor
{
    "$python" -c '
import signal, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
print(flush=True)
signal.pause()' "$dir/$1.qmp" >"$dir/held" &
    holder=$!
    read -r <"$dir/held"
}
mkfifo "$dir/held"
a pivot "$session" --from "${control[a]}" >/dev/null
hold t
refuse 1 "has not greeted within .*another program" -- b pivot "$session" --to "${control[b]}"
is_state b "$session" target prepared || fail "the target is not prepared any more"
kill "$holder"
b pivot "$session" --to "${control[b]}" >/dev/null
a worker "$session"
b wait "$session" >/dev/null
expect "what has arrived" "$(bits b d b0)" "$before"
eventually "the source lets go" is_state a "$session" source released
eventually "no trace of it in s" is_clean s
eventually "no trace of it in t" is_clean t
b bitmap remove d b0

# ---- a daemon that is killed between the roll-back and QEMU's answer knows afterwards what to give back
add b1 true
late 1M
session=$(prepare b1)
a pivot "$session" --from "${control[a]}" >/dev/null
not_busy() { qmp s query-block-exports | grep -q '^\[\]$'; }
eventually "the bits are read" not_busy
qmp s nbd-server-stop >/dev/null 2>&1 || :
late 2M
kill -STOP "${qemu_pid[s]}"
a rollback "$session" >/dev/null 2>&1 &
rollback=$!
eventually "rolled back" is_state a "$session" source rolled-back
stop a KILL
kill -CONT "${qemu_pid[s]}"
wait "$rollback" || :
start a
eventually "no trace of it in s" is_clean s
expect "b1 after the roll-back" "$(flags a d b1 count recording busy)" "count=131072 recording=true busy=false"

# ---- all bits dirty under a name that somebody has taken meanwhile: his bitmap is not ours
add b2
session=$(prepare b2)
a pivot "$session" --from "${control[a]}" >/dev/null
b pivot "$session" --to "${control[b]}" >/dev/null
qmp t block-dirty-bitmap-add '{"node": "d", "name": "b2"}' >/dev/null
b abandon "$session" --all-dirty >/dev/null 2>"$dir/abandon" &
abandon=$!
says() { grep -q "$1" "$dir/abandon"; }
eventually "it is said why not" says "somebody has made a bitmap 'b2'"
b abandon "$session" >/dev/null
wait "$abandon" || :
expect "b2 of somebody" "$(flags b d b2 count)" "count=0"
eventually "no trace of it in t" is_clean t
eventually "the source has heard of it" is_state a "$session" source abandoned
eventually "no trace of it in s" is_clean s
expect "files" "$(files)" ""

# ---- a guest that is migrated before the bits of its persistent bitmap are read: QEMU lets go of that
# shellcheck disable=SC2046
{ machine v $(node v); machine w $(node w) -incoming defer; }
a disk add v --qemu "$dir/v.qmp" --node d
b disk add v --qemu "$dir/w.qmp" --node d
qmp v block-dirty-bitmap-add '{"node": "d", "name": "b3", "persistent": true}' >/dev/null
serve v d
guest_write v d 5M 1M
before=$(bits a v b3)
session=$(a prepare v --to "${control[b]}")
qmp v nbd-server-stop >/dev/null
rm -f "$dir/v.nbd"
chmod 500 "$dir/a/qemu"      # nothing can be read yet
a pivot "$session" --from "${control[a]}" >/dev/null
qmp w migrate-incoming "{\"uri\": \"unix:$dir/migration\"}" >/dev/null
qmp v migrate "{\"uri\": \"unix:$dir/migration\"}" >/dev/null
is_migrated() { [ "$(qmp v query-migrate | json 'd.get("status")')" = completed ]; }
eventually "the guest is migrated" is_migrated
b pivot "$session" --to "${control[b]}" >/dev/null
case $(qemu_bitmaps v d) in *b3) fail "QEMU has kept b3: nothing was tried" ;; esac
chmod 700 "$dir/a/qemu"
b wait "$session" >/dev/null
expect "what has arrived of b3" "$(bits b v b3)" "$before"
eventually "the source lets go" is_state a "$session" source released
eventually "no trace of it in v" is_clean v
eventually "no trace of it in w" is_clean w
finish
