#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The files of a daemon: modes, whose they are, what is never followed, overwritten or unlinked; the writer group;
# --max-bitmap-bytes; the number of descriptors; ipc sockets.
. "$(dirname "$0")/fail-common.sh"

umask 022       # the daemon's modes are its own
group=54321

mode()          # FILE
{
    stat -c %04a "$1"
}

modes()         # FILE...: with the group
{
    stat -c '%04a %g' "$@" | sort | uniq -c | tr -s ' \n' ' '
}

logged()        # NAME PATTERN
{
    grep -Eq -e "$2" "$dir/$1.log" || fail "the log of $1 has not '$2': $(cat "$dir/$1.log")"
}

no_part()
{
    echo "skipped: $*"
}

# ---- a session that loses its target: all that is ever made is there

host a
host b
pair one 1G daily
a bitmap mark one 0 64M
session=$(prepared one/daily --workers 0)
pivot "$session"
die b
dump=$dir/a/dumps/$session.dump
eventually "the dump is there" test -f "$dump"
for file in a/lock "a/sessions/$session.source" "a/dumps/$session.dump" a/disks/one/disk a/disks/one/map-0000000000000001 \
    b/lock "b/sessions/$session.target" "b/sessions/$session.received-0" b/disks/one/map-0000000000000002; do
    [ -f "$dir/$file" ] || fail "there is no $file"
done
expect "open to others" "$(find "$dir/a" "$dir/b" -perm /07077 -printf '%m %p\n')" ""
expect "of another user" "$(find "$dir/a" "$dir/b" ! -user "$(id -u)")" ""

# ---- its dump swapped for a link: neither followed nor replaced, and the session ends as it should

echo precious >"$dir/victim"
mv "$dump" "$dir/kept.dump"
ln -s "$dir/victim" "$dump"
host b
is_refused() { a --json status "$session" | grep -q 'not a file of this daemon'; }
eventually "the target is there again" is_state a "$session" source streaming
die b
eventually "the dump is refused" is_refused
host b
eventually "the target is there again" is_state a "$session" source streaming
a worker "$session"
b wait "$session" >/dev/null
eventually "the source has let go" is_state a "$session" source released
expect "the link" "$(readlink "$dump")" "$dir/victim"
expect "what it leads to" "$(cat "$dir/victim")" precious
logged a "'$session.dump' is not a file of this program: it stays"
rm "$dump"

# ---- journals: a link is put aside; one with a second name is left for somebody to look at

pair two 1G daily
session=$(prepared two/daily --workers 0)
die a
journal=$dir/a/sessions/$session.source
ln "$journal" "$dir/second-name"
refuse 1 "$session.source'" '2 names' -- try_start a
rm "$dir/second-name"
chmod 666 "$journal"
refuse 1 "$session.source'" 'written by others' 'chmod' -- try_start a
chmod 644 "$journal"
host a
logged a "$session.source' was open to others"
expect "journal" "$(mode "$journal")" 0600
expect "source" "$(state a "$session" source)" prepared
die a
mv "$journal" "$dir/kept.source"
cp "$dir/kept.source" "$dir/victim"
ln -s "$dir/victim" "$journal"
host a
expect "the link, aside" "$(readlink "$journal.damaged")" "$dir/victim"
logged a "the journal '$session.source' cannot be read: .*symbolic link"
[ ! -e "$journal" ] && cmp -s "$dir/victim" "$dir/kept.source" || fail "the journal's link was followed"
expect "source" "$(flags a two daily busy recording)" "busy=false recording=true"
b cancel "$session" >/dev/null
stop a
stop b

# ---- a state directory that is there already

mkdir -m 755 "$dir/c"
host c
expect "STATE" "$(mode "$dir/c")" 0700
logged c "'[^']*/c' was open to others .mode 0755.: it has mode 0700 now"
stop c

for bad in 775 757 1777; do
    mkdir -m $bad "$dir/d"
    refuse 1 "'[^']*/d'" 'written by others' "$bad" 'chmod go-w' -- try_start d
    expect "a refused directory" "$(find "$dir/d" -printf '%P %m')" " $bad"
    rmdir "$dir/d"
done
mkdir -m 777 "$dir/bad"
ln -s bad "$dir/d"
refuse 1 'written by others' -- try_start d
rm "$dir/d"
ln -s c "$dir/d"
host d          # what the operator's link leads to is good
[ -L "$dir/d" ] || fail "the link is gone"
stop d
rm "$dir/d"
echo file >"$dir/d"
refuse 1 "cannot open the state directory" 'Not a directory' -- try_start d
rm "$dir/d"

for part in sessions dumps comparisons disks; do
    mkdir -m 700 "$dir/d" "$dir/elsewhere"
    ln -s ../elsewhere "$dir/d/$part"
    refuse 1 "/d/$part'" 'symbolic link, not a directory' 'move it away' -- try_start d
    expect "what the link leads to" "$(ls -A "$dir/elsewhere")" ""
    rm "$dir/d/$part"
    mkdir -m 770 "$dir/d/$part"
    chmod 770 "$dir/d/$part"
    refuse 1 "/d/$part'" 'written by others' -- try_start d
    chmod 755 "$dir/d/$part"
    host d
    expect "$part" "$(mode "$dir/d/$part")" 0700
    logged d "/d/$part' was open to others"
    stop d
    rm -r "$dir/d" "$dir/elsewhere"
done

mkdir -m 700 "$dir/d"
ln -s ../lock-elsewhere "$dir/d/lock"
refuse 1 "/d/lock'" 'symbolic link' -- try_start d
[ ! -e "$dir/lock-elsewhere" ] || fail "the lock was made behind a link"
rm "$dir/d/lock"
echo precious >"$dir/victim"
chmod 600 "$dir/victim"
ln "$dir/victim" "$dir/d/lock"
refuse 1 "/d/lock'" '2 names' -- try_start d
expect "the other name" "$(cat "$dir/victim")" precious
rm "$dir/d/lock"
mkfifo -m 600 "$dir/d/lock"
refuse 1 "/d/lock'" 'a pipe or a device' -- try_start d
rm "$dir/d/lock"
(umask 0; : >"$dir/d/lock")
refuse 1 "/d/lock'" 'written by others' -- try_start d
chmod 644 "$dir/d/lock"
host d
expect "lock" "$(mode "$dir/d/lock")" 0600
stop d
rm -r "$dir/d"

if [ "$(id -u)" = 0 ]; then
    mkdir -m 700 "$dir/d"
    chown 65534 "$dir/d"
    refuse 1 "/d'" 'belongs to uid 65534' 'runs as uid 0' 'chown' -- try_start d
    chown 0 "$dir/d"
    for part in sessions lock; do
        [ $part = lock ] && touch "$dir/d/lock" || mkdir "$dir/d/$part"
        chmod go= "$dir/d/$part"
        chown 65534 "$dir/d/$part"
        refuse 1 "/d/$part'" 'belongs to uid 65534' -- try_start d
        rm -r "$dir/d/$part"
    done
    rm -r "$dir/d"
else
    no_part "directories of other users (needs root)"
fi

# ---- descriptors

daemon_under=(bash -c 'ulimit -n 300; exec "$@"' low)
refuse 1 '300 files' '512 are needed' 'ulimit -n' 'LimitNOFILE=' -- try_start d
daemon_under=()
hard=$(ulimit -Hn)
[ "$hard" != unlimited ] && [ "$hard" -lt 65536 ] || hard=65536
: >"$dir/d.out"
(ulimit -Sn 256; exec "$dirtyferryd" --state-dir "$dir/d" --control "ipc://$dir/d.sock" --data 'tcp://127.0.0.1:*' --events 'tcp://127.0.0.1:*') \
    >"$dir/d.out" 2>"$dir/d.log" &
daemon_pid[d]=$!
eventually "the daemon serves" grep -q '^ready' "$dir/d.out"
logged d "^$hard files may be open"
expect "soft limit" "$(awk '/^Max open files/ { print $4 }' "/proc/${daemon_pid[d]}/limits")" "$hard"
stop d
rm -r "$dir/d"

# ---- the writer group

host a
before=$(modes "$dir/a" "$dir/a/disks" "$dir/a"/disks/*)
stop a
refuse 1 "'no-such-group' is no group" -- try_start a --writer-group no-such-group
refuse 1 "'12x' is no group" -- try_start a --writer-group 12x
expect "modes after a refusal" "$(modes "$dir/a" "$dir/a/disks" "$dir/a"/disks/*)" "$before"

if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
    cp "$hold_section" "$dirtyferryd" "$dir"
    chmod 711 "$dir"
    writer() { setpriv --reuid=65534 --regid=$group --clear-groups "$@"; }
    cannot() { ! writer "$@" >"$dir/stdout" 2>"$dir/stderr" || fail "a writer can '$*': $(cat "$dir/stdout")"; }

    # Existing disks are opened when the daemon starts.
    host a --writer-group $group
    host b
    expect "STATE" "$(modes "$dir/a")" " 1 0750 $group "
    expect "STATE/disks" "$(modes "$dir/a/disks")" " 1 2750 $group "
    expect "disks" "$(modes "$dir/a"/disks/*)" " 2 2750 $group "
    expect "files of disks" "$(find "$dir/a"/disks -type f ! \( -perm 0660 -gid $group \))" ""
    expect "what is private" "$(find "$dir/a/sessions" "$dir/a/dumps" "$dir/a/lock" ! -type l -perm /07077)" ""
    for file in "$dir/a/sessions" "$dir/a/dumps"; do
        cannot ls "$file"
    done
    for file in "$dir/a/lock" "$dir/a/sessions"/*.damaged; do
        cannot cat "$file"
    done
    cannot touch "$dir/a/disks/mine"
    cannot touch "$dir/a/disks/two/mine"
    cannot mv "$dir/a/disks/two/disk" "$dir/a/disks/two/other"
    writer test -w "$dir/a/disks/two/disk" -a -r "$dir/a/disks/two/disk" || fail "a writer cannot write to the disk"
    ! setpriv --reuid=65534 --regid=65534 --clear-groups test -r "$dir/a/disks/two/disk" || fail "everybody can read the disk"
    a disk add three --size 1G
    a bitmap add three daily
    expect "a new disk" "$(modes "$dir/a/disks/three")" " 1 2750 $group "
    expect "its files" "$(modes "$dir/a/disks/three"/*)" " 2 0660 $group "
    expect "a writer's mark" "$(echo 'mark 0 65536' | writer "$dir/hold-section" "$dir/a" three)" ok
    expect "a writer's mark" "$(echo 'mark 0 65536' | writer "$dir/hold-section" "$dir/a" two)" ok
    expect "bits" "$(flags a three daily count)" "count=65536"
    # The journals of a session that begins while it is open are private, too.
    session=$(prepared two/daily --workers 0)
    expect "journal" "$(modes "$dir/a/sessions/$session.source")" " 1 0600 0 "
    cannot cat "$dir/a/sessions/$session.source"
    a cancel "$session" >/dev/null
    stop a
    stop b

    # Another group, then none.
    host a --writer-group $((group + 1))
    expect "files of disks" "$(find "$dir/a"/disks ! -gid $((group + 1)))" ""
    stop a
    host a
    expect "open to others" "$(find "$dir/a" ! -type l -perm /07077)" ""
    logged a "'[^']*/a' was open to others .mode 0750.: it has mode 0700 now"
    stop a

    # Not root, not a member.
    mkdir "$dir/e"
    chown 65534 "$dir/e"
    chmod 700 "$dir/e"
    daemon_under=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    dirtyferryd=$dir/dirtyferryd refuse 1 "group $group of --writer-group" 'must be in that group' -- try_start e/state --writer-group $group --control 'tcp://127.0.0.1:*'
    daemon_under=()
    chmod 700 "$dir"
else
    no_part "the writer group (needs root and setpriv)"
fi

# ---- all bitmaps together: 12288 bytes for one of 16384 bits, and for its received chunks

got=0
"$dirtyferryd" --state-dir "$dir/f" --max-bitmap-bytes lots >"$dir/stdout" 2>"$dir/stderr" || got=$?
expect "a wrong size" "$got $(grep -c "'lots' is not a size" "$dir/stderr")" "2 1"

state_files()
{
    (cd "$dir/b" && find . -type f ! -name lock -printf '%p %s\n' | sort)
}

host a
host b --max-bitmap-bytes 36863
pair four 1G daily
b bitmap remove one daily
before=$(state_files)
refuse 1 'would need 36864 bytes, and 0 of the 36863 of --max-bitmap-bytes are taken' 'remove bitmaps' -- \
    "$dirtyferry" prepare four/daily --from "${control[a]}" --to "${control[b]}"
expect "files after a refused session" "$(state_files)" "$before"
expect "source" "$(flags a four daily busy recording)" "busy=false recording=true"
a dump four/daily "$dir/four.dump" >/dev/null
refuse 1 'would need 36864 bytes' -- b load "$dir/four.dump"
expect "files after a refused dump" "$(state_files)" "$before"
b bitmap add four first
b bitmap add four second
before=$(state_files)
refuse 1 'would need 12288 bytes, and 24576 of the 36863' 'remove' -- b bitmap add four third
refuse 1 'would need 270336 bytes' -- b bitmap add four third --granularity 512
expect "files after a refused bitmap" "$(state_files)" "$before"
b bitmap clear four first       # a new map in place of the old one
stop b
host b --max-bitmap-bytes 60K       # two bitmaps and the session, to the byte
session=$(prepared four/daily --workers 0)
refuse 1 'would need 12288 bytes, and 61440 of the 61440' -- b bitmap add four third
a cancel "$session" >/dev/null
eventually "the session is cancelled" is_state b "$session" target cancelled
b bitmap add four third
stop a
stop b

# ---- ipc sockets

mkdir -m 1777 "$dir/shared"
mkdir -m 700 "$dir/private"
sock=$dir/private/sock
refuse 1 'private one is needed' -- try_start f --control "ipc://$dir/shared/sock"
refuse 1 'private one is needed' -- try_start f --data "ipc://$dir/shared/sock"
refuse 1 'private one is needed' -- try_start f --events "ipc://$dir/shared/sock"
refuse 1 'abstract' -- try_start f --control 'ipc://@dirtyferry'
expect "files in a shared directory" "$(ls -A "$dir/shared")" ""
echo precious >"$sock"
refuse 1 'not a socket' -- try_start f --control "ipc://$sock"
expect "the file" "$(cat "$sock")" precious
rm "$sock"
start f --control "ipc://$sock"
refuse 1 'another program listens' -- try_start g --control "ipc://$sock"
on f disk list >/dev/null
die f
[ -S "$sock" ] || fail "a killed daemon leaves its socket"
start f --control "ipc://$sock"
on f disk list >/dev/null
expect "modes" "$(find "$dir/private" -type s -perm /077 -o -name '*.lock' -perm /077)" ""
stop f
expect "left behind" "$(ls -A "$dir/private")" ""
"$python" -c '
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
print("listens", flush=True)
sys.stdin.read()' "$sock" < <(exec sleep 60) >"$dir/listener" &
listener=$!
eventually "the other program listens" grep -q listens "$dir/listener"
refuse 1 'another program listens' -- try_start f --control "ipc://$sock"
kill $listener
wait $listener 2>/dev/null || :

finish
