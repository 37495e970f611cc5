// SPDX-License-Identifier: BSD-3-Clause
#include "wire/encoder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"

#define VARINT_BYTES 6

int encoder_init(struct encoder *e, const struct chunking *chunking, struct df_error *err)
{
    *e = (struct encoder){ .chunking = *chunking };
    e->payload_max = chunking->chunk_bytes;
    e->s.positions.bytes = malloc(e->payload_max + VARINT_BYTES);
    e->s.runs.bytes = malloc(e->payload_max + 2 * VARINT_BYTES);
    e->tail = malloc(chunking->chunk_bytes);
    if (!e->s.positions.bytes || !e->s.runs.bytes || !e->tail) {
        encoder_destroy(e);
        return error_errno(err, -ENOMEM, "cannot make room for frames of %u bytes", e->payload_max);
    }
    return 0;
}

void encoder_destroy(struct encoder *e)
{
    free(e->s.positions.bytes);
    free(e->s.runs.bytes);
    free(e->tail);
    e->s.positions.bytes = e->s.runs.bytes = e->tail = NULL;
}

void encoder_start(struct encoder *e, uint32_t first_chunk)
{
    struct encoder_state fresh = { .positions.bytes = e->s.positions.bytes, .runs.bytes = e->s.runs.bytes };
    e->first = first_chunk;
    e->only = NULL;
    e->dense = false;
    e->s = fresh;
}

static inline void put_varint(struct coded *c, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        c->bytes[c->nbytes++] = (uint8_t)(v | 0x80);
    c->bytes[c->nbytes++] = (uint8_t)v;
}

static inline void put_position(struct encoder *e, uint64_t bit)
{
    struct coded *c = &e->s.positions;
    if (c->overflown)
        return;
    put_varint(c, bit - c->next);
    c->next = bit + 1;
    c->overflown = c->nbytes > e->payload_max;
}

/* Write the pending run down. */
static void put_run(struct encoder *e)
{
    struct coded *c = &e->s.runs;
    if (c->overflown || e->s.run_first == e->s.run_end)
        return;
    put_varint(c, e->s.run_first - c->next);
    put_varint(c, e->s.run_end - e->s.run_first);
    c->next = e->s.run_end;
    c->overflown = c->nbytes > e->payload_max;
}

static void add_run(struct encoder *e, uint64_t first, uint64_t end)
{
    e->s.nset += end - first;
    for (uint64_t bit = first; bit < end && !e->s.positions.overflown; bit++)
        put_position(e, bit);
    if (first != e->s.run_end || e->s.run_first == e->s.run_end) {
        put_run(e);
        e->s.run_first = first;
    }
    e->s.run_end = end;
}

/* The runs of one word; `base` is the frame's bit number of its bit 0. */
static void add_word(struct encoder *e, uint64_t v, uint64_t base)
{
    while (v) {
        unsigned from = (unsigned)__builtin_ctzll(v);
        uint64_t rest = ~(v >> from);
        unsigned n = rest ? (unsigned)__builtin_ctzll(rest) : 64;
        add_run(e, base + from, base + from + n);
        v = from + n < 64 ? v & (~UINT64_C(0) << (from + n)) : 0;
    }
}

static uint64_t bits_of_chunk(const struct encoder *e, uint64_t chunk)
{
    uint64_t from = chunk * chunk_bits(&e->chunking), to = from + chunk_bits(&e->chunking);
    return (to < e->chunking.nbits ? to : e->chunking.nbits) - from;
}

uint32_t encoder_clean(struct encoder *e, uint32_t nchunks)
{
    uint32_t room = e->dense ? 0 : WIRE_FRAME_CHUNKS - e->s.count;
    uint32_t n = nchunks < room ? nchunks : room;
    if (n) {
        e->s.nbits += (n - 1) * chunk_bits(&e->chunking) + bits_of_chunk(e, (uint64_t)e->first + e->s.count + n - 1);
        e->s.count += n;
    }
    return n;
}

static uint32_t varint_bytes(uint64_t v)
{
    return (uint32_t)(63 - __builtin_clzll(v | 1)) / 7 + 1;
}

/* Is there room in one of the lists?  The pending run counts as if it were written down. */
static bool fits(const struct encoder *e)
{
    const struct coded *r = &e->s.runs;
    if (!e->s.positions.overflown)
        return true;
    uint32_t pending = e->s.run_first == e->s.run_end ? 0
        : varint_bytes(e->s.run_first - r->next) + varint_bytes(e->s.run_end - e->s.run_first);
    return !r->overflown && r->nbytes + pending <= e->payload_max;
}

/* False as soon as there is no room in either list. */
static bool add_words(struct encoder *e, const uint8_t *bytes, uint64_t nwords)
{
    for (uint64_t i = 0; i < nwords; i++) {
        const uint8_t *at = bytes + 8 * i;
        if (i + 4 <= nwords && !(bits_load(at) | bits_load(at + 8) | bits_load(at + 16) | bits_load(at + 24))) {
            i += 3;
            continue;
        }
        uint64_t v = bits_load(at);
        if (!v)
            continue;
        add_word(e, v, e->s.nbits + 64 * i);
        if (!fits(e))
            return false;
    }
    return true;
}

/* A copy of the last chunk without the bits beyond its end: another process may have set them. */
static const uint8_t *cut_tail(struct encoder *e, const uint8_t *bytes, uint64_t nbits)
{
    uint64_t last = htole64(bits_load(bytes + nbits / 64 * 8) & ~(~UINT64_C(0) << nbits % 64));
    memcpy(e->tail, bytes, nbits / 64 * 8);
    memcpy(e->tail + nbits / 64 * 8, &last, sizeof last);
    return e->tail;
}

bool encoder_chunk(struct encoder *e, const uint8_t *bytes)
{
    if (e->dense || e->s.count == WIRE_FRAME_CHUNKS)
        return false;
    uint64_t nbits = bits_of_chunk(e, (uint64_t)e->first + e->s.count);
    uint64_t nwords = (nbits + 63) / 64;
    struct encoder_state before = e->s;
    if (nbits % 64)
        bytes = cut_tail(e, bytes, nbits);
    if (bits_dense(bytes, nwords, e->payload_max)) {
        if (e->s.count)
            return false;
        e->dense = true;
    } else {
        if (!add_words(e, bytes, nwords)) {
            e->s = before;
            if (e->s.count)
                return false;
            e->dense = true;
        }
    }
    e->only = e->s.count ? NULL : bytes;
    e->s.nbits += nbits;
    e->s.count++;
    return true;
}

static void choose(struct frame *frame, enum frame_encoding encoding, const uint8_t *payload, uint32_t nbytes)
{
    frame->encoding = encoding;
    frame->payload = payload;
    frame->nbytes = nbytes;
}

/* The smallest of those that are possible; the first of equals. */
static void choose_listed(const struct encoder *e, struct frame *frame)
{
    const struct coded *p = &e->s.positions, *r = &e->s.runs;
    frame->nbytes = UINT32_MAX;
    if (!e->dense && !p->overflown)
        choose(frame, FRAME_POSITIONS, p->bytes, p->nbytes);
    if (!e->dense && !r->overflown && r->nbytes < frame->nbytes)
        choose(frame, FRAME_RUNS, r->bytes, r->nbytes);
    uint32_t raw = (uint32_t)((e->s.nbits + 7) / 8);
    if (e->only && raw < frame->nbytes)
        choose(frame, FRAME_RAW, e->only, raw);
}

bool encoder_finish(struct encoder *e, struct frame *frame)
{
    if (!e->s.count)
        return false;
    put_run(e);
    frame->first = e->first;
    frame->count = (uint16_t)e->s.count;
    if (!e->s.nset && !e->dense)
        choose(frame, FRAME_ZEROES, NULL, 0);
    else if (e->s.nset == e->s.nbits)
        choose(frame, FRAME_ONES, NULL, 0);
    else
        choose_listed(e, frame);
    encoder_start(e, e->first + e->s.count);
    return true;
}
