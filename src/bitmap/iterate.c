// SPDX-License-Identifier: BSD-3-Clause
/*
 * Walking a map.  The summary says which blocks can hold a set bit; all others
 * are clean and are not touched.  Reading while others set bits is allowed and
 * may at worst miss bits that are set meanwhile.  Each step goes forward,
 * whatever another process does to the bits: two calls that follow each other
 * need not agree, but a walk ends.
 */
#include "bitmap/map.h"

bool map_test(const struct map *map, uint64_t bit)
{
    return map_has_block(map, bit / MAP_BLOCK_BITS, memory_order_acquire) &&
           (map_word(map, bit / 64) >> (bit % 64) & 1);
}

uint64_t map_next_block_before(const struct map *map, uint64_t block, uint64_t end)
{
    if (block >= end)
        return end;
    uint64_t nsummary = map_round_up(end, 64);
    uint64_t w = block / 64;
    uint64_t v = le64toh(atomic_load_explicit(&map->summary[w], memory_order_acquire)) & (~UINT64_C(0) << (block % 64));
    while (!v) {
        if (++w == nsummary)
            return end;
        v = le64toh(atomic_load_explicit(&map->summary[w], memory_order_acquire));
    }
    uint64_t found = w * 64 + (uint64_t)__builtin_ctzll(v);
    return found < end ? found : end;
}

uint64_t map_next_block(const struct map *map, uint64_t block)
{
    return map_next_block_before(map, block, map->nblocks);
}

uint64_t map_next_set(const struct map *map, uint64_t bit)
{
    while (bit < map->nbits) {
        uint64_t block = map_next_block(map, bit / MAP_BLOCK_BITS);
        if (block == map->nblocks)
            return map->nbits;
        if (block * MAP_BLOCK_BITS > bit)
            bit = block * MAP_BLOCK_BITS;
        uint64_t w = bit / 64, end = (block + 1) * MAP_BLOCK_WORDS;
        uint64_t v = map_word(map, w) & (~UINT64_C(0) << (bit % 64));
        while (!v && ++w < end)
            v = map_word(map, w);
        if (v) {
            uint64_t found = w * 64 + (uint64_t)__builtin_ctzll(v);
            return found < map->nbits ? found : map->nbits;
        }
        bit = end * 64;
    }
    return map->nbits;
}

uint64_t map_next_clear(const struct map *map, uint64_t bit)
{
    while (bit < map->nbits) {
        if (!map_has_block(map, bit / MAP_BLOCK_BITS, memory_order_acquire))
            return bit;
        uint64_t w = bit / 64, end = (bit / MAP_BLOCK_BITS + 1) * MAP_BLOCK_WORDS;
        uint64_t v = ~map_word(map, w) & (~UINT64_C(0) << (bit % 64));
        while (!v && ++w < end)
            v = ~map_word(map, w);
        if (v) {
            uint64_t found = w * 64 + (uint64_t)__builtin_ctzll(v);
            return found < map->nbits ? found : map->nbits;
        }
        bit = end * 64;
    }
    return map->nbits;
}

uint64_t map_count(const struct map *map)
{
    uint64_t count = 0;
    for (uint64_t b = map_next_block(map, 0); b < map->nblocks; b = map_next_block(map, b + 1))
        for (uint64_t w = b * MAP_BLOCK_WORDS, end = map_block_end(map, b); w < end; w++)
            count += (uint64_t)__builtin_popcountll(map_bits(map, w, memory_order_relaxed));
    return count;
}
