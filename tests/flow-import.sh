#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# bitmap import: what bitmap export has written comes back bit for bit; what is refused changes nothing.
. "$(dirname "$0")/flow-common.sh"
start a

size=123456789012       # no multiple of anything
a disk add old --size $size
a disk add new --size $size
a bitmap add old daily --granularity 4K --persistent --disabled
a bitmap add old clean
a bitmap enable old daily
ranges 1 $size 3000 200000 | mark a old
a bitmap disable old daily
a bitmap clear old clean
for bitmap in daily clean; do
    a bitmap export old $bitmap "$dir/$bitmap.raw" --format raw
    a bitmap export old $bitmap "$dir/$bitmap.json" --format json
done

# ------------------------------------------------------------ there and back

a bitmap import new raw "$dir/daily.raw" --format raw --granularity 4K >"$dir/out"
expect "what import says" "$(cat "$dir/out")" "raw  granularity 4K  recording"
expect "import with --json" "$(a --json bitmap import new json "$dir/daily.json" --format json --granularity 4K)" \
    '[{"bitmap":"json","granularity":4096,"recording":true,"persistent":false}]'
expect "bits of raw" "$(bits a new raw)" "$(bits a old daily)"
expect "bits of json" "$(bits a new json)" "$(bits a old daily)"
expect "flags" "$(flags a new raw recording busy persistent inconsistent frozen readonly)" \
    "recording=true busy=false persistent=false inconsistent=false frozen=false readonly=false"
a bitmap import new none "$dir/clean.raw" --granularity 64K --format raw >"$dir/out"
a bitmap import new nothing "$dir/clean.json" --format json >"$dir/out"
expect "bits of a clean one" "$(bits a new none)" "$(bits a old clean)"
expect "bits of a clean one" "$(bits a new nothing)" "$(bits a old clean)"
a bitmap add old coarse
a bitmap merge old coarse daily
a bitmap import new coarse "$dir/daily.json" --format json >"$dir/out"
expect "json rounds outwards" "$(bits a new coarse)" "$(bits a old coarse)"
a bitmap clear new raw
a bitmap mark new 5M 1
expect "an imported bitmap is one like any other" "$(field count "$(a --json bitmap show new raw)")" 4096

# ------------------------------------------------------------------- refused

state=$(snapshot a)
import()
{
    a bitmap import "$@"
}
refuse 1 "has a bitmap 'raw' already" -- import new raw "$dir/daily.raw" --format raw --granularity 4K
refuse 1 "no disk 'gone'" -- import gone x "$dir/daily.json" --format json
refuse 1 "cannot read '$dir/gone'.*No such file" -- import new x "$dir/gone"
refuse 1 "cannot read '$dir/gone'.*No such file" -- import new x "$dir/gone" --format json
refuse 1 "'$dir/daily.raw' is of no format.*--format raw or json" -- import new x "$dir/daily.raw"
refuse 1 "give --granularity" -- import new x "$dir/daily.raw" --format raw
refuse 1 "'$dir/daily.raw' is not a file of [0-9]* bytes.*granularity 8192" -- import new x "$dir/daily.raw" --format raw --granularity 8K
refuse 1 "name '[x]*\.\.\.' of a bitmap has more than 1023 bytes" -- import new "$(printf 'x%.0s' {1..1024})" "$dir/daily.json" --format json
refuse 2 "give BITMAP" -- import new "$dir/daily.json" --format json
refuse 2 "'vdi' is not known" -- import new x "$dir/daily.raw" --format vdi
refuse 2 "out of range.*512 to 2G" -- import new x "$dir/daily.raw" --format raw --granularity 1000
refuse 2 "argument is missing" -- import new
truncate -s $(($(stat -c %s "$dir/clean.raw") - 1)) "$dir/clean.raw"
printf '\xff' >>"$dir/clean.raw"
refuse 1 "bits behind the end" -- import new x "$dir/clean.raw" --format raw --granularity 64K
a disk add other --size $((size + 512))
refuse 1 "disk 'other' has $((size + 512)) bytes and '$dir/daily.json' is of one with $size" -- import other x "$dir/daily.json" --format json
a disk remove other

bad()           # TEXT PATTERN
{
    printf '%s' "$1" >"$dir/bad.json"
    refuse 1 "not a list of extents.*$2" -- import new x "$dir/bad.json" --format json
}
bad '' 'extent 1 is not there'
bad '{}' 'extent 1 is not there'
bad '[]' 'extent 1 lacks'
bad '[{"start":0,"length":512}]' 'extent 1 lacks'
bad '[{"start":0,"length":512,"dirty":1}]' 'extent 1 lacks'
bad '[{"start":0,"length":512,"dirty":true},{"start":1024,"length":1,"dirty":true}]' 'extent 2 does not begin'
bad '[{"start":-1,"length":512,"dirty":true}]' 'extent 1 does not begin'
bad '[{"start":0,"length":0,"dirty":true}]' 'extent 1 has no length'
bad '[{"start":0,"length":1152921504606846977,"dirty":true}]' 'extent 1 has no length'
bad '[{"start":0,"length":512,"dirty":true}' 'extent 2 is followed'
bad '[{"start":0,"length":512,"dirty":true}]x' 'extent 2 is followed'
bad '[{"start":0,"length":512,"dirty":true},' 'extent 2 lacks'
printf '[{"start":0,"length":%s,"dirty":true,"other":[1]} ]\n' $size >"$dir/good.json"
expect "what is refused changes nothing" "$(snapshot a)" "$state"
a bitmap import new full "$dir/good.json" --format json --granularity 1M >"$dir/out"
expect "all dirty" "$(field count "$(a --json bitmap show new full)")" $(((size + (1 << 20) - 1) >> 20 << 20))

finish
