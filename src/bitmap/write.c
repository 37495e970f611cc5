// SPDX-License-Identifier: BSD-3-Clause
/*
 * Filling a parent.  The bytes go in by pwrite(2) and not through the mapping:
 * a full file system is then an error and not a SIGBUS, and the kernel need not
 * fault in, zero and map each page first (measured: a third of the time).
 *
 * Data first, then the summary bit: whoever goes by the summary never looks at
 * a block that is not there.  map_write is the only writer, so nobody relies on
 * the order that mark.c keeps.
 */
#include "bitmap/map.h"

#include <string.h>

#include "base/files.h"

static const uint8_t zeroes[MAP_BLOCK_BYTES];
static const uint8_t ones[MAP_BLOCK_BYTES] = { [0 ... MAP_BLOCK_BYTES - 1] = 0xff };

static int write_leaf(struct map *map, uint64_t offset, const uint8_t *bytes, uint64_t nbytes)
{
    uint64_t leaf = (uint64_t)((char *)map->leaf - (char *)map->header);
    return files_pwrite(map->fd, bytes, nbytes, (off_t)(leaf + offset));
}

static void note_blocks(struct map *map, uint64_t first, uint64_t end)
{
    for (uint64_t b = first; b < end; b++)
        if (!map_has_block(map, b, memory_order_relaxed))
            atomic_fetch_or_explicit(&map->summary[b / 64], htole64(UINT64_C(1) << (b % 64)), memory_order_release);
}

int map_write(struct map *map, uint64_t offset, const uint8_t *bytes, uint64_t nbytes)
{
    uint64_t end = offset + nbytes, from = offset;    /* [from, at) waits to be written */
    for (uint64_t at = offset; at < end;) {
        uint64_t block = at / MAP_BLOCK_BYTES, next = (block + 1) * MAP_BLOCK_BYTES;
        if (next > end)
            next = end;
        bool skip = !map_has_block(map, block, memory_order_relaxed) && !memcmp(bytes + (at - offset), zeroes, next - at);
        if (skip || next == end) {
            uint64_t to = skip ? at : next;
            int r = write_leaf(map, from, bytes + (from - offset), to - from);
            if (r < 0)
                return r;
            note_blocks(map, from / MAP_BLOCK_BYTES, map_round_up(to, MAP_BLOCK_BYTES));
            from = next;
        }
        at = next;
    }
    return 0;
}

int map_write_zeroes(struct map *map, uint64_t offset, uint64_t nbytes)
{
    uint64_t end = offset + nbytes, end_block = map_round_up(end, MAP_BLOCK_BYTES);
    for (uint64_t b = map_next_block_before(map, offset / MAP_BLOCK_BYTES, end_block); b < end_block; b = map_next_block_before(map, b + 1, end_block)) {
        uint64_t from = b * MAP_BLOCK_BYTES, to = from + MAP_BLOCK_BYTES;
        from = from > offset ? from : offset;
        to = to < end ? to : end;
        int r = write_leaf(map, from, zeroes, to - from);
        if (r < 0)
            return r;
    }
    return 0;
}

int map_write_ones(struct map *map)
{
    uint64_t whole = map->nbits / 8;
    uint8_t last = (uint8_t)((1u << map->nbits % 8) - 1);   /* bits beyond nbits are never set */
    int r = 0;
    for (uint64_t at = 0; !r && at < whole; at += MAP_BLOCK_BYTES)
        r = map_write(map, at, ones, whole - at < MAP_BLOCK_BYTES ? whole - at : MAP_BLOCK_BYTES);
    return !r && last ? map_write(map, whole, &last, 1) : r;
}
