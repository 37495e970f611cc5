// SPDX-License-Identifier: BSD-3-Clause
/*
 * Dump files: the content of bitmaps as a sequence of blocks, each of which
 * says by its own checksum whether it is whole.  Bytes only: who calls reads
 * and writes the file.  The format is chapter 16 of proto/dirtyferry.md.
 *
 * Writing, with one `struct dump_block block = { 0 }` for all of them:
 *
 *     dump_pack_header(&block, header)                     block 0
 *     while (frames are left)                              blocks 1 to n - 1
 *         dump_data_begin(&block)
 *         while (dump_data_add(&block, frame)) next frame; // false: full, add it to the next block
 *         dump_data_finish(&block, index, id)
 *     dump_pack_end(&block, n, id, digests, ndigests)      block n
 *     dump_block_destroy(&block)
 *
 * Reading a file, with a `struct dump_checker *c = calloc(1, sizeof *c)`:
 *
 *     until read() gives 0 bytes
 *         read 32 bytes, dump_checker_head(c, bytes, how many came, &head)
 *         read head.nbytes more, dump_checker_feed(c, bytes, how many came in all, &head)
 *         if (head.kind == DUMP_DATA)
 *             dump_frames_begin() with a place of one's own, dump_frames_next() for each frame
 *     dump_checker_finish(c)
 *
 * Every error is -EINVAL (or -ENOMEM), and names the block.
 */
#ifndef WIRE_DUMP_H
#define WIRE_DUMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dirtyferry/bitmap.h>
#include <dirtyferry/error.h>

#include "base/bits.h"
#include "base/uuid.h"
#include "wire/frame.h"
#include "wire/limits.h"
#include "wire/schema.h"

#define DUMP_VERSION            1u
#define DUMP_HEAD_BYTES         32u
#define DUMP_PAYLOAD_MAX        (WIRE_BLOCK_BYTES - DUMP_HEAD_BYTES)
#define DUMP_DATA_TARGET        49152u      /* payload of a data block, unless one frame is larger */
#define DUMP_CHUNK_BYTES_MAX    65536u      /* of a dump: so that any frame fits into a block */

/* Keys of the two maps, as in schema.h; tests compare proto/dirtyferry.cddl with them. */
extern const struct field dump_header_fields[];
extern const struct field dump_end_fields[];

enum dump_kind { DUMP_HEADER = 1, DUMP_DATA, DUMP_END };
enum dump_content { DUMP_BITMAP, DUMP_SESSION };

struct dump_bitmap {
    char disk[DF_DISK_NAME_MAX + 1], name[DF_BITMAP_NAME_MAX + 1];      /* on the side where it will be loaded */
    uint64_t size, granularity;     /* of the disk; bytes for each bit */
    bool enabled, persistent;
};

/* 85 KiB: on the heap, please. */
struct dump_header {
    uint64_t id;                    /* dump_new_id(): blocks of two dumps cannot be mixed */
    enum dump_content content;
    char session[UUID_TEXT_BYTES];  /* of a bitmap's dump: a fresh one that names the dump */
    uint64_t epoch;                 /* of a bitmap's dump: 1 */
    uint32_t chunk_bytes;           /* of the frames in this file: at most DUMP_CHUNK_BYTES_MAX, so not always the session's */
    size_t nbitmaps;
    struct dump_bitmap bitmaps[WIRE_SESSION_BITMAPS];
};

/* Random, never 0. */
uint64_t dump_new_id(void);
/* The session's chunk size, if a dump may have it, else the largest that it may have. */
uint32_t dump_chunk_bytes(uint32_t session_chunk_bytes);
struct chunking dump_chunking(const struct dump_header *header, size_t bitmap);
/* How many digests `seal` and the end block have for a bitmap of nbits. */
size_t dump_segments(uint64_t nbits);

/* ---- writing */

/* A whole block, with its head, when dump_pack_*() or dump_data_finish() have succeeded. */
struct dump_block {
    uint8_t *bytes;
    size_t nbytes, room;
};
void dump_block_destroy(struct dump_block *block);

/* The digests of one bitmap: 8 * dump_segments() bytes, each a little-endian u64. */
struct dump_digests {
    const uint8_t *bytes;
    size_t nbytes;
};

/* Refuses what dump_unpack_header() would. */
int dump_pack_header(struct dump_block *block, const struct dump_header *header, struct df_error *err);
int dump_pack_end(struct dump_block *block, uint64_t index, uint64_t id, const struct dump_digests *digests, size_t n, struct df_error *err);

/*
 * A frame has handle 1 + index of its bitmap, the lowest 8 bits of the epoch, and a payload of at most
 * DUMP_CHUNK_BYTES_MAX; its bytes are copied.  Frames come in the order of bitmap and first chunk, without a gap.
 */
int dump_data_begin(struct dump_block *block, struct df_error *err);
bool dump_data_add(struct dump_block *block, const struct frame *frame);
void dump_data_finish(struct dump_block *block, uint64_t index, uint64_t id);

/* ---- reading, block by block */

struct dump_head {
    enum dump_kind kind;
    uint32_t nbytes;                /* of the payload: at most DUMP_PAYLOAD_MAX */
};

/* The first 32 bytes (or fewer, if there are no more) of what should be block `index`; before memory is reserved for the rest. */
int dump_block_head(const uint8_t *bytes, size_t nbytes, uint64_t index, struct dump_head *head, struct df_error *err);
/* A whole block: that, length, checksum and number.  `id` is not looked at for block 0. */
int dump_block_check(const uint8_t *bytes, size_t nbytes, uint64_t id, uint64_t index, struct dump_head *head, struct df_error *err);

/* The rest takes whole blocks that dump_block_check() let pass. */

/* All values are within the limits afterwards, also those that follow from each other: nbits, the number of chunks. */
int dump_unpack_header(const uint8_t *block, size_t nbytes, struct dump_header *header, struct df_error *err);

/* The next chunk that has to come: all zero before block 1, kept from block to block. */
struct dump_place {
    size_t bitmap;                  /* header->nbitmaps: all are there */
    uint64_t chunk;
};
struct dump_frames {
    const struct dump_header *header;
    struct dump_place *place;
    uint64_t index;                 /* of the block */
    const uint8_t *at, *end;
};
void dump_frames_begin(struct dump_frames *frames, const struct dump_header *header, struct dump_place *place, const uint8_t *block, size_t nbytes);
/*
 * 1: a frame, which frame_check() has let pass for dump_chunking(header, frame->handle - 1) and that is the next in order; its
 * payload points into the block.  0: no more in this block.
 */
int dump_frames_next(struct dump_frames *frames, struct frame *frame, struct df_error *err);

/* `place` must be behind the last bitmap.  digests[0] to digests[header->nbitmaps - 1] point into the block. */
int dump_unpack_end(const uint8_t *block, size_t nbytes, const struct dump_header *header, const struct dump_place *place,
                    struct dump_digests digests[WIRE_SESSION_BITMAPS], struct df_error *err);

/* ---- reading, the whole file: everything that can be told without the bitmaps' content */

/* Begins all zero.  On the heap, please. */
struct dump_checker {
    struct dump_header header;      /* valid behind block 0 */
    uint64_t index;                 /* of the next block */
    struct dump_place place;
    bool ended;
};

/* As dump_block_head(); refuses too what stands behind the end. */
int dump_checker_head(const struct dump_checker *checker, const uint8_t *bytes, size_t nbytes, struct dump_head *head, struct df_error *err);
/* One whole block.  After an error the checker is of no more use. */
int dump_checker_feed(struct dump_checker *checker, const uint8_t *block, size_t nbytes, struct dump_head *head, struct df_error *err);
/* There is no more: was that all? */
int dump_checker_finish(const struct dump_checker *checker, struct df_error *err);

/* ---- shared by dump.c and dumpmap.c */

enum { DUMP_AT_INDEX = 16 };

static inline uint64_t dump_block_index(const uint8_t *block)
{
    return bits_load(block + DUMP_AT_INDEX);
}

int dump_block_pack(struct dump_block *block, enum dump_kind kind, uint64_t index, uint64_t id, const uint8_t *payload, size_t nbytes, struct df_error *err);
/* Something is wrong in a block whose checksum is right, so it was written that way. */
int dump_broken(uint64_t index, const struct df_error *why, struct df_error *err);

#endif
