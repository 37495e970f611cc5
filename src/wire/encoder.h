// SPDX-License-Identifier: BSD-3-Clause
/*
 * From bits to frames: chunks are fed in order, frames come out.
 *
 * The encoder writes positions and runs of the chunks at the same time and goes
 * on over as many chunks as one of them fits into a payload; then it takes the
 * form that is smallest.  So a frame is one dense chunk (raw), or any number of
 * sparse, clean or full ones.
 *
 *     encoder_start(e, chunk);
 *     while (more chunks)
 *         if (clean)  n = encoder_clean(e, how many in a row)    // 0: frame is full
 *         else        taken = encoder_chunk(e, bytes)            // false: frame is full
 *         if (full)   encoder_finish(e, &frame), send it; feed the chunk again
 *     if (encoder_finish(e, &frame)) send it
 */
#ifndef WIRE_ENCODER_H
#define WIRE_ENCODER_H

#include "wire/frame.h"

/* One of the two lists that grow side by side. */
struct coded {
    uint8_t *bytes;
    uint32_t nbytes;
    bool overflown;
    uint64_t next;              /* bit behind the last one that is written down */
};

/* Everything that is taken back when a chunk does not fit. */
struct encoder_state {
    struct coded positions, runs;
    uint64_t run_first, run_end;    /* a run that may still grow; equal: none */
    uint64_t nset, nbits;           /* set bits and all bits so far */
    uint32_t count;                 /* chunks */
};

struct encoder {
    struct chunking chunking;
    uint32_t payload_max;
    uint8_t *tail;                  /* the last chunk, if it does not end with a word */
    uint32_t first;                 /* chunk of the frame under way */
    const uint8_t *only;            /* its chunk's bytes while it has just one */
    bool dense;                     /* that chunk is raw for sure, nothing is listed */
    struct encoder_state s;
};

int encoder_init(struct encoder *e, const struct chunking *chunking, struct df_error *err);
void encoder_destroy(struct encoder *e);

void encoder_start(struct encoder *e, uint32_t first_chunk);
uint32_t encoder_clean(struct encoder *e, uint32_t nchunks);
/*
 * `bytes`: the chunk's little-endian bits in whole words; bits beyond the
 * bitmap's end do not count.  They must stay until the frame is sent.  Somebody
 * may change them meanwhile: then the frame has the bits of one moment or the
 * other, and is a valid frame all the same.
 */
bool encoder_chunk(struct encoder *e, const uint8_t *bytes);
/* False if nothing was fed.  Fills first, count, encoding, payload; starts the next frame behind it. */
bool encoder_finish(struct encoder *e, struct frame *frame);

#endif
