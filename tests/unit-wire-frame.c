// SPDX-License-Identifier: BSD-3-Clause
/*
 * The encoder and the frames, against a model that keeps one byte a bit and
 * counts varints by hand.
 */
#include "unit.h"
#include "wire/encoder.h"

/* ------------------------------------------------------------------ model */

struct model {
    struct chunking c;
    uint64_t nchunks;
    uint8_t *bits;              /* 0 or 1 each */
    uint8_t *bytes;             /* the same as the encoder wants it: little-endian, whole chunks */
};

static void model_init(struct model *m, uint64_t nbits, uint32_t chunk_bytes)
{
    m->c = (struct chunking){ nbits, chunk_bytes };
    m->nchunks = chunk_count(&m->c);
    m->bits = calloc(nbits, 1);
    m->bytes = calloc(m->nchunks, chunk_bytes);
    ck_assert(m->bits && m->bytes);
}

static void model_free(struct model *m)
{
    free(m->bits);
    free(m->bytes);
}

static void model_set(struct model *m, uint64_t first, uint64_t n)
{
    for (uint64_t i = first; i < first + n && i < m->c.nbits; i++) {
        m->bits[i] = 1;
        m->bytes[i / 8] |= (uint8_t)(1 << (i % 8));
    }
}

static bool model_is_clean(const struct model *m, uint64_t chunk)
{
    const uint8_t *at = m->bytes + chunk * m->c.chunk_bytes;
    return !at[0] && !memcmp(at, at + 1, m->c.chunk_bytes - 1);
}

static unsigned varint_bytes(uint64_t v)
{
    return v < 128 ? 1 : 1 + varint_bytes(v >> 7);
}

struct sizes {
    uint64_t set, positions, runs, raw;
};

static struct sizes model_sizes(const struct model *m, uint64_t from, uint64_t n)
{
    struct sizes s = { .raw = (n + 7) / 8 };
    uint64_t last_set = 0, last_run = 0;        /* behind it */
    for (uint64_t i = 0; i < n; i++) {
        if (!m->bits[from + i])
            continue;
        s.set++;
        s.positions += varint_bytes(i - last_set);
        last_set = i + 1;
        if (i && m->bits[from + i - 1])
            continue;
        uint64_t end = i;
        while (end < n && m->bits[from + end])
            end++;
        s.runs += varint_bytes(i - last_run) + varint_bytes(end - i);
        last_run = end;
    }
    return s;
}

/* ------------------------------------------------------------- one frame */

/* The frame's bits, through the same calls as the receiver's. */
static void decode_into(const struct frame *f, const struct chunking *c, uint8_t *bits)
{
    uint64_t base = f->first * chunk_bits(c), n = frame_bits(f, c), first, len, last = 0;
    if (f->encoding == FRAME_RAW) {
        for (uint64_t i = 0; i < n; i++)
            bits[base + i] |= f->payload[i / 8] >> (i % 8) & 1;
        return;
    }
    struct frame_runs runs;
    frame_runs_begin(&runs, f, c);
    while (frame_runs_next(&runs, &first, &len)) {
        if (first < last || !len || first > n || len > n - first)    /* ck_assert is slow: once a frame */
            ck_abort_msg("run %" PRIu64 "+%" PRIu64 " of %" PRIu64 " bits behind %" PRIu64, first, len, n, last);
        memset(bits + base + first, 1, len);
        last = first + len;
    }
}

static void check_choice(const struct model *m, const struct frame *f)
{
    struct sizes s = model_sizes(m, f->first * chunk_bits(&m->c), frame_bits(f, &m->c));
    uint64_t best = UINT64_MAX;
    if (s.set == 0 || s.set == frame_bits(f, &m->c)) {
        ck_assert_int_eq(f->encoding, s.set ? FRAME_ONES : FRAME_ZEROES);
        ck_assert_uint_eq(f->nbytes, 0);
        return;
    }
    if (s.positions <= m->c.chunk_bytes)
        best = s.positions;
    if (s.runs <= m->c.chunk_bytes && s.runs < best)
        best = s.runs;
    if (f->count == 1 && s.raw < best)
        best = s.raw;
    ck_assert_msg(f->nbytes == best, "encoding %d takes %u bytes: %" PRIu64 " are possible (positions %" PRIu64 ", runs %" PRIu64 ", raw %" PRIu64 ", %u chunks of %u)",
                  f->encoding, f->nbytes, best, s.positions, s.runs, s.raw, f->count, m->c.chunk_bytes);
}

/* Packed, unpacked and checked; `got` takes its bits.  Returns the size of the message. */
static size_t round_trip(const struct model *m, struct frame *f, uint8_t *got)
{
    f->handle = (uint16_t)(1 + unit_below(WIRE_HANDLE_MAX));
    f->epoch = (uint8_t)unit_random();
    uint8_t *message = malloc(WIRE_ENVELOPE_BYTES + f->nbytes);
    size_t n = frame_pack(f, message);
    ck_assert_uint_le(n, WIRE_ENVELOPE_BYTES + f->nbytes);
    ck_assert_uint_le(f->nbytes, m->c.chunk_bytes);
    message = realloc(message, n);      /* exactly as long: a sanitizer sees a byte too many */
    struct frame g;
    ck_assert_ptr_null(frame_unpack(message, n, &g));
    ck_assert(g.handle == f->handle && g.epoch == f->epoch && g.first == f->first && g.count == f->count);
    ck_assert(g.encoding == f->encoding && g.nbytes == f->nbytes);
    ck_assert_ptr_null(frame_check(&g, &m->c));
    check_choice(m, &g);
    decode_into(&g, &m->c, got);
    free(message);
    return n;
}

struct totals {
    uint64_t frames, bytes;
};

/* All chunks through the encoder as a worker does it. */
static struct totals encode_all(const struct model *m)
{
    struct encoder e;
    struct frame f = { 0 };
    struct totals t = { 0 };
    uint64_t next = 0;
    uint8_t *got = calloc(m->c.nbits, 1);
    OK(encoder_init(&e, &m->c, &unit_err));
    encoder_start(&e, 0);
    for (uint64_t chunk = 0, taken; chunk < m->nchunks || next < m->nchunks; chunk += taken) {
        uint64_t clean = chunk;
        while (clean < m->nchunks && model_is_clean(m, clean) && unit_below(20))
            clean++;
        taken = chunk == m->nchunks ? 0
              : clean > chunk ? encoder_clean(&e, (uint32_t)(clean - chunk)) : encoder_chunk(&e, m->bytes + chunk * m->c.chunk_bytes);
        if (taken)
            continue;
        ck_assert(encoder_finish(&e, &f));
        ck_assert_uint_eq(f.first, next);
        next = f.first + (uint64_t)f.count;
        ck_assert_uint_eq(next, chunk);
        t.bytes += round_trip(m, &f, got);
        t.frames++;
    }
    ck_assert(!encoder_finish(&e, &f));
    encoder_destroy(&e);
    ck_assert_mem_eq(got, m->bits, m->c.nbits);
    free(got);
    return t;
}

/* ------------------------------------------------------------------ tests */

/* Noise, stretches and both; so that all encodings and changes between them occur. */
static void fill(struct model *m)
{
    uint64_t nbits = m->c.nbits;
    unsigned how = (unsigned)unit_below(4);
    uint64_t one_in = UINT64_C(1) << unit_below(14);
    if (how != 1)
        for (uint64_t i = 0; i < nbits; i++)
            if (!unit_below(one_in))
                model_set(m, i, 1);
    if (how != 0)
        for (uint64_t k = unit_below(1 + nbits / 64 % 2000); k; k--)
            model_set(m, unit_below(nbits), 1 + unit_below(1 + unit_below(300)));
    if (how == 2)
        model_set(m, unit_below(nbits), unit_below(2 * chunk_bits(&m->c)));
    if (how == 3)
        model_set(m, 0, nbits);
}

START_TEST(encoder_random)
{
    uint32_t chunk_bytes = 32u << _i;
    for (unsigned round = 0; round < 8; round++) {
        struct model m;
        uint64_t most = 24 * chunk_bits(&(struct chunking){ 1, chunk_bytes });
        model_init(&m, 1 + unit_below(most < 400000 ? most : round ? 400000 : 9000000), chunk_bytes);
        fill(&m);
        encode_all(&m);
        model_free(&m);
    }
}
END_TEST

/* What somebody may have set behind the end, in the last chunk. */
static void set_beyond(struct model *m)
{
    for (uint64_t i = m->c.nbits; i < m->nchunks * chunk_bits(&m->c); i++)
        m->bytes[i / 8] |= (uint8_t)(1 << (i % 8));
}

/* Around the last bit of a chunk, a byte, a word: every length once, full, empty, one bit; alone and with bits behind the end. */
START_TEST(encoder_short_ends)
{
    for (uint64_t nbits = 1; nbits <= 3 * 256 + 1; nbits++)
        for (unsigned what = 0; what < 4; what++) {
            struct model m;
            model_init(&m, nbits, 32);
            if (what)
                model_set(&m, what == 1 ? 0 : nbits - 1, what == 1 ? nbits : 1);
            if (what == 3)
                model_set(&m, 0, 1);
            if (_i)
                set_beyond(&m);
            encode_all(&m);
            model_free(&m);
        }
}
END_TEST

/* Twelve runs fit into 24 bytes where the positions do not fit into 32. */
START_TEST(encoder_runs_near_the_limit)
{
    for (unsigned nruns = 1; nruns <= 18; nruns++) {
        struct model m;
        model_init(&m, 256, 32);
        for (unsigned i = 0; i < nruns; i++)
            model_set(&m, 14 * i, 10);
        encode_all(&m);
        model_free(&m);
    }
}
END_TEST

/* Two thirds of what the positions take, and the other way round. */
START_TEST(encoder_close_choices)
{
    for (unsigned length = 1; length <= 4; length++)
        for (unsigned gap = 1; gap < 400; gap += 57) {
            struct model m;
            model_init(&m, 8192, 1024);
            for (unsigned i = 0; i < 20; i++)
                model_set(&m, i * (gap + length), length);
            encode_all(&m);
            model_free(&m);
        }
}
END_TEST

START_TEST(clean_stretch_is_one_frame)
{
    static const uint32_t lengths[] = { 1, 2, 100, 1000, 65534, 65535 };
    for (unsigned i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct chunking c = { UINT64_C(1) << 41, 1024 };
        struct encoder e;
        struct frame f = { 0 };
        uint8_t message[WIRE_ENVELOPE_BYTES];
        OK(encoder_init(&e, &c, &unit_err));
        encoder_start(&e, 77);
        ck_assert_uint_eq(encoder_clean(&e, lengths[i]), lengths[i]);
        ck_assert_uint_eq(encoder_clean(&e, 5), lengths[i] + 5 <= 65535 ? 5 : 65535 - lengths[i]);
        ck_assert(encoder_finish(&e, &f));
        ck_assert(f.encoding == FRAME_ZEROES && f.first == 77 && !f.nbytes && f.count >= lengths[i]);
        ck_assert_uint_le(frame_pack(&f, message), WIRE_ENVELOPE_BYTES);
        ck_assert_ptr_null(frame_check(&f, &c));
        encoder_destroy(&e);
    }
}
END_TEST

/* Full chunks are one frame too, and a bit somewhere in 1000 clean chunks costs a few bytes. */
START_TEST(sparse_and_full_stretches)
{
    struct model m;
    model_init(&m, 1000 * 256, 32);
    model_set(&m, 0, 1000 * 256);
    ck_assert_uint_eq(encode_all(&m).frames, 1);
    model_free(&m);
    model_init(&m, 1000 * 256, 32);
    model_set(&m, 123456, 1);
    struct totals t = encode_all(&m);
    ck_assert_uint_le(t.bytes, 2 * 16);
    model_free(&m);
}
END_TEST

START_TEST(random_permille_cost)
{
    struct model m;
    uint64_t nbits = 2000 * 8192, set = 0;
    model_init(&m, nbits, 1024);
    for (uint64_t i = 0; i < nbits; i++)
        if (!unit_below(1000)) {
            model_set(&m, i, 1);
            set++;
        }
    struct totals t = encode_all(&m);
    ck_assert_msg((double)t.bytes <= 2.4 * (double)set, "%" PRIu64 " bytes for %" PRIu64 " set bits", t.bytes, set);
    model_free(&m);
}
END_TEST

START_TEST(chunking_limits)
{
    OK(chunking_check(&(struct chunking){ 1, 32 }, &unit_err));
    OK(chunking_check(&(struct chunking){ UINT64_C(1) << 41, 1048576 }, &unit_err));
    OK(chunking_check(&(struct chunking){ UINT64_C(4294967295) * 256, 32 }, &unit_err));
    FAILS(-EFBIG, chunking_check(&(struct chunking){ UINT64_C(4294967295) * 256 + 1, 32 }, &unit_err));
    FAILS(-EINVAL, chunking_check(&(struct chunking){ 1, 0 }, &unit_err));
    FAILS(-EINVAL, chunking_check(&(struct chunking){ 1, 16 }, &unit_err));
    FAILS(-EINVAL, chunking_check(&(struct chunking){ 1, 33 }, &unit_err));
    FAILS(-EINVAL, chunking_check(&(struct chunking){ 1, 1u << 21 }, &unit_err));
}
END_TEST

/* ------------------------------------------------------------- bad frames */

/* Whatever the bytes are: refused, or every run lies within the bitmap. */
static void survive(const uint8_t *bytes, size_t n, const struct chunking *c, uint8_t *bits)
{
    uint8_t *exact = calloc(1, n ? n : 1);
    struct frame f;
    memcpy(exact, bytes, n);
    if (!frame_unpack(exact, n, &f) && !frame_check(&f, c)) {
        ck_assert_uint_le(f.first * chunk_bits(c) + frame_bits(&f, c), c->nbits);
        decode_into(&f, c, bits);
    }
    free(exact);
}

static size_t a_good_frame(const struct model *m, uint8_t *message)
{
    struct encoder e;
    struct frame f = { .handle = 300, .epoch = 200 };
    OK(encoder_init(&e, &m->c, &unit_err));
    uint32_t chunk = (uint32_t)unit_below(m->nchunks);
    encoder_start(&e, chunk);
    while (chunk < m->nchunks && encoder_chunk(&e, m->bytes + chunk * m->c.chunk_bytes))
        chunk++;
    ck_assert(encoder_finish(&e, &f));
    size_t n = frame_pack(&f, message);
    encoder_destroy(&e);
    return n;
}

START_TEST(flipped_bytes)
{
    for (unsigned round = 0; round < 60; round++) {
        struct model m;
        model_init(&m, 1 + unit_below(20000), 32u << unit_below(6));
        fill(&m);
        uint8_t *message = malloc(m.c.chunk_bytes + WIRE_ENVELOPE_BYTES), *bits = calloc(m.c.nbits, 1);
        size_t n = a_good_frame(&m, message);
        for (unsigned k = 0; k < 300; k++) {
            size_t at = unit_below(n), cut = unit_below(8) ? n : unit_below(n + 1);
            uint8_t old = message[at];
            message[at] = (uint8_t)unit_random();
            survive(message, cut, &m.c, bits);
            if (unit_below(4))
                message[at] = old;
        }
        free(message);
        free(bits);
        model_free(&m);
    }
}
END_TEST

START_TEST(random_bytes)
{
    struct chunking c = { 5000, 64 };
    uint8_t bytes[100], bits[5000];
    for (unsigned round = 0; round < 50000; round++) {
        size_t n = unit_below(sizeof bytes);
        for (size_t i = 0; i < n; i++)
            bytes[i] = (uint8_t)unit_random();
        if (n > 8 && unit_below(4))
            memcpy(bytes, (const uint8_t[]){ 0x96, 1, 1, 0, 1, (uint8_t)unit_below(5), 0xc4, (uint8_t)(n - 8) }, 8);
        survive(bytes, n, &c, bits);
    }
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "encoder");
    tcase_add_loop_test(tc, encoder_random, 0, 16);
    tcase_add_loop_test(tc, encoder_short_ends, 0, 2);
    tcase_add_test(tc, encoder_runs_near_the_limit);
    tcase_add_test(tc, encoder_close_choices);
    tcase_add_test(tc, clean_stretch_is_one_frame);
    tcase_add_test(tc, sparse_and_full_stretches);
    tcase_add_test(tc, random_permille_cost);
    tcase_add_test(tc, chunking_limits);
    tc = unit_case(suite, "hostile");
    tcase_add_test(tc, flipped_bytes);
    tcase_add_test(tc, random_bytes);
}

UNIT_MAIN("wire-frame", add_cases)
