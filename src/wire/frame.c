// SPDX-License-Identifier: BSD-3-Clause
/* Envelopes and the checking of payloads. */
#include "wire/frame.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <msgpack.h>

#include "base/error.h"

int chunk_bytes_check(uint64_t n, struct df_error *err)
{
    if (n < WIRE_CHUNK_BYTES_MIN || n > WIRE_CHUNK_BYTES_MAX || n & (n - 1))
        return error_set(err, -EINVAL, "chunk size %" PRIu64 " is out of range: a power of two from %u to %u bytes is possible",
                         n, WIRE_CHUNK_BYTES_MIN, WIRE_CHUNK_BYTES_MAX);
    return 0;
}

int chunking_check(const struct chunking *c, struct df_error *err)
{
    int r = chunk_bytes_check(c->chunk_bytes, err);
    if (r < 0)
        return r;
    if (chunk_count(c) > WIRE_CHUNKS)
        return error_set(err, -EFBIG, "chunk size %" PRIu32 " cuts a bitmap of %" PRIu64 " bits into %" PRIu64 " chunks: %u are possible, choose a larger one",
                         c->chunk_bytes, c->nbits, chunk_count(c), WIRE_CHUNKS);
    return 0;
}

uint64_t frame_bits(const struct frame *frame, const struct chunking *c)
{
    uint64_t from = frame->first * chunk_bits(c), to = (frame->first + (uint64_t)frame->count) * chunk_bits(c);
    return (to < c->nbits ? to : c->nbits) - from;
}

struct target {
    uint8_t *at;
};

static int append(void *opaque, const char *bytes, size_t n)
{
    struct target *t = opaque;
    memcpy(t->at, bytes, n);
    t->at += n;
    return 0;
}

static size_t uint_bytes(uint64_t v)
{
    return v < 0x80 ? 1 : v <= UINT8_MAX ? 2 : v <= UINT16_MAX ? 3 : 5;
}

size_t frame_bytes(const struct frame *f)
{
    size_t bin_head = f->nbytes <= UINT8_MAX ? 2 : f->nbytes <= UINT16_MAX ? 3 : 5;
    return 1 + uint_bytes(f->handle) + uint_bytes(f->epoch) + uint_bytes(f->first) + uint_bytes(f->count) + 1 + bin_head + f->nbytes;
}

size_t frame_pack(const struct frame *frame, uint8_t *to)
{
    struct target t = { to };
    msgpack_packer packer;
    msgpack_packer_init(&packer, &t, append);
    msgpack_pack_array(&packer, 6);
    msgpack_pack_uint16(&packer, frame->handle);
    msgpack_pack_uint8(&packer, frame->epoch);
    msgpack_pack_uint32(&packer, frame->first);
    msgpack_pack_uint16(&packer, frame->count);
    msgpack_pack_uint8(&packer, (uint8_t)frame->encoding);
    msgpack_pack_bin(&packer, frame->nbytes);
    if (frame->nbytes)
        msgpack_pack_bin_body(&packer, frame->payload, frame->nbytes);
    return (size_t)(t.at - to);
}

/*
 * Unpacking.  There is one form that a frame can have, so it is read where it
 * lies: msgpack-c would allocate for each of a hundred thousand messages a
 * second (measured: a tenth of the receiver's time).
 */
struct reader {
    const uint8_t *at, *end;
};

/* `n` bytes big-endian behind a head byte. */
static bool take_be(struct reader *r, unsigned n, uint64_t *value)
{
    if ((size_t)(r->end - r->at) < n)
        return false;
    for (*value = 0; n; n--)
        *value = *value << 8 | *r->at++;
    return true;
}

/* An unsigned integer in any of msgpack's widths. */
static bool take_uint(struct reader *r, uint64_t *value)
{
    if (r->at == r->end)
        return false;
    uint8_t head = *r->at++;
    if (head <= 0x7f) {
        *value = head;
        return true;
    }
    return head >= 0xcc && head <= 0xcf && take_be(r, 1u << (head - 0xcc), value);
}

static bool take_bin(struct reader *r, struct frame *frame)
{
    uint64_t n;
    if (r->at == r->end)
        return false;
    uint8_t head = *r->at++;
    if (head < 0xc4 || head > 0xc6 || !take_be(r, 1u << (head - 0xc4), &n) || n != (size_t)(r->end - r->at))
        return false;
    frame->payload = r->at;
    frame->nbytes = (uint32_t)n;
    return true;
}

const char *frame_unpack(const uint8_t *bytes, size_t nbytes, struct frame *frame)
{
    static const uint64_t max[5] = { WIRE_HANDLE_MAX, UINT8_MAX, UINT32_MAX, WIRE_FRAME_CHUNKS, FRAME_ENCODINGS - 1 };
    struct reader r = { bytes, bytes + nbytes };
    uint64_t f[5];
    if (!nbytes || *r.at++ != 0x96)
        return "not a list of six";
    for (unsigned i = 0; i < 5; i++)
        if (!take_uint(&r, &f[i]) || f[i] > max[i])
            return "an integer that is missing or out of range";
    if (!take_bin(&r, frame))
        return "a payload that is not all of the rest";
    frame->handle = (uint16_t)f[0];
    frame->epoch = (uint8_t)f[1];
    frame->first = (uint32_t)f[2];
    frame->count = (uint16_t)f[3];
    frame->encoding = (enum frame_encoding)f[4];
    return NULL;
}

/* false: truncated, longer than 6 bytes, or not the shortest form. */
static bool take_varint(const uint8_t **at, const uint8_t *end, uint64_t *value)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < 6 && *at < end; i++) {
        uint8_t b = *(*at)++;
        v |= (uint64_t)(b & 0x7f) << (7 * i);
        if (!(b & 0x80)) {
            *value = v;
            return b || !i;
        }
    }
    return false;
}

static const char *check_coded(const struct frame *frame, uint64_t nbits)
{
    const uint8_t *at = frame->payload, *end = at + frame->nbytes;
    uint64_t bit = 0;
    if (!frame->nbytes)
        return "a payload that is empty";
    for (bool first = true; at < end; first = false) {
        uint64_t clear, set = 1;
        if (!take_varint(&at, end, &clear))
            return "a varint that is damaged";
        if (frame->encoding == FRAME_RUNS && (!take_varint(&at, end, &set) || !set || (!clear && !first)))
            return "a run that is damaged";
        if (clear > nbits - bit || set > nbits - bit - clear)
            return "a set bit behind the end";
        bit += clear + set;
    }
    return NULL;
}

static const char *check_raw(const struct frame *frame, uint64_t nbits)
{
    if (frame->count != 1)
        return "raw bytes of more than one chunk";
    if (frame->nbytes != (nbits + 7) / 8)
        return "raw bytes that are not one chunk long";
    if (nbits % 8 && frame->payload[frame->nbytes - 1] >> (nbits % 8))
        return "a set bit behind the end";
    return NULL;
}

const char *frame_check(const struct frame *frame, const struct chunking *c)
{
    uint64_t chunks = chunk_count(c);
    if (!frame->count || frame->first >= chunks || frame->count > chunks - frame->first)
        return "chunks out of range";
    if (frame->nbytes > c->chunk_bytes)
        return "a payload larger than a chunk";
    switch (frame->encoding) {
    case FRAME_RAW:
        return check_raw(frame, frame_bits(frame, c));
    case FRAME_ZEROES:
    case FRAME_ONES:
        return frame->nbytes ? "a payload that should be empty" : NULL;
    case FRAME_POSITIONS:
    case FRAME_RUNS:
        return check_coded(frame, frame_bits(frame, c));
    case FRAME_ENCODINGS:
        break;
    }
    return "an encoding that is not known";
}

void frame_runs_begin(struct frame_runs *runs, const struct frame *frame, const struct chunking *c)
{
    *runs = (struct frame_runs){
        .at = frame->payload,
        .end = frame->payload + frame->nbytes,
        .encoding = frame->encoding,
        .nbits = frame_bits(frame, c),
    };
}

bool frame_runs_next(struct frame_runs *runs, uint64_t *first, uint64_t *nbits)
{
    if (runs->encoding == FRAME_ONES && runs->bit < runs->nbits) {
        *first = 0;
        *nbits = runs->bit = runs->nbits;
        return true;
    }
    if (runs->at == runs->end)
        return false;
    uint64_t clear = 0, set = 1;
    take_varint(&runs->at, runs->end, &clear);
    if (runs->encoding == FRAME_RUNS)
        take_varint(&runs->at, runs->end, &set);
    *first = runs->bit + clear;
    *nbits = set;
    runs->bit = *first + set;
    return true;
}
