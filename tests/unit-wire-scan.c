// SPDX-License-Identifier: BSD-3-Clause
/* The scan before msgpack-c, and messages that are not what they seem. */
#include "unit.h"
#include "wire-sample.h"
#include "wire/scan.h"

/* On a copy of exactly that length, so that a sanitizer sees a look behind it. */
static const char *scan(const uint8_t *bytes, size_t n)
{
    uint8_t *exact = calloc(1, n ? n : 1);
    memcpy(exact, bytes, n);
    const char *wrong = wire_scan(exact, n);
    free(exact);
    return wrong;
}

#define BYTES(...) ((const uint8_t[]){ __VA_ARGS__ }), sizeof((const uint8_t[]){ __VA_ARGS__ })
#define SCAN_OK(...) ck_assert_ptr_null(scan(BYTES(__VA_ARGS__)))
#define SCAN_BAD(word, ...)                                                  \
    do {                                                                     \
        const char *wrong_ = scan(BYTES(__VA_ARGS__));                       \
        ck_assert_msg(wrong_ && strstr(wrong_, word), "%s, not %s", wrong_ ? wrong_ : "accepted", word); \
    } while (0)

START_TEST(heads)
{
    SCAN_OK(0x00); SCAN_OK(0x7f); SCAN_OK(0xe0); SCAN_OK(0xff); SCAN_OK(0xc0); SCAN_OK(0xc2); SCAN_OK(0xc3);
    SCAN_OK(0x80); SCAN_OK(0x90); SCAN_OK(0xa0); SCAN_OK(0xc4, 0); SCAN_OK(0xc5, 0, 0); SCAN_OK(0xc6, 0, 0, 0, 0);
    SCAN_OK(0xd9, 1, 'x'); SCAN_OK(0xda, 0, 1, 'x'); SCAN_OK(0xdb, 0, 0, 0, 1, 'x');
    SCAN_OK(0xcc, 1); SCAN_OK(0xcd, 1, 2); SCAN_OK(0xce, 1, 2, 3, 4); SCAN_OK(0xcf, 1, 2, 3, 4, 5, 6, 7, 8);
    SCAN_OK(0xd0, 1); SCAN_OK(0xd1, 1, 2); SCAN_OK(0xd2, 1, 2, 3, 4); SCAN_OK(0xd3, 1, 2, 3, 4, 5, 6, 7, 8);
    SCAN_OK(0xca, 1, 2, 3, 4); SCAN_OK(0xcb, 1, 2, 3, 4, 5, 6, 7, 8);
    SCAN_OK(0xdc, 0, 1, 0xc0); SCAN_OK(0xdd, 0, 0, 0, 1, 0xc0); SCAN_OK(0xde, 0, 1, 0xc0, 0xc0); SCAN_OK(0xdf, 0, 0, 0, 1, 0xc0, 0xc0);
    SCAN_BAD("not allowed", 0xc1);
    for (unsigned b = 0xc7; b <= 0xc9; b++)
        SCAN_BAD("not allowed", (uint8_t)b, 0, 0, 0, 0, 0);
    for (unsigned b = 0xd4; b <= 0xd8; b++)
        SCAN_BAD("not allowed", (uint8_t)b, 0, 0);
}
END_TEST

START_TEST(ends)
{
    ck_assert_str_eq(scan((const uint8_t *)"", 0), "truncated");
    SCAN_BAD("truncated", 0xcf, 1, 2, 3);
    SCAN_BAD("truncated", 0xd9);
    SCAN_BAD("truncated", 0xdd, 0, 0, 0);
    SCAN_BAD("count", 0x92, 0);
    SCAN_BAD("count", 0x81, 0);
    SCAN_BAD("count", 0xa2, 'x');
    SCAN_BAD("count", 0xdd, 0x10, 0, 0, 0);
    SCAN_BAD("count", 0xdf, 0xff, 0xff, 0xff, 0xff);
    SCAN_BAD("count", 0xc6, 0xff, 0xff, 0xff, 0xff);
    SCAN_BAD("truncated", 0x92, 0x91, 0xc0);
    SCAN_BAD("behind", 0xc0, 0xc0);
    SCAN_BAD("behind", 0x80, 0);
}
END_TEST

START_TEST(depth_and_number)
{
    uint8_t nested[16];
    for (unsigned depth = 1; depth < 12; depth++) {
        memset(nested, 0x91, depth);
        nested[depth] = 0xc0;
        const char *wrong = scan(nested, depth + 1);
        ck_assert(depth <= WIRE_DEPTH ? !wrong : wrong && strstr(wrong, "deep"));
    }
    uint8_t *many = malloc(5 + WIRE_OBJECTS);
    for (uint32_t n = WIRE_OBJECTS - 2; n <= WIRE_OBJECTS; n++) {
        memset(many, 0xc0, 5 + WIRE_OBJECTS);
        memcpy(many, (const uint8_t[]){ 0xdd, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n }, 5);
        ck_assert(n + 1 <= WIRE_OBJECTS ? !scan(many, 5 + n) : !strcmp(scan(many, 5 + n), "too many values"));
    }
    free(many);
}
END_TEST

/* -------------------------------------------------- flips of good messages */

static size_t a_good_message(uint8_t **bytes, enum message_kind *kind)
{
    unsigned ntypes = 0;
    while (message_types[ntypes].name)
        ntypes++;
    const struct message_type *t = &message_types[unit_below(ntypes)];
    struct sample s = { .form = unit_below(2) ? SAMPLE_FULL : SAMPLE_MINIMAL };
    struct out out;
    const uint8_t *at;
    size_t n;
    *kind = !t->reply ? MESSAGE_EVENT : unit_below(2) ? MESSAGE_REPLY : MESSAGE_REQUEST;
    sample_build(&out, t->name, unit_random(), *kind == MESSAGE_REPLY ? t->reply : t->request, &s);
    ck_assert(out_finish(&out, &at, &n));
    *bytes = malloc(n);
    memcpy(*bytes, at, n);
    out_destroy(&out);
    return n;
}

/* Decoded or refused with a sentence; never anything else. */
static void survive(const uint8_t *bytes, size_t n, enum message_kind kind)
{
    struct message *m = NULL;
    struct df_error err = { 0 };
    uint8_t *exact = calloc(1, n ? n : 1);
    uint64_t id;
    memcpy(exact, bytes, n);
    int r = message_decode(exact, n, kind, &m, &id, &err);
    free(exact);
    if (r == 0 ? !m || !m->type : m || r != -EPROTO || !err.message[0])
        ck_abort_msg("%d %s", r, err.message);
    message_free(&m);
}

START_TEST(flips)
{
    for (unsigned round = 0; round < 3000; round++) {
        uint8_t *bytes;
        enum message_kind kind;
        size_t n = a_good_message(&bytes, &kind);
        survive(bytes, n, kind);
        for (unsigned k = 0; k < 20; k++) {
            size_t at = unit_below(n < 200 || unit_below(2) ? n : 200), cut = unit_below(6) ? n : unit_below(n + 1);
            uint8_t old = bytes[at];
            bytes[at] = unit_below(3) ? (uint8_t)(old ^ 1 << unit_below(8)) : (uint8_t)unit_random();
            survive(bytes, cut, unit_below(10) ? kind : (enum message_kind)unit_below(3));
            if (unit_below(4))
                bytes[at] = old;
        }
        free(bytes);
    }
}
END_TEST

START_TEST(every_cut)
{
    for (unsigned round = 0; round < 40; round++) {
        uint8_t *bytes;
        enum message_kind kind;
        size_t n = a_good_message(&bytes, &kind);
        for (size_t cut = 0; cut < n && cut < 600; cut++) {
            struct message *m = NULL;
            uint64_t id;
            ck_assert_int_eq(message_decode(bytes, cut, kind, &m, &id, NULL), -EPROTO);
        }
        free(bytes);
    }
}
END_TEST

static int decode(const uint8_t *bytes, size_t n)
{
    struct message *m = NULL;
    uint64_t id;
    int r = message_decode(bytes, n, MESSAGE_REQUEST, &m, &id, &unit_err);
    message_free(&m);
    return r;
}

START_TEST(not_a_message)
{
    uint8_t *big = calloc(1, WIRE_CONTROL_BYTES + 1);
    ck_assert_int_eq(decode(big, WIRE_CONTROL_BYTES + 1), -EPROTO);
    ck_assert_ptr_nonnull(strstr(unit_err.message, "too long"));
    free(big);
    ck_assert_int_eq(decode(BYTES(0x90)), -EPROTO);
    ck_assert_int_eq(decode(BYTES(0x80)), -EPROTO);
    ck_assert_int_eq(decode(BYTES(0x81, 1, 1)), -EPROTO);
    ck_assert_ptr_nonnull(strstr(unit_err.message, "not a text"));
    ck_assert_int_eq(decode(BYTES(0x82, 0xa1, 'v', 1, 0xa1, 'v', 1)), -EPROTO);
    ck_assert_ptr_nonnull(strstr(unit_err.message, "twice"));
}
END_TEST

/* Two texts in a row, and one that ends the message: each ends where it should. */
START_TEST(texts_end)
{
    static const uint8_t request[] = "\x85\xa1v\x01\xa2id\x05\xa4" "disk\xa1" "a\xa6" "bitmap\xa2" "bc\xa4type\xab" "bitmap-show";
    uint8_t *exact = malloc(sizeof request - 1);
    struct message *m = NULL;
    uint64_t id;
    memcpy(exact, request, sizeof request - 1);
    OK(message_decode(exact, sizeof request - 1, MESSAGE_REQUEST, &m, &id, &unit_err));
    ck_assert_str_eq(node_text(m->root, "disk"), "a");
    ck_assert_str_eq(node_text(m->root, "bitmap"), "bc");
    ck_assert_str_eq(node_text(m->root, "type"), "bitmap-show");
    ck_assert_ptr_null(node_text(m->root, "dis"));
    message_free(&m);
    exact[15] = 0;              /* the disk's name is a zero byte */
    FAILS(-EPROTO, message_decode(exact, sizeof request - 1, MESSAGE_REQUEST, &m, &id, &unit_err));
    free(exact);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "scan");
    tcase_add_test(tc, heads);
    tcase_add_test(tc, ends);
    tcase_add_test(tc, depth_and_number);
    tc = unit_case(suite, "message");
    tcase_add_test(tc, flips);
    tcase_add_test(tc, every_cut);
    tcase_add_test(tc, not_a_message);
    tcase_add_test(tc, texts_end);
}

UNIT_MAIN("wire-scan", add_cases)
