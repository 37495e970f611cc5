# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: BSD-3-Clause
# Sourced by the scripts with real QEMUs.  Hosts are those of tests/fail-common.sh; beside them:
#
#   storage NAME [OPTION]...      a storage daemon: $dir/NAME.qmp is dirtyferry's monitor, $dir/NAME.own the test's
#   machine NAME [OPTION]...      a paused machine, likewise
#   twins NODE...                 storage daemons qa and qb with these disks of 1 GiB, guests' servers, and a and b who know them
#   null NODE SIZE                the options of a disk without data, in $null
#   qmp NAME COMMAND [ARGUMENTS]
#   attach HOST DISK NAME [NODE]  disk add; the node has the disk's name unless said
#   fill NAME NODE BITMAP RAW     sets these bits; RAW is of tests/qbits.py
#   filled NAME NODE BITMAP SEED  a new one with random bits, which are in $dir/SEED.raw
#   arrived NAME NODE BITMAP RAW...   by QEMU's own SHA-256
#   guest NAME NODE <RANGES       writes; they are appended to $dir/written
. "$(dirname "${BASH_SOURCE[0]}")/fail-common.sh"

tests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
declare -A qemu_pid=()

for program in qemu-storage-daemon qemu-system-x86_64 qemu-img qemu-io; do
    command -v $program >/dev/null || skip "$program is not there: apt-get install qemu-system-x86 qemu-system-common qemu-utils"
done
"$python" -c 'import nbd' 2>/dev/null || skip "$python has no module nbd (python3-libnbd)"

# ------------------------------------------------------------------ QEMUs

answers()       # NAME
{
    [ -s "$dir/$1.pid" ] && qmp "$1" query-version >/dev/null 2>&1
}

storage()
{
    local name=$1
    shift
    rm -f "$dir/$name.pid"
    qemu-storage-daemon --chardev "socket,id=df,path=$dir/$name.qmp,server=on,wait=off" --monitor chardev=df \
        --chardev "socket,id=test,path=$dir/$name.own,server=on,wait=off" --monitor chardev=test \
        --pidfile "$dir/$name.pid" "$@" >/dev/null 2>>"$dir/$name.log" &
    qemu_pid[$name]=$!
    eventually "storage daemon $name answers" answers "$name"
}

machine()
{
    local name=$1
    shift
    rm -f "$dir/$name.pid"
    qemu-system-x86_64 -S -nodefaults -display none -machine q35,accel=tcg -m 32 \
        -qmp "unix:$dir/$name.qmp,server=on,wait=off" -qmp "unix:$dir/$name.own,server=on,wait=off" \
        -pidfile "$dir/$name.pid" "$@" >/dev/null 2>>"$dir/$name.log" &
    qemu_pid[$name]=$!
    eventually "machine $name answers" answers "$name"
}

# end_qemu NAME [SIGNAL]; gone NAME: by KILL
end_qemu()
{
    kill -"${2:-TERM}" "${qemu_pid[$1]}"
    wait "${qemu_pid[$1]}" 2>/dev/null || :
    unset "qemu_pid[$1]"
    rm -f "$dir/$1.nbd"
}

gone()
{
    end_qemu "$1" KILL
}

# null NODE SIZE: for machines too, which take two dashes as well
null()
{
    null=(--blockdev "driver=null-co,node-name=$1,size=$(numfmt --from=iec "$2"),read-zeroes=on")
}

qmp()
{
    "$python" "$top_srcdir/examples/qmp.py" "$dir/$1.own" "${@:2}"
}

# ---------------------------------------------------------------- bitmaps

# attach HOST DISK NAME [NODE [OPTION]...]
attach()
{
    on "$1" disk add "$2" --qemu "$dir/$3.qmp" --node "${4:-$2}" "${@:5}"
}

# add NAME NODE BITMAP [GRANULARITY [FIELD]...]: a field is JSON, such as '"disabled":true'
add()
{
    local fields='' field
    for field in "${@:5}"; do
        fields+=,$field
    done
    qmp "$1" block-dirty-bitmap-add "{\"node\":\"$2\",\"name\":\"$3\",\"granularity\":${4:-65536}$fields}"
}

# about_bitmap NAME NODE BITMAP: QEMU's fields, null when there is none
about_bitmap()
{
    qmp "$1" query-named-block-nodes '{"flat":true}' |
        json '([b for n in d if n["node-name"] == sys.argv[2] for b in n.get("dirty-bitmaps", []) if b["name"] == sys.argv[3]] or [None])[0]' "$2" "$3"
}

# qemu_bitmaps NAME NODE: their names.
qemu_bitmaps()
{
    qmp "$1" query-named-block-nodes '{"flat": true}' |
        json '" ".join(sorted(b["name"] for n in d if n["node-name"] == sys.argv[2] for b in n.get("dirty-bitmaps", [])))' "$2"
}

# qflags NAME NODE BITMAP FIELD...
qflags()
{
    about_bitmap "$1" "$2" "$3" | json '" ".join(f"{f}={str(d.get(f, False)).lower()}" for f in sys.argv[2:]) if d else "none"' "${@:4}"
}

hash()
{
    qmp "$1" x-debug-block-dirty-bitmap-sha256 "{\"node\":\"$2\",\"name\":\"$3\"}" | json 'd["sha256"]'
}

bits_of()       # RAW...
{
    "$python" "$tests/qbits.py" sha256 "$@"
}

random_bits()   # SIZE GRANULARITY SEED [PERMILLE] >RAW
{
    "$python" "$tests/qbits.py" random "$@"
}

range_bits()    # SIZE GRANULARITY <RANGES >RAW
{
    "$python" "$tests/qbits.py" ranges "$@"
}

node_size()     # NAME NODE
{
    qmp "$1" query-named-block-nodes '{"flat":true}' | json '[n["image"]["virtual-size"] for n in d if n["node-name"] == sys.argv[2]][0]' "$2"
}

# Through a qcow2 image that carries them: QEMU takes bits in no other way.
fill()
{
    local granularity
    granularity=$(about_bitmap "$1" "$2" "$3" | json 'd["granularity"]')
    "$python" "$tests/qbits.py" carrier "$dir/carrier" "$(node_size "$1" "$2")" x "$granularity" "$4"
    qmp "$1" blockdev-add "{\"driver\":\"qcow2\",\"node-name\":\"carrier\",\"read-only\":true,\"file\":{\"driver\":\"file\",\"filename\":\"$dir/carrier\",\"read-only\":true}}"
    qmp "$1" block-dirty-bitmap-merge "{\"node\":\"$2\",\"target\":\"$3\",\"bitmaps\":[{\"node\":\"carrier\",\"name\":\"x\"}]}"
    qmp "$1" blockdev-del '{"node-name":"carrier"}'
    rm "$dir/carrier"
}

# filled NAME NODE BITMAP SEED [GRANULARITY [FIELD]...]: added, with random bits, which are kept in $dir/SEED.raw
filled()
{
    add "$1" "$2" "$3" "${@:5}"
    random_bits "$(node_size "$1" "$2")" "${5:-65536}" "$4" >"$dir/$4.raw"
    fill "$1" "$2" "$3" "$dir/$4.raw"
}

# arrived NAME NODE BITMAP RAW...: it has these bits and no other, and is free
arrived()
{
    expect "flags of $3 of $2 of $1" "$(qflags "$1" "$2" "$3" busy inconsistent)" "busy=false inconsistent=false"
    expect "bits of $3 of $2 of $1" "$(hash "$1" "$2" "$3")" "$(bits_of "${@:4}")"
}

# ----------------------------------------------------------------- guests

# serve NAME NODE...: the guest's NBD server of a storage daemon; dirtyferry is told of it by --nbd $dir/NAME.nbd
serve()
{
    local name=$1 node
    shift
    [ -S "$dir/$name.nbd" ] || qmp "$name" nbd-server-start "{\"addr\":{\"type\":\"unix\",\"data\":{\"path\":\"$dir/$name.nbd\"}}}"
    for node; do
        qmp "$name" block-export-add "{\"type\":\"nbd\",\"id\":\"guest-$node\",\"node-name\":\"$node\",\"name\":\"$node\",\"writable\":true}"
    done
}

guest()
{
    local how=(nbd "nbd+unix:///$2?socket=$dir/$1.nbd")
    [ -e "$dir/$1.nbd" ] || how=(hmp "$dir/$1.own" "$2")
    "$python" "$tests/qguest.py" "${how[@]}" >>"$dir/written" || fail "a guest cannot write to $2 of $1"
}

# guest_write NAME NODE OFFSET LENGTH
guest_write()
{
    qemu-io -f raw -c "write -P 7 $3 $4" "nbd+unix:///$2?socket=$dir/$1.nbd" >"$dir/qemu-io.out" 2>&1 || fail "qemu-io: $(cat "$dir/qemu-io.out")"
}

twins()
{
    local q node options
    for q in qa qb; do
        options=()
        for node; do
            null "$node" 1G
            options+=("${null[@]}")
        done
        storage $q "${options[@]}"
        serve $q "$@"
    done
    for node; do
        attach a "$node" qa "$node" --nbd "$dir/qa.nbd"
        attach b "$node" qb "$node" --nbd "$dir/qb.nbd"
    done
}

# ------------------------------------------------------------ what is left

# traces NAME: what a session could leave in QEMU: nodes, exports, and all of the bitmaps but their counts
traces()
{
    qmp "$1" query-named-block-nodes '{"flat":true}' | json '"\n".join(sorted(n["node-name"] for n in d) + sorted(
        "%s/%s recording=%s busy=%s persistent=%s" % (n["node-name"], b["name"], b["recording"], b["busy"], b["persistent"]) for n in d for b in n.get("dirty-bitmaps", [])))'
    qmp "$1" query-block-exports | json '"exports " + " ".join(sorted(e["id"] for e in d))'
}

# no_files HOST: nothing is left of carriers
no_files()
{
    [ -z "$(ls -A "$dir/$1/qemu" 2>/dev/null)" ]
}

# no_traces NAME HOST: no bitmap, export or file, and the nodes that the test made
no_traces()
{
    local left
    left=$(traces "$1" | grep -e / -e dirtyferry -e '^exports .' | grep -v '^exports guest-' || :)
    expect "what is left in $1" "$left" ""
    eventually "no files are left on $2" no_files "$2"
}

# ------------------------------------------------------------------ relays

# relayed FROM TO: sockets of $dir; relay_does KILL|STOP|CONT FROM
declare -A relay_pid=()
relayed()
{
    local line
    rm -f "$dir/$1.ready"
    mkfifo "$dir/$1.ready"
    "$python" "$tests/relay.py" "$dir/$1" "$dir/$2" >"$dir/$1.ready" 2>>"$dir/relays.log" &
    relay_pid[$1]=$!
    read -r line <"$dir/$1.ready" || fail "the relay $1 did not start"
}

relay_does()
{
    kill -"$1" "${relay_pid[$2]}"
    [ "$1" != KILL ] || wait "${relay_pid[$2]}" 2>/dev/null || :
}
