# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: BSD-3-Clause
# Sourced by tests/flow-qemu-diff*.sh: host a, and disk vda of $size bytes, which is node vda of the storage
# daemon qa, a qcow2 image; beside it $dir/old and $dir/new of tests/livediff-common.sh, and the functions there.
. "$(dirname "${BASH_SOURCE[0]}")/qemu-common.sh"
. "$(dirname "${BASH_SOURCE[0]}")/livediff-common.sh"

uri="nbd+unix:///vda?socket=$dir/qa.nbd"

start_qa()
{
    storage qa --blockdev "driver=qcow2,node-name=vda,file.driver=file,file.filename=$dir/vda.qcow2"
    serve qa vda
}

# vda SEED
vda()
{
    images "$1"
    qemu-img convert -f raw -O qcow2 "$dir/new" "$dir/vda.qcow2"
    start_qa
    host a
    attach a vda qa vda --data "$uri"
}

# guest OFFSET LENGTH: by NBD, and in $dir/new.
guest()
{
    head -c "$2" /dev/urandom >"$dir/piece"
    qemu-io -f raw -c "write -q -s $dir/piece $1 $2" "$uri" >"$dir/qemu-io.out" 2>&1 || fail "qemu-io: $(cat "$dir/qemu-io.out")"
    dd if="$dir/piece" of="$dir/new" bs=4096 seek="$1" oflag=seek_bytes conv=notrunc status=none
    marks+=("$1" "$2")
}

bitmap()        # VERB
{
    qmp qa "block-dirty-bitmap-$1" '{"node":"vda","name":"daily"}'
}

# fresh [FIELD]...: bitmap daily, without bits
fresh()
{
    bitmap remove 2>/dev/null || :
    add qa vda daily 65536 "$@"
    marks=()
}

compare()
{
    a --json bitmap diff vda daily --against "$dir/old" "$@" >"$dir/result"
}

# completed WHAT: all that differs is in the bitmap, and nothing of us in QEMU.
completed()
{
    check_bits "$1"
    expect "flags: $1" "$(qflags qa vda daily recording busy inconsistent)" "recording=true busy=false inconsistent=false"
    nothing_left
}

nothing_left()
{
    expect "what is left in QEMU" "$(traces qa | grep -e dirtyferry -e '^exports .' | grep -v '^exports guest-vda$' || :)" ""
    no_files a || fail "files are left in STATE/qemu"
    expect "bitmaps that are left here" "$(a --json disk list | json '[e["bitmaps"] for e in d if e["disk"] == "vda"][0]')" 0
}
