#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# dirtyferry diff of what is not a raw file: chains of images, NBD servers, also with errors; bitmaps of such to be checked.
. "$(dirname "$0")/flow-common.sh"
for program in qemu-img qemu-io qemu-nbd nbdkit; do
    command -v "$program" >/dev/null || skip "no $program"
done
nbdkit --filter=error null --dump-plugin >"$dir/out" 2>&1 || skip "nbdkit has no filter 'error'"
cd "$dir"
diff=("$dirtyferry" diff)

# dirty FILE: "offset+length" of what is dirty in a JSON output
dirty()
{
    json '" ".join(str(i["start"]) + "+" + str(i["length"]) for i in d if i["dirty"])' <"$1"
}

# ------------------------------------------------------------------------ chains

head -c 4M /dev/urandom >disk
truncate -s 32M disk
qemu-img convert -O qcow2 disk full.qcow2
qemu-img create -q -f qcow2 -b full.qcow2 -F qcow2 monday.qcow2
qemu-img create -q -f qcow2 -b monday.qcow2 -F qcow2 tuesday.qcow2
qemu-io -f qcow2 -c 'write -P 1 1M 64k' -c 'write -P 1 20M 64k' monday.qcow2 >out
qemu-io -f qcow2 -c 'write -z 3M 64k' -c 'write -P 1 31M 1M' tuesday.qcow2 >out
qemu-img convert -O raw tuesday.qcow2 disk
"${diff[@]}" tuesday.qcow2 disk -o json >out
expect "the chain against the disk that it is of" "$(dirty json)" ""
"${diff[@]}" full.qcow2 disk -o json >out
expect "the full backup against the disk" "$(dirty json)" "1048576+65536 3145728+65536 20971520+65536 32505856+1048576"
"$dirtyferry" --json diff full.qcow2 tuesday.qcow2 >out
expect "two images of one chain" "$(json 'd["different"], d["stretches"]' <out)" "(1245184, 4)"
expect "what they share is not read" "$(json 'd["read"] < 4 << 20 and d["shared"] > 3 << 20' <out)" true
"${diff[@]}" disk disk --old-format raw --new-format raw >out
expect "a file with itself" "$(head -n 1 out | cut -d' ' -f1)" 0
refuse 1 "disk'.*not in qcow2 format" -- "${diff[@]}" disk disk --old-format qcow2
refuse 2 "a format is for files, and 'nbd://x' is" -- "${diff[@]}" disk nbd://x --new-format raw

# -------------------------------------------------------------------- NBD, errors

serve()         # ARGUMENT...: "${diff[@]}" and the arguments, of which @ is the server
{
    local status=0
    nbdkit -U - --filter=error file disk error-pread=EIO error-pread-rate=100% "error-file=$dir/fault" \
        --run "exec \"$dir/under\" \"\$uri\" $(printf ' %q' "$@")" 2>nbd.log || status=$?
    grep -v '^nbdkit: ' nbd.log >err || :
    return $status
}
cat >under <<EOF
#!/bin/bash
uri=\$1
shift
exec "$dirtyferry" "\${@/#@/\$uri}"
EOF
chmod +x under
serve diff full.qcow2 @ -o json >out || fail "a server as NEW: $(cat err)"
expect "a server as NEW" "$(dirty json)" "1048576+65536 3145728+65536 20971520+65536 32505856+1048576"
: >fault
status=0
serve diff full.qcow2 @ -o none >out || status=$?
expect "an error" "$status $(grep -c "^dirtyferry: .*offset 0: Input/output error" err) $(wc -l <err)" "1 1 1"
expect "nothing is left" "$(find . -name 'none*')" ""
status=0
serve diff full.qcow2 @ -o none --on-error stop >out || status=$?
expect "the same when it is said" "$status" 1
serve --json diff full.qcow2 @ -o json --on-error dirty >out || fail "--on-error dirty: $(cat err)"
unread=$(json 'd["unread"]' <out)
[ "$unread" -ge $((4 << 20)) ] && [ "$unread" -le $(((4 << 20) + (2 << 20))) ] || fail "--on-error dirty: $unread bytes were not read"
grep -q "^dirtyferry: $unread bytes could not be read and count as different; the first of them: .*offset 0: Input/output" err || fail "nothing is said: $(cat err)"
expect "what was read is known" "$(dirty json | cut -d' ' -f1)" "0+4194304"

# ------------------------------------------------------- bitmaps that others hold

qemu-img create -q -f qcow2 bits.qcow2 32M
for bitmap in good bad; do
    qemu-img bitmap --add -g 64k bits.qcow2 $bitmap
done
"${diff[@]}" full.qcow2 disk -o diff.qcow2 --format qcow2 >out
qemu-img bitmap --merge diff -b diff.qcow2 -F qcow2 bits.qcow2 good
refuse 1 "has 2 bitmaps: say by --bitmap" -- "${diff[@]}" full.qcow2 disk --verify-against bits.qcow2
"${diff[@]}" full.qcow2 disk --verify-against bits.qcow2 --bitmap good >out || fail "the good one: $(cat out)"
status=0
"${diff[@]}" full.qcow2 disk --verify-against bits.qcow2 --bitmap bad >out 2>err || status=$?
expect "the bad one" "$status $(grep -c ^missing out)" "1 5"     # four stretches, and the sum
uri="nbd+unix:///?socket=$dir/socket"
qemu-nbd -r -f qcow2 -B good -k "$dir/socket" -t --pid-file="$dir/pid" bits.qcow2 </dev/null >nbd.log 2>&1 &
eventually "qemu-nbd serves" test -s pid
refuse 2 "give --bitmap" -- "${diff[@]}" full.qcow2 disk --verify-against "$uri"
"${diff[@]}" full.qcow2 disk --verify-against "$uri" --bitmap good >out || fail "the good one by NBD: $(cat out)"
"${diff[@]}" full.qcow2 disk --verify-against "$uri" --bitmap x --context qemu:dirty-bitmap:good >out || fail "the same by --context: $(cat out)"
refuse 1 "other" -- "${diff[@]}" full.qcow2 disk --verify-against "$uri" --bitmap other
status=0
"${diff[@]}" tuesday.qcow2 disk --verify-against "$uri" --bitmap good >out || status=$?
expect "waste is no hole" "$status $(grep -c 'wasted: 1245184 bytes in 4 stretches' out)" "0 1"
kill "$(cat pid)"
finish
