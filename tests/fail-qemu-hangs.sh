#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# QEMU says nothing for a while, the source's and the target's, at each step: a clear sentence in time, the daemon goes
# on with everything else, and when QEMU answers again so does the move.
. "$(dirname "$0")/qemu-common.sh"
host a
host b
size=1073741824
twins disk

hangs()
{
    kill -STOP "${qemu_pid[$1]}"
}

answers_again()
{
    kill -CONT "${qemu_pid[$1]}"
}

filled qa disk daily 1 512
before=$(traces qa; traces qb)
as_before() { [ "$(traces qa; traces qb)" = "$before" ]; }

# ---- prepare
for q in qa qb; do
    hangs $q
    refuse 1 "$q.qmp.*s" -- "$dirtyferry" prepare disk/daily --from "${control[a]}" --to "${control[b]}"
    answers_again $q
    eventually "nothing is left of it" as_before
done
# Others are served meanwhile.
pair own 1G daily
hangs qa
"$dirtyferry" prepare disk/daily --from "${control[a]}" --to "${control[b]}" >/dev/null 2>&1 &
migrate own/daily >"$dir/result"
answers_again qa
wait $!
session=$(a --json status | json '[s["session"] for s in d if s["state"] == "prepared"][0]')
a cancel "$session" >/dev/null

# ---- pivot
session=$(prepared disk/daily)
hangs qa
refuse 1 "qa.qmp" -- "$dirtyferry" pivot "$session" --from "${control[a]}"
answers_again qa
expect "source" "$(state a "$session" source)" prepared
thawed() { [ "$(qflags qa disk daily recording)" = recording=true ] && ! traces qa | grep -q dirtyferry-; }
eventually "it records again" thawed
"$dirtyferry" pivot "$session" --from "${control[a]}" >/dev/null
hangs qb
refuse 1 "qb.qmp" -- "$dirtyferry" pivot "$session" --to "${control[b]}"
answers_again qb
"$dirtyferry" pivot "$session" --to "${control[b]}" >/dev/null
ranges 1 $size 50 3000 | guest qb disk
b wait "$session" >/dev/null
range_bits $size 512 <"$dir/written" >"$dir/writes.raw"
arrived qb disk daily "$dir/1.raw" "$dir/writes.raw"
eventually "the source lets go" is_state a "$session" source released

# ---- merge, and the source's release
filled qa disk second 2 512
: >"$dir/written"
session=$(prepared disk/second --workers 0)
pivot "$session"
ranges 2 $size 50 3000 | guest qb disk
hangs qb
a worker "$session" &
eventually "the target says why" says b "$session" target "qb.qmp"
answers_again qb
hangs qa
eventually "the target is operative" is_state b "$session" target operative
range_bits $size 512 <"$dir/written" >"$dir/writes.raw"
arrived qb disk second "$dir/2.raw" "$dir/writes.raw"
answers_again qa
eventually "the source lets go" is_state a "$session" source released
no_traces qa a
eventually "no files are left" no_files b
finish
