#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The target dies between the pivots: nobody can say that it never recorded, so there is no way back until it answers.
. "$(dirname "$0")/fail-common.sh"
host a
host b
small_disk one
session=$(prepared one/daily --workers 0)
"$dirtyferry" pivot "$session" --from "${control[a]}" >/dev/null
die b
refuse 1 "${control[b]}" -- a rollback "$session"
refuse 1 "read-only" -- a bitmap mark one 0 1
expect "source" "$(flags a one daily busy readonly inconsistent)" "busy=true readonly=true inconsistent=false"
eventually "the source says that the link is lost" is_about a "$session" source link lost
host b
a rollback "$session" >/dev/null
expect "source" "$(flags a one daily busy readonly recording)" "busy=false readonly=false recording=true"
expect "bitmaps left on the target" "$(b --json bitmap list one)" "[]"
record a one 20
exact a one

# ---- gone for good: the operator vouches for it
small_disk gone
session=$(prepared gone/daily --workers 0)
"$dirtyferry" pivot "$session" --from "${control[a]}" >/dev/null
die b
refuse 1 "${control[b]}" -- a rollback "$session"
a rollback "$session" --force >/dev/null
expect "source" "$(flags a gone daily busy readonly recording)" "busy=false readonly=false recording=true"
record a gone 20
exact a gone
host b
b cancel "$session" >/dev/null

# ---- dead before the source's pivot: the cancel does not need it
small_disk two
session=$(prepared two/daily --workers 0)
die b
a cancel "$session" >/dev/null
record a two 20
exact a two
host b
# What is left over there says so, and is removed there.
eventually "the target waits for its source" is_about b "$session" target link lost
says b "$session" target "cancel" || fail "the target says: $(about b "$session" target message)"
b cancel "$session" >/dev/null
expect "bitmaps left on the target" "$(b --json bitmap list two)" "[]"
finish
