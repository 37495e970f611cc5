// SPDX-License-Identifier: BSD-3-Clause
/*
 * Filling a parent from a map of another geometry: that of a smaller disk, or
 * of another granularity.  Outwards: a bit is set when any byte of its range is
 * dirty in the source, or behind the end of the source's disk.
 *
 * Bits come in ascending order, so what a block holds is gathered and written at
 * once.  By map_write, as all that fills a parent: a full file system is an
 * error that may pass, and what was written before is written again with the
 * same bits.
 */
#include "bitmap/map.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <dirtyferry/bitmap.h>

#include "base/error.h"

int granularity_check(uint64_t granularity, struct df_error *err)
{
    if (granularity < DF_GRANULARITY_MIN || granularity > DF_GRANULARITY_MAX || granularity & (granularity - 1))
        return error_set(err, -EINVAL, "granularity %" PRIu64 " is out of range: a power of two from %u to %u bytes is possible",
                         granularity, DF_GRANULARITY_MIN, DF_GRANULARITY_MAX);
    return 0;
}

/* The block that is being gathered. */
struct window {
    struct map *map;
    uint64_t block;
    bool used;                  /* something is in it */
    uint8_t bytes[MAP_BLOCK_BYTES];
};

static int flush(struct window *w)
{
    if (!w->used)
        return 0;
    uint64_t offset = w->block * MAP_BLOCK_BYTES, nbytes = map_block_end(w->map, w->block) * 8 - offset;
    w->used = false;
    return map_write(w->map, offset, w->bytes, nbytes);
}

static int turn_to(struct window *w, uint64_t block)
{
    if (w->used && w->block == block)
        return 0;
    int r = flush(w);
    w->block = block;
    w->used = true;
    memset(w->bytes, 0, sizeof w->bytes);
    return r;
}

static void set_bits(uint8_t *bytes, uint64_t bit, uint64_t end)
{
    for (; bit < end && (bit % 8 || end - bit < 8); bit++)
        bytes[bit / 8] |= (uint8_t)(1u << bit % 8);
    memset(bytes + bit / 8, 0xff, (end - bit) / 8);
    for (bit += (end - bit) / 8 * 8; bit < end; bit++)
        bytes[bit / 8] |= (uint8_t)(1u << bit % 8);
}

/* Bits [bit, end) of the map; none of a block before the current one. */
static int put(struct window *w, uint64_t bit, uint64_t end)
{
    while (bit < end) {
        uint64_t block = bit / MAP_BLOCK_BITS, base = block * MAP_BLOCK_BITS;
        uint64_t to = end < base + MAP_BLOCK_BITS ? end : base + MAP_BLOCK_BITS;
        int r = turn_to(w, block);
        if (r < 0)
            return r;
        set_bits(w->bytes, bit - base, to - base);
        bit = to;
    }
    return 0;
}

/* What bits [bit, end) of the source stand for, which may end with its disk. */
static int put_range(struct window *w, unsigned to_shift, const struct geometry *from, uint64_t bit, uint64_t end)
{
    unsigned from_shift = (unsigned)__builtin_ctzll(from->granularity);
    uint64_t to = end << from_shift < from->size ? end << from_shift : from->size;
    return put(w, bit << from_shift >> to_shift, ((to - 1) >> to_shift) + 1);
}

/* The same granularity, the commonest: what is a bit there is one here. */
static int copy_word(struct window *w, uint64_t index, uint64_t word)
{
    int r = word ? turn_to(w, index / MAP_BLOCK_WORDS) : 0;
    uint64_t bytes = htole64(word);
    if (word && !r)
        memcpy(w->bytes + index % MAP_BLOCK_WORDS * sizeof bytes, &bytes, sizeof bytes);
    return r;
}

static int put_word(struct window *w, unsigned to_shift, const struct geometry *from, uint64_t index, uint64_t word)
{
    uint64_t first = index * 64;
    int r = 0;
    for (unsigned at = 0; !r && at < 64 && word >> at;) {
        at += (unsigned)__builtin_ctzll(word >> at);
        uint64_t clear = ~(word >> at);
        unsigned n = clear ? (unsigned)__builtin_ctzll(clear) : 64;     /* what is shifted in is clear */
        r = put_range(w, to_shift, from, first + at, first + at + n);
        at += n;
    }
    return r;
}

int map_write_scaled(struct map *dst, const struct geometry *to, const struct map *src, const struct geometry *from)
{
    unsigned to_shift = (unsigned)__builtin_ctzll(to->granularity);
    bool same = to->granularity == from->granularity;
    struct window w = { .map = dst };
    int r = 0;
    for (uint64_t b = map_next_block(src, 0); !r && b < src->nblocks; b = map_next_block(src, b + 1))
        for (uint64_t i = b * MAP_BLOCK_WORDS, end = map_block_end(src, b); !r && i < end; i++)
            r = same ? copy_word(&w, i, map_bits(src, i, memory_order_relaxed)) : put_word(&w, to_shift, from, i, map_bits(src, i, memory_order_relaxed));
    if (!r && to->size > from->size)
        r = put(&w, from->size >> to_shift, dst->nbits);
    return r < 0 ? r : flush(&w);
}
