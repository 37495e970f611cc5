// SPDX-License-Identifier: BSD-3-Clause
/*
 * Dump files: read as `dirtyferry load` reads them, block by block, and what it
 * lets pass loaded as the daemon does, into small parents.
 *
 * Input: a byte (lowest bit: checksums are made right before each block is
 * read, or nothing behind them would ever be reached), then the file.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "intakes.h"

#define AT_SUM      24u     /* section 16 of proto/dirtyferry.md */
#define BITMAPS     3u      /* of a dump that is loaded */

struct reading {
    struct dump_checker *checker;
    struct fill *fill;
    struct load load;
    struct intake parents[BITMAPS], shadows[BITMAPS];
    struct backend backend;
    bool loads;
};

/* ----------------------------------------------------------------- loading */

static void begin(struct reading *r)
{
    const struct dump_header *h = &r->checker->header;
    struct dump_block block = { 0 };
    CHECK(dump_pack_header(&block, h, NULL) == 0);     /* what is read can be written */
    dump_block_destroy(&block);
    r->loads = h->nbitmaps <= BITMAPS;
    for (size_t i = 0; r->loads && i < h->nbitmaps; i++)
        r->loads = dump_chunking(h, i).nbits <= INTAKE_BITS;
    if (!r->loads)
        return;
    r->load.header = *h;
    for (size_t i = 0; i < h->nbitmaps; i++) {
        struct chunking c = dump_chunking(h, i), twice = { c.nbits, c.chunk_bytes * 2 };
        struct intake *in = &r->parents[i], *shadow = &r->shadows[i];
        intake_open(in, &twice);
        *shadow = (struct intake){ .map = in->map, .digests = in->digests, .chunking = c };
        CHECK(map_create_anonymous(chunk_count(&c), &shadow->received, NULL) == 0);
        in->backend = shadow->backend = &r->backend;
        r->load.intakes[i] = in;
        r->load.shadows[i] = shadow;
    }
}

static void finish(struct reading *r)
{
    for (size_t i = 0; i < BITMAPS; i++) {
        map_close(&r->shadows[i].received);
        intake_close(&r->parents[i]);
    }
    free(r->checker);
}

/* The digests decide: the checker has not looked at them. */
static void compare(const struct reading *r, const struct order *order)
{
    struct dump_digests digests[WIRE_SESSION_BITMAPS];
    bool exact = true;
    CHECK(dump_unpack_end(order->block, order->nbytes, &r->load.header, &r->load.place, digests, NULL) == 0);
    for (size_t i = 0; i < r->load.header.nbitmaps; i++) {
        const struct map *map = r->parents[i].map;
        for (size_t s = 0; s < digests[i].nbytes / 8; s++)
            exact = exact && bits_load(digests[i].bytes + 8 * s) == map_digest(map, s * map_segment_blocks(map->nblocks), map_segment_blocks(map->nblocks));
    }
    CHECK(order->exact == exact && (order->r >= 0) == exact);
}

/* What has come is what the order of frames promises: all before the place, nothing behind it. */
static void compare_place(const struct reading *r)
{
    const struct dump_place *place = &r->load.place;
    for (size_t i = 0; i < r->load.header.nbitmaps; i++) {
        uint64_t all = chunk_count(&r->shadows[i].chunking), done = atomic_load_explicit(&r->shadows[i].chunks_done, memory_order_relaxed);
        CHECK(done == (i < place->bitmap ? all : i == place->bitmap ? place->chunk : 0));
    }
}

static void load_block(struct reading *r, enum dump_kind kind, const uint8_t *block, size_t nbytes)
{
    CLEANUP(cleanup_free) struct order *order = calloc(1, sizeof *order);
    order->kind = kind == DUMP_END ? ORDER_LOAD_END : ORDER_LOAD;
    order->load = &r->load;
    order->block = block;
    order->nbytes = nbytes;
    load_obey(r->fill, order);
    CHECK(kind == DUMP_END || order->r == 0);
    if (kind == DUMP_END)
        compare(r, order);
    else
        compare_place(r);
}

/* ----------------------------------------------------------------- reading */

static void seal(uint8_t *block, size_t nbytes, uint64_t id)
{
    XXH3_state_t state;
    if (nbytes < DUMP_HEAD_BYTES)
        return;
    XXH3_INITSTATE(&state);
    XXH3_64bits_reset_withSeed(&state, id);
    XXH3_64bits_update(&state, block, AT_SUM);
    XXH3_64bits_update(&state, block + DUMP_HEAD_BYTES, nbytes - DUMP_HEAD_BYTES);
    uint64_t sum = htole64(XXH3_64bits_digest(&state));
    memcpy(block + AT_SUM, &sum, sizeof sum);
}

/* False: refused, or the end of the file. */
static bool next_block(struct reading *r, struct input *in, bool sealed)
{
    struct dump_head head, again;
    struct df_error err = { 0 };
    size_t n = DUMP_HEAD_BYTES;
    const uint8_t *at = input_bytes(in, &n);
    CLEANUP(cleanup_free) uint8_t *first = input_copy(at, n);
    if (dump_checker_head(r->checker, first, n, &head, &err) < 0)
        return false;
    size_t more = head.nbytes;
    input_bytes(in, &more);
    CLEANUP(cleanup_free) uint8_t *block = input_copy(at, n + more);
    if (sealed)
        seal(block, n + more, r->checker->index ? r->checker->header.id : 0);
    if (dump_checker_feed(r->checker, block, n + more, &again, &err) < 0)
        return false;
    CHECK(!err.code && again.kind == head.kind && again.nbytes == head.nbytes);
    if (head.kind == DUMP_HEADER)
        begin(r);
    else if (r->loads)
        load_block(r, head.kind, block, n + more);
    return input_left(in) > 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nbytes)
{
    struct input in = { bytes, bytes + nbytes };
    CLEANUP(cleanup_free) struct reading *r = calloc(1, sizeof *r);
    bool sealed = input_take(&in, 1) & 1;
    r->checker = calloc(1, sizeof *r->checker);
    r->fill = intake_fill();
    while (next_block(r, &in, sealed))
        ;
    CHECK((dump_checker_finish(r->checker, NULL) == 0) == r->checker->ended);
    finish(r);
    return 0;
}
