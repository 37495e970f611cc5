// SPDX-License-Identifier: BSD-3-Clause
/*
 * The golden vectors of proto/vectors: good ones say what they should, and the
 * encoder makes the same bytes; hostile ones are refused for their reason.
 * Dumps are read as a program reads a file.
 */
#include <jansson.h>

#include "vectors.h"
#include "wire/dump.h"
#include "wire/encoder.h"
#include "wire/message.h"

/* ----------------------------------------------------------------- frames */

/* The bits of the vector, from its frame's first on, and room for a whole word behind. */
static uint8_t *said_bits(uint64_t nbits, uint64_t *nset)
{
    uint8_t *bits = calloc((nbits + 63) / 64 + 1, 8);
    const char *at = value("runs");
    *nset = 0;
    while (*at) {
        uint64_t first = strtoull(at, (char **)&at, 10), len = strtoull(at + 1, (char **)&at, 10), stride = 0, n = 1;
        if (*at == '/') {
            stride = strtoull(at + 1, (char **)&at, 10);
            n = strtoull(at + 1, (char **)&at, 10);
        }
        for (; n--; first += stride)
            for (uint64_t i = first; i < first + len; i++, ++*nset)
                bits[i / 8] |= (uint8_t)(1 << (i % 8));
        at += *at == ' ';
    }
    return bits;
}

static bool test_bit(const uint8_t *bits, uint64_t i)
{
    return bits[i / 8] >> (i % 8) & 1;
}

static void compare_bits(const struct frame *f, const struct chunking *c, const uint8_t *said, uint64_t nset)
{
    uint64_t n = frame_bits(f, c), first, len, got = 0;
    bool same = true;
    if (f->encoding == FRAME_RAW) {
        ck_assert_mem_eq(f->payload, said, (n + 7) / 8);
        return;
    }
    struct frame_runs runs;
    frame_runs_begin(&runs, f, c);
    while (frame_runs_next(&runs, &first, &len)) {
        got += len;
        for (uint64_t i = first; i < first + len; i++)
            same = same && test_bit(said, i);
    }
    ck_assert_msg(same && got == nset, "%s: other bits", value("name"));
}

/* The encoder, fed with these chunks, makes the same message. */
static void encode_again(const struct frame *said, const struct chunking *c, const uint8_t *bits, const uint8_t *message, size_t n)
{
    static uint8_t chunk_of_zeroes[WIRE_CHUNK_BYTES_MAX];
    struct encoder e;
    struct frame f = { .handle = said->handle, .epoch = said->epoch };
    uint8_t *packed = malloc(WIRE_ENVELOPE_BYTES + c->chunk_bytes);
    OK(encoder_init(&e, c, &unit_err));
    encoder_start(&e, said->first);
    for (uint32_t i = 0; i < said->count; i++) {
        uint64_t left = (frame_bits(said, c) + 7) / 8 - (uint64_t)i * c->chunk_bytes;
        const uint8_t *chunk = bits + (uint64_t)i * c->chunk_bytes;
        bool clean = !memcmp(chunk, chunk_of_zeroes, left < c->chunk_bytes ? left : c->chunk_bytes);
        ck_assert_msg(clean ? encoder_clean(&e, 1) : encoder_chunk(&e, chunk), "%s: chunk %u does not fit", value("name"), i);
    }
    ck_assert(encoder_finish(&e, &f));
    ck_assert_uint_eq(frame_pack(&f, packed), n);
    ck_assert_msg(!memcmp(packed, message, n), "%s: encoded as %d", value("name"), f.encoding);
    encoder_destroy(&e);
    free(packed);
}

START_TEST(good_frames)
{
    static const char *const names[] = { "raw", "zeroes", "ones", "positions", "runs" };
    unsigned n = 0, seen = 0;
    for (open_vectors("frames.txt"); next_record(); n++) {
        struct chunking c = { number("nbits"), (uint32_t)number("chunk_size") };
        struct frame f;
        size_t size;
        uint8_t *message = bytes_of(value("message"), &size), *again = malloc(size);
        const char *wrong = frame_unpack(message, size, &f);
        OK(chunking_check(&c, &unit_err));
        ck_assert_msg(!wrong, "%s: %s", value("name"), wrong);
        wrong = frame_check(&f, &c);
        ck_assert_msg(!wrong, "%s: %s", value("name"), wrong);
        ck_assert(f.handle == number("handle") && f.epoch == number("epoch") && f.first == number("first") && f.count == number("count"));
        ck_assert_str_eq(names[f.encoding], value("encoding"));
        ck_assert_uint_eq(frame_pack(&f, again), size);
        ck_assert_mem_eq(again, message, size);
        /* 2^39 bits are too many to write down: those vectors are decoded only. */
        uint64_t nset;
        if (frame_bits(&f, &c) <= UINT64_C(1) << 28) {
            uint8_t *bits = said_bits(frame_bits(&f, &c), &nset);
            compare_bits(&f, &c, bits, nset);
            if (!strcmp(value("chosen"), "yes"))
                encode_again(&f, &c, bits, message, size);
            free(bits);
        }
        seen |= 1u << f.encoding;
        free(message);
        free(again);
    }
    fclose(file);
    ck_assert_uint_ge(n, 60);
    ck_assert_uint_eq(seen, 31);
}
END_TEST

/* --------------------------------------------------------------- messages */

static bool same(json_t *said, const node *is);

static bool same_map(json_t *said, const node *is)
{
    bool ok = is->type == MSGPACK_OBJECT_MAP && json_object_size(said) == is->via.map.size;
    for (uint32_t i = 0; ok && i < is->via.map.size; i++) {
        const node *k = &is->via.map.ptr[i].key;
        char key[64];
        snprintf(key, sizeof key, "%.*s", (int)k->via.str.size, k->via.str.ptr);
        json_t *v = json_object_get(said, key);
        ok = v && same(v, &is->via.map.ptr[i].val);
    }
    return ok;
}

static bool same_bin(const char *hex, const node *is)
{
    size_t n;
    uint8_t *bytes = bytes_of(hex, &n);
    bool ok = n == is->via.bin.size && !memcmp(bytes, is->via.bin.ptr, n);
    free(bytes);
    return ok;
}

static bool same(json_t *said, const node *is)
{
    bool ok = true;
    switch (is->type) {
    case MSGPACK_OBJECT_POSITIVE_INTEGER: {
        char *text = json_dumps(said, JSON_ENCODE_ANY);     /* beyond 2^63 jansson reads a real */
        ok = json_is_real(said) ? (double)is->via.u64 == json_real_value(said) : strtoull(text, NULL, 10) == is->via.u64;
        free(text);
        return ok;
    }
    case MSGPACK_OBJECT_STR:
        return json_is_string(said) && json_string_length(said) == is->via.str.size && !memcmp(json_string_value(said), is->via.str.ptr, is->via.str.size);
    case MSGPACK_OBJECT_BOOLEAN:
        return json_is_boolean(said) && json_is_true(said) == is->via.boolean;
    case MSGPACK_OBJECT_BIN:
        return json_object_get(said, "bin") && same_bin(json_string_value(json_object_get(said, "bin")), is);
    case MSGPACK_OBJECT_ARRAY:
        ok = json_array_size(said) == is->via.array.size;
        for (uint32_t i = 0; ok && i < is->via.array.size; i++)
            ok = same(json_array_get(said, i), &is->via.array.ptr[i]);
        return ok;
    case MSGPACK_OBJECT_MAP:
        return same_map(said, is);
    default:
        return true;    /* nothing of the schema */
    }
}

static enum message_kind kind_of(const char *name)
{
    return !strcmp(name, "request") ? MESSAGE_REQUEST : !strcmp(name, "reply") ? MESSAGE_REPLY : MESSAGE_EVENT;
}

START_TEST(good_messages)
{
    unsigned n = 0;
    for (open_vectors("control.txt"); next_record(); n++) {
        struct message *m = NULL;
        uint64_t id;
        size_t size;
        uint8_t *bytes = bytes_of(value("message"), &size);
        json_t *said = json_loads(value("fields"), JSON_DECODE_INT_AS_REAL * 0, NULL);
        if (!said)      /* an integer beyond 2^63 */
            said = json_loads(value("fields"), JSON_DECODE_INT_AS_REAL, NULL);
        ck_assert_ptr_nonnull(said);
        int r = message_decode(bytes, size, kind_of(value("kind")), &m, &id, &unit_err);
        ck_assert_msg(r == 0, "%s: %s", value("name"), unit_err.message);
        ck_assert_msg(same(said, m->root), "%s: other fields", value("name"));
        message_free(&m);
        json_decref(said);
        free(bytes);
    }
    fclose(file);
    ck_assert_uint_ge(n, 30);
}
END_TEST

START_TEST(hostile_ones)
{
    unsigned n = 0;
    for (open_vectors("hostile.txt"); next_record(); n++) {
        size_t size;
        uint8_t *bytes = bytes_of(value("message"), &size);
        const char *said = NULL;
        if (!strcmp(value("kind"), "frame")) {
            struct chunking c = { number("nbits"), (uint32_t)number("chunk_size") };
            struct frame f;
            said = frame_unpack(bytes, size, &f);
            if (!said)
                said = frame_check(&f, &c);
        } else {
            struct message *m = NULL;
            uint64_t id;
            if (message_decode(bytes, size, kind_of(value("kind")), &m, &id, &unit_err) == -EPROTO)
                said = unit_err.message;
            message_free(&m);
        }
        ck_assert_msg(said && strstr(said, value("reason")), "%s: '%s', not '%s'", value("name"), said ? said : "accepted", value("reason"));
        free(bytes);
    }
    fclose(file);
    ck_assert_uint_ge(n, 60);
}
END_TEST

/* ------------------------------------------------------------------ dumps */

/* The set bits of the record's `runsN`, compared with those that the frames say; both as bytes. */
struct picture {
    uint8_t *said, *got;
    size_t nbytes;
};

static void draw(const struct dump_header *h, struct picture pictures[WIRE_SESSION_BITMAPS])
{
    for (size_t i = 0; i < h->nbitmaps; i++) {
        uint64_t nbits = dump_chunking(h, i).nbits, n = nbits / 8 + 1;
        char key[32];
        snprintf(key, sizeof key, "runs%zu", i + 1);
        pictures[i] = (struct picture){ calloc(1, n), calloc(1, n), n };
        for (const char *at = value(key); *at; at += *at == ' ') {
            uint64_t first = strtoull(at, (char **)&at, 10), len = strtoull(at + 1, (char **)&at, 10);
            for (; len; len--, first++)
                pictures[i].said[first / 8] |= (uint8_t)(1 << (first % 8));
        }
    }
}

static void draw_frame(const struct dump_header *h, const struct frame *f, struct picture *p)
{
    struct chunking c = dump_chunking(h, f->handle - 1u);
    uint64_t base = f->first * chunk_bits(&c), first, len;
    if (f->encoding == FRAME_RAW) {
        memcpy(p->got + base / 8, f->payload, f->nbytes);
        return;
    }
    struct frame_runs runs;
    frame_runs_begin(&runs, f, &c);
    while (frame_runs_next(&runs, &first, &len))
        for (uint64_t bit = base + first; len; len--, bit++)
            p->got[bit / 8] |= (uint8_t)(1 << (bit % 8));
}

static void compare_header(const struct dump_header *h)
{
    json_t *said = json_loads(value("header"), 0, NULL), *bitmaps = json_object_get(said, "bitmaps");
    ck_assert_ptr_nonnull(said);
    ck_assert_uint_eq(h->id, (uint64_t)json_integer_value(json_object_get(said, "id")));
    ck_assert_str_eq(h->content == DUMP_SESSION ? "session" : "bitmap", json_string_value(json_object_get(said, "content")));
    ck_assert_str_eq(h->session, json_string_value(json_object_get(said, "session")));
    ck_assert_uint_eq(h->epoch, (uint64_t)json_integer_value(json_object_get(said, "epoch")));
    ck_assert_uint_eq(h->chunk_bytes, (uint64_t)json_integer_value(json_object_get(said, "chunk_size")));
    ck_assert_uint_eq(h->nbitmaps, json_array_size(bitmaps));
    for (size_t i = 0; i < h->nbitmaps; i++) {
        json_t *b = json_array_get(bitmaps, i);
        ck_assert_str_eq(h->bitmaps[i].disk, json_string_value(json_object_get(b, "disk")));
        ck_assert_str_eq(h->bitmaps[i].name, json_string_value(json_object_get(b, "bitmap")));
        ck_assert_uint_eq(h->bitmaps[i].size, (uint64_t)json_integer_value(json_object_get(b, "size")));
        ck_assert_uint_eq(h->bitmaps[i].granularity, (uint64_t)json_integer_value(json_object_get(b, "granularity")));
        ck_assert(h->bitmaps[i].enabled == json_is_true(json_object_get(b, "enabled")));
        ck_assert(h->bitmaps[i].persistent == json_is_true(json_object_get(b, "persistent")));
    }
    json_decref(said);
}

/* As a program reads a file: a head, then as much as it says. */
static int feed(struct dump_checker *c, const uint8_t *bytes, size_t n, struct picture pictures[WIRE_SESSION_BITMAPS])
{
    struct dump_place place = { 0 };
    while (n) {
        struct dump_head head;
        size_t have = n < DUMP_HEAD_BYTES ? n : DUMP_HEAD_BYTES;
        if (dump_checker_head(c, bytes, have, &head, &unit_err) < 0)
            return -1;
        have = n < DUMP_HEAD_BYTES + head.nbytes ? n : DUMP_HEAD_BYTES + head.nbytes;
        if (dump_checker_feed(c, bytes, have, &head, &unit_err) < 0)
            return -1;
        if (pictures && head.kind == DUMP_HEADER)
            draw(&c->header, pictures);
        if (pictures && head.kind == DUMP_DATA) {
            struct dump_frames frames;
            struct frame frame;
            dump_frames_begin(&frames, &c->header, &place, bytes, have);
            while (dump_frames_next(&frames, &frame, &unit_err) > 0)
                draw_frame(&c->header, &frame, &pictures[frame.handle - 1]);
        }
        bytes += have;
        n -= have;
    }
    return dump_checker_finish(c, &unit_err);
}

static void good_dump(struct dump_checker *c, const uint8_t *bytes, size_t n)
{
    struct picture pictures[WIRE_SESSION_BITMAPS];
    ck_assert_msg(feed(c, bytes, n, pictures) == 0, "%s: %s", value("name"), unit_err.message);
    compare_header(&c->header);
    for (size_t i = 0; i < c->header.nbitmaps; i++) {
        ck_assert_msg(!memcmp(pictures[i].said, pictures[i].got, pictures[i].nbytes), "%s: other bits in bitmap %zu", value("name"), i + 1);
        free(pictures[i].said);
        free(pictures[i].got);
    }
}

/* The header, written by this side, is the same block. */
static void same_header_block(const struct dump_header *h, const uint8_t *bytes, size_t n)
{
    struct dump_block block = { 0 };
    OK(dump_pack_header(&block, h, &unit_err));
    ck_assert_uint_le(block.nbytes, n);
    if (!strstr(value("name"), "later version"))
        ck_assert_mem_eq(block.bytes, bytes, block.nbytes);
    dump_block_destroy(&block);
}

START_TEST(dumps)
{
    unsigned good = 0, bad = 0;
    struct dump_checker *c = malloc(sizeof *c);
    for (open_vectors("dumps.txt"); next_record();) {
        size_t n;
        uint8_t *bytes = bytes_of(value("file"), &n);
        const char *reason = value_or("reason", "");
        memset(c, 0, sizeof *c);
        memset(&unit_err, 0, sizeof unit_err);
        if (*reason) {
            int r = feed(c, bytes, n, NULL);
            ck_assert_msg(r < 0 && strstr(unit_err.message, reason), "%s: '%s', not '%s'", value("name"), r < 0 ? unit_err.message : "accepted", reason);
            bad++;
        } else {
            good_dump(c, bytes, n);
            same_header_block(&c->header, bytes, n);
            good++;
        }
        free(bytes);
    }
    fclose(file);
    free(c);
    ck_assert_uint_ge(good, 3);
    ck_assert_uint_ge(bad, 30);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "vectors");
    tcase_add_test(tc, good_frames);
    tcase_add_test(tc, good_messages);
    tcase_add_test(tc, hostile_ones);
    tcase_add_test(tc, dumps);
}

UNIT_MAIN("wire-vectors", add_cases)
