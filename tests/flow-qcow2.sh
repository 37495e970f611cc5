#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# qcow2 images, with QEMU's own programs: what export writes they take, what they write import reads, bit for bit
# by QEMU's own SHA-256; what is not good is refused by name and nothing changes.
. "$(dirname "$0")/flow-common.sh"
for tool in qemu-img qemu-io qemu-storage-daemon; do
    command -v $tool >/dev/null || skip "$tool is not there"
done
start a

check()         # FILE
{
    qemu-img check "$1" >"$dir/check" 2>&1 || fail "qemu-img check $1: $(cat "$dir/check")"
    grep -q '^No errors' "$dir/check" || fail "qemu-img check $1: $(cat "$dir/check")"
}

info()          # FILE: name, granularity, flags of each bitmap
{
    qemu-img info -U --output=json "$1" | json '"; ".join("%s %d %s" % (b["name"], b["granularity"], ",".join(sorted(b["flags"]))) for b in d["format-specific"]["data"].get("bitmaps", []))'
}

# A storage daemon with FILE as node "disk": qsd FILE [OPTION]...
qsd()
{
    local file=$1
    shift
    rm -f "$dir/qmp.sock" "$dir/nbd.sock"
    qemu-storage-daemon --blockdev driver=file,node-name=file,filename="$file" --blockdev driver=qcow2,node-name=disk,file=file "$@" \
        --chardev socket,id=q,path="$dir/qmp.sock",server=on,wait=off --monitor chardev=q >"$dir/qsd.log" 2>&1 &
    qsd_pid=$!
    eventually "the storage daemon serves: $(cat "$dir/qsd.log")" test -S "$dir/qmp.sock"
}

# qmp COMMAND [ARGUMENTS]: its return value.
qmp()
{
    "$python" -c '
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(30)
s.connect(sys.argv[1])
f = s.makefile("rw")
f.readline()
for command, arguments in (("qmp_capabilities", {}), (sys.argv[2], json.loads(sys.argv[3]))):
    f.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
    f.flush()
    while True:
        answer = json.loads(f.readline())
        if "event" not in answer:
            break
    if "error" in answer:
        sys.exit("%s: %s" % (command, answer["error"]["desc"]))
print(json.dumps(answer["return"]))' "$dir/qmp.sock" "$1" "${2:-"{}"}"
}

sha()           # BITMAP
{
    qmp x-debug-block-dirty-bitmap-sha256 "{\"node\": \"disk\", \"name\": \"$1\"}" | json 'd["sha256"]'
}

quit()
{
    qmp quit >/dev/null
    wait "$qsd_pid"
}

hash_of()       # DISK BITMAP
{
    field sha256 "$(a --json bitmap show "$1" "$2")"
}

# --------------------------------------------- what export writes QEMU takes

# exported DISK BITMAP: check, info, QEMU's hash, and back by import.
exported()
{
    local shown granularity flag=auto
    shown=$(a --json bitmap show "$1" "$2")
    granularity=$(field granularity "$shown")
    [ "$(field recording "$shown")" = true ] || flag=
    a bitmap export "$1" "$2" "$dir/image" --format qcow2
    check "$dir/image"
    expect "what qemu-img sees of $1/$2" "$(info "$dir/image")" "$2 $granularity $flag"
    qsd "$dir/image"
    expect "QEMU's hash of $1/$2" "$(sha "$2")" "$(hash_of "$1" "$2")"
    quit
    a bitmap export "$1" "$2" "$dir/image" --format qcow2       # QEMU has opened and written the other one
    a disk add back --size "$3"
    a bitmap import back "$dir/image" >"$dir/out"
    expect "bits of $1/$2 that came back" "$(bits a back "$2")" "$(bits a "$1" "$2")"
    expect "flags of $1/$2" "$(flags a back "$2" recording persistent granularity)" "recording=$(field recording "$shown") persistent=true granularity=$granularity"
    a disk remove back
}

a disk add one --size 300G
a bitmap add one sparse --granularity 4K
a bitmap add one stopped --disabled
a bitmap add one "a name, $(printf 'x%.0s' {1..1000})"
ranges 1 $((300 << 30)) 3000 200000 | mark a one
a bitmap enable one stopped
a bitmap mark one 299G 1M
a bitmap disable one stopped
exported one sparse 300G
exported one stopped 300G
exported one "a name, $(printf 'x%.0s' {1..1000})" 300G
# All ones, whose last cluster has a tail; the sizes at which something else happens; no multiple of a sector.
i=0
while read -r size granularity length; do
    i=$((i + 1))
    a disk add "d$i" --size "$size"
    a bitmap add "d$i" b --granularity "$granularity"
    [ "$length" = 0 ] || a bitmap mark "d$i" 0 "$length"
    [ "$length" = 0 ] || a bitmap mark "d$i" $((size - 1)) 1
    exported "d$i" b "$size"
    [ "$length" != 0 ] || [ "$(stat -c %b "$dir/image")" -le 128 ] || fail "an empty bitmap of $size bytes takes $(stat -c %b "$dir/image") sectors"
done <<<"$((100 << 20)) 512 $((100 << 20))
$(((5 << 30) + 512 * 77)) 512 $(((5 << 30) + 512 * 77))
$(((1 << 40) + 12345)) 65536 1000000000
1000 512 1
$((16 << 40)) 65536 0
$((1 << 60)) 2147483648 9000000000"
a disk add huge --size 1P
a bitmap add huge b
refuse 1 "512 MiB" -- a bitmap export huge b "$dir/huge" --format qcow2
[ ! -e "$dir/huge" ] || fail "a refused export leaves a file"

# Into an image that exists, as the manual page says; and convert --bitmaps.
a bitmap export one sparse "$dir/daily.qcow2" --format qcow2
qemu-img create -q -f qcow2 "$dir/disk.qcow2" 300G
qemu-img bitmap --add -g 65536 "$dir/disk.qcow2" daily
qemu-img bitmap --merge sparse -b "$dir/daily.qcow2" -F qcow2 "$dir/disk.qcow2" daily
check "$dir/disk.qcow2"
a bitmap add one merged
a bitmap merge one merged sparse
qsd "$dir/disk.qcow2"
expect "merged into an image" "$(sha daily)" "$(hash_of one merged)"
quit
qemu-img convert -f qcow2 -O qcow2 --bitmaps "$dir/daily.qcow2" "$dir/converted.qcow2"
a disk add converted --size 300G
a bitmap import converted "$dir/converted.qcow2" >"$dir/out"
expect "converted" "$(bits a converted sparse)" "$(bits a one sparse)"

# Over NBD, by whoever asks.
if command -v nbdinfo >/dev/null; then
    qsd "$dir/daily.qcow2" --nbd-server addr.type=unix,addr.path="$dir/nbd.sock" --export type=nbd,id=e,node-name=disk,name=e,bitmaps.0=sparse,writable=on
    eventually "the NBD server is there" test -S "$dir/nbd.sock"
    a bitmap export one sparse "$dir/sparse.json" --format json
    nbdinfo --map=qemu:dirty-bitmap:sparse "nbd+unix:///e?socket=$dir/nbd.sock" | awk '$3 { print $1, $2 }' >"$dir/map"
    "$python" -c '
import json, sys
ours = [(e["start"], e["length"]) for e in json.load(open(sys.argv[1])) if e["dirty"]]
theirs = []
for line in open(sys.argv[2]):      # a request covers less than 4 GiB: what it cuts is joined again
    start, length = map(int, line.split())
    if theirs and sum(theirs[-1]) == start:
        theirs[-1] = (theirs[-1][0], theirs[-1][1] + length)
    else:
        theirs.append((start, length))
sys.exit(0 if ours == theirs and len(ours) > 1000 else "%d extents, and %d over NBD" % (len(ours), len(theirs)))' "$dir/sparse.json" "$dir/map" || fail "bits over NBD"
    quit
fi

# -------------------------------------------- what QEMU writes import reads

# image NAME CREATE-OPTION...: two bitmaps that record what is written by NBD
image()
{
    local file=$dir/$1.qcow2
    shift
    qemu-img create -q -f qcow2 "$@" "$file" 3G
    qemu-img bitmap --add -g 4096 "$file" fine
    qemu-img bitmap --add -g 65536 "$file" coarse
    qemu-img bitmap --add -g 65536 --disable "$file" off
    qsd "$file" --nbd-server addr.type=unix,addr.path="$dir/nbd.sock" --export type=nbd,id=e,node-name=disk,name=e,writable=on
    eventually "the NBD server is there" test -S "$dir/nbd.sock"
    qemu-io -f raw -c 'write 1M 5000' -c 'write 1G 200K' -c 'write 3221225000 216' "nbd+unix:///e?socket=$dir/nbd.sock" >"$dir/qemu-io" 2>&1 || fail "qemu-io: $(cat "$dir/qemu-io")"
    hashes="$(sha fine) $(sha coarse) $(sha off)"
}

a disk add vm --size 3G
for options in "" "-o cluster_size=512" "-o cluster_size=2M,extended_l2=on" "-o data_file=$dir/data,data_file_raw=on" "-b $dir/daily.qcow2 -F qcow2"; do
    # shellcheck disable=SC2086
    image guest $options
    quit
    a bitmap import vm "$dir/guest.qcow2" >"$dir/out"
    expect "what is imported of '$options'" "$(cat "$dir/out")" "fine  granularity 4K  recording  persistent
coarse  granularity 64K  recording  persistent
off  granularity 64K  persistent"
    expect "bits of '$options'" "$(hash_of vm fine) $(hash_of vm coarse) $(hash_of vm off)" "$hashes"
    expect "flags" "$(flags a vm off recording busy persistent inconsistent)" "recording=false busy=false persistent=true inconsistent=false"
    state=$(snapshot a)
    refuse 1 "has a bitmap 'fine' already" -- a bitmap import vm "$dir/guest.qcow2"
    # One of them is there: none of the others comes.
    a bitmap remove vm fine
    state=$(snapshot a)
    refuse 1 "has a bitmap 'coarse' already" -- a bitmap import vm "$dir/guest.qcow2"
    expect "all of them or none" "$(snapshot a)" "$state"
    a bitmap import vm fine "$dir/guest.qcow2" --format qcow2 >"$dir/out"
    expect "one of them" "$(hash_of vm fine)" "${hashes%% *}"
    for bitmap in fine coarse off; do
        a bitmap remove vm $bitmap
    done
    rm -f "$dir/guest.qcow2" "$dir/data"
done

# Whoever had the image open was killed: its bitmaps may lack writes.
image killed
kill -9 "$qsd_pid"
wait "$qsd_pid" 2>/dev/null || :
state=$(snapshot a)
refuse 1 "bitmap 'fine' of '$dir/killed.qcow2' is inconsistent" -- a bitmap import vm "$dir/killed.qcow2"
refuse 1 "bitmap 'coarse'.*inconsistent.*--force-inconsistent" -- a bitmap import vm coarse "$dir/killed.qcow2"
expect "what is refused changes nothing" "$(snapshot a)" "$state"
a bitmap import vm coarse "$dir/killed.qcow2" --force-inconsistent >"$dir/out"
expect "forced" "$(flags a vm coarse recording inconsistent)" "recording=true inconsistent=false"
a bitmap remove vm coarse

# ------------------------------------------------------------------- refused

qemu-img create -q -f qcow2 "$dir/none.qcow2" 3G
qemu-img create -q -f qcow2 -o compat=0.10 "$dir/old.qcow2" 3G
qemu-img create -q -f qcow2 "$dir/other.qcow2" 4G
qemu-img bitmap --add "$dir/other.qcow2" b
qemu-img create -q -f qcow2 "$dir/stale.qcow2" 3G
qemu-img bitmap --add "$dir/stale.qcow2" b
printf '\0' | dd of="$dir/stale.qcow2" bs=1 seek=95 conv=notrunc status=none     # as a program does that does not know bitmaps
refuse 1 "'$dir/none.qcow2' has no bitmaps" -- a bitmap import vm "$dir/none.qcow2"
refuse 1 "'$dir/converted.qcow2' has no bitmap 'c'" -- a bitmap import converted c "$dir/converted.qcow2"
refuse 1 "disk 'vm' has $((3 << 30)) bytes and '$dir/other.qcow2' is of one with $((4 << 30))" -- a bitmap import vm "$dir/other.qcow2"
refuse 1 "version 2 has none.*compat=1.1" -- a bitmap import vm "$dir/old.qcow2"
refuse 1 "out of date" -- a bitmap import vm "$dir/stale.qcow2"
refuse 1 "not a qcow2 image" -- a bitmap import vm "$dir/sparse.json" --format qcow2
expect "what is refused changes nothing" "$(snapshot a)" "$state"

# More than one dump has room for: what came before the one that fails is taken back.
qemu-img create -q -f qcow2 -o cluster_size=512 "$dir/many.qcow2" 1M
for i in {01..70}; do
    echo "qemu-img bitmap --add '$dir/many.qcow2' m$i"
done | bash
a disk add many --size 1M
a bitmap add many m70
refuse 1 "has a bitmap 'm70' already" -- a bitmap import many "$dir/many.qcow2"
expect "bitmaps after a failure" "$(a --json bitmap list many | json '[b["name"] for b in d]')" '["m70"]'
a bitmap remove many m70
a --json bitmap import many "$dir/many.qcow2" | json 'len(d)' >"$dir/out"
expect "many of them" "$(cat "$dir/out") $(a --json bitmap list many | json 'len(d)')" "70 70"

finish
