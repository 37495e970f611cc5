#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The contents of image files that are not raw, by a qemu-nbd of our own: chains and what two of them share,
# formats, names; files that are damaged, cut, in use or not there; and that nothing of it is left behind.
. "$(dirname "$0")/flow-common.sh"
for program in qemu-img qemu-io qemu-nbd; do
    command -v $program >/dev/null || skip "$program is not there"
done
df_image=$top_builddir/tests/df-image
export TMPDIR=$dir/tmp
mkdir "$TMPDIR" "$dir/i"
cd "$dir/i"

# write FILE FORMAT PATTERN OFFSET LENGTH...
write()
{
    local file=$1 format=$2 commands=()
    shift 2
    while [ $# -gt 0 ]; do
        commands+=(-c "write -P $1 $2 $3")
        shift 3
    done
    qemu-io -f "$format" "${commands[@]}" "$file" >"$dir/qemu-io.log" 2>&1 || fail "qemu-io fails on $file"
}

# Whatever became of it: no program of QEMU that was started here, no directory with a socket.  A program may need a moment to end.
nothing_runs()
{
    local comm
    for comm in $(grep -ls '^qemu-' /proc/[0-9]*/comm); do
        ! grep -qsa "TMPDIR=$TMPDIR" "${comm%comm}environ" || return 1
    done
}

nothing_left()
{
    eventually "no qemu-nbd is left" nothing_runs
    expect "left in $TMPDIR" "$(ls -A "$TMPDIR")" ""
}

same()          # FILE FORMAT: it is read as QEMU reads it
{
    qemu-img convert -f "$2" -O raw -- "$1" "$dir/expected.raw"
    "$df_image" cat "$1" | cmp - "$dir/expected.raw" || fail "$1: other bytes than qemu-img reads"
    nothing_left
}

# ------------------------------------------------------------------ chains

M=1048576
truncate -s 10M base.raw
write base.raw raw 1 0 3M
qemu-img create -q -f qcow2 -b base.raw -F raw inc1.qcow2 20M
write inc1.qcow2 qcow2 2 1M 1M 3 15M 1M
qemu-img create -q -f qcow2 -b inc1.qcow2 -F qcow2 inc2.qcow2 30M
write inc2.qcow2 qcow2 4 2M 512K 5 25M 1M
qemu-io -f qcow2 -c 'write -z 15M 64K' inc2.qcow2 >"$dir/out"
for file in inc1 inc2; do
    same $file.qcow2 qcow2
done

# Every byte of the chain is where it was written to; behind the end of a shorter file nothing is known but zeroes.
base=$(stat -c %i base.raw) inc1=$(stat -c %i inc1.qcow2) inc2=$(stat -c %i inc2.qcow2)
expect "places" "$("$df_image" map inc2.qcow2)" "0 $M data file $base 0
$M $M data guest $inc1 $M
$((2 * M)) $((M / 2)) data guest $inc2 $((2 * M))
$((2 * M + M / 2)) $((M / 2)) data file $base $((2 * M + M / 2))
$((3 * M)) $((7 * M)) zero file $base $((3 * M))
$((10 * M)) $((5 * M)) zero -
$((15 * M)) 65536 zero guest $inc2 $((15 * M))
$((15 * M + 65536)) $((M - 65536)) data guest $inc1 $((15 * M + 65536))
$((16 * M)) $((4 * M)) zero -
$((20 * M)) $((5 * M)) zero -
$((25 * M)) $M data guest $inc2 $((25 * M))
$((26 * M)) $((4 * M)) zero -"

# Of two images with a common file only what is in one alone is read: 512 KiB of both, 64 KiB that are zeroes in the new one.
expect "of one chain" "$("$df_image" diff inc1.qcow2 inc2.qcow2)" \
    "different $((M / 2 + 65536 + 10 * M)) read $((M + 65536)) zero $((16 * M)) shared $((3 * M + M / 2 - 65536))"
expect "of a raw base" "$("$df_image" diff base.raw inc1.qcow2)" "different $((11 * M)) read $((2 * M)) zero $((7 * M)) shared $((2 * M))"
nothing_left
# The same bytes, but nothing in common.
qemu-img convert -f qcow2 -O qcow2 inc2.qcow2 alone.qcow2
expect "apart" "$("$df_image" diff inc2.qcow2 alone.qcow2 | cut -d' ' -f1,2,7,8)" "different 0 shared 0"
expect "the same file" "$("$df_image" diff alone.qcow2 "$PWD/alone.qcow2" | cut -d' ' -f1-4)" "different 0 read 0"

# ----------------------------------------------------------------- formats

for format in qed vdi vmdk vhdx parallels qcow; do
    qemu-img convert -f qcow2 -O $format inc2.qcow2 copy.$format 2>"$dir/out" || continue
    same copy.$format $format
    expect "$format" "$("$df_image" diff inc2.qcow2 copy.$format | cut -d' ' -f1,2)" "different 0"
done

# ------------------------------------------------------------------- names

for name in 'a:b.qcow2' 'a,b=c,,d.qcow2' -x.qcow2 "a'b\"c d.qcow2" 'json:{}.qcow2' file:x.qcow2 nbd:localhost:1.qcow2 'nbd:unix:x' $'new\nline'; do
    qemu-img create -q -f qcow2 -b inc1.qcow2 -F qcow2 -- "./$name" 20M
    write "./$name" qcow2 9 5M 64K
    expect "the name $name" "$("$df_image" diff inc1.qcow2 "$name" | cut -d' ' -f1-4)" "different 65536 read 65536"
    expect "the path of $name" "$("$df_image" diff "$name" "$PWD/$name" | cut -d' ' -f1-4)" "different 0 read 0"
done
long=$dir/i/$(printf '%0200d' 7)
mkdir "$long"
TMPDIR=$long "$df_image" cat inc1.qcow2 | cmp - <(qemu-img convert -f qcow2 -O raw inc1.qcow2 "$dir/expected.raw" && cat "$dir/expected.raw")

# --------------------------------------------------------------- bad files

refused()       # PATTERN FILE [OPTION]...
{
    local pattern=$1 file=$2
    shift 2
    refuse 1 "$pattern" -- "$df_image" "$@" map "$file"
    nothing_left
}

cut()           # FILE BYTES: a copy without the last bytes is cut.qcow2
{
    cp "$1" cut.qcow2
    truncate -s "$2" cut.qcow2
}

size=$(stat -c %s inc2.qcow2)
cut inc2.qcow2 60
refused "header too short" cut.qcow2
cut inc2.qcow2 -65536
refused "'cut.qcow2' is damaged or was cut" cut.qcow2
# The first table of the second level lies behind those of the refcounts and of the first level.
cut inc2.qcow2 $((4 * 65536))
refused "'cut.qcow2' is damaged or was cut" cut.qcow2
cp inc1.qcow2 whole
truncate -s -65536 inc1.qcow2
refused "'inc1.qcow2' is damaged or was cut" inc2.qcow2
mv whole inc1.qcow2
# Clusters that nobody uses do no harm: a refcount without a user.
cp alone.qcow2 leak.qcow2
qemu-io -f raw -c "write -P 0 $((0x30000)) 8" leak.qcow2 >"$dir/out"
qemu-img check -q -f qcow2 leak.qcow2 >"$dir/out" 2>&1 && fail "the leak is none" || expect "a leak" $? 3
"$df_image" map leak.qcow2 >"$dir/out"

mv base.raw away
refused "Could not open '.*base.raw': No such file or directory" inc2.qcow2
mv away base.raw
refused "not in VMDK|not in vmdk|[Ii]nvalid|Could not open|not.*format" inc2.qcow2 --format vmdk
refused "Unknown driver 'nonsense'" inc2.qcow2 --format nonsense
qemu-img create -q -f qcow2 --object secret,id=s,data=geheim -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 secret.qcow2 1M
refused "encrypt.key-secret" secret.qcow2
refuse 1 "needs 'qemu-img', which is not there: install it" -- env PATH="$dir/nowhere" "$df_image" map inc2.qcow2

mkdir "$dir/few"
ln -s "$(command -v qemu-img)" "$dir/few/"
refuse 1 "needs 'qemu-nbd', which is not there: install it" -- env PATH="$dir/few" "$df_image" map inc2.qcow2

# In use by somebody who writes.
mkfifo hold
qemu-io -f qcow2 inc2.qcow2 <hold >"$dir/out" 2>&1 &
writer=$!
exec 8>hold
echo 'write -P 4 2M 64K' >&8
eventually "it is written to" grep -q wrote "$dir/out"
refuse 1 "cannot read 'inc2.qcow2': another program has it open for writing .*NBD server" -- "$df_image" map inc2.qcow2
exec 8>&-
wait $writer
"$df_image" map inc2.qcow2 >"$dir/out"

# ---------------------------------------------------- ends that nobody plans

qemu_of()
{
    qemu=$(grep -ls "^PPid:[[:space:]]$reader$" /proc/[0-9]*/status | cut_pid)
    [ -n "$qemu" ]
}

cut_pid()
{
    sed 's|/proc/\([0-9]*\)/status|\1|' | head -n 1
}

# holds: a reader that has inc2 open and waits for a line from descriptor 7; its qemu-nbd is $qemu
holds()
{
    rm -f "$dir/go" "$dir/said"
    mkfifo "$dir/go"
    "$df_image" --timeout 2000 hold inc2.qcow2 <"$dir/go" >"$dir/said" 2>"$dir/stderr" &
    reader=$!
    exec 7>"$dir/go"
    eventually "it is open" grep -q open "$dir/said"
    qemu_of || fail "there is no qemu-nbd"
    expect "left in $TMPDIR while it runs" "$(ls -A "$TMPDIR")" ""
}

go_on()
{
    (trap '' PIPE; echo >&7) 2>/dev/null || :       # one that was killed is gone
    exec 7>&-
    reader_status=0
    wait "$reader" 2>/dev/null || reader_status=$?
}

holds
go_on
expect "exit status" $reader_status 0
nothing_left
holds
kill -9 "$qemu"
go_on
expect "exit status after the end of qemu-nbd" $reader_status 1
grep -q "cannot read 'inc2.qcow2': 'qemu-nbd' was ended by signal 9" "$dir/stderr" || fail "qemu-nbd is killed: $(cat "$dir/stderr")"
nothing_left
holds
kill -STOP "$qemu"
go_on
expect "exit status with a qemu-nbd that hangs" $reader_status 1
grep -q "has not answered for 2000 ms" "$dir/stderr" || fail "qemu-nbd hangs: $(cat "$dir/stderr")"
nothing_left
for signal in KILL TERM; do
    holds
    kill -$signal "$reader"
    go_on
    nothing_left
done
finish
