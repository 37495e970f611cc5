#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# doc/incremental-backup.md: its commands do what stands there, and print it.
. "$(dirname "$0")/qemu-common.sh"
for program in qemu-io mke2fs e2fsck debugfs; do
    PATH=$PATH:/usr/sbin command -v $program >/dev/null || skip "$program is not there"
done

# Each command says which it is before it is run, in both: what the page has, and what comes.
"$python" - "$top_srcdir/doc/incremental-backup.md" "$dir/commands" "$dir/expected" <<'END_OF_PROGRAM'
import re, sys
page, commands, expected = sys.argv[1:]
number = 0
with open(page) as f, open(commands, "w") as run, open(expected, "w") as prints:
    for block in re.findall(r"^```console\n(.*?)^```$", f.read(), re.M | re.S):
        for line in block.splitlines():
            if line.startswith("$ "):
                number += 1
                run.write(f"echo '[{number}]'\n{line[2:]}\n")
                prints.write(f"[{number}]\n")
            elif line.startswith("> "):
                run.write(line[2:] + "\n")
            else:
                prints.write(line + "\n")
assert number > 30, number
END_OF_PROGRAM
printf '%s\n' 'set -e' 'trap "kill -9 \$(jobs -p) 2>/dev/null || :" EXIT' | cat - "$dir/commands" >"$dir/script"

# The build is not in the source tree; everything else is as it stands there.
mkdir "$dir/work"
same_build() { sed "s|export PATH=\$PWD/build:|export PATH=$top_builddir:|"; }
(cd "$top_srcdir" && TMPDIR=$dir/work bash <(same_build <"$dir/script")) >"$dir/printed" 2>"$dir/script.log" ||
    fail "command $(tail -n 1 "$dir/printed") fails: $(tail -n 5 "$dir/script.log")"
# Sessions, times and how many bytes it took differ.
normal() { sed -E 's/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/SESSION/; s/[0-9.]+ ms/TIME/g; s/[0-9]+ bytes in [0-9]+ frames/BYTES/' "$1"; }
diff <(normal "$dir/expected") <(normal "$dir/printed") || fail "the page does not print what it says"
[ ! -s "$dir/script.log" ] || fail "the commands complain: $(cat "$dir/script.log")"
finish
