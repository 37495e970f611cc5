// SPDX-License-Identifier: BSD-3-Clause
/*
 * From frames to a parent: a frame says everything about its chunks, so what
 * was there is overwritten.  Applying it twice, late, or over a damaged one is
 * right; and since the source stands still, so is any order.
 *
 * Raw frames of one worker follow each other; they are gathered and written
 * together, for a system call costs more than the copy of a chunk.  A chunk is
 * noted as received when it is written, not before.
 *
 * Blocks that are written whole are hashed on the way, while they are in the
 * cache.  Whatever touches a block later makes its digest unknown again.
 */
#ifndef SESSION_FILL_H
#define SESSION_FILL_H

#include "session/receive.h"

#define FILL_WINDOW_BYTES (16 * MAP_BLOCK_BYTES)
#define FILL_BATCHES      8

/* Raw chunks [first, first + count) of one intake that wait to be written. */
struct batch {
    struct intake *intake;      /* NULL: free */
    uint64_t first, count;
    uint64_t nbytes;
    uint64_t used;              /* clock of the last use */
    uint8_t bytes[FILL_WINDOW_BYTES];
};

struct fill {
    struct batch batches[FILL_BATCHES];
    uint64_t clock;
    uint8_t window[FILL_WINDOW_BYTES];  /* to unfold listed bits in */
};

/* The frame has passed frame_check().  Failures are noted in the intake. */
void fill_frame(struct fill *fill, struct intake *intake, const struct frame *frame);
/* The digest of a segment of the parent, as map_digest(); blocks that were hashed when they came are not read again. */
uint64_t fill_digest(const struct intake *intake, uint64_t first_block, uint64_t nblocks);
/* receive.c: compare with the source's digests.  *wrong: the chunks of segments that differ, which are missing again; 0: exact, if there is no error. */
int receive_compare(struct intake *intake, const uint64_t *digests, size_t n, uint64_t *wrong, struct df_error *err);
/* fromdump.c: ORDER_LOAD, ORDER_LOAD_END */
void load_obey(struct fill *fill, struct order *order);
/* Write what was gathered for the intake, or for all (NULL). */
void fill_flush(struct fill *fill, struct intake *intake);

#endif
