# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-3-Clause
# Sourced by tests/fail-*.sh, one for each row of README.md's table "When something fails".
#
#   host a [OPTION]...    a daemon at endpoints that stay, so that it is found again after `die a`
#   link_up               a relay in front of b: $link; link_cut, link_stall, link_go.  to=$link: sessions go through it
#   record NAME DISK N    that many random writes past the daemon; they are kept for `exact`
#   exact NAME DISK BITMAP    its bits are those of all these writes, no more and no less
. "$(dirname "${BASH_SOURCE[0]}")/flow-common.sh"

df_boot=$top_builddir/tests/df-boot
link=ipc://$dir/link.sock
link_data=ipc://$dir/link.data

disk_bytes=1073741824

# ---------------------------------------------------------------- daemons

host()
{
    local name=$1
    shift
    start "$name" --data "ipc://$dir/$name.data" --events "ipc://$dir/$name.events" "$@"
}

# b behind the link: sources are told the link's place.
host_b_linked()
{
    host b --advertise-data "$link_data"
}

die()
{
    stop "$1" KILL
}

# Its host is started again after a crash or a clean stop; the daemon must not run.
boot()
{
    "$df_boot" "$dir/$1" || fail "df-boot $1"
}

# ------------------------------------------------------------------- link

link_up()
{
    local line
    rm -f "$dir/link.ready"
    mkfifo "$dir/link.ready"
    "$python" "$(dirname "${BASH_SOURCE[0]}")/relay.py" "$dir/link.sock" "$dir/b.sock" "$dir/link.data" "$dir/b.data" \
        >"$dir/link.ready" 2>>"$dir/link.log" &
    link_pid=$!
    read -r line <"$dir/link.ready" || fail "the link did not start"
}

link_cut()
{
    kill -9 "$link_pid"
    wait "$link_pid" 2>/dev/null || :
}

link_stall()
{
    kill -STOP "$link_pid"
}

link_go()
{
    kill -CONT "$link_pid"
}

# ----------------------------------------------------------------- writes

# The oracle is the list of all writes to a disk, whatever host it is on.
# record NAME DISK NUMBER [LENGTH]: lengths up to LENGTH, 1 unless said.
record_seed=0
record()
{
    local name=$1 disk=$2 number=$3 length=${4:-1}
    record_seed=$((record_seed + 1))
    ranges $record_seed $disk_bytes "$number" "$length" >"$dir/recorded"
    mark "$name" "$disk" <"$dir/recorded"
    cat "$dir/recorded" >>"$dir/oracle.$disk"
}

# big_disk DISK [OPTION]...: on both sides, with a bitmap `daily` that is some hundred frames of `slow`
big_disk()
{
    local disk=$1
    shift
    pair "$disk" 1G daily --granularity 512 "$@"
    record a "$disk" 60000
}

small_disk()
{
    local disk=$1
    shift
    pair "$disk" 1G daily --granularity 512 "$@"
    record a "$disk" 20 100000
}

# exact NAME DISK [BITMAP GRANULARITY]
exact()
{
    local name=$1 disk=$2 bitmap=${3:-daily}
    on "$name" disk add "oracle-$disk" --size "$disk_bytes"
    on "$name" bitmap add "oracle-$disk" daily --granularity "${4:-512}"
    mark "$name" "oracle-$disk" <"$dir/oracle.$disk"
    expect "bits of $bitmap of $disk on $name" "$(bits "$name" "$disk" "$bitmap")" "$(bits "$name" "oracle-$disk" daily)"
    on "$name" bitmap remove "oracle-$disk" daily
    on "$name" disk remove "oracle-$disk"
}

# ------------------------------------------------------------- conditions

# about NAME SESSION ROLE FIELD: of its status; empty if it is not there
about()
{
    on "$1" --json status "$2" | json '([s for s in d if s["role"] == sys.argv[2]] or [{}])[0].get(sys.argv[3], "")' "$3" "$4"
}

is_about()      # NAME SESSION ROLE FIELD VALUE
{
    [ "$(about "$1" "$2" "$3" "$4")" = "$5" ]
}

says()          # NAME SESSION ROLE PATTERN: its message
{
    about "$1" "$2" "$3" message | grep -Eq -- "$4"
}

is_mid_stream() # SESSION [FRAMES]: so many have come
{
    [ "$(about b "$1" target frames)" -ge "${2:-40}" ]
}

# mid_stream SESSION [FRAMES]: so many frames are at the target, and its source streams on
mid_stream()
{
    eventually "frames arrive" is_mid_stream "$@"
    expect "source in mid-stream" "$(state a "$1" source)" streaming
}

# One that is being written when the session ends goes a moment later.
no_dumps()
{
    [ -z "$(ls "$dir/a/dumps" 2>/dev/null)" ]
}

# finished SESSION DISK: operative, let go, exact; nothing is left
finished()
{
    eventually "the target is operative" is_state b "$1" target operative
    eventually "the source lets go" is_state a "$1" source released
    exact b "$2"
    expect "flags of the moved bitmap" "$(flags b "$2" daily busy recording inconsistent frozen)" "busy=false recording=true inconsistent=false frozen=false"
    expect "the source's copy" "$(a --json bitmap list "$2")" "[]"
    eventually "the dump is gone" no_dumps
}

prepared()
{
    "$dirtyferry" --json prepare --from "${control[a]}" --to "${to:-${control[b]}}" "$@" | json 'd["session"]'
}

# slow DISK...: prepared so that the stream takes some seconds; the session is in $session
slow()
{
    session=$(slowly "$@")
}

slowly()
{
    "$dirtyferry" --json prepare --from "${control[a]}" --to "${to:-${control[b]}}" --workers 1 --chunk-size 256 --max-bandwidth 32K "$@" | json 'd["session"]'
}

# undisturbed DISK: how many frames `slow` takes for what was recorded until now, when nothing fails
undisturbed()
{
    pair "calm-$1" 1G daily --granularity 512
    mark a "calm-$1" <"$dir/oracle.$1"
    migrate "calm-$1" --workers 1 --chunk-size 256 | json 'd["frames"]'
}

now_ms()
{
    echo $((${EPOCHREALTIME/./} / 1000))
}
