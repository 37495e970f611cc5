# SPDX-License-Identifier: BSD-3-Clause
# Sourced by tests/flow-qemu-*.sh: QEMU and its storage daemon by name.
#
#   storage NAME [OPTION]...   a storage daemon; its monitors are $dir/NAME.qmp, for
#                              dirtyferry, and $dir/NAME.own, for `qmp`
#   machine NAME [OPTION]...   the same, by qemu-system-x86_64: stopped, without a machine
#   qmp NAME COMMAND [JSON]    asks it, prints what it returns
#   gone NAME                  kills it
# They are jobs of the script, and end with it.
. "$(dirname "${BASH_SOURCE[0]}")/flow-common.sh"

for program in qemu-storage-daemon qemu-system-x86_64 qemu-img qemu-io; do
    command -v $program >/dev/null || skip "$program is not there: apt-get install qemu-system-x86 qemu-system-common qemu-utils"
done

declare -A qemu_pid=()

is_there()
{
    [ -S "$dir/$1.qmp" ] && [ -S "$dir/$1.own" ]
}

storage()
{
    local name=$1
    shift
    rm -f "$dir/$name.qmp" "$dir/$name.own"
    qemu-storage-daemon --chardev "socket,id=q,path=$dir/$name.qmp,server=on,wait=off" --monitor chardev=q \
        --chardev "socket,id=o,path=$dir/$name.own,server=on,wait=off" --monitor chardev=o "$@" 2>>"$dir/$name.log" &
    qemu_pid[$name]=$!
    eventually "the sockets of $name" is_there "$name"
}

machine()
{
    local name=$1
    shift
    rm -f "$dir/$name.qmp" "$dir/$name.own"
    qemu-system-x86_64 -machine none -S -nographic -nodefaults -qmp "unix:$dir/$name.qmp,server=on,wait=off" \
        -qmp "unix:$dir/$name.own,server=on,wait=off" "$@" 2>>"$dir/$name.log" </dev/null &
    qemu_pid[$name]=$!
    eventually "the sockets of $name" is_there "$name"
}

gone()
{
    kill -9 "${qemu_pid[$1]}"
    wait "${qemu_pid[$1]}" 2>/dev/null || :
}

qmp()
{
    "$python" -c '
import json, socket, sys
path, command, arguments = sys.argv[1:]
s = socket.socket(socket.AF_UNIX)
s.settimeout(60)
s.connect(path)
f = s.makefile("rw")
f.readline()
for command, arguments in ("qmp_capabilities", "{}"), (command, arguments):
    f.write(json.dumps({"execute": command, "arguments": json.loads(arguments), "id": command}) + "\n")
    f.flush()
    answer = {}
    while answer.get("id") != command:
        answer = json.loads(f.readline())
if "error" in answer:
    sys.exit("%s: %s" % (command, answer["error"]["desc"]))
print(json.dumps(answer["return"]))' "$dir/$1.own" "$2" "${3:-"{}"}"
}

# qemu_bitmaps NAME NODE: their names.
qemu_bitmaps()
{
    qmp "$1" query-named-block-nodes '{"flat": true}' |
        json '" ".join(sorted(b["name"] for n in d if n["node-name"] == sys.argv[2] for b in n.get("dirty-bitmaps", [])))' "$2"
}

# serve NAME NODE: by NBD, writable; the server is started with the first.
serve()
{
    [ -S "$dir/$1.nbd" ] || qmp "$1" nbd-server-start "{\"addr\": {\"type\": \"unix\", \"data\": {\"path\": \"$dir/$1.nbd\"}}}" >/dev/null
    qmp "$1" block-export-add "{\"type\": \"nbd\", \"id\": \"$2\", \"node-name\": \"$2\", \"name\": \"$2\", \"writable\": true}" >/dev/null
}

# guest_write NAME NODE OFFSET LENGTH
guest_write()
{
    qemu-io -f raw -c "write -P 7 $3 $4" "nbd+unix:///$2?socket=$dir/$1.nbd" >"$dir/qemu-io.out" 2>&1 || fail "qemu-io: $(cat "$dir/qemu-io.out")"
}
