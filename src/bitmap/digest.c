// SPDX-License-Identifier: BSD-3-Clause
/*
 * Digests of a map that nobody writes: XXH3 by segments for the hand-over, and
 * SHA-256 in the form in which QEMU prints it.
 */
#include "bitmap/map.h"

#include <stdio.h>
#include <string.h>

#include <nettle/sha2.h>
#if defined __x86_64__ && __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h>    /* the same names, with the widest vectors that the machine has */
#else
#include <xxhash.h>
#endif

static const uint8_t zero_block[MAP_BLOCK_BYTES];

/* The block, or a copy of the last one in `own`: what somebody may have set beyond nbits does not count. */
static const uint8_t *block_bytes(const struct map *map, uint64_t block, uint64_t own[MAP_BLOCK_WORDS])
{
    uint64_t first = block * MAP_BLOCK_WORDS, n = map_block_end(map, block) - first;
    if (block + 1 < map->nblocks || map->nbits % MAP_BLOCK_BITS == 0)
        return (const uint8_t *)(const void *)&map->leaf[first];
    memset(own, 0, MAP_BLOCK_BYTES);
    for (uint64_t i = 0; i < n; i++)
        own[i] = htole64(map_bits(map, first + i, memory_order_relaxed));
    return (const uint8_t *)own;
}

uint64_t map_segment_blocks(uint64_t nblocks)
{
    uint64_t blocks = 1;
    while (map_round_up(nblocks, blocks) > MAP_SEGMENTS)
        blocks *= 2;
    return blocks;
}

uint64_t map_digest_block(const uint8_t *bytes, uint64_t block)
{
    return memcmp(bytes, zero_block, MAP_BLOCK_BYTES) ? XXH3_64bits_withSeed(bytes, MAP_BLOCK_BYTES, block) : 0;
}

uint64_t map_digest(const struct map *map, uint64_t first_block, uint64_t nblocks)
{
    uint64_t sum = 0, end = first_block + nblocks, own[MAP_BLOCK_WORDS];
    if (end > map->nblocks)
        end = map->nblocks;
    for (uint64_t b = map_next_block_before(map, first_block, end); b < end; b = map_next_block_before(map, b + 1, end))
        sum += map_digest_block(block_bytes(map, b, own), b);
    return sum;
}

void map_sha256(const struct map *map, char hex[65])
{
    struct sha256_ctx ctx;
    sha256_init(&ctx);
    uint64_t left = map->nwords * 8, own[MAP_BLOCK_WORDS];
    for (uint64_t b = 0; left; b++) {
        uint64_t n = left < MAP_BLOCK_BYTES ? left : MAP_BLOCK_BYTES;
        sha256_update(&ctx, n, map_has_block(map, b, memory_order_acquire) ? block_bytes(map, b, own) : zero_block);
        left -= n;
    }
    uint8_t digest[SHA256_DIGEST_SIZE];
    sha256_digest(&ctx, sizeof digest, digest);
    for (unsigned i = 0; i < sizeof digest; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}
