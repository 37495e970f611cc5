#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Which folder of src may include which: the table of the design.  A folder without a row fails.
set -euo pipefail
cd "${abs_top_srcdir:-$(dirname "$0")/..}/src"

# FOLDER: what it may include besides its own headers and the public ones
table='
base:
bitmap: base
wire: base
net: base wire
backend: base bitmap
qemu: base bitmap backend image
image: base bitmap
session: base bitmap wire net backend
daemon: base bitmap wire net backend qemu image session
cli: base wire net bitmap image session
nbdkit: base bitmap
'
bad=0
for folder in */; do
    folder=${folder%/}
    row=$(grep "^$folder:" <<<"$table") || {
        echo "src/$folder has no row in the table of $0"
        bad=1
        continue
    }
    allowed=" $folder ${row#*:} "
    while IFS=: read -r file line include; do
        header=$(sed 's/.*include *"\([^"]*\)".*/\1/' <<<"$include")
        from=${header%%/*}
        if [ "$from" = "$header" ]; then
            [ "$header" = config.h ] && continue
            echo "src/$file:$line: \"$header\" without its folder"
            bad=1
        elif [[ $allowed != *" $from "* ]]; then
            echo "src/$file:$line: $folder must not include \"$header\" (allowed:${row#*:})"
            bad=1
        fi
    done < <(grep -rnE --include='*.[ch]' '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$folder")
    # By <...> only the public headers and those of the system.
    if grep -rnE --include='*.[ch]' '^[[:space:]]*#[[:space:]]*include[[:space:]]*<(base|bitmap|wire|net|backend|qemu|image|session|daemon|cli)/' "$folder"; then
        bad=1
    fi
done
# The public headers stand alone.
if grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' ../include/dirtyferry/*.h; then
    echo "a public header includes by quotes"
    bad=1
fi
exit $bad
