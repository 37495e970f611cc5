#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What `make install` puts where: programs, headers that stand alone in C and C++, a pkg-config file
# that works, and a library that exports what the header declares, no more and no less.
set -euo pipefail
export LC_ALL=C
top_builddir=${abs_top_builddir:-$PWD}
top_srcdir=${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}
dir=$(mktemp -d "${TMPDIR:-/tmp}/df-install.XXXXXX")
trap 'rm -rf "$dir"' EXIT

fail()
{
    echo "FAILED: $*" >&2
    exit 1
}

# variable NAME: what the build was configured with.
variable()
{
    sed -n "s/^$1 = //p" "$top_builddir/Makefile"
}

env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u MAKEOVERRIDES make -C "$top_builddir" install DESTDIR="$dir/root" >"$dir/log" 2>&1 ||
    fail "make install: $(tail -n 20 "$dir/log")"
prefix=$(variable prefix)
root=$dir/root$prefix
libdir=$dir/root$(variable libdir | sed "s|\${exec_prefix}|$prefix|; s|\${prefix}|$prefix|")
[ -x "$root/bin/dirtyferry" ] || fail "no bin/dirtyferry"
[ -x "$root/sbin/dirtyferryd" ] || fail "no sbin/dirtyferryd"
unit=$dir/root$(variable systemdsystemunitdir | sed "s|\${prefix}|$prefix|")/dirtyferryd.service
[ -f "$unit" ] || fail "no unit for systemd: $unit"
program=$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$unit")
[ -x "$dir/root$program" ] || fail "the unit runs '$program', which is not installed"
[ -f "$root/lib/sysusers.d/dirtyferry.conf" ] || fail "no lib/sysusers.d/dirtyferry.conf"
for header in bitmap error; do
    [ -f "$root/include/dirtyferry/$header.h" ] || fail "no include/dirtyferry/$header.h"
done
expected="dirtyferry/bitmap.h dirtyferry/error.h"
found=$(cd "$root/include" && find . -type f | sed 's|^\./||' | sort | tr '\n' ' ')
[ "${found% }" = "$expected" ] || fail "installed headers: $found"
grep -q "^dirtyferry $(variable PACKAGE_VERSION | tr -d '"')$" <<<"$("$root/bin/dirtyferry" --version)" || fail "bin/dirtyferry --version"

# ---- symbols: exactly the functions of the header
lib=$libdir/libdirtyferry.so
[ -e "$lib" ] || fail "no libdirtyferry.so in $libdir"
nm -D --defined-only "$lib" | awk '$2 == "T" { print $3 }' | sed 's/@.*//' | sort >"$dir/exported"
nm -D --defined-only "$lib" | awk '$2 != "T" && $2 != "A" { print }' | grep -v ' __\(asan\|tsan\|ubsan\|odr_asan\)' >"$dir/others" || :
[ ! -s "$dir/others" ] || fail "exported besides functions: $(cat "$dir/others")"
sed 's|/\*.*\*/||; /\/\*/,/\*\//d' "$root/include/dirtyferry/bitmap.h" | grep -o '\bdf_[a-z0-9_]*(' | tr -d '(' | sort -u >"$dir/declared"
[ "$(wc -l <"$dir/declared")" -ge 30 ] || fail "the header's functions were not found: $(cat "$dir/declared")"
diff "$dir/declared" "$dir/exported" >"$dir/diff" || fail "declared (<) and exported (>) differ: $(cat "$dir/diff")"
nm -D --defined-only "$lib" | grep -q 'df_disk_open@@DIRTYFERRY_0.1' || fail "the symbols have no version"
readelf -d "$lib" | grep -q 'SONAME.*libdirtyferry\.so\.0' || fail "soname: $(readelf -d "$lib" | grep SONAME)"

# ---- headers alone, in C and C++, strictly
cc=$(variable CC)
cc=${cc% -std=*}
for header in bitmap error; do
    echo "#include <dirtyferry/$header.h>" >"$dir/alone.c"
    echo "#include <dirtyferry/$header.h>" >"$dir/alone.cc"
    for std in c99 c11 c17; do
        $cc -std=$std -Wall -Wextra -Wpedantic -Wstrict-prototypes -Werror -I"$root/include" -c -o "$dir/alone.o" "$dir/alone.c" ||
            fail "$header.h alone is not $std"
    done
    if command -v c++ >/dev/null; then
        c++ -std=c++11 -Wall -Wextra -Wpedantic -Werror -I"$root/include" -c -o "$dir/alone.o" "$dir/alone.cc" || fail "$header.h alone is not C++"
    else
        echo "no C++ compiler: headers were not tried with it"
    fi
done

# ---- pkg-config: compile, link, run
cat >"$dir/use.c" <<'END'
#include <dirtyferry/bitmap.h>
#include <stdio.h>
int main(int argc, char **argv)
{
    struct df_error err = { 0 };
    struct df_disk *disk = NULL;
    struct df_bitmap *bitmap = NULL;
    uint64_t start = 0, length = 0;
    int r = argc == 2 ? df_disk_create(argv[1], "d", 1 << 20, &err) : -1;
    if (!r)
        r = df_disk_open(argv[1], "d", &disk, &err);
    if (!r)
        r = df_bitmap_add(disk, "b", DF_GRANULARITY_DEFAULT, 0, &err);
    if (!r)
        r = df_disk_mark(disk, 70000, 1, &err);
    if (!r)
        r = df_bitmap_open(disk, "b", &bitmap, &err);
    if (!r && df_bitmap_next_dirty(bitmap, 0, &start, &length))
        printf("%llu %llu\n", (unsigned long long)start, (unsigned long long)length);
    df_bitmap_close(&bitmap);
    df_disk_close(&disk);
    if (r < 0)
        fprintf(stderr, "%s\n", err.message);
    return r < 0;
}
END
export PKG_CONFIG_PATH=$libdir/pkgconfig PKG_CONFIG_SYSROOT_DIR=$dir/root
pkg-config --validate dirtyferry || fail "dirtyferry.pc is not valid"
[ "$(pkg-config --modversion dirtyferry)" = "$(variable PACKAGE_VERSION)" ] || fail "its version is $(pkg-config --modversion dirtyferry)"
# shellcheck disable=SC2046
$cc $(variable SANITIZER_CFLAGS) $(pkg-config --cflags dirtyferry) -o "$dir/use" "$dir/use.c" $(pkg-config --libs dirtyferry) || fail "a program does not link"
said=$(LD_LIBRARY_PATH=$libdir ASAN_OPTIONS=${ASAN_OPTIONS-} "$dir/use" "$dir/state") || fail "the program fails"
[ "$said" = "65536 65536" ] || fail "the program says '$said'"

# ---- uninstall leaves nothing
env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u MAKEOVERRIDES make -C "$top_builddir" uninstall DESTDIR="$dir/root" >"$dir/log" 2>&1 || fail "make uninstall"
left=$(find "$dir/root" ! -type d)
[ -z "$left" ] || fail "make uninstall leaves: $left"
