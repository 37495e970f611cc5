// SPDX-License-Identifier: BSD-3-Clause
/*
 * Dump files: what is written is read; what is damaged or mixed up is refused,
 * with a sentence that names the block.
 */
#include "dump-sample.h"

/* ------------------------------------------------------------- round trips */

/* Clean for the most part, with stretches and noise. */
static void fill(struct file *f, size_t i)
{
    uint64_t nbits = dump_chunking(&f->header, i).nbits;
    for (uint64_t k = unit_below(6); k; k--) {
        uint64_t from = unit_below(nbits), len = 1 + unit_below(nbits - from), one_in = 1 + unit_below(3) * unit_below(400);
        for (uint64_t bit = from; bit < from + len; bit++)
            if (!unit_below(one_in))
                f->bits[i][bit / 8] |= (uint8_t)(1 << (bit % 8));
    }
}

static void decode(const struct file *f, const struct frame *frame, uint8_t *const *bits)
{
    struct chunking c = dump_chunking(&f->header, frame->handle - 1u);
    uint64_t base = frame->first * chunk_bits(&c), first, n;
    uint8_t *to = bits[frame->handle - 1];
    if (frame->encoding == FRAME_RAW) {
        memcpy(to + base / 8, frame->payload, frame->nbytes);
        return;
    }
    struct frame_runs runs;
    frame_runs_begin(&runs, frame, &c);
    while (frame_runs_next(&runs, &first, &n))
        for (uint64_t bit = base + first; n; n--, bit++)
            to[bit / 8] |= (uint8_t)(1 << (bit % 8));
}

static void same_header(const struct dump_header *a, const struct dump_header *b)
{
    ck_assert(a->id == b->id && a->content == b->content && a->epoch == b->epoch && a->chunk_bytes == b->chunk_bytes && a->nbitmaps == b->nbitmaps);
    ck_assert_str_eq(a->session, b->session);
    for (size_t i = 0; i < a->nbitmaps; i++) {
        const struct dump_bitmap *x = &a->bitmaps[i], *y = &b->bitmaps[i];
        ck_assert_str_eq(x->disk, y->disk);
        ck_assert_str_eq(x->name, y->name);
        ck_assert(x->size == y->size && x->granularity == y->granularity && x->enabled == y->enabled && x->persistent == y->persistent);
    }
}

/* As a loader does it: block by block, without the checker. */
static void read_back(const struct file *f)
{
    struct dump_header *h = calloc(1, sizeof *h);
    struct dump_place place = { 0 };
    struct dump_head head;
    struct dump_digests digests[WIRE_SESSION_BITMAPS];
    uint8_t *bits[WIRE_SESSION_BITMAPS];
    size_t last = f->nblocks - 1;
    OK(dump_block_check(f->block[0], f->nbytes[0], 0, 0, &head, &unit_err));
    OK(dump_unpack_header(f->block[0], f->nbytes[0], h, &unit_err));
    same_header(h, &f->header);
    for (size_t i = 0; i < h->nbitmaps; i++)
        bits[i] = calloc(1, bits_bytes(h, i));
    for (size_t b = 1; b < last; b++) {
        struct dump_frames frames;
        struct frame frame;
        int r;
        OK(dump_block_check(f->block[b], f->nbytes[b], h->id, b, &head, &unit_err));
        ck_assert_int_eq(head.kind, DUMP_DATA);
        dump_frames_begin(&frames, h, &place, f->block[b], f->nbytes[b]);
        while ((r = dump_frames_next(&frames, &frame, &unit_err)) > 0)
            decode(f, &frame, bits);
        ck_assert_int_eq(r, 0);
    }
    OK(dump_block_check(f->block[last], f->nbytes[last], h->id, last, &head, &unit_err));
    ck_assert_int_eq(head.kind, DUMP_END);
    OK(dump_unpack_end(f->block[last], f->nbytes[last], h, &place, digests, &unit_err));
    for (size_t i = 0; i < h->nbitmaps; i++) {
        ck_assert_mem_eq(bits[i], f->bits[i], bits_bytes(h, i));
        ck_assert_uint_eq(digests[i].nbytes, 8 * dump_segments(dump_chunking(h, i).nbits));
        ck_assert_mem_eq(digests[i].bytes, f->digests[i], digests[i].nbytes);
        free(bits[i]);
    }
    free(h);
}

START_TEST(round_trip)
{
    for (unsigned round = 0; round < 6; round++) {
        unsigned n = 1 + (unsigned)unit_below(5);
        struct file *f = file_new(n, 32u << _i);
        for (unsigned i = 0; i < n; i++) {
            set_bitmap(f, i, 1 + unit_below(round ? 300000 : 3000000), UINT64_C(512) << unit_below(8));
            fill(f, i);
        }
        write_file(f);
        ck_assert_msg(check_file(f) == 0, "%s", said.message);
        read_back(f);
        for (size_t b = 1; b + 1 < f->nblocks; b++)
            ck_assert_uint_le(f->nbytes[b], DUMP_HEAD_BYTES + (32u << _i > DUMP_DATA_TARGET - 24 ? 65536u + 24 : DUMP_DATA_TARGET));
        file_free(f);
    }
}
END_TEST

/* The longest header and the longest end: both within a block. */
START_TEST(largest)
{
    struct file *f = file_new(WIRE_SESSION_BITMAPS, DUMP_CHUNK_BYTES_MAX);
    for (size_t i = 0; i < WIRE_SESSION_BITMAPS; i++) {
        struct dump_bitmap *b = &f->header.bitmaps[i];
        set_bitmap(f, i, UINT64_C(1) << 25, UINT64_C(1) << 31);
        memset(b->disk, 'd', DF_DISK_NAME_MAX);
        memset(b->name, 'a' + (int)(i % 26), DF_BITMAP_NAME_MAX);
        b->name[5] = (char)('a' + (int)(i / 26));
    }
    write_file(f);
    ck_assert_msg(check_file(f) == 0, "%s", said.message);
    read_back(f);
    ck_assert_uint_gt(f->nbytes[f->nblocks - 1], 64 * 8192);
    for (size_t b = 0; b < f->nblocks; b++)
        ck_assert_uint_le(f->nbytes[b] + 4096, WIRE_BLOCK_BYTES);
    file_free(f);
}
END_TEST

/* A frame of 64 KiB and its envelope have room in a block of their own. */
START_TEST(large_frames)
{
    struct file *f = file_new(1, DUMP_CHUNK_BYTES_MAX);
    set_bitmap(f, 0, 65536 * 8 * 4, 512);
    memset(f->bits[0], 0x55, 65536 * 4);
    write_file(f);
    ck_assert_uint_eq(f->nblocks, 1 + 4 + 1);
    ck_assert_uint_gt(f->nbytes[1], 65536);
    ck_assert_int_eq(check_file(f), 0);
    read_back(f);
    file_free(f);
}
END_TEST

/* 13 bytes each with their length: 3780 are 12 short of the target, and those 12 are not enough for one more. */
START_TEST(filled_to_the_target)
{
    struct dump_block block = { 0 };
    const struct frame frame = { .handle = 1, .epoch = 1, .first = 200, .count = 1, .encoding = FRAME_ZEROES };
    OK(dump_data_begin(&block, &unit_err));
    for (unsigned i = 0; i < 3780; i++)
        ck_assert(dump_data_add(&block, &frame));
    ck_assert(!dump_data_add(&block, &frame));
    ck_assert_uint_eq(block.nbytes, DUMP_HEAD_BYTES + DUMP_DATA_TARGET - 12);
    dump_block_destroy(&block);
}
END_TEST

START_TEST(small_things)
{
    ck_assert_uint_ne(dump_new_id(), dump_new_id());
    ck_assert_uint_eq(dump_chunk_bytes(1024), 1024);
    ck_assert_uint_eq(dump_chunk_bytes(1 << 20), 65536);
    ck_assert_uint_eq(dump_segments(1), 1);
    ck_assert_uint_eq(dump_segments(32769), 2);
    ck_assert_uint_eq(dump_segments(UINT64_C(1) << 25), 1024);
    ck_assert_uint_eq(dump_segments((UINT64_C(1) << 25) + 1), 513);
    ck_assert_uint_eq(dump_segments(UINT64_C(1) << 41), 1024);
}
END_TEST

/* ----------------------------------------------------------------- damages */

START_TEST(every_bit_flipped)
{
    struct file *f = small_file();
    for (size_t b = 0; b < f->nblocks; b++)
        for (size_t i = 0; i < f->nbytes[b]; i++)
            for (unsigned bit = 0; bit < 8; bit++) {
                f->block[b][i] ^= (uint8_t)(1u << bit);
                ck_assert_msg(check_file(f) == -EINVAL, "bit %u of byte %zu of block %zu is not missed", bit, i, b);
                char name[64];
                snprintf(name, sizeof name, "block %zu of the dump", b);
                if (b || i > 7)
                    ck_assert_msg(strstr(said.message, name), "block %zu, byte %zu: '%s'", b, i, said.message);
                f->block[b][i] ^= (uint8_t)(1u << bit);
            }
    ck_assert_int_eq(check_file(f), 0);
    file_free(f);
}
END_TEST

START_TEST(every_truncation)
{
    struct file *f = small_file();
    while (f->nblocks) {
        size_t last = f->nblocks - 1;
        for (size_t n = f->nbytes[last]; n-- > 1;) {
            uint8_t *whole = f->block[last];
            size_t nbytes = f->nbytes[last];
            f->block[last] = copy_of(whole, n);
            f->nbytes[last] = n;
            char how_many[96];
            snprintf(how_many, sizeof how_many, "cut off: %zu of %zu bytes are there", n, n < DUMP_HEAD_BYTES ? (size_t)DUMP_HEAD_BYTES : nbytes);
            refused(f, last || n >= 7 ? how_many : "not a dump");
            free(f->block[last]);
            f->block[last] = whole;
            f->nbytes[last] = nbytes;
        }
        remove_block(f, last);
        refused(f, f->nblocks ? "its end is missing" : "empty");
    }
    file_free(f);
}
END_TEST

START_TEST(blocks_moved)
{
    struct file *f = small_file(), *g = small_file();
    for (size_t a = 0; a < f->nblocks; a++)
        for (size_t b = 0; b < a; b++) {
            uint8_t *block = f->block[a];
            size_t n = f->nbytes[a];
            f->block[a] = f->block[b], f->nbytes[a] = f->nbytes[b];
            f->block[b] = block, f->nbytes[b] = n;
            ck_assert_int_eq(check_file(f), -EINVAL);
            if (b == 1 && a == 2)
                refused(f, "block 1 of the dump is not in its place: block 2 stands there");
            f->block[b] = f->block[a], f->nbytes[b] = f->nbytes[a];
            f->block[a] = block, f->nbytes[a] = n;
        }
    for (size_t b = 0; b < f->nblocks; b++) {   /* repeated */
        insert_block(f, b + 1, f->block[b], f->nbytes[b]);
        refused(f, !b ? "it is not of a kind that may stand here" : b == 3 ? "bytes behind block 3" : "not in its place");
        remove_block(f, b + 1);
    }
    for (size_t b = 0; b < f->nblocks; b++) {   /* of another dump */
        insert_block(f, b, g->block[b], g->nbytes[b]);
        remove_block(f, b + 1);
        refused(f, "its checksum is wrong, or it is of another dump");
        insert_block(f, b, g->block[b], g->nbytes[b]);
        file_free(f);
        f = small_file();
    }
    for (size_t b = 0; b < f->nblocks; b++) {   /* left out */
        uint8_t *block = copy_of(f->block[b], f->nbytes[b]);
        size_t n = f->nbytes[b];
        remove_block(f, b);
        ck_assert_int_eq(check_file(f), -EINVAL);
        insert_block(f, b, block, n);
        free(block);
    }
    ck_assert_int_eq(check_file(f), 0);
    for (unsigned n = 1; n < 40; n++) {         /* appended */
        static const uint8_t zeroes[40];
        insert_block(f, f->nblocks, zeroes, n);
        refused(f, "bytes behind block 3");
        remove_block(f, f->nblocks - 1);
    }
    file_free(f);
    file_free(g);
}
END_TEST

static void put_le(uint8_t *to, uint64_t v, unsigned n)
{
    for (; n; n--, v >>= 8)
        *to++ = (uint8_t)v;
}

START_TEST(bad_heads)
{
    struct file *f = small_file();
    static const struct {
        size_t block, at;
        uint64_t value;
        unsigned nbytes;
        const char *reason;
    } heads[] = {
        { 0, 0, 'd', 1, "not a dump" },
        { 0, 7, 2, 1, "of version 2" },
        { 1, 7, 2, 1, "does not begin as a block" },
        { 0, 8, 2, 4, "of a kind" },
        { 1, 8, 0, 4, "of a kind" },
        { 1, 8, 1, 4, "of a kind" },
        { 1, 8, 4, 4, "of a kind" },
        { 1, 8, UINT64_C(0xffffffff), 4, "of a kind" },
        { 1, 12, 0, 4, "length is out of range" },
        { 1, 12, DUMP_PAYLOAD_MAX + 1, 4, "length is out of range" },
        { 1, 12, UINT64_C(0xffffffff), 4, "length is out of range" },
        { 1, 12, DUMP_PAYLOAD_MAX, 4, "cut off" },
        { 1, 12, 1, 4, "bytes behind it" },
        { 1, 16, 2, 8, "checksum is wrong" },
        { 1, 24, 0, 8, "checksum is wrong" },
    };
    for (unsigned i = 0; i < sizeof heads / sizeof *heads; i++) {
        uint8_t *bytes = f->block[heads[i].block], before[32];
        memcpy(before, bytes, 32);
        put_le(bytes + heads[i].at, heads[i].value, heads[i].nbytes);
        refused(f, heads[i].reason);
        memcpy(bytes, before, 32);
    }
    ck_assert_int_eq(check_file(f), 0);
    file_free(f);
}
END_TEST

/* Also for who does not ask for the head first. */
START_TEST(nothing_behind_the_end)
{
    struct file *f = small_file();
    struct dump_checker *c = calloc(1, sizeof *c);
    struct dump_head head;
    for (size_t i = 0; i < f->nblocks; i++)
        OK(dump_checker_feed(c, f->block[i], f->nbytes[i], &head, &unit_err));
    FAILS(-EINVAL, dump_checker_feed(c, f->block[3], f->nbytes[3], &head, &unit_err));
    ck_assert_msg(strstr(unit_err.message, "bytes behind block 3"), "%s", unit_err.message);
    free(c);
    file_free(f);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "dump");
    tcase_add_loop_test(tc, round_trip, 0, 12);
    tcase_add_test(tc, largest);
    tcase_add_test(tc, large_frames);
    tcase_add_test(tc, filled_to_the_target);
    tcase_add_test(tc, small_things);
    tc = unit_case(suite, "damaged");
    tcase_add_test(tc, every_bit_flipped);
    tcase_add_test(tc, every_truncation);
    tcase_add_test(tc, blocks_moved);
    tcase_add_test(tc, bad_heads);
    tcase_add_test(tc, nothing_behind_the_end);
}

UNIT_MAIN("wire-dump", add_cases)
