// SPDX-License-Identifier: BSD-3-Clause
#include "session/feed.h"

#include <errno.h>
#include <inttypes.h>

#include "base/cleanup.h"
#include "base/error.h"

/* Chunks from `chunk` on, up to `end`, that lie in clean blocks. */
static uint64_t clean_chunks(const struct map *map, uint32_t chunk_bytes, uint64_t chunk, uint64_t end)
{
    uint64_t first = chunk * chunk_bytes / MAP_BLOCK_BYTES, last = map_round_up(end * chunk_bytes, MAP_BLOCK_BYTES);
    if (last > map->nblocks)
        last = map->nblocks;
    uint64_t block = map_next_block_before(map, first, last);
    uint64_t dirty = block == last ? end : block * MAP_BLOCK_BYTES / chunk_bytes;
    if (dirty > end)
        dirty = end;
    return dirty > chunk ? dirty - chunk : 0;
}

uint64_t feed_chunks(struct encoder *e, const struct map *map, uint64_t chunk, uint64_t end)
{
    const uint8_t *leaf = (const uint8_t *)(const void *)map->leaf;
    uint32_t chunk_bytes = e->chunking.chunk_bytes;
    uint64_t taken = 1;
    for (; chunk < end && taken; chunk += taken) {
        uint64_t clean = clean_chunks(map, chunk_bytes, chunk, end);
        taken = clean ? encoder_clean(e, clean < UINT32_MAX ? (uint32_t)clean : UINT32_MAX) : encoder_chunk(e, leaf + chunk * chunk_bytes);
    }
    return chunk;
}

int feed_block(const struct dump_header *header, const struct map *map, struct dump_cursor *at, struct dump_block *block, struct df_error *err)
{
    struct chunking c = dump_chunking(header, at->handle - 1);
    CLEANUP(encoder_destroy) struct encoder e = { 0 };
    struct frame frame = { .handle = (uint16_t)at->handle, .epoch = (uint8_t)header->epoch };
    uint64_t end = chunk_count(&c);
    bool fits = true;
    if (at->first >= end)
        return error_set(err, -EINVAL, "bitmap %u of the dump has no chunk %" PRIu64, at->handle, at->first);
    int r = encoder_init(&e, &c, err);
    if (!r)
        r = dump_data_begin(block, err);
    while (!r && fits && at->first < end) {
        encoder_start(&e, (uint32_t)at->first);
        feed_chunks(&e, map, at->first, end);
        fits = encoder_finish(&e, &frame) && dump_data_add(block, &frame);
        at->first += fits ? frame.count : 0;
    }
    if (r < 0)
        return r;
    dump_data_finish(block, at->index++, header->id);
    if (at->first == end) {
        at->handle++;
        at->first = 0;
    }
    return 0;
}

void feed_digests(const struct map *map, uint64_t *digests, size_t n)
{
    uint64_t blocks = map_segment_blocks(map->nblocks);
    for (size_t i = 0; i < n; i++)
        digests[i] = map_digest(map, i * blocks, blocks);
}

struct dump_digests feed_dump_digests(const struct map *map, uint64_t numbers[WIRE_SEGMENTS])
{
    size_t n = dump_segments(map->nbits);
    feed_digests(map, numbers, n);
    for (size_t i = 0; i < n; i++)
        numbers[i] = htole64(numbers[i]);
    return (struct dump_digests){ (const uint8_t *)numbers, n * sizeof *numbers };
}
