// SPDX-License-Identifier: BSD-3-Clause
/*
 * Frames of the data socket: [handle, epoch, first chunk, chunk count,
 * encoding, payload] as a msgpack array of one bin and five integers.
 *
 * A frame says everything about the chunks that it covers.  Encodings:
 *
 *   raw        the bytes of exactly one chunk, little-endian bits
 *   zeroes     no payload; every bit of the chunks is clear
 *   ones       no payload; every bit is set
 *   positions  the set bits, ascending: for each the number of clear bits since
 *              the last set one (or the start), as a varint
 *   runs       pairs of varints: clear bits, then set bits; what is left behind
 *              the last pair is clear
 *
 * A varint has 7 bits a byte, lowest first, the top bit set on all but the last
 * byte; the shortest form only, at most 6 bytes (2^41 bits and less).
 */
#ifndef WIRE_FRAME_H
#define WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dirtyferry/error.h>

#include "wire/limits.h"

enum frame_encoding { FRAME_RAW, FRAME_ZEROES, FRAME_ONES, FRAME_POSITIONS, FRAME_RUNS, FRAME_ENCODINGS };

struct frame {
    uint16_t handle;
    uint8_t epoch;                  /* lowest 8 bits of the session's: a frame 256 attempts old says the same bits */
    uint32_t first;                 /* chunk */
    uint16_t count;                 /* chunks */
    enum frame_encoding encoding;
    const uint8_t *payload;
    uint32_t nbytes;                /* of the payload */
};

/* How a bitmap is cut into chunks. */
struct chunking {
    uint64_t nbits;
    uint32_t chunk_bytes;
};

static inline uint64_t chunk_bits(const struct chunking *c)
{
    return (uint64_t)c->chunk_bytes * 8;
}

static inline uint64_t chunk_count(const struct chunking *c)
{
    return (c->nbits - 1) / chunk_bits(c) + 1;
}

/* A power of two within the limits. */
int chunk_bytes_check(uint64_t chunk_bytes, struct df_error *err);
/* That, and few enough chunks. */
int chunking_check(const struct chunking *c, struct df_error *err);

/* Bits that a frame covers; the last chunk may be short. */
uint64_t frame_bits(const struct frame *frame, const struct chunking *c);

/* How many bytes frame_pack() will use: at most WIRE_ENVELOPE_BYTES + frame->nbytes. */
size_t frame_bytes(const struct frame *frame);
/* Returns frame_bytes(). */
size_t frame_pack(const struct frame *frame, uint8_t *to);
/* The payload points into `bytes`.  NULL, or what is wrong. */
const char *frame_unpack(const uint8_t *bytes, size_t nbytes, struct frame *frame);

/* NULL if range and payload are valid for this bitmap, so that frame_runs_next() cannot fail; else what is wrong. */
const char *frame_check(const struct frame *frame, const struct chunking *c);

/* The set bits of a checked frame that is not raw, as runs relative to its first bit. */
struct frame_runs {
    const uint8_t *at, *end;
    enum frame_encoding encoding;
    uint64_t bit, nbits;
};
void frame_runs_begin(struct frame_runs *runs, const struct frame *frame, const struct chunking *c);
bool frame_runs_next(struct frame_runs *runs, uint64_t *first, uint64_t *nbits);

#endif
