// SPDX-License-Identifier: BSD-3-Clause
#include "session/fill.h"

#include <string.h>

#include "base/cleanup.h"

/* --------------------------------------------------------------- storing */

/* Write, and note the digests of the blocks that are all in `bytes`. */
static int store(struct intake *in, uint64_t offset, const uint8_t *bytes, uint64_t nbytes)
{
    uint64_t end = offset + nbytes;
    for (uint64_t b = offset / MAP_BLOCK_BYTES; b * MAP_BLOCK_BYTES < end; b++) {
        uint64_t from = b * MAP_BLOCK_BYTES;
        bool whole = from >= offset && from + MAP_BLOCK_BYTES <= end;
        in->digests[b] = whole ? map_digest_block(bytes + (from - offset), b) : 0;
    }
    return map_write(in->map, offset, bytes, nbytes);
}

static int store_zeroes(struct intake *in, uint64_t offset, uint64_t nbytes)
{
    const struct map *map = in->map;
    uint64_t end = map_round_up(offset + nbytes, MAP_BLOCK_BYTES);
    for (uint64_t b = map_next_block_before(map, offset / MAP_BLOCK_BYTES, end); b < end; b = map_next_block_before(map, b + 1, end))
        in->digests[b] = 0;
    return map_write_zeroes(in->map, offset, nbytes);
}

/* -------------------------------------------------------- listed frames */

#define WINDOW_BITS (FILL_WINDOW_BYTES * 8)

/* Where the unfolding is: the window begins at `base`; all before `at` is written. */
struct position {
    struct fill *fill;
    struct intake *intake;
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
    int r = store(p->intake, p->at, p->fill->window + (p->at - p->base), to - p->at);
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
        r = store_zeroes(p->intake, p->at, base - p->at);
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

static int put_listed(struct fill *fill, struct intake *in, const struct frame *frame)
{
    const struct chunking *c = &in->chunking;
    uint64_t from = (uint64_t)frame->first * c->chunk_bytes;
    uint64_t nbytes = (frame_bits(frame, c) + 7) / 8;
    struct position p = { .fill = fill, .intake = in, .at = from, .end = from + nbytes };
    struct frame_runs runs;
    uint64_t first, nbits;
    int r = 0;
    frame_runs_begin(&runs, frame, c);
    while (!r && frame_runs_next(&runs, &first, &nbits))
        r = put_run(&p, from * 8 + first, nbits);
    if (!r)
        r = flush(&p);
    if (!r && p.at < p.end)
        r = store_zeroes(in, p.at, p.end - p.at);
    return r;
}

/* ------------------------------------------------------------ accounting */

static void note_received(struct intake *in, uint64_t first, uint64_t count)
{
    uint64_t end = first + count, fresh = 0;
    for (uint64_t from = map_next_clear(in->received, first); from < end;) {
        uint64_t to = map_next_set(in->received, from);
        if (to > end)
            to = end;
        fresh += to - from;
        if (map_set_alone(in->received, from, to - from) < 0)
            in->failed = true;
        from = map_next_clear(in->received, to);
    }
    atomic_store_explicit(&in->chunks_done, atomic_load_explicit(&in->chunks_done, memory_order_relaxed) + fresh, memory_order_relaxed);
}

uint64_t fill_digest(const struct intake *in, uint64_t first_block, uint64_t nblocks)
{
    const struct map *map = in->map;
    uint64_t sum = 0, end = first_block + nblocks < map->nblocks ? first_block + nblocks : map->nblocks;
    for (uint64_t b = map_next_block_before(map, first_block, end); b < end; b = map_next_block_before(map, b + 1, end))
        sum += in->digests[b] ? in->digests[b] : map_digest(map, b, 1);
    return sum;
}

static void note_result(struct intake *in, int r, uint64_t first, uint64_t count)
{
    if (r < 0)
        in->failed = true;
    else
        note_received(in, first, count);
}

/* --------------------------------------------------------------- batches */

static void flush_batch(struct batch *b)
{
    struct intake *in = steal(&b->intake);
    if (in)
        note_result(in, store(in, b->first * in->chunking.chunk_bytes, b->bytes, b->nbytes), b->first, b->count);
}

/* The batch that this chunk continues; else the one that was not used for the longest time, emptied. */
static struct batch *find_batch(struct fill *fill, struct intake *in, const struct frame *frame)
{
    struct batch *oldest = &fill->batches[0];
    for (unsigned i = 0; i < FILL_BATCHES; i++) {
        struct batch *b = &fill->batches[i];
        if (b->intake == in && b->first + b->count == frame->first && b->nbytes + frame->nbytes <= FILL_WINDOW_BYTES)
            return b;
        if (b->used < oldest->used)
            oldest = b;
    }
    flush_batch(oldest);
    return oldest;
}

static void gather(struct fill *fill, struct intake *in, const struct frame *frame)
{
    struct batch *b = find_batch(fill, in, frame);
    b->used = ++fill->clock;
    if (!b->intake) {
        b->intake = in;
        b->first = frame->first;
        b->count = b->nbytes = 0;
    }
    memcpy(b->bytes + b->nbytes, frame->payload, frame->nbytes);
    b->nbytes += frame->nbytes;
    b->count++;
}

void fill_frame(struct fill *fill, struct intake *in, const struct frame *frame)
{
    if (frame->encoding == FRAME_RAW && frame->nbytes < FILL_WINDOW_BYTES / 4)
        gather(fill, in, frame);
    else if (frame->encoding == FRAME_RAW)
        note_result(in, store(in, (uint64_t)frame->first * in->chunking.chunk_bytes, frame->payload, frame->nbytes), frame->first, 1);
    else
        note_result(in, put_listed(fill, in, frame), frame->first, frame->count);
}

void fill_flush(struct fill *fill, struct intake *intake)
{
    for (unsigned i = 0; i < FILL_BATCHES; i++)
        if (!intake || fill->batches[i].intake == intake)
            flush_batch(&fill->batches[i]);
}
