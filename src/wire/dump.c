// SPDX-License-Identifier: BSD-3-Clause
/*
 * Blocks of a dump: head and checksum, frames in and out, and the order of it
 * all.  The maps of the first and the last block are in dumpmap.c.
 *
 * Nothing of a block is believed before dump_block_check() has compared its
 * checksum; nothing but the head's two lengths is looked at before.
 */
#include "wire/dump.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL      /* a state on the stack, which cannot fail */
#include <xxhash.h>

#include "base/bits.h"
#include "base/error.h"

static const uint8_t magic[8] = { 'D', 'F', 'B', 'L', 'O', 'C', 'K', DUMP_VERSION };

enum { AT_VERSION = 7, AT_KIND = 8, AT_NBYTES = 12, AT_SUM = 24 };
#define LENGTH_BYTES 4u     /* in front of a frame */

int dump_broken(uint64_t index, const struct df_error *why, struct df_error *err)
{
    if (why->code == -ENOMEM)
        return error_set(err, -ENOMEM, "%s", why->message);
    return error_set(err, -EINVAL, "block %" PRIu64 " of the dump breaks the format: %s; make the dump again", index, why->message);
}

/* ----------------------------------------------------------------- writing */

static void put_u32(uint8_t *to, uint32_t v)
{
    v = htole32(v);
    memcpy(to, &v, sizeof v);
}

static void put_u64(uint8_t *to, uint64_t v)
{
    v = htole64(v);
    memcpy(to, &v, sizeof v);
}

static uint32_t get_u32(const uint8_t *from)
{
    uint32_t v;
    memcpy(&v, from, sizeof v);
    return le32toh(v);
}

/* Of everything but the sum itself. */
static uint64_t block_sum(const uint8_t *block, size_t nbytes, uint64_t seed)
{
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_64bits_reset_withSeed(&state, seed);
    XXH3_64bits_update(&state, block, AT_SUM);
    XXH3_64bits_update(&state, block + DUMP_HEAD_BYTES, nbytes - DUMP_HEAD_BYTES);
    return XXH3_64bits_digest(&state);
}

static void write_head(struct dump_block *b, enum dump_kind kind, uint64_t index, uint64_t id)
{
    memcpy(b->bytes, magic, sizeof magic);
    put_u32(b->bytes + AT_KIND, kind);
    put_u32(b->bytes + AT_NBYTES, (uint32_t)(b->nbytes - DUMP_HEAD_BYTES));
    put_u64(b->bytes + DUMP_AT_INDEX, index);
    put_u64(b->bytes + AT_SUM, block_sum(b->bytes, b->nbytes, index ? id : 0));
}

/* The block has a head and no payload afterwards. */
static int make_room(struct dump_block *b, size_t payload, struct df_error *err)
{
    if (b->room < DUMP_HEAD_BYTES + payload) {
        uint8_t *bytes = realloc(b->bytes, DUMP_HEAD_BYTES + payload);
        if (!bytes)
            return error_errno(err, -ENOMEM, "cannot make room for a block of %zu bytes", payload);
        b->bytes = bytes;
        b->room = DUMP_HEAD_BYTES + payload;
    }
    b->nbytes = DUMP_HEAD_BYTES;
    return 0;
}

void dump_block_destroy(struct dump_block *b)
{
    free(b->bytes);
    *b = (struct dump_block){ 0 };
}

int dump_block_pack(struct dump_block *b, enum dump_kind kind, uint64_t index, uint64_t id, const uint8_t *payload, size_t nbytes, struct df_error *err)
{
    int r = make_room(b, nbytes, err);
    if (r < 0)
        return r;
    memcpy(b->bytes + DUMP_HEAD_BYTES, payload, nbytes);
    b->nbytes += nbytes;
    write_head(b, kind, index, id);
    return 0;
}

int dump_data_begin(struct dump_block *b, struct df_error *err)
{
    return make_room(b, LENGTH_BYTES + WIRE_ENVELOPE_BYTES + DUMP_CHUNK_BYTES_MAX, err);
}

bool dump_data_add(struct dump_block *b, const struct frame *frame)
{
    size_t n = frame_bytes(frame);
    if (b->nbytes > DUMP_HEAD_BYTES && b->nbytes + LENGTH_BYTES + n > DUMP_HEAD_BYTES + DUMP_DATA_TARGET)
        return false;
    put_u32(b->bytes + b->nbytes, (uint32_t)n);
    frame_pack(frame, b->bytes + b->nbytes + LENGTH_BYTES);
    b->nbytes += LENGTH_BYTES + n;
    return true;
}

void dump_data_finish(struct dump_block *b, uint64_t index, uint64_t id)
{
    write_head(b, DUMP_DATA, index, id);
}

/* ------------------------------------------------------------------ blocks */

static int damaged(uint64_t index, const char *how, struct df_error *err)
{
    return error_set(err, -EINVAL, "block %" PRIu64 " of the dump is damaged: %s; copy the file again", index, how);
}

static int cut_off(uint64_t index, size_t is, size_t should, struct df_error *err)
{
    return error_set(err, -EINVAL, "block %" PRIu64 " of the dump is cut off: %zu of %zu bytes are there; copy the file again", index, is, should);
}

/* The first block tells more about what the file is instead. */
static int check_magic(const uint8_t *bytes, size_t nbytes, uint64_t index, struct df_error *err)
{
    if (!index && (nbytes < AT_VERSION || memcmp(bytes, magic, AT_VERSION)))
        return error_set(err, -EINVAL, "this is not a dump: it does not begin with 'DFBLOCK'; name a file that 'dirtyferry dump' has written");
    if (nbytes < DUMP_HEAD_BYTES)
        return cut_off(index, nbytes, DUMP_HEAD_BYTES, err);
    if (!index && bytes[AT_VERSION] != DUMP_VERSION)
        return error_set(err, -EINVAL, "the dump is of version %u and version %u can be read: load it with the program that wrote it", bytes[AT_VERSION], DUMP_VERSION);
    return memcmp(bytes, magic, sizeof magic) ? damaged(index, "it does not begin as a block does", err) : 0;
}

int dump_block_head(const uint8_t *bytes, size_t nbytes, uint64_t index, struct dump_head *head, struct df_error *err)
{
    int r = check_magic(bytes, nbytes, index, err);
    if (r < 0)
        return r;
    uint32_t kind = get_u32(bytes + AT_KIND), n = get_u32(bytes + AT_NBYTES);
    if (kind < DUMP_HEADER || kind > DUMP_END || (kind == DUMP_HEADER) != !index)
        return damaged(index, "it is not of a kind that may stand here", err);
    if (!n || n > DUMP_PAYLOAD_MAX)
        return damaged(index, "its length is out of range", err);
    *head = (struct dump_head){ (enum dump_kind)kind, n };
    return 0;
}

int dump_block_check(const uint8_t *bytes, size_t nbytes, uint64_t id, uint64_t index, struct dump_head *head, struct df_error *err)
{
    int r = dump_block_head(bytes, nbytes, index, head, err);
    if (r < 0)
        return r;
    size_t whole = DUMP_HEAD_BYTES + (size_t)head->nbytes;
    if (nbytes < whole)
        return cut_off(index, nbytes, whole, err);
    if (nbytes > whole)
        return damaged(index, "there are bytes behind it", err);
    if (bits_load(bytes + AT_SUM) != block_sum(bytes, nbytes, index ? id : 0))
        return damaged(index, index ? "its checksum is wrong, or it is of another dump" : "its checksum is wrong", err);
    uint64_t is = dump_block_index(bytes);
    if (is != index)
        return error_set(err, -EINVAL, "block %" PRIu64 " of the dump is not in its place: block %" PRIu64 " stands there; copy the file again", index, is);
    return 0;
}

/* ------------------------------------------------------------------ frames */

void dump_frames_begin(struct dump_frames *f, const struct dump_header *header, struct dump_place *place, const uint8_t *block, size_t nbytes)
{
    *f = (struct dump_frames){ header, place, dump_block_index(block), block + DUMP_HEAD_BYTES, block + nbytes };
}

static const char *check_frame(const struct dump_frames *f, const struct frame *frame)
{
    const struct dump_place *place = f->place;
    if (frame->epoch != (uint8_t)f->header->epoch)
        return "it is of another epoch";
    if (place->bitmap == f->header->nbitmaps)
        return "it stands behind the last chunk";
    if (frame->handle != place->bitmap + 1 || frame->first != place->chunk)
        return "it is not the next one in order";
    struct chunking c = dump_chunking(f->header, place->bitmap);
    return frame_check(frame, &c);
}

static void step(struct dump_place *place, const struct dump_header *header, const struct frame *frame)
{
    struct chunking c = dump_chunking(header, place->bitmap);
    place->chunk += frame->count;
    if (place->chunk == chunk_count(&c))
        *place = (struct dump_place){ place->bitmap + 1, 0 };
}

int dump_frames_next(struct dump_frames *f, struct frame *frame, struct df_error *err)
{
    if (f->at == f->end)
        return 0;
    size_t left = (size_t)(f->end - f->at);
    uint32_t n = left < LENGTH_BYTES ? 0 : get_u32(f->at);
    const char *wrong = left < LENGTH_BYTES || n > left - LENGTH_BYTES ? "it is longer than the block" : frame_unpack(f->at + LENGTH_BYTES, n, frame);
    if (!wrong)
        wrong = check_frame(f, frame);
    if (wrong) {
        struct df_error why = { 0 };
        error_set(&why, -EINVAL, "the frame for chunk %" PRIu64 " of bitmap %zu is refused (%s)", f->place->chunk, f->place->bitmap + 1, wrong);
        return dump_broken(f->index, &why, err);
    }
    step(f->place, f->header, frame);
    f->at += LENGTH_BYTES + n;
    return 1;
}

/* ----------------------------------------------------------------- checker */

static int behind_the_end(const struct dump_checker *c, struct df_error *err)
{
    return error_set(err, -EINVAL, "there are bytes behind block %" PRIu64 ", which is the end of the dump: copy the file again", c->index - 1);
}

int dump_checker_head(const struct dump_checker *c, const uint8_t *bytes, size_t nbytes, struct dump_head *head, struct df_error *err)
{
    return c->ended ? behind_the_end(c, err) : dump_block_head(bytes, nbytes, c->index, head, err);
}

static int check_frames(struct dump_checker *c, const uint8_t *block, size_t nbytes, struct df_error *err)
{
    struct dump_frames frames;
    struct frame frame;
    int r;
    dump_frames_begin(&frames, &c->header, &c->place, block, nbytes);
    while ((r = dump_frames_next(&frames, &frame, err)) > 0)
        ;
    return r;
}

static int check_payload(struct dump_checker *c, enum dump_kind kind, const uint8_t *block, size_t nbytes, struct df_error *err)
{
    struct dump_digests digests[WIRE_SESSION_BITMAPS];
    switch (kind) {
    case DUMP_HEADER:
        return dump_unpack_header(block, nbytes, &c->header, err);
    case DUMP_DATA:
        return check_frames(c, block, nbytes, err);
    case DUMP_END:
        return dump_unpack_end(block, nbytes, &c->header, &c->place, digests, err);
    }
    return damaged(c->index, "it is of no kind", err);
}

int dump_checker_feed(struct dump_checker *c, const uint8_t *block, size_t nbytes, struct dump_head *head, struct df_error *err)
{
    if (c->ended)
        return behind_the_end(c, err);
    int r = dump_block_check(block, nbytes, c->header.id, c->index, head, err);
    if (!r)
        r = check_payload(c, head->kind, block, nbytes, err);
    if (r < 0)
        return r;
    c->index++;
    c->ended = head->kind == DUMP_END;
    return 0;
}

int dump_checker_finish(const struct dump_checker *c, struct df_error *err)
{
    if (!c->index)
        return error_set(err, -EINVAL, "the dump is empty: copy the file again");
    if (!c->ended)
        return error_set(err, -EINVAL, "the dump is cut off behind block %" PRIu64 ", its end is missing: copy the file again", c->index - 1);
    return 0;
}
