// SPDX-License-Identifier: BSD-3-Clause
#include "session/fill.h"

#include <string.h>

#define WINDOW_BITS (FILL_WINDOW_BYTES * 8)

/* Where the unfolding is: the window begins at `base`; all before `at` is written. */
struct position {
    struct fill *fill;
    struct map *parent;
    uint64_t at, end;       /* bytes of leaf: the frame's range that is not written yet */
    uint64_t base;          /* bytes of leaf; a multiple of the window */
    bool used;              /* something is in the window */
};

/* Write what the window holds of the frame's range. */
static int flush(struct position *p)
{
    if (!p->used)
        return 0;
    uint64_t to = p->base + FILL_WINDOW_BYTES;
    if (to > p->end)
        to = p->end;
    int r = map_write(p->parent, p->at, p->fill->window + (p->at - p->base), to - p->at);
    p->at = to;
    p->used = false;
    return r;
}

/* Make the window that holds byte `offset` the current one; what lies between is clear. */
static int turn_to(struct position *p, uint64_t offset)
{
    uint64_t base = offset / FILL_WINDOW_BYTES * FILL_WINDOW_BYTES;
    if (p->used && base == p->base)
        return 0;
    int r = flush(p);
    if (!r && base > p->at) {
        r = map_write_zeroes(p->parent, p->at, base - p->at);
        p->at = base;
    }
    memset(p->fill->window, 0, FILL_WINDOW_BYTES);
    p->base = base;
    p->used = true;
    return r;
}

static void set_bits(uint8_t *bytes, uint64_t first, uint64_t nbits)
{
    uint64_t end = first + nbits;
    for (; first < end && first % 8; first++)
        bytes[first / 8] |= (uint8_t)(1u << (first % 8));
    if (end > first) {
        memset(bytes + first / 8, 0xff, (end - first) / 8);
        for (first += (end - first) / 8 * 8; first < end; first++)
            bytes[first / 8] |= (uint8_t)(1u << (first % 8));
    }
}

static int put_run(struct position *p, uint64_t bit, uint64_t nbits)
{
    while (nbits) {
        int r = turn_to(p, bit / 8);
        if (r < 0)
            return r;
        uint64_t room = p->base * 8 + WINDOW_BITS - bit;
        uint64_t n = nbits < room ? nbits : room;
        set_bits(p->fill->window, bit - p->base * 8, n);
        bit += n;
        nbits -= n;
    }
    return 0;
}

int fill_frame(struct fill *fill, struct map *parent, const struct frame *frame, const struct chunking *c)
{
    uint64_t from = (uint64_t)frame->first * c->chunk_bytes;
    uint64_t nbytes = (frame_bits(frame, c) + 7) / 8;
    if (frame->encoding == FRAME_RAW)
        return map_write(parent, from, frame->payload, nbytes);
    struct position p = { .fill = fill, .parent = parent, .at = from, .end = from + nbytes };
    struct frame_runs runs;
    uint64_t first, nbits;
    int r = 0;
    frame_runs_begin(&runs, frame, c);
    while (!r && frame_runs_next(&runs, &first, &nbits))
        r = put_run(&p, from * 8 + first, nbits);
    if (!r)
        r = flush(&p);
    if (!r && p.at < p.end)
        r = map_write_zeroes(parent, p.at, p.end - p.at);
    return r;
}
