// SPDX-License-Identifier: BSD-3-Clause
/*
 * message_decode() against the schema: every message type minimal, full, with
 * long lists, and with every single fault in every single field.
 */
#include "unit.h"
#include "wire-sample.h"

struct subject {
    const struct message_type *type;
    enum message_kind kind;
    const struct field *fields;
};

static int decode(const struct subject *subject, const struct sample *s, struct message **m)
{
    struct out out;
    const uint8_t *bytes;
    size_t n;
    uint64_t id = 0;
    sample_build(&out, subject->type->name, 42, subject->fields, s);
    ck_assert(out_finish(&out, &bytes, &n));
    uint8_t *exact = malloc(n);
    memcpy(exact, bytes, n);
    out_destroy(&out);
    memset(&unit_err, 0, sizeof unit_err);
    int r = message_decode(exact, n, subject->kind, m, &id, &unit_err);
    free(exact);
    ck_assert_msg(id == 42 || s->fault == FAULT_TWICE || strstr(unit_err.message, "deeply"), "%s: id %" PRIu64 " (%s)", subject->type->name, id, unit_err.message);
    return r;
}

/* Everything that the schema promises is readable without a further check. */
static void read_all(const struct field *fields, const node *map)
{
    for (const struct field *f = fields; f->key; f++) {
        size_t n;
        if (!node_has(map, f->key)) {
            ck_assert(f->optional);
            continue;
        }
        const node *items;
        switch (f->type) {
        case FIELD_U64:
            ck_assert(node_u64(map, f->key, 0) >= f->min && node_u64(map, f->key, 0) <= f->max);
            break;
        case FIELD_BOOL:
            node_bool(map, f->key);
            break;
        case FIELD_TEXT:
        case FIELD_UUID:
            n = strlen(node_text(map, f->key));
            ck_assert(f->type == FIELD_UUID ? n == 36 : n >= f->min && n <= f->max);
            break;
        case FIELD_BIN:
            ck_assert_ptr_nonnull(node_bin(map, f->key, &n));
            ck_assert(n >= f->min && n <= f->max);
            break;
        case FIELD_NUMBERS:
        case FIELD_MAPS:
            items = node_list(map, f->key, &n);
            ck_assert(n >= f->min && n <= f->max);
            for (size_t i = 0; f->items && i < n && i < 3; i++)
                read_all(f->items, &items[i]);
            break;
        case FIELD_MAP:
            read_all(f->items, node_map(map, f->key));
            break;
        }
    }
}

static void good(const struct subject *subject, enum sample_form form)
{
    struct message *m = NULL;
    struct sample s = { .form = form };
    int r = decode(subject, &s, &m);
    ck_assert_msg(r == 0, "%s, form %d: %s", subject->type->name, form, unit_err.message);
    ck_assert(m->type == subject->type && m->id == 42 && !m->error);
    read_all(subject->fields, m->root);
    message_free(&m);
}

static const struct subject *under_test;

static void refused(const struct field *f, const struct sample *s)
{
    struct message *m = NULL;
    int r = decode(under_test, s, &m);
    ck_assert_msg(r == -EPROTO, "%s: field '%s' with fault %d (type %u) gives %d %s", under_test->type->name, f->key, s->fault, s->type, r, unit_err.message);
    ck_assert_ptr_null(m);
    bool told = strstr(unit_err.message, f->key) || strstr(unit_err.message, "deeply") ||
                (s->fault == FAULT_TWICE && f->type == FIELD_BIN && strstr(unit_err.message, "too long"));     /* two blocks of a dump */
    ck_assert_msg(told, "%s: field '%s' with fault %d is told as: %s", under_test->type->name, f->key, s->fault, unit_err.message);
}

static void all_faults(const struct field *f, void *opaque)
{
    (void)opaque;
    for (enum sample_fault fault = FAULT_MISSING; fault < FAULTS; fault++) {
        struct sample s = { .form = SAMPLE_FULL, .fault = fault, .at = f };
        if (!sample_can(f, fault))
            continue;
        if (fault == FAULT_ABOVE && f->type == FIELD_MAPS)
            s.form = SAMPLE_MINIMAL;    /* that many full items would be too long a message */
        for (; s.type < (fault == FAULT_TYPE ? SAMPLE_TYPES : 1); s.type++)
            refused(f, &s);
    }
}

static unsigned each_subject(void (*test)(const struct subject *subject))
{
    unsigned n = 0;
    for (const struct message_type *t = message_types; t->name; t++) {
        struct subject request = { t, t->reply ? MESSAGE_REQUEST : MESSAGE_EVENT, t->request }, reply = { t, MESSAGE_REPLY, t->reply };
        under_test = &request;
        test(&request);
        under_test = &reply;
        if (t->reply)
            test(&reply);
        n += t->reply ? 2 : 1;
    }
    under_test = NULL;
    return n;
}

static void test_good(const struct subject *subject)
{
    for (enum sample_form form = SAMPLE_MINIMAL; form <= SAMPLE_LISTS; form++)
        good(subject, form);
}

static void test_faults(const struct subject *subject)
{
    sample_walk(subject->fields, all_faults, NULL);
}

START_TEST(all_good)
{
    ck_assert_uint_ge(each_subject(test_good), 50);
}
END_TEST

START_TEST(all_faulty)
{
    each_subject(test_faults);
}
END_TEST

/* A request is not taken for a reply or an event, and the other way round. */
static void test_kinds(const struct subject *subject)
{
    struct message *m = NULL;
    struct sample s = { .form = SAMPLE_FULL };
    for (enum message_kind kind = MESSAGE_REQUEST; kind <= MESSAGE_EVENT; kind++) {
        struct subject other = { subject->type, kind, subject->fields };
        if ((kind == MESSAGE_EVENT) == (subject->kind == MESSAGE_EVENT))
            continue;
        ck_assert_int_eq(decode(&other, &s, &m), -EPROTO);
    }
}

START_TEST(kinds_differ)
{
    each_subject(test_kinds);
}
END_TEST

/* ------------------------------------------------------------ head, error */

static int decode_out(struct out *out, enum message_kind kind, struct message **m, uint64_t *id)
{
    const uint8_t *bytes;
    size_t n;
    ck_assert(out_finish(out, &bytes, &n));
    memset(&unit_err, 0, sizeof unit_err);
    *id = 0;
    int r = message_decode(bytes, n, kind, m, id, &unit_err);
    out_destroy(out);
    return r;
}

START_TEST(head_is_checked)
{
    struct message *m = NULL;
    struct out out;
    uint64_t id;
    static const struct {
        uint64_t v;
        const char *type;
        bool has_id;
    } heads[] = { { 0, "hello", true }, { 2, "hello", true }, { 1, "", true }, { 1, "hello", false } };
    for (unsigned i = 0; i < sizeof heads / sizeof *heads; i++) {
        out_init(&out);
        out_u64(&out, "v", heads[i].v);
        out_text(&out, "type", heads[i].type);
        if (heads[i].has_id)
            out_u64(&out, "id", 7);
        ck_assert_int_eq(decode_out(&out, MESSAGE_REQUEST, &m, &id), -EPROTO);
        ck_assert_uint_eq(id, 0);
    }
    message_begin(&out, "no-such-type", 7);
    ck_assert_int_eq(decode_out(&out, MESSAGE_REQUEST, &m, &id), -EPROTO);
    ck_assert_uint_eq(id, 7);
}
END_TEST

START_TEST(errors_travel)
{
    static const int codes[] = { -EINVAL, -ENOENT, -EEXIST, -EBUSY, -EROFS, -ENOSPC, -EFBIG, -EPERM, -EACCES, -EPROTO, -ETIMEDOUT, -ESTALE, -ECANCELED, -ENOTSUP, -EAGAIN, -EIO };
    for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++) {
        struct df_error err = { .code = codes[i], .message = "why" }, back = { 0 };
        struct message *m = NULL;
        struct out out;
        uint64_t id;
        message_error_reply(&out, "bitmap-show", 9, &err);
        ck_assert_int_eq(decode_out(&out, MESSAGE_REPLY, &m, &id), 0);
        ck_assert_ptr_nonnull(m->error);
        ck_assert_int_eq(message_get_error(m, &back), codes[i]);
        ck_assert_str_eq(back.message, "why");
        message_free(&m);
    }
}
END_TEST

START_TEST(unknown_keys_are_ignored)
{
    struct message *m = NULL;
    struct out out;
    uint64_t id;
    message_begin(&out, "status", 9);
    for (unsigned i = 0; i < 29; i++) {
        char key[16];
        snprintf(key, sizeof key, "later-%u", i);
        out_u64(&out, key, i);
    }
    ck_assert_int_eq(decode_out(&out, MESSAGE_REQUEST, &m, &id), 0);
    message_free(&m);
    message_begin(&out, "status", 9);
    for (unsigned i = 0; i < 30; i++) {
        char key[16];
        snprintf(key, sizeof key, "later-%u", i);
        out_u64(&out, key, i);
    }
    ck_assert_int_eq(decode_out(&out, MESSAGE_REQUEST, &m, &id), -EPROTO);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "schema");
    tcase_add_test(tc, all_good);
    tcase_add_test(tc, all_faulty);
    tcase_add_test(tc, kinds_differ);
    tcase_add_test(tc, head_is_checked);
    tcase_add_test(tc, errors_travel);
    tcase_add_test(tc, unknown_keys_are_ignored);
}

UNIT_MAIN("wire-schema", add_cases)
