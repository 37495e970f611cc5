#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The manual pages have every command and option of the programs, and no other;
# the pages are well-formed; what README.md tells to run, and the files that the
# documents name, are there.
set -euo pipefail
export LC_ALL=C.UTF-8

src=${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}
build=${abs_top_builddir:-$PWD}
dirtyferry=$build/dirtyferry
dirtyferryd=$build/dirtyferryd
work=$(mktemp -d "${TMPDIR:-/tmp}/df-docs.XXXXXX")
trap 'rm -rf "$work"' EXIT
failed=0
checked=0

fail()
{
    echo "FAILED: $*" >&2
    failed=1
}

# same WHAT LEFT RIGHT: two lists of lines
same()
{
    checked=$((checked + 1))
    diff <(sort -u <<<"$2") <(sort -u <<<"$3") >"$work/diff" || fail "$1: $(grep '^[<>]' "$work/diff" | tr '\n' ' ')"
}

options()       # in a usage text
{
    { grep -oE -- '(^|[^[:alnum:]-])--[a-z][a-z-]*' || :; } | grep -oE -- '--.*' | sort -u || :
}

not_global()
{
    grep -vxE -- '--(connect|json|help|version)' || :
}

# section FILE HEAD: its lines, up to the next head of that level or above
section()
{
    awk -v head="$2" '/^=head[12] / { in_it = $0 == head || (in_it && /^=head2/ && head ~ /^=head1/) } in_it' "$1"
}

items()         # options that an =item of a section is about
{
    { grep '^=item ' || :; } | { grep -oE 'B<--?[a-z-]+>' || :; } | sed 's/^B<//; s/>$//' | sort -u
}

# ---- dirtyferry(1)

page=$src/src/cli/dirtyferry.pod
"$dirtyferry" --help >"$work/help"
mapfile -t commands < <(awk '/^  [a-z]/ { print $1 }' "$work/help")
[ ${#commands[@]} -gt 5 ] || fail "dirtyferry --help lists ${#commands[@]} commands"
same "commands of dirtyferry (<) and heads of its page (>)" "$(printf '%s\n' "${commands[@]}")" \
    "$(section "$page" '=head1 COMMANDS' | sed -n 's/^=head2 //p')"
same "global options (<) and the page (>)" "$(options <"$work/help" | grep -E 'connect|key|json|help|version'; echo -c)" \
    "$(section "$page" '=head1 GLOBAL OPTIONS' | items)"
declare -A help words
for command in "${commands[@]}"; do
    help[$command]=$("$dirtyferry" "$command" --help) || fail "dirtyferry $command --help fails"
    same "options of 'dirtyferry $command' (<) and the page (>)" "$(options <<<"${help[$command]}" | not_global)" \
        "$(section "$page" "=head2 $command" | items)"
done
for command in disk bitmap; do
    words[$command]=$(awk -v c=$command '$1 == c { gsub(/\|/, "\n", $2); print $2 }' "$work/help")
    same "words of 'dirtyferry $command' (<) and the page (>)" "${words[$command]}" \
        "$(sed -n "s/^=item B<$command \([a-z]*\)>.*/\1/p" "$page")"
done

# ---- dirtyferryd(8)

page=$src/src/daemon/dirtyferryd.pod
daemon_help=$("$dirtyferryd" --help)
same "options of dirtyferryd (<) and the page (>)" "$(options <<<"$daemon_help")" "$(section "$page" '=head1 OPTIONS' | items)"

# ---- options that are accepted and that no page has

accepted()      # PAGE FILE...
{
    local page=$1 option
    shift
    for option in $(sed -n 's/"[^"]*"[^"]*_argument/\n&/gp' "$@" | sed -n 's/^"\([a-z-]*\)", *[a-z]*_argument.*/\1/p' | sort -u); do
        checked=$((checked + 1))
        grep -q -- "^=item .*B<--$option>" "$page" || fail "--$option is accepted, and ${page##*/} does not have it"
    done
}
accepted "$src/src/cli/dirtyferry.pod" "$src"/src/cli/*.c
accepted "$src/src/daemon/dirtyferryd.pod" "$src/src/daemon/options.c"

# ---- libdirtyferry(3): its limits and calls are those of the header

page=$src/src/bitmap/libdirtyferry.pod
header=$src/include/dirtyferry/bitmap.h
same "calls that the page has (<) and the header has not (>)" \
    "$(grep -oE '\bdf_[a-z0-9_]+\b' "$page" | sort -u)" \
    "$(grep -oE '\bdf_[a-z0-9_]+\b' "$page" | sort -u | while read -r name; do ! grep -qw "$name" "$header" "${header%/*}/error.h" || echo "$name"; done)"
number() { sed -E 's/UINT(32|64)_C\(([0-9]+)\)/\2/; s/([0-9])u\b/\1/; s/2\^([0-9]+)/(1 << \1)/'; }
while read -r name value _; do
    defined=$(sed -nE "s,^#define $name +(.*[^ ]) +/\*.*,\1,p" "$header" | number)
    checked=$((checked + 1))
    [ -n "$defined" ] && [ $((defined)) -eq $(($(number <<<"$value"))) ] || fail "libdirtyferry.pod: $name is $value, the header has ${defined:-nothing}"
done < <(sed -n 's/^ \(DF_[A-Z_]* .*\)/\1/p' "$page")

# ---- pages are well-formed

for page in "$src"/src/*/*.pod; do
    checked=$((checked + 1))
    if command -v pod2man >/dev/null; then
        pod2man --utf8 --errors=die --section=1 "$page" >"$work/page" || fail "pod2man finds errors in $page"
        if man --help 2>/dev/null | grep -q -- --warnings; then
            man --warnings -l "$work/page" 2>&1 >/dev/null | grep . >"$work/warnings" && fail "${page##*/}: $(head -n 3 "$work/warnings")"
        fi
    fi
done

# ---- README.md: every command of ours that it tells to run

known()         # COMMAND TEXT ARGUMENT...: its options are in TEXT
{
    local command=$1 text=$2 argument
    shift 2
    for argument in "$@"; do
        [[ $argument != --[a-z]* ]] || options <<<"$text" | grep -qx -- "${argument%%=*}" || fail "README.md: '$command' has no $argument"
    done
}

run()           # a simple command
{
    local name=$1 command
    shift
    checked=$((checked + 1))
    case $name in
    ./bootstrap)
        [ $# -eq 0 ] || [[ $1 == '#' ]] || grep -q "^#     ./bootstrap $1 " "$src/bootstrap" || fail "README.md: there is no './bootstrap $1'" ;;
    make)
        [ $# -eq 0 ] || grep -q "^$1:" "$build/Makefile" || fail "README.md: there is no 'make $1'" ;;
    dirtyferryd)
        known dirtyferryd "$daemon_help" "$@" ;;
    dirtyferry | a | b)
        while [[ ${1-} == -* ]]; do
            [[ $1 == -c ]] && shift
            shift
        done
        command=${1-}
        [[ $command == '"$@"' ]] && return
        [ -n "$command" ] && [ -n "${help[$command]-}" ] || { fail "README.md: there is no 'dirtyferry $command'"; return; }
        [ -z "${words[$command]-}" ] || grep -qx -- "${2-}" <<<"${words[$command]}" || fail "README.md: there is no 'dirtyferry $command ${2-}'"
        known "dirtyferry $command" "${help[$command]}" "${@:2}" ;;
    nbdkit)
        for command in "$@"; do
            [[ $command != dirtyferry-* ]] || grep -q "\"${command%%=*}\"" "$src/src/nbdkit/filter.c" || fail "README.md: the filter has no ${command%%=*}"
        done ;;
    *)
        checked=$((checked - 1)) ;;
    esac
}

set -f
while read -r -a line; do
    [ ${#line[@]} -eq 0 ] || run "${line[@]}"
done < <(awk '/^```/ { kind = kind ? "" : substr($0, 4); next } kind == "sh" { print } kind == "console" && /^\$ / { print substr($0, 3) }' "$src/README.md" |
         sed 's/[&|;{}]\|\$(/\n/g' | sed 's/)$//; /^ *[a-z]*() *$/d')
set +f
for target in $(grep -ohE '`make [a-z]+`' "$src/README.md" "$src/HACKING.md" | tr -d '`' | awk '{ print $2 }' | sort -u); do
    run make "$target"
done

# ---- a table has a row for each script of a kind that make check runs, and no other

# rows_name DOCUMENT HEADING KIND: the rows of the table under HEADING and tests/KIND-*.sh
rows_name()
{
    local document=$1 title="rows of \"$2\"" kind=$3 rows names
    rows=$(sed -n "s,^| \[\([a-z-]*\)\](tests/$kind-\([a-z-]*\)\.sh): .*,\1 \2,p" "$src/$document")
    names=$(cut -d' ' -f1 <<<"$rows")
    same "$title (<) and the scripts that they name (>)" "$names" "$(cut -d' ' -f2 <<<"$rows")"
    same "$title (<) and tests/$kind-*.sh (>)" "$names" "$(cd "$src/tests" && printf '%s\n' "$kind"-*.sh | sed "s/^$kind-//; s/\.sh\$//" | grep -vx common)"
    same "$title (<) and what make check runs (>)" "$names" "$(sed -n "s,^tests/$kind-\([a-z-]*\)\.sh\.log: .*,\1,p" "$build/Makefile")"
}

rows_name README.md "When something fails" fail
rows_name SECURITY.md "Attacks and results" attack
same "rows that lack a column of the four (<)" "$(sed -n '/^## When something fails/,/^## Limits/p' "$src/README.md" | awk -F'|' '/^\|/ && (NF != 6 || $2 ~ /^ *$/ || $3 ~ /^ *$/ || $4 ~ /^ *$/ || $5 ~ /^ *$/) { print $2 }')" ""

# ---- files that the documents name

for document in README.md HACKING.md SECURITY.md; do
    for file in $(grep -oE '\]\([^)#:]+\)' "$src/$document" | sed 's/^](//; s/)$//') \
                $(grep -oE '`(src|include|proto|examples|tests|bench|m4)/[A-Za-z0-9_./-]+`' "$src/$document" | tr -d '`'); do
        checked=$((checked + 1))
        [ -e "$src/$file" ] || fail "$document names $file, which is not there"
    done
done

[ $checked -ge 60 ] || fail "only $checked things were looked at: does this test still find them?"
[ $failed -ne 0 ] || echo "$checked things agree"
exit $failed
