#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The models of proto/ hold in every state that spin can reach; and each of their
# switches that break them makes spin find what their head notes say it finds.
# A model that cannot fail proves nothing, one that is not searched to its end neither.
set -euo pipefail
export LC_ALL=C

src=${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}
for tool in spin cc; do
    command -v $tool >/dev/null || { echo "skipped: there is no $tool here"; exit 77; }
done
work=$(mktemp -d "${TMPDIR:-/tmp}/df-models.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Every interleaving, with no reduction whose conditions one would have to trust.
# A search takes 300 MiB at most: a model that has grown is to fail here, not on a small machine.
checker=(-w -DSAFETY -DNOREDUCE -DMEMLIM=300)
depth=20000

# search DIR MODEL CC-OPTION SWITCH...: spin's report is in DIR/report
search()
{
    local dir=$work/$1 model=$src/proto/$2.pml option=$3
    shift 3
    mkdir "$dir"
    cd "$dir"
    { spin -a "${@/#/-D}" "$model" && cc "$option" "${checker[@]}" -o pan pan.c; } >build.log 2>&1 || { cat build.log; return 1; }
    ./pan -m$depth -w22 >report 2>&1 || { cat report; return 1; }
    rm -f pan*
}

# holds MODEL SWITCH...: no error, the search came to its end, and no step of the model is dead
holds()
{
    local name="$*" dir=$* report states
    dir=${dir// /-}
    search "$dir" "$1" -O2 "${@:2}" || return 1
    report=$work/$dir/report
    if ! grep -q 'errors: 0$' "$report" || grep -qE 'max search depth too small|out of memory|MEMLIM|aborted|search not completed' "$report"; then
        echo "FAILED: $name: spin finds an error, or did not come to its end:"
        cat "$report"
        return 1
    fi
    if grep -E '^[[:space:]]+/.*, state [0-9]+, ' "$report" | grep -v '"-end-"$'; then
        echo "FAILED: $name: steps that are never reached"
        return 1
    fi
    states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$report")
    awk "BEGIN { exit !($states > 500000) }" || { echo "FAILED: $name: only $states states: does anything happen in it still?"; return 1; }
    echo "$name: holds in $states states, $(sed -n 's/.*elapsed time \(.*\) seconds.*/\1/p' "$report") s"
}

# breaks MODEL SWITCH ASSERTION
breaks()
{
    search "$1-$2-$3" "$1" -O0 "$2" "ONLY=$3" || return 1
    if ! grep -q "^pan:1: assertion violated .*($3!=$3)" "$work/$1-$2-$3/report"; then
        echo "FAILED: $1 with $2: spin does not find $3:"
        cat "$work/$1-$2-$3/report"
        return 1
    fi
    echo "$1 with $2: $3 is found"
}

# The switches of a head note: SWITCH ASSERTION, a line each.
switches()
{
    sed -n '/^ \* Switches that break it/,/^ \* ONLY/ s/^ \*  *\([A-Z_]*\)  .*: \([a-z_, ]*\)$/\1 \2/p' "$src/proto/$1.pml" | tr -d , |
        while read -r switch assertions; do
            printf "$switch %s\n" $assertions
        done
}

jobs=("holds recording" "holds recording LIVE" "holds handover")
for model in recording handover; do
    mapfile -t found < <(switches $model)
    [ ${#found[@]} -ge 8 ] || { echo "FAILED: the note of $model.pml has only ${#found[@]} switches that break it"; exit 1; }
    jobs+=("${found[@]/#/breaks $model }")
done

failed=0
running=0
for job in "${jobs[@]}"; do
    if [ $running -eq 2 ]; then
        wait -n || failed=1
        running=1
    fi
    ($job) &
    running=$((running + 1))
done
while [ $running -gt 0 ]; do
    wait -n || failed=1
    running=$((running - 1))
done
[ $failed -ne 0 ] || echo "${#jobs[@]} searches say what they should"
exit $failed
