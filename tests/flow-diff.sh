#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# dirtyferry diff: random images against cmp, every output; the check of a bitmap; wrong input leaves nothing behind.
. "$(dirname "$0")/flow-common.sh"
cd "$dir"
diff=("$dirtyferry" diff)

expect "rounds against cmp -l" "$("$python" "$top_srcdir/tests/diff_check.py" "$dirtyferry" "$dir" "${DF_SEED:-1}" 16)" 16

# --------------------------------------------------- two images by hand: cells of a picture, words

rm -f old new
truncate -s 256M old new
for cluster in 0 4 5 6 7 8 1000; do
    printf x | dd of=new bs=64K seek=$cluster conv=notrunc status=none
done
"${diff[@]}" old new --map >out
expect "summary" "$(head -n 1 out)" "458752 bytes in 3 stretches differ, of 256M (0.171 %), at granularity 64K"
LC_ALL=C "${diff[@]}" old new --map >out
expect "a row of the map" "$(sed -n 3p out)" "       0 |-#-$(printf '%.0s.' {1..61})|"
expect "a later one" "$(sed -n 6p out)" "     48M |$(printf '%.0s.' {1..58})-.....|"
grep -q "a cell is 256K; of it changed: '.' nothing, '-' up to 25 %.*'#' up to 100 %" out || fail "the legend is '$(tail -n 1 out)'"
"${diff[@]}" old new --map --format json >out 2>map
expect "a map beside json" "$(json 'len(d)' <out) $(wc -l <map)" "6 17"
"$dirtyferry" --json diff old new --map >out 2>map
expect "a map beside --json" "$(json 'd["stretches"]' <out) $(wc -l <map)" "3 17"
"${diff[@]}" old new -o out.json >out
expect "json is the default of --output" "$(json '[i["start"] for i in d if i["dirty"]]' <out.json)" "[0, 262144, 65536000]"
"${diff[@]}" old new -o out.qcow2 --format qcow2 >out
if command -v qemu-img >/dev/null; then
    qemu-img check out.qcow2 >qemu.out || fail "qemu-img check finds errors: $(cat qemu.out)"
    expect "name in qcow2" "$(qemu-img info --output=json out.qcow2 | json 'd["format-specific"]["data"]["bitmaps"]')" \
        '[{"flags": ["auto"], "name": "diff", "granularity": 65536}]'
fi
truncate -s 300M longer
"${diff[@]}" longer old >out
expect "lengths differ" "$(tail -n 1 out)" "OLD has $((300 << 20)) bytes, NEW $((256 << 20))"
expect "what only OLD has is not in NEW" "$(head -n 1 out | cut -d' ' -f1-6)" "0 bytes in 0 stretches differ,"

# More bits than a block of raw and a cluster of qcow2 have: clean ones between them, and runs over their borders.
truncate -s 1G sparse wide
for stretch in 5:1 32760:20 524280:70000 2097151:1; do
    head -c $((${stretch#*:} * 512)) /dev/urandom | dd of=wide bs=512 seek=${stretch%:*} conv=notrunc status=none
done
"${diff[@]}" sparse wide --granularity 512 --format raw >wide.pipe
"${diff[@]}" sparse wide --granularity 512 --format raw -o wide.raw >out
"$python" -c '
bits = 0
for first, n in ((5, 1), (32760, 20), (524280, 70000), (2097151, 1)):
    bits |= ((1 << n) - 1) << first
open("wide.expected", "wb").write(bits.to_bytes(1 << 18, "little"))'
cmp wide.pipe wide.expected || fail "raw bits to a pipe are wrong"
cmp wide.raw wide.expected || fail "raw bits to a file are wrong"
[ "$(stat -c %b wide.raw)" -lt "$(stat -c %b wide.pipe)" ] || fail "clean blocks of raw bits are no holes"
"${diff[@]}" sparse wide --granularity 512 --format qcow2 -o wide.qcow2 >out
"${diff[@]}" sparse wide --verify-against wide.qcow2 | grep -q "missing: 0 bytes .* wasted: 0 bytes" || fail "a qcow2 image of several clusters of bits is wrong"

# Names are any bytes, the figure is XML all the same.
cp --sparse=always new "$(printf 'a<&>"\x01\xff\xef\xbf\xbf\xc3\xa4')"
"${diff[@]}" old "$(printf 'a<&>"\x01\xff\xef\xbf\xbf\xc3\xa4')" --format svg >out.svg
expect "title" "$("$python" -c '
import xml.etree.ElementTree as e
print(ascii(e.parse("out.svg").getroot()[0].text))')" "'Changes from old to a<&>\"?????\\xe4'"

# A bitmap of the daemon as the same formats.
start a
a disk add vm --size 256M
a bitmap import vm daily out.qcow2 >out 2>&1 && fail "a bitmap of another name was imported"
a bitmap import vm diff out.qcow2 >out
for format in json raw svg qcow2; do
    a bitmap export vm diff "export.$format" --format $format
    "${diff[@]}" old new --format $format -o "diff.$format" >out
    sed 's/>\(Changes from old to new\|Bitmap diff of disk vm\)</></' "export.$format" >left
    sed 's/>\(Changes from old to new\|Bitmap diff of disk vm\)</></' "diff.$format" >right
    cmp left right || fail "bitmap export and diff write $format each in its own way"
done

# ------------------------------------------------------------- the check of a bitmap

"${diff[@]}" old new --verify-against out.qcow2 >out || fail "a bitmap that lacks nothing: $?"
expect "sums" "$(tail -n 1 out)" "missing: 0 bytes in 0 stretches differ and are not dirty; wasted: 0 bytes in 0 stretches are dirty and equal"
a bitmap mark vm 128K 1
a bitmap export vm diff more.json --format json
"${diff[@]}" old new --verify-against more.json --bitmap-format json >out || fail "a bitmap with waste: $?"
grep -q "wasted: 65536 bytes in 1 stretch are" out || fail "the waste is not told: $(tail -n 1 out)"
a bitmap clear vm diff
a bitmap mark vm 5 262144
a bitmap export vm diff less.qcow2 --format qcow2
status=0
"${diff[@]}" old new --verify-against less.qcow2 >out 2>err || status=$?
expect "a bitmap that lacks some" "$status" 1
expect "what it lacks" "$(grep missing out | head -n 2)" "$(printf 'missing 327680 262144\nmissing 65536000 65536')"
expect "the sentence" "$(cat err)" "dirtyferry: 327680 bytes differ and are not dirty in bitmap 'diff': backups that went by it lack them, take a full one"
status=0
"$dirtyferry" --json diff old new --verify-against less.qcow2 -o out.json >out 2>err || status=$?
expect "status with --json" "$status" 1
expect "in JSON" "$(json '[d["missing"], d["missing_bytes"], d["wasted"], d["wasted_stretches"]]' <out)" \
    '[[{"start": 327680, "length": 262144}, {"start": 65536000, "length": 65536}], 327680, 196608, 1]'
expect "the output is written all the same" "$(json 'len(d)' <out.json)" 6
"$python" "$top_srcdir/tests/qcow2_bits.py" used.qcow2 $((256 << 20)) 65536 b 1:100 >out
"$python" -c '                                      # flag in-use of the only bitmap
f = open("used.qcow2", "r+b")
f.seek(128)
f.seek(int.from_bytes(f.read(8), "big") + 12)
f.write(b"\0\0\0\1")'
"${diff[@]}" old new --verify-against used.qcow2 >out 2>err || fail "a bitmap that is in use: $(cat err)"
grep -q "'b' of 'used.qcow2' is inconsistent" err || fail "nothing is said of a bitmap that is in use: $(cat err)"
stop a

# ------------------------------------------------------------------------ refused

mkdir directory
: >empty
printf 'short' >short
names=$(ls -A)
refuse 1 "cannot read 'gone'.*No such file" -- "${diff[@]}" gone new
refuse 1 "cannot read 'gone'.*No such file" -- "${diff[@]}" old gone --format json
refuse 1 "'directory'.*a directory" -- "${diff[@]}" old directory -o x
refuse 1 "'empty'.*it is empty" -- "${diff[@]}" empty new -o x
refuse 1 "cannot write 'gone/x'.*No such file" -- "${diff[@]}" old new -o gone/x
refuse 1 "cannot write 'directory'" -- "${diff[@]}" old new -o directory
refuse 1 "cannot write './new'.*what shall be read" -- "${diff[@]}" old new -o ./new
refuse 1 "cannot write 'out.json'.*what shall be read" -- "${diff[@]}" old new --verify-against out.json --bitmap-format json -o out.json
refuse 1 "'short'.*no format.*--bitmap-format raw or json" -- "${diff[@]}" old new --verify-against short
refuse 1 "give --granularity" -- "${diff[@]}" old new --verify-against short --bitmap-format raw
refuse 1 "cannot read 'gone'" -- "${diff[@]}" old new --verify-against gone
# Bits that are finer than was said would hide what differs beside them.
echo '[{"start":0,"length":512,"dirty":true},{"start":512,"length":268434944,"dirty":false}]' >fine.json
refuse 1 "'fine.json' is finer than granularity 65536: give its own, at most '--granularity 512'" -- "${diff[@]}" old new --verify-against fine.json --bitmap-format json
rm fine.json
(ulimit -f 8; refuse 1 "cannot write 'big.raw': File too large" -- "${diff[@]}" old new --granularity 512 --format raw -o big.raw)
refuse 1 "has no bitmap 'other' \(of 1\)" -- "${diff[@]}" old new --verify-against out.qcow2 --bitmap other
refuse 1 "has granularity 65536 and --granularity is 4096" -- "${diff[@]}" old new --verify-against out.qcow2 --granularity 4K
refuse 1 "disk 'longer' has $((300 << 20)) bytes and 'out.qcow2' is of one with $((256 << 20))" -- "${diff[@]}" old longer --verify-against out.qcow2
refuse 2 "argument is missing" -- "${diff[@]}" old
refuse 2 "too many" -- "${diff[@]}" old new new
refuse 2 "'png' is not known: json, raw, qcow2 or svg" -- "${diff[@]}" old new --format png
refuse 2 "out of range.*512 to 2G" -- "${diff[@]}" old new --granularity 1000
refuse 2 "qcow2 needs --output" -- "${diff[@]}" old new --format qcow2
refuse 2 "both want stdout" -- "$dirtyferry" --json diff old new --format json
refuse 2 "'skip' is not known: stop or dirty" -- "${diff[@]}" old new --on-error skip
refuse 2 "--name is for --format qcow2" -- "${diff[@]}" old new --name x -o x
refuse 2 "are for --verify-against" -- "${diff[@]}" old new --bitmap x
refuse 2 "--context is for NBD" -- "${diff[@]}" old new --verify-against out.qcow2 --context x
refuse 2 "'vdi' is not known" -- "${diff[@]}" old new --verify-against out.qcow2 --bitmap-format vdi
status=0
"${diff[@]}" old new --format json >/dev/full 2>stderr || status=$?
expect "stdout is full" "$status $(cat stderr)" "1 dirtyferry: cannot write to standard output: No space left on device"
# A file that cannot grow is as good as a full disk: the old one stays.
cp out.json kept.json
for format in json raw qcow2 svg; do
    status=0
    said=$( (trap '' XFSZ; ulimit -f 0; "${diff[@]}" old new --format $format -o kept.json 2>&1 >/dev/null) ) || status=$?
    expect "no space for $format" "$status $said" "1 dirtyferry: cannot write 'kept.json': File too large"
    cmp -s out.json kept.json || fail "a failed output of $format has changed the file"
done
rm stdout stderr kept.json
expect "files" "$(ls -A)" "$names"

# ------------------------------------------------------- a run that is ended in the middle

# Every other cluster is missing in the bitmap: the list fills the pipe, and the run stands still in its middle.
rm -f old new
truncate -s 8M old new
"$python" -c '
with open("new", "r+b") as f:
    for offset in range(0, 8 << 20, 1024):
        f.seek(offset)
        f.write(b"x")
with open("none", "wb") as f:
    f.write(bytes(2048))'
mkfifo pipe
for signal in TERM INT HUP; do
    # A shell starts what runs in its background with SIGINT ignored.
    "$python" -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "${diff[@]}" old new --verify-against none --bitmap-format raw --granularity 512 -o killed >pipe 2>err &
    pid=$!
    exec 7<pipe
    read -r line <&7
    expect "the first line" "$line" "missing 0 512"
    [ -n "$(find . -name 'killed.*')" ] || fail "nothing is written beside the output: $(cat err)"
    kill -$signal $pid
    status=0
    wait $pid 2>/dev/null || status=$?
    exec 7<&-
    expect "status after SIG$signal" "$status" $((128 + $(kill -l $signal)))
    expect "what is left after SIG$signal" "$(find . -name 'killed*')" ""
done

# ---------------------------------------------------------------------------- the bar

"$python" -c '
import os, pty, subprocess, sys
try:
    ours, theirs = pty.openpty()
except OSError as e:
    print("the bar is not tested:", e)
    sys.exit()
subprocess.run(sys.argv[1:], stderr=theirs, stdout=subprocess.DEVNULL, check=True)
os.close(theirs)
sys.exit(b"%  " not in os.read(ours, 4096))' "${diff[@]}" old new || fail "there is no bar on a terminal"

# ------------------------------------------------------------------------------ memory

# Everything behind the first MiB is dirty: 128 MiB of bits.
rm -f old new
if truncate -s 4T new 2>/dev/null; then
    head -c 1M /dev/urandom >old
    for format in json raw qcow2 svg; do
        kib=$("$python" -c '
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)' "${diff[@]}" old new --granularity 4K --format $format -o huge)
        [ "$kib" -le 65536 ] || fail "4 TiB of changes as $format took $kib KiB of memory"
        rm huge
    done
    refuse 1 "qcow2 takes up to 512 MiB.*choose a larger granularity" -- "${diff[@]}" old new --granularity 512 --format qcow2 -o huge
    expect "what a refused output leaves" "$(find . -name 'huge*')" ""
else
    echo "no file of 4 TiB is possible here: memory was not looked at"
fi
finish
