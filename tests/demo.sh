#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The demo: a disk moves from one host to another while fio writes to it, its
# dirty bitmap follows after the switch-over, and an incremental backup on the
# new host proves that no write was lost.  Nothing is mocked; "hosts" are two
# daemons and two NBD servers that share nothing but loopback.
#
#     source host                               target host
#     fio --> nbdkit --> source.img             fio --> nbdkit --> target.img
#               | filter                                  | filter
#             dirtyferryd  ------- the bitmap ------>  dirtyferryd
#
# Ends with "verdict: GREEN" and status 0, or "verdict: RED" and status 1.
#
# Environment (defaults in brackets)
#   DEMO_SIZE         size of the disk, with suffix M or G [1G]
#   DEMO_SECONDS      how long the bitmap is to be under way, at least [5]
#   DEMO_RATE         bytes a second that each fio writes [4M]
#   DIRTYFERRY, DIRTYFERRYD, DIRTYFERRY_FILTER
#                     the programs [those of the build tree, or installed ones]
#   TMPDIR            where the disks are: five times DEMO_SIZE [/tmp]
set -eEuo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin:/usr/local/sbin

size=${DEMO_SIZE:-1G}
seconds=${DEMO_SECONDS:-5}
rate=${DEMO_RATE:-4M}
granularity=4096
python=${PYTHON3:-/usr/bin/python3}
source_dir=$(cd "$(dirname "$0")/.." && pwd)
copy_extents=$source_dir/examples/copy-extents.py
check=$source_dir/tests/demo-check.py

# ------------------------------------------------------------ which programs

build=${abs_top_builddir:-$PWD}
if [ -x "$build/dirtyferryd" ]; then
    dirtyferry=$build/dirtyferry dirtyferryd=$build/dirtyferryd filter=$build/.libs/nbdkit-dirtyferry-filter.so
else
    dirtyferry=dirtyferry dirtyferryd=dirtyferryd filter=dirtyferry
fi
dirtyferry=${DIRTYFERRY:-$dirtyferry}
dirtyferryd=${DIRTYFERRYD:-$dirtyferryd}
filter=${DIRTYFERRY_FILTER:-$filter}

for program in "$dirtyferry" "$dirtyferryd" nbdkit nbdcopy fio mke2fs "$python"; do
    command -v "$program" >/dev/null || { echo "skipped: $program is not there"; exit 77; }
done
fio --enghelp=nbd 2>/dev/null | grep -q uri || { echo "skipped: this fio has no nbd engine"; exit 77; }
"$python" -c 'import nbd' 2>/dev/null || { echo "skipped: $python has no module nbd (python3-libnbd)"; exit 77; }
[ "$filter" = dirtyferry ] || [ -f "$filter" ] || { echo "skipped: the filter $filter is not built"; exit 77; }

# A filter with sanitizers needs their library in nbdkit.
preload=$(ldd "$filter" 2>/dev/null | awk '/lib[atu][a-z]*san\.so/ { printf "%s ", $3 }' || :)

# -------------------------------------------------- the end, however it comes

dir=$(mktemp -d "${TMPDIR:-/tmp}/dirtyferry-demo.XXXXXX")
cd "$dir"                   # sockets by relative names: their length is limited
pids=()
red=0
verdict=

cleanup()
{
    local status=$?
    trap - EXIT ERR
    if [ ${#pids[@]} -gt 0 ]; then
        kill -KILL "${pids[@]}" 2>/dev/null || :
        wait "${pids[@]}" 2>/dev/null || :
    fi
    cd /
    rm -rf "$dir"
    # A step that cannot be done has shown nothing.
    [ -n "$verdict" ] || verdict=RED status=1
    echo "verdict: $verdict"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 143' INT TERM HUP

trap 'echo "FAILED: line $LINENO: $BASH_COMMAND" >&2' ERR

die()
{
    echo "FAILED: $*" >&2
    tail -n 5 ./*.log 2>/dev/null | sed 's/^/    /' >&2
    exit 1
}

step()
{
    printf '\n== %s  [%d s]\n' "$*" $SECONDS
}

# verify WHAT COMMAND...: one line of the verdict.
verify()
{
    local what=$1 answer
    shift
    printf -- '- %s ... ' "$what"
    if "$@" >verify.log 2>&1; then
        answer=yes
    else
        answer=NO red=1
    fi
    echo "$answer"
    grep '^ ' verify.log || :
}

field()         # FILE KEY: of a JSON object
{
    "$python" -c 'import json, sys; v = json.load(open(sys.argv[1]))[sys.argv[2]]; print(str(v).lower() if isinstance(v, bool) else v)' "$1" "$2"
}

mib()
{
    awk -v n="$1" 'BEGIN { printf "%.1f MiB", n / 1048576 }'
}

running()
{
    kill -0 "$1" 2>/dev/null
}

ended()
{
    ! running "$1"
}

# wait_for SECONDS COMMAND...
wait_for()
{
    local tries=$(($1 * 20))
    shift
    while ! "$@"; do
        [ $((tries -= 1)) -gt 0 ] || return 1
        sleep 0.05
    done
}

# ------------------------------------------------------------ parts of a host

start_daemon()      # HOST: its control endpoint is in ${endpoint[HOST]}
{
    "$dirtyferryd" --state-dir "$1.state" --control 'tcp://127.0.0.1:*' --data 'tcp://127.0.0.1:*' --events 'tcp://127.0.0.1:*' \
        >"$1.ready" 2>"$1.daemon.log" &
    pids+=($!)
    wait_for 10 grep -q '^ready' "$1.ready" || die "dirtyferryd of the $1 does not serve"
    endpoint[$1]=$(sed -n 's/^ready control=\([^ ]*\).*/\1/p' "$1.ready")
}

start_nbd()         # HOST: serves HOST.img on HOST.sock through the filter
{
    (LD_PRELOAD=$preload exec nbdkit -f --exit-with-parent -U "$dir/$1.sock" -P "$1.pid" --filter="$filter" file "$1.img" \
        dirtyferry-state="$1.state" dirtyferry-disk=vm1) 2>"$1.nbdkit.log" &
    pids+=($!)
    nbd_pid[$1]=$!
    wait_for 10 test -s "$1.pid" || die "nbdkit of the $1 does not serve"
}

# Writes of any size and alignment, at places that differ from run to run (of
# this fio --randseed does not change the places), each logged by fio itself.
start_fio()         # HOST
{
    exec fio --name="$1" --thread --ioengine=nbd --uri="nbd+unix:///?socket=$1.sock" --rw=randwrite --bsrange=512-8k --blockalign=512 \
        --norandommap --iodepth=16 --size="$bytes" --time_based --runtime=600 --rate="$rate" --randrepeat=0 \
        --write_iolog="$1.iolog" --output="$1.fio.log"
}

on()                # HOST COMMAND...
{
    local host=$1
    shift
    "$dirtyferry" -c "${endpoint[$host]}" "$@"
}

declare -A endpoint nbd_pid

# -------------------------------------------------------------------- the demo

step "A disk of $size with a file system made of real files"
bytes=$(awk -v s="$size" 'BEGIN { print int(s) * (s ~ /G$/ ? 1073741824 : 1048576) }')
mkdir tree
# What may not be read is left out.
{ find /usr/lib /usr/share /usr/bin -xdev -type f -size +32k -size -8M -readable ! -name '*[[:cntrl:]\\]*' -printf '%s %P %H\n' 2>/dev/null || :; } |
    awk -v max=$((bytes * 6 / 10)) '{ n += $1 } n <= max { sub(/^[0-9]+ /, ""); h = $NF; sub(/ [^ ]*$/, ""); print substr(h, 2) "/" $0 }' >files
tar -C / -c -f - --no-recursion -T files | tar -C tree -x -f -
truncate -s "$bytes" source.img
mke2fs -q -t ext4 -F -d tree source.img >mke2fs.log 2>&1
echo "$(wc -l <files) files, $(mib "$(($(stat -c '%b * %B' source.img)))") of $(mib "$bytes") in use"
rm -rf tree files

step "Two hosts: a daemon each, and nbdkit with the filter in front of the disk"
truncate -s "$bytes" target.img
for host in source target; do
    start_daemon $host
    on $host disk add vm1 --size "$bytes"
    start_nbd $host
done
source="nbd+unix:///?socket=source.sock" target="nbd+unix:///?socket=target.sock"

step "Full backup; from now on bitmaps record what changes"
# backup0 shall move.  copy0 stays: what the mirror must copy again.  It is
# coarser, as mirrors are, so that the copy rewrites many blocks which are clean
# in backup0.  witness0 stays: a second record of what backup0 holds at the pivot.
for bitmap in backup0 witness0; do
    on source bitmap add vm1 $bitmap --granularity $granularity --persistent
done
nbdcopy "$source" full.img

step "fio writes to the source while the disk is copied in bulk"
start_fio source >fio-out.log 2>&1 &
fio_source=$!
pids+=("$fio_source")
wait_for 20 test -s source.iolog || die "fio does not write to the source"
sleep $((seconds / 4)).5
on source bitmap add vm1 copy0 --granularity 16K
nbdcopy "$source" "$target"
sleep 0.5
on source bitmap list vm1

# What is done while the guest stands still: the rest of the disk, through the locked bitmap.
cat >on-pivot.sh <<END
set -e
'$dirtyferry' -c '${endpoint[source]}' bitmap export vm1 copy0 copy0.json --format json
'$dirtyferry' -c '${endpoint[target]}' --json bitmap show vm1 backup0 >locked.json
'$python' '$copy_extents' copy0.json '$source' '$target' >copied
'$dirtyferry' -c '${endpoint[source]}' bitmap export vm1 witness0 witness0.json --format json
END

step "dirtyferry migrate; a monitor starts fio on the target as soon as that records"
"$dirtyferry" -c "${endpoint[target]}" --json watch >events 2>watch.log &
pids+=($!)
on source --json bitmap show vm1 backup0 >before.json
# So slow that one sees it: a set bit is about a byte.
bandwidth=$(($(field before.json count) / granularity / seconds + 64))
"$dirtyferry" --json migrate vm1/backup0 --from "${endpoint[source]}" --to "${endpoint[target]}" --chunk-size 256 --workers 1 \
    --max-bandwidth $bandwidth --on-pivot 'exec bash on-pivot.sh' --progress >migrate.json &
migrate=$!
pids+=("$migrate")

target_has_pivoted()
{
    grep -q '"state":"\(receiving\|merging\|operative\)"' events || ended "$migrate"
}
wait_for 60 target_has_pivoted || die "the target did not pivot within 60 s"
start_fio target >fio-out.log 2>&1 &
fio_target=$!
pids+=("$fio_target")
began=$(sed -n 's/.*"state":"\([^"]*\)".*/\1/p' events | tail -n 1)
wait_for 60 ended "$migrate" || die "the move did not end within 60 s"
wait "$migrate" || die "the move failed"
wrote_to_the_end=no
[ "$began" != receiving ] || ! running $fio_target || wrote_to_the_end=yes
source_status=0
wait_for 5 ended $fio_source || kill -KILL $fio_source
wait $fio_source || source_status=$?
sleep $((seconds / 4)).5
kill -INT $fio_target
wait $fio_target || :
echo "the target's bitmap while the disk was copied: frozen=$(field locked.json frozen) recording=$(field locked.json recording)"
echo "in that time: $(cat copied)"
echo "the monitor saw: $(sed -n 's/.*"state":"\([^"]*\)".*/\1/p' events | uniq -c | awk '{ printf "%s%s (%d events)", s, $2, $1; s = ", " }')"

step "Incremental backup on the target: only what the operative bitmap says"
on target bitmap list vm1
on target bitmap export vm1 backup0 backup0.json --format json
mv full.img incremental.img
"$python" "$copy_extents" backup0.json "$target" incremental.img >incremental
cat incremental
kill -TERM "${nbd_pid[source]}" "${nbd_pid[target]}"
wait "${nbd_pid[source]}" "${nbd_pid[target]}" || :

step "The proof"
verify "full backup + incremental backup is bit for bit the target's disk" cmp incremental.img target.img
verify "the bitmap holds what the source's held at the pivot and what fio wrote to the target: no write of the copy" \
    "$python" "$check" bits backup0.json witness0.json target.iolog $granularity
verify "the disk has moved whole: where fio did not write to the target it is the source's" \
    "$python" "$check" disk source.img target.img target.iolog
verify "the source refused to write after its pivot (fio gave up: $(sed -n 's/.*error=\(.*\)/\1/p;' source.fio.log | head -n 1 | cut -c1-40))" \
    test $source_status -ne 0 -a $source_status -lt 128
verify "fio wrote to the target throughout the transfer" test $wrote_to_the_end = yes
verify "the bitmap was frozen and its child locked until the target's pivot" \
    test "$(field locked.json frozen) $(field locked.json recording)" = "true false"

copied=$(sed 's/copied \([0-9]*\) .*/\1/' incremental)
echo
echo "copied       $(mib "$copied") instead of $(mib "$bytes") ($(awk -v a="$copied" -v b="$bytes" 'BEGIN { printf "%.1f %%", 100 * a / b }'))"
echo "pivot        $(awk -v us="$(field migrate.json pivot_us)" 'BEGIN { printf "%.3f ms", us / 1000 }') on both sides together; between them the disk's last $(mib "$(sed 's/copied \([0-9]*\) .*/\1/' copied)") took $(field migrate.json on_pivot_ms) ms"
echo "operative    $(field migrate.json operative_ms) ms after the pivot began, at $bandwidth bytes/s on purpose; $(field migrate.json bytes) bytes in $(field migrate.json frames) frames"
echo "took         $SECONDS s"
[ $red -eq 0 ] && verdict=GREEN || verdict=RED
exit $red
