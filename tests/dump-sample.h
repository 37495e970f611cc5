// SPDX-License-Identifier: BSD-3-Clause
/*
 * Dumps in memory for the unit test: made of bitmaps as a program would make
 * them, taken apart and checked.
 */
#ifndef TESTS_DUMP_SAMPLE_H
#define TESTS_DUMP_SAMPLE_H

#include "unit.h"
#include "wire/dump.h"
#include "wire/encoder.h"

/* ------------------------------------------------------------------- files */

#define BLOCKS 300

/* A dump in memory, and what it was made of. */
struct file {
    struct dump_header header;
    uint8_t *bits[WIRE_SESSION_BITMAPS];        /* little-endian, whole chunks */
    uint8_t *digests[WIRE_SESSION_BITMAPS];
    uint8_t *block[BLOCKS];                     /* each as long as it is: a sanitizer sees a byte too many */
    size_t nbytes[BLOCKS], nblocks;
};

static size_t bits_bytes(const struct dump_header *h, size_t i)
{
    struct chunking c = dump_chunking(h, i);
    return chunk_count(&c) * c.chunk_bytes;
}

static uint8_t *copy_of(const uint8_t *bytes, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    memcpy(copy, bytes, n);
    return copy;
}

static void insert_block(struct file *f, size_t at, const uint8_t *bytes, size_t n)
{
    ck_assert_uint_lt(f->nblocks, BLOCKS);
    memmove(f->block + at + 1, f->block + at, (f->nblocks - at) * sizeof *f->block);
    memmove(f->nbytes + at + 1, f->nbytes + at, (f->nblocks - at) * sizeof *f->nbytes);
    f->block[at] = copy_of(bytes, n);
    f->nbytes[at] = n;
    f->nblocks++;
}

static void remove_block(struct file *f, size_t at)
{
    free(f->block[at]);
    f->nblocks--;
    memmove(f->block + at, f->block + at + 1, (f->nblocks - at) * sizeof *f->block);
    memmove(f->nbytes + at, f->nbytes + at + 1, (f->nblocks - at) * sizeof *f->nbytes);
}

static void file_free(struct file *f)
{
    for (size_t i = 0; i < f->header.nbitmaps; i++) {
        free(f->bits[i]);
        free(f->digests[i]);
    }
    while (f->nblocks)
        remove_block(f, f->nblocks - 1);
    free(f);
}

static struct file *file_new(unsigned nbitmaps, uint32_t chunk_bytes)
{
    struct file *f = calloc(1, sizeof *f);
    uint8_t uuid[UUID_BYTES];
    uuid_generate(uuid);
    uuid_format(uuid, f->header.session);
    f->header.id = dump_new_id();
    f->header.content = DUMP_SESSION;
    f->header.epoch = 1 + unit_below(1000);
    f->header.chunk_bytes = chunk_bytes;
    f->header.nbitmaps = nbitmaps;
    return f;
}

static void set_bitmap(struct file *f, size_t i, uint64_t nbits, uint64_t granularity)
{
    struct dump_bitmap *b = &f->header.bitmaps[i];
    snprintf(b->disk, sizeof b->disk, "disk-%zu", i / 2);
    snprintf(b->name, sizeof b->name, "täglich/%zu", i);
    b->granularity = granularity;
    b->size = (nbits - 1) * granularity + 1 + unit_below(granularity);
    b->enabled = unit_below(2);
    b->persistent = unit_below(2);
    f->bits[i] = calloc(1, bits_bytes(&f->header, i) + 8);
    f->digests[i] = malloc(8 * dump_segments(nbits));
    for (size_t k = 0; k < 8 * dump_segments(nbits); k++)
        f->digests[i][k] = (uint8_t)unit_random();
}

/* ----------------------------------------------------------------- writing */

struct writer {
    struct file *f;
    struct dump_block block;
};

static void put(struct writer *w, const struct frame *frame)
{
    if (dump_data_add(&w->block, frame))
        return;
    dump_data_finish(&w->block, w->f->nblocks, w->f->header.id);
    insert_block(w->f, w->f->nblocks, w->block.bytes, w->block.nbytes);
    OK(dump_data_begin(&w->block, &unit_err));
    ck_assert(dump_data_add(&w->block, frame));
}

static void encode(struct writer *w, size_t i)
{
    struct chunking c = dump_chunking(&w->f->header, i);
    struct encoder e;
    struct frame frame = { .handle = (uint16_t)(i + 1), .epoch = (uint8_t)w->f->header.epoch };
    uint64_t count = chunk_count(&c);
    OK(encoder_init(&e, &c, &unit_err));
    encoder_start(&e, 0);
    for (uint64_t chunk = 0; chunk < count;) {
        const uint8_t *at = w->f->bits[i] + chunk * c.chunk_bytes;
        bool clean = !at[0] && !memcmp(at, at + 1, c.chunk_bytes - 1);
        if (clean ? encoder_clean(&e, 1) : encoder_chunk(&e, at))
            chunk++;
        else if (encoder_finish(&e, &frame))
            put(w, &frame);
    }
    if (encoder_finish(&e, &frame))
        put(w, &frame);
    encoder_destroy(&e);
}

static void write_end(struct writer *w)
{
    struct file *f = w->f;
    struct dump_digests digests[WIRE_SESSION_BITMAPS];
    for (size_t i = 0; i < f->header.nbitmaps; i++)
        digests[i] = (struct dump_digests){ f->digests[i], 8 * dump_segments(dump_chunking(&f->header, i).nbits) };
    OK(dump_pack_end(&w->block, f->nblocks, f->header.id, digests, f->header.nbitmaps, &unit_err));
    insert_block(f, f->nblocks, w->block.bytes, w->block.nbytes);
}

static void write_file(struct file *f)
{
    struct writer w = { .f = f };
    OK(dump_pack_header(&w.block, &f->header, &unit_err));
    insert_block(f, 0, w.block.bytes, w.block.nbytes);
    OK(dump_data_begin(&w.block, &unit_err));
    for (size_t i = 0; i < f->header.nbitmaps; i++)
        encode(&w, i);
    dump_data_finish(&w.block, f->nblocks, f->header.id);
    insert_block(f, f->nblocks, w.block.bytes, w.block.nbytes);
    write_end(&w);
    dump_block_destroy(&w.block);
}

/* ----------------------------------------------------------------- reading */

static struct df_error said;

/* 0, or what the checker says about the whole file. */
static int check_file(const struct file *f)
{
    struct dump_checker *c = calloc(1, sizeof *c);
    int r = 0;
    memset(&said, 0, sizeof said);
    for (size_t i = 0; !r && i < f->nblocks; i++) {
        struct dump_head head, again;
        r = dump_checker_head(c, f->block[i], f->nbytes[i], &head, &said);
        if (!r)
            r = dump_checker_feed(c, f->block[i], f->nbytes[i], &again, &said);
        if (!r)
            ck_assert(head.kind == again.kind && head.nbytes + DUMP_HEAD_BYTES == f->nbytes[i]);
    }
    if (!r)
        r = dump_checker_finish(c, &said);
    ck_assert_int_eq(r, said.code);
    free(c);
    return r;
}

static void refused(const struct file *f, const char *reason)
{
    ck_assert_msg(check_file(f) == -EINVAL && strstr(said.message, reason), "'%s', not '%s'", said.code ? said.message : "accepted", reason);
    ck_assert_msg(strstr(said.message, "dump"), "'%s' says nothing of a dump", said.message);
}

/* Two bitmaps, four blocks, a few hundred bytes: small enough to try everything. */
static struct file *small_file(void)
{
    struct file *f = file_new(2, 32);
    struct writer w = { .f = f };
    set_bitmap(f, 0, 700, 512);
    set_bitmap(f, 1, 65, 65536);
    f->bits[0][3] = 0x81;
    f->bits[0][50] = 0xff;
    memset(f->bits[1], 0xff, 8);
    OK(dump_pack_header(&w.block, &f->header, &unit_err));
    insert_block(f, 0, w.block.bytes, w.block.nbytes);
    for (size_t i = 0; i < 2; i++) {
        OK(dump_data_begin(&w.block, &unit_err));
        encode(&w, i);
        dump_data_finish(&w.block, f->nblocks, f->header.id);
        insert_block(f, f->nblocks, w.block.bytes, w.block.nbytes);
    }
    write_end(&w);
    dump_block_destroy(&w.block);
    ck_assert_int_eq(check_file(f), 0);
    return f;
}

#endif
