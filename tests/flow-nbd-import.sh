#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# bitmap import from NBD: what the storage daemon and qemu-nbd export arrives bit for bit, as QEMU's own
# hash says; a server that is not there, has not what we want, dies or hangs leaves nothing behind.
. "$(dirname "$0")/flow-common.sh"
for program in qemu-storage-daemon qemu-nbd; do
    command -v $program >/dev/null || skip "$program is not there"
done
start a

# image NAME SIZE GRANULARITY PATTERN: $dir/NAME.qcow2 has a bitmap b; ${hash[NAME]} is that of its bits
declare -A hash
image()
{
    hash[$1]=$("$python" "$top_srcdir/tests/qcow2_bits.py" "$dir/$1.qcow2" "$2" "$3" b "$4")
}

# storage NAME: a storage daemon with the image of that name, its export e at $dir/NAME.nbd and QMP at $dir/NAME.qmp; its id is $storage
storage()
{
    qemu-storage-daemon --chardev "socket,id=q,path=$dir/$1.qmp,server=on,wait=off" --monitor chardev=q \
        --blockdev "driver=qcow2,node-name=d0,file.driver=file,file.filename=$dir/$1.qcow2" \
        --nbd-server "addr.type=unix,addr.path=$dir/$1.nbd" \
        --export type=nbd,id=e,node-name=d0,name=e,writable=on,bitmaps.0=b --pidfile "$dir/$1.pid" >"$dir/$1-qsd.log" 2>&1 &
    storage=$!
    eventually "the storage daemon serves" test -s "$dir/$1.pid"
}

# qmp_hash NAME: as QEMU computes it
qmp_hash()
{
    "$python" - "$dir/$1.qmp" <<'PYTHON'
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
f = s.makefile("rw")
f.readline()
for command in {"execute": "qmp_capabilities"}, {"execute": "x-debug-block-dirty-bitmap-sha256", "arguments": {"node": "d0", "name": "b"}}:
    f.write(json.dumps(command) + "\n")
    f.flush()
    reply = json.loads(f.readline())
print(reply["return"]["sha256"])
PYTHON
}

sha256()
{
    field sha256 "$(a --json bitmap show "$@")"
}

# ------------------------------------------------------------- storage daemon

# The sizes are whole sectors, and nothing more.
fine=$(((3 << 30) + 7 * 512)) coarse=$(((900 << 30) + 512))
image fine $fine 512 1:40
image coarse $coarse 65536 2:10
for name in fine coarse; do
    storage $name
    a disk add $name --size ${!name}
    uri="nbd+unix:///e?socket=$dir/$name.nbd"
    [ $name = fine ] && granularity=512 || granularity=64K
    a bitmap import $name b "$uri" --granularity $granularity >"$dir/out"
    expect "what import says" "$(cat "$dir/out")" "b  granularity $([ $name = fine ] && echo 512 || echo 64K)  recording"
    expect "the hash as QEMU computes it" "$(qmp_hash $name)" "${hash[$name]}"
    expect "bits of $name" "$(sha256 $name b)" "${hash[$name]}"
    if [ $name = fine ]; then
        # Coarser by import, and coarser by merge: the same.  Another name, by --context.
        a bitmap import fine other "$uri" --format nbd --context qemu:dirty-bitmap:b >"$dir/out"
        a bitmap add fine merged
        a bitmap merge fine merged b
        expect "bits at 64K" "$(bits a fine other)" "$(bits a fine merged)"
    fi
    kill "$storage"
    wait "$storage" || :
done

# ------------------------------------------------------------------- qemu-nbd

image empty $((16 << 40)) 65536 empty
image full $((1 << 30)) 4096 3:100
a disk add empty --size $((16 << 40))
a disk add full --size $((1 << 30))
for name in empty full; do
    qemu-nbd -r -t -B b -x 'an export' -k "$dir/$name.nbd" --pid-file="$dir/$name.pid" "$dir/$name.qcow2" 2>"$dir/$name-nbd.log" &
    server=$!
    eventually "qemu-nbd serves" test -s "$dir/$name.pid"
    a bitmap import $name b "nbd+unix:///an%20export?socket=$dir/$name.nbd" --granularity $([ $name = full ] && echo 4K || echo 64K) >"$dir/out"
    expect "bits of $name" "$(sha256 $name b)" "${hash[$name]}"
    kill $server
    wait $server || :
done

# -------------------------------------------------------------------- refused

storage coarse
uri="nbd+unix:///e?socket=$dir/coarse.nbd"
state=$(snapshot a)
import()
{
    a bitmap import "$@"
}
refuse 1 "cannot connect to '.*gone'.*No such file.*does the server run" -- import coarse x "nbd+unix:///e?socket=$dir/gone"
refuse 1 "cannot connect to 'nbd://'" -- import coarse x "nbd://"
refuse 1 "no export named 'f'" -- import coarse x "nbd+unix:///f?socket=$dir/coarse.nbd"
refuse 1 "does not offer 'qemu:dirty-bitmap:x'.*it offers .*'qemu:dirty-bitmap:b'" -- import coarse x "$uri"
refuse 1 "disk 'fine' has $fine bytes and .* is of one with $coarse" -- import fine x "$uri" --context qemu:dirty-bitmap:b
refuse 1 "has a bitmap 'b' already" -- import coarse b "$uri"
refuse 2 "give BITMAP" -- import coarse "$uri"
refuse 2 "--context is for NBD" -- import coarse x "$dir/coarse.qcow2" --format raw --granularity 64K --context b
expect "what is refused changes nothing" "$(snapshot a)" "$state"

# --------------------------------------------------- a server that dies, hangs

# relay BYTES: to the storage daemon, up to that many bytes of its answers: then the link is cut
relay()
{
    rm -f "$dir/relay"
    "$python" - "$dir/coarse.nbd" "$dir/relay" "$1" <<'PYTHON' &
import select, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[2])
listener.listen()
client, _ = listener.accept()
server = socket.socket(socket.AF_UNIX)
server.connect(sys.argv[1])
left = int(sys.argv[3])
while left:
    for s in select.select([client, server], [], [])[0]:
        data = s.recv(min(left, 65536) if s is server else 65536)
        if not data:
            sys.exit()
        (client if s is server else server).sendall(data)
        left -= len(data) if s is server else 0
PYTHON
    relay=$!
    eventually "the relay listens" test -S "$dir/relay"
}

for bytes in 100 1000 30000; do
    relay $bytes
    refuse 1 "has ended the connection" -- import coarse x "nbd+unix:///e?socket=$dir/relay" --context qemu:dirty-bitmap:b
    wait $relay
done
kill -STOP "$storage"
refuse 1 "has not answered for 10000 ms" -- import coarse x "$uri" --context qemu:dirty-bitmap:b
kill -CONT "$storage"
expect "what failed in the middle changes nothing" "$(snapshot a)" "$state"
expect "sessions that go on" "$(a --json status | json '[s for s in d if s["state"] not in ("operative", "cancelled")]')" "[]"
a bitmap import coarse x "$uri" --context qemu:dirty-bitmap:b >"$dir/out"
expect "bits of the server that goes on" "$(sha256 coarse x)" "${hash[coarse]}"
kill "$storage"
wait "$storage" || :

finish
