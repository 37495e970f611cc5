// SPDX-License-Identifier: BSD-3-Clause
/*
 * From frames to a parent: a frame says everything about its chunks, so what
 * was there is overwritten.  Applying it twice, or after a damaged one, is right.
 */
#ifndef SESSION_FILL_H
#define SESSION_FILL_H

#include "bitmap/map.h"
#include "wire/frame.h"

#define FILL_WINDOW_BYTES (16 * MAP_BLOCK_BYTES)

/* Room to unfold listed bits in, a window of the leaf at a time. */
struct fill {
    uint8_t window[FILL_WINDOW_BYTES];
};

/* The frame has passed frame_check().  -ENOSPC and the like: not all of it is there. */
int fill_frame(struct fill *fill, struct map *parent, const struct frame *frame, const struct chunking *chunking);

#endif
