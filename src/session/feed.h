// SPDX-License-Identifier: BSD-3-Clause
/*
 * Where bitmap and wire meet on the way out: from the bits of a map to frames,
 * and to the blocks of a dump.  Blocks that the summary calls clean are not
 * touched.
 *
 * Nobody clears bits of the map meanwhile.  Whoever hands on what comes out asks
 * afterwards whether the map is broken (bitmap/fault.h).
 */
#ifndef SESSION_FEED_H
#define SESSION_FEED_H

#include "bitmap/map.h"
#include "wire/dump.h"
#include "wire/encoder.h"

/*
 * Feed chunks from `chunk` on, up to `end`.  Returns the chunk behind the last
 * one that was taken: `end`, or the encoder's frame is full, the caller finishes
 * it and feeds from there.
 */
uint64_t feed_chunks(struct encoder *e, const struct map *map, uint64_t chunk, uint64_t end);

/* Where a block begins: block `index`, chunk `first` of bitmap `handle` (from 1; one more than there are: the end block). */
struct dump_cursor {
    uint64_t index;
    unsigned handle;
    uint64_t first;
};

/* Make the data block at the cursor, from the map of its bitmap, and move the cursor on. */
int feed_block(const struct dump_header *header, const struct map *map, struct dump_cursor *at, struct dump_block *block, struct df_error *err);

/* Of each segment, as `seal` has them. */
void feed_digests(const struct map *map, uint64_t *digests, size_t n);
/* The same for the end block of a dump: dump_segments() numbers, little-endian, in `numbers`. */
struct dump_digests feed_dump_digests(const struct map *map, uint64_t numbers[WIRE_SEGMENTS]);

#endif
