// SPDX-License-Identifier: BSD-3-Clause
/*
 * Setting bits without a lock.
 *
 * Order of a set: storage for the block, then the summary bit, then the leaf
 * bits; the last two by atomic OR, each skipped when already set.
 *
 * Memory order.  Both ORs are seq_cst: a writer marks and then looks at the
 * disk's epoch, a merger bumps the epoch and then reads the map.  One of the
 * two must see the other (store buffering), which only a total order gives.  A
 * writer that skips a bit because another one set it reads that bit with
 * acquire; so what the other stored before, the summary bit included, and the
 * epoch that was in force are visible to it too (its look at the epoch is
 * seq_cst again).
 */
#include "bitmap/map.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int damage(struct map *map, int error)
{
    atomic_store_explicit(&map->header->damaged, 1, memory_order_release);
    return error;
}

/*
 * Storage first: on a full file system the first store into a hole would be a
 * SIGBUS in somebody's block server.  MADV_POPULATE_WRITE (Linux 5.14) gives an
 * error instead; an older kernel (EINVAL) keeps the old behaviour.
 */
static int populate(struct map *map, uint64_t first_block, uint64_t n)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = (uintptr_t)&map->leaf[first_block * MAP_BLOCK_WORDS] & ~(page - 1);
    uintptr_t to = (uintptr_t)&map->leaf[(first_block + n) * MAP_BLOCK_WORDS];
    while (madvise((void *)from, to - from, MADV_POPULATE_WRITE) < 0) {
        if (errno == EINVAL || errno == ENOSYS)
            return 0;
        if (errno != EINTR && errno != EAGAIN)
            return -ENOSPC;
    }
    return 0;
}

static int reserve(struct map *map, uint64_t first_block, uint64_t n)
{
    uint64_t end = first_block + n;
    for (uint64_t b = first_block; b < end; b++) {
        if (map_has_block(map, b, memory_order_acquire))
            continue;
        uint64_t upto = b + 1;
        while (upto < end && !map_has_block(map, upto, memory_order_relaxed))
            upto++;
        int r = populate(map, b, upto - b);
        if (r < 0)
            return r;
        for (; b < upto; b++)
            atomic_fetch_or_explicit(&map->summary[b / 64], htole64(UINT64_C(1) << (b % 64)), memory_order_seq_cst);
    }
    return 0;
}

int map_reserve(struct map *map, uint64_t first_block, uint64_t n)
{
    int r = reserve(map, first_block, n);
    return r < 0 ? damage(map, r) : 0;
}

int map_make_room(struct map *map, uint64_t first, uint64_t nbits)
{
    uint64_t first_block = first / MAP_BLOCK_BITS;
    return reserve(map, first_block, map_round_up(first + nbits, MAP_BLOCK_BITS) - first_block);
}

static uint64_t mask_of(uint64_t first, uint64_t end, uint64_t word)
{
    uint64_t mask = ~UINT64_C(0);
    if (word == first / 64)
        mask <<= first % 64;
    if (word == (end - 1) / 64)
        mask &= ~UINT64_C(0) >> (63 - (end - 1) % 64);
    return mask;
}

static int set_word(struct map *map, uint64_t word, uint64_t mask)
{
    uint64_t block = word / MAP_BLOCK_WORDS;
    if (!map_has_block(map, block, memory_order_acquire)) {
        int r = map_reserve(map, block, 1);
        if (r < 0)
            return r;
    }
    mask = htole64(mask);
    if ((atomic_load_explicit(&map->leaf[word], memory_order_acquire) & mask) != mask)
        atomic_fetch_or_explicit(&map->leaf[word], mask, memory_order_seq_cst);
    return 0;
}

int map_set(struct map *map, uint64_t first, uint64_t nbits)
{
    uint64_t end = first + nbits;
    for (uint64_t w = first / 64; w * 64 < end; w++) {
        int r = set_word(map, w, mask_of(first, end, w));
        if (r < 0)
            return r;
    }
    return 0;
}

/* Others read these words at the same time, hence atomic, but nobody else stores, hence no locked OR. */
static void or_alone(struct map *map, uint64_t word, uint64_t mask)
{
    uint64_t old = atomic_load_explicit(&map->leaf[word], memory_order_relaxed);
    atomic_store_explicit(&map->leaf[word], old | htole64(mask), memory_order_relaxed);
}

int map_set_alone(struct map *map, uint64_t first, uint64_t nbits)
{
    uint64_t end = first + nbits;
    uint64_t first_block = first / MAP_BLOCK_BITS;
    int r = map_reserve(map, first_block, map_round_up(end, MAP_BLOCK_BITS) - first_block);
    if (r < 0)
        return r;
    for (uint64_t w = first / 64; w * 64 < end; w++)
        or_alone(map, w, mask_of(first, end, w));
    return 0;
}

/* The word at `at` of `nbytes` bytes, with zeroes behind their end. */
static uint64_t word_of(const uint8_t *bytes, uint64_t nbytes, uint64_t at)
{
    uint64_t v = 0;
    memcpy(&v, bytes + at, nbytes - at < sizeof v ? nbytes - at : sizeof v);
    return le64toh(v);
}

int map_set_bytes_alone(struct map *map, uint64_t offset, const uint8_t *bytes, uint64_t nbytes)
{
    for (uint64_t at = 0; at < nbytes && (offset + at) / 8 < map->nwords; at += 8) {
        uint64_t word = (offset + at) / 8, v = word_of(bytes, nbytes, at);
        if (word + 1 == map->nwords)
            v &= map->last_mask;
        if (!v)
            continue;
        int r = map_reserve(map, word / MAP_BLOCK_WORDS, 1);
        if (r < 0)
            return r;
        or_alone(map, word, v);
    }
    return 0;
}
