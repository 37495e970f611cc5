#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The daemon is dead and no session is under way: writers record on, and nothing is missing when it is back.
. "$(dirname "$0")/fail-common.sh"
host a
host b
small_disk one --persistent
a disk add two --size 1G
a bitmap add two off --disabled
die a
record a one 300 100000
refuse 1 "${control[a]}" -- a bitmap list one
host a
exact a one
expect "flags" "$(flags a one daily recording busy persistent inconsistent)" "recording=true busy=false persistent=true inconsistent=false"
expect "flags of a disabled one" "$(flags a two off recording count)" "recording=false count=0"

# A writer that was there before, and is there all the time.
mkfifo "$dir/in" "$dir/out"
"$hold_section" "$dir/a" one <"$dir/in" >"$dir/out" &
exec {in}>"$dir/in" {out}<"$dir/out"
write()
{
    local answer
    echo "mark $1 $2" >&"$in"
    read -r answer <&"$out"
    expect "the writer's mark" "$answer" ok
    echo "$1 $2" >>"$dir/oracle.one"
}
write 4096 512
die a
write 1048576 512
host a
write 2097152 512
session=$(prepared one/daily)
die a
write 3145728 512
host a
pivot "$session"
exec {in}>&-
finished "$session" one
finish
