// SPDX-License-Identifier: BSD-3-Clause
/*
 * src/image/nbdimage.c and nbdextent.c: extents and reads of random disks
 * against a naive model, through servers that answer in any order and cut their
 * answers anywhere; and servers that are wrong, silent or gone: every call ends
 * with the code that is expected, and all later ones with the same sentence.
 */
#include <dirent.h>
#include <pthread.h>

#include "image/image.h"
#include "nbd-server.h"

#define CONTEXT     "base:allocation"
#define PATIENT_MS  60000
#define SHORT_MS    50          /* of tests in which nothing else but the time can end it */
#define SIZE        (8 * MiB)

/* ------------------------------------------------------------ servers that are right */

/* Every byte of the disk is known by its offset, unless its granule is zero. */
struct disk {
    uint8_t *zero;
    uint64_t size;
    uint32_t block, granule;
    unsigned most_extents, requests;
};

static uint8_t byte_at(const struct disk *d, uint64_t offset)
{
    return d->zero[offset / d->granule] ? 0 : (uint8_t)(1 + (offset * 2654435761u >> 7) % 255);
}

static bool answer_status(struct nbd_server *s, const struct disk *d, const struct nbd_request *r)
{
    uint32_t pairs[2 * 64];
    uint64_t at = r->offset, end = r->offset + r->length;
    size_t n = 0, most = 1 + unit_below(d->most_extents);
    for (; n < most && at < end; n++) {
        bool zero = d->zero[at / d->granule];
        uint64_t to = at, longest = unit_below(4) ? end : d->size;
        while (to < longest && d->zero[to / d->granule] == zero)
            to = (to / d->granule + 1) * d->granule;
        to = to < longest ? to : longest;
        pairs[2 * n] = (uint32_t)(to - at);
        pairs[2 * n + 1] = zero ? 2 | (uint32_t)unit_below(2) : 0;
        at = to;
    }
    return nbd_send_extents(s, r->cookie, true, 1, pairs, n);
}

/* In two chunks. */
static bool answer_read(struct nbd_server *s, const struct disk *d, const struct nbd_request *r)
{
    uint8_t *bytes = malloc(8 + r->length);
    uint32_t half = 1 + (uint32_t)unit_below(r->length), parts[2][2] = { { 0, half }, { half, r->length - half } };
    bool ok = true;
    for (unsigned i = 0; i < 2 && ok; i++) {
        const uint32_t *part = parts[i];
        if (!part[1])
            continue;
        uint64_t offset = htobe64(r->offset + part[0]);
        memcpy(bytes, &offset, 8);
        for (uint32_t k = 0; k < part[1]; k++)
            bytes[8 + k] = byte_at(d, r->offset + part[0] + k);
        ok = nbd_send_chunk(s, r->cookie, i == 1 || r->length == half, 1, bytes, 8 + part[1]);
    }
    free(bytes);
    return ok;
}

static bool answer_simple(struct nbd_server *s, const struct disk *d, const struct nbd_request *r)
{
    uint8_t *bytes = malloc(r->length);
    for (uint32_t k = 0; k < r->length; k++)
        bytes[k] = byte_at(d, r->offset + k);
    bool ok = nbd_send_simple(s, r->cookie, 0, bytes, r->length);
    free(bytes);
    return ok;
}

static bool answer_in_any_order(struct nbd_server *s, struct nbd_request *requests, size_t n)
{
    struct disk *d = s->model;
    while (n) {
        size_t i = unit_below(n);
        struct nbd_request r = requests[i];
        requests[i] = requests[--n];
        d->requests++;
        uint64_t end = r.offset + r.length;
        if (d->block && (r.offset % d->block || (end % d->block && end != d->size)))
            return false;
        bool ok = !r.is_read ? answer_status(s, d, &r) : s->no_structured ? answer_simple(s, d, &r) : answer_read(s, d, &r);
        if (!ok)
            return false;
    }
    return true;
}

static void make_disk(struct disk *d, uint64_t size, uint32_t block, unsigned zeroes)
{
    *d = (struct disk){ .size = size, .block = block, .granule = block > 4096 ? block : 4096, .most_extents = 1 + (unsigned)unit_below(64) };
    d->zero = malloc(size / d->granule + 1);
    for (uint64_t i = 0; i <= size / d->granule; i++)
        d->zero[i] = unit_below(100) < zeroes;
}

static struct image *open_image(unsigned lanes, int timeout_ms)
{
    struct image *image = NULL;
    OK(image_open(NBD_URI, &(struct image_how){ .lanes = lanes, .timeout_ms = timeout_ms }, &image, &unit_err));
    return image;
}

static void compare_read(const struct disk *d, struct image *image, unsigned lane)
{
    uint64_t offset = unit_below(d->size), most = d->size - offset < IMAGE_PIECE_MAX ? d->size - offset : IMAGE_PIECE_MAX;
    size_t n = 1 + (size_t)unit_below(unit_below(2) ? most : most < 9000 ? most : 9000);
    uint8_t *bytes = malloc(n);
    struct df_error err = { 0 };
    ck_assert_msg(!image_read(image, lane, offset, bytes, n, &err), "%s", err.message);
    size_t right = 0;
    while (right < n && bytes[right] == byte_at(d, offset + right))
        right++;
    ck_assert_msg(right == n, "the byte at %" PRIu64 " is wrong", offset + right);
    free(bytes);
}

static void compare_extent(const struct disk *d, struct image *image, uint64_t offset, uint64_t *length)
{
    struct extent extent;
    OK(image_extent(image, offset, &extent, &unit_err));
    ck_assert_uint_gt(extent.length, 0);
    ck_assert_uint_le(extent.length, d->size - offset);
    ck_assert_int_eq(extent.place.kind, PLACE_UNKNOWN);
    uint64_t at = offset;
    while (at < offset + extent.length && extent.zero == d->zero[at / d->granule])
        at = (at / d->granule + 1) * d->granule;
    ck_assert_msg(at >= offset + extent.length, "zero is %d at %" PRIu64, extent.zero, at);
    *length = extent.length;
}

START_TEST(random_disks)
{
    for (unsigned i = 0; i < 25; i++) {
        struct disk d;
        uint32_t block = (uint32_t[]){ 0, 1, 512, 4096, 65536 }[unit_below(5)];
        uint64_t size = 1 + unit_below(6 * MiB), length;
        make_disk(&d, unit_below(2) ? size : (size / 65536 + 1) * 65536, block, (unsigned[]){ 0, 10, 50, 100 }[unit_below(4)]);
        struct nbd_server server = { .size = d.size, .block = block, .reads = true, .contexts = { CONTEXT }, .script = answer_in_any_order, .model = &d };
        nbd_server_begin(&server);
        struct image *image = open_image(1 + (unsigned)unit_below(4), PATIENT_MS);
        ck_assert_uint_eq(image->size, d.size);
        for (uint64_t at = 0; at < d.size; at += length)
            compare_extent(&d, image, at, &length);
        for (unsigned k = 0; k < 20; k++)
            compare_extent(&d, image, unit_below(d.size), &length);
        for (unsigned k = 0; k < 20; k++)
            compare_read(&d, image, 0);
        image_close(&image);
        nbd_server_end(&server);
        free(d.zero);
    }
}
END_TEST

/* One round trip serves many calls. */
START_TEST(asks_once)
{
    struct disk d;
    uint64_t length;
    make_disk(&d, SIZE, 0, 0);
    d.most_extents = 1;
    struct nbd_server server = { .size = SIZE, .reads = true, .contexts = { CONTEXT }, .script = answer_in_any_order, .model = &d };
    nbd_server_begin(&server);
    struct image *image = open_image(2, PATIENT_MS);
    for (uint64_t at = 0; at < SIZE; at += 65536)
        compare_extent(&d, image, at, &length);
    image_close(&image);
    nbd_server_end(&server);
    ck_assert_uint_eq(d.requests, 1);
    free(d.zero);
}
END_TEST

/* No structured replies, or no contexts: all is data, nothing is asked. */
START_TEST(knows_nothing)
{
    for (unsigned i = 0; i < 2; i++) {
        struct disk d;
        make_disk(&d, SIZE + 1000, 0, 50);
        struct nbd_server server = { .size = d.size, .reads = true, .no_structured = i == 0, .contexts = { i ? NULL : CONTEXT }, .script = answer_in_any_order, .model = &d };
        nbd_server_begin(&server);
        struct image *image = open_image(2, PATIENT_MS);
        struct extent extent;
        OK(image_extent(image, 12345, &extent, &unit_err));
        ck_assert_uint_eq(extent.length, d.size - 12345);
        ck_assert(!extent.zero && extent.place.kind == PLACE_UNKNOWN);
        for (unsigned k = 0; k < 20; k++)
            compare_read(&d, image, k % 2);
        image_close(&image);
        nbd_server_end(&server);
        free(d.zero);
    }
}
END_TEST

struct reader {
    const struct disk *disk;
    struct image *image;
    unsigned lane;
};

static void *read_much(void *opaque)
{
    struct reader *r = opaque;
    unit_state = unit_seed + r->lane + 1;
    for (unsigned i = 0; i < 40; i++)
        compare_read(r->disk, r->image, r->lane);
    return NULL;
}

/* Lanes and extents at once, through a server that takes one client. */
START_TEST(many_lanes)
{
    struct disk d;
    struct reader readers[8];
    pthread_t threads[8];
    uint64_t length;
    make_disk(&d, SIZE, 512, 50);
    d.most_extents = 2;
    struct nbd_server server = { .size = SIZE, .block = 512, .reads = true, .contexts = { CONTEXT }, .script = answer_in_any_order, .model = &d };
    nbd_server_begin(&server);
    struct image *image = open_image(8, PATIENT_MS);
    for (unsigned i = 0; i < 8; i++) {
        readers[i] = (struct reader){ &d, image, i };
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_much, &readers[i]), 0);
    }
    for (uint64_t at = 0; at < SIZE; at += length)
        compare_extent(&d, image, at, &length);
    for (unsigned i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    image_close(&image);
    nbd_server_end(&server);
    free(d.zero);
}
END_TEST

/* ------------------------------------------------------------ servers that are not */

static unsigned descriptors(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* The image is lost: no call waits or says anything else. */
static void stays_lost(struct image *image)
{
    struct df_error first = unit_err;
    struct extent extent;
    uint8_t bytes[512];
    for (unsigned i = 0; i < 3; i++) {
        FAILS(first.code, image_read(image, i, 0, bytes, sizeof bytes, &unit_err));
        ck_assert_str_eq(unit_err.message, first.message);
        FAILS(first.code, image_extent(image, SIZE / 2, &extent, &unit_err));
        ck_assert_str_eq(unit_err.message, first.message);
    }
}

static int try_extent(struct image *image)
{
    struct extent extent;
    memset(&unit_err, 0, sizeof unit_err);
    return image_extent(image, 4096, &extent, &unit_err);
}

static int try_read(struct image *image)
{
    uint8_t *bytes = malloc(IMAGE_PIECE_MAX);
    memset(&unit_err, 0, sizeof unit_err);
    int r = image_read(image, 1, MiB, bytes, IMAGE_PIECE_MAX, &unit_err);
    free(bytes);
    return r;
}

static void loses(struct nbd_server *server, int (*try)(struct image *image), int timeout_ms, int code, const char *says)
{
    unsigned before = descriptors();
    server->size = SIZE;
    server->reads = true;
    server->contexts[0] = CONTEXT;
    nbd_server_begin(server);
    struct image *image = open_image(3, timeout_ms);
    FAILS(code, try(image));
    ck_assert_msg(strstr(unit_err.message, says), "'%s' is not in: %s", says, unit_err.message);
    stays_lost(image);
    image_close(&image);
    nbd_server_end(server);
    ck_assert_uint_eq(descriptors(), before);
}

struct answer {
    const char *says;
    uint32_t pairs[4];
    unsigned n, id, times;
};

static const struct answer wrong_answers[] = {
    { "no length", { 0, 2 }, 1, 1, 1 },
    { "no length", { 8192, 2, 0, 0 }, 2, 1, 1 },
    { "beyond the end", { (uint32_t)SIZE, 2 }, 1, 1, 1 },
    { "beyond the end", { UINT32_MAX, 2 }, 1, 1, 1 },
    { "beyond the end", { 8192, 2, UINT32_MAX, 0 }, 2, 1, 1 },
    { "not asked for", { 8192, 2 }, 1, 1, 2 },
    { "says nothing of that offset", { 8192, 2 }, 1, 2, 1 },
};

static bool answer_wrongly(struct nbd_server *s, struct nbd_request *requests, size_t n)
{
    const struct answer *a = s->model;
    for (unsigned t = 1; t <= a->times; t++)
        if (!nbd_send_extents(s, requests[n - 1].cookie, t == a->times, a->id, a->pairs, a->n))
            return false;
    return true;
}

START_TEST(wrong_extents)
{
    const struct answer *a = &wrong_answers[_i];
    struct nbd_server server = { .script = answer_wrongly, .model = (void *)a };
    loses(&server, try_extent, PATIENT_MS, -EPROTO, a->says);
}
END_TEST

static bool answer_nothing(struct nbd_server *s, struct nbd_request *requests, size_t n)
{
    return nbd_send_chunk(s, requests[n - 1].cookie, true, 0, "", 0);
}

static bool answer_another(struct nbd_server *s, struct nbd_request *requests, size_t n)
{
    return nbd_send_extents(s, requests[n - 1].cookie + 1000, true, 1, (uint32_t[]){ 65536, 1 }, 1);
}

static bool say_nothing(struct nbd_server *s, struct nbd_request *requests, size_t n)
{
    (void)requests, (void)n;
    s->silent = true;
    return false;
}

/* Data for another offset than what was asked for. */
static bool answer_elsewhere(struct nbd_server *s, struct nbd_request *requests, size_t n)
{
    return nbd_send_chunk(s, requests[n - 1].cookie, true, 1, "\0\0\0\0\0\0\0\0DATADATA", 16);
}

START_TEST(lost)
{
    static const struct {
        nbd_script *script;
        int (*try)(struct image *image);
        int timeout_ms, code;
        const char *says;
    } rows[] = {
        { answer_nothing, try_extent, PATIENT_MS, -EPROTO, "says nothing of that offset" },
        { answer_another, try_extent, PATIENT_MS, -ECONNRESET, "what is not NBD" },
        { answer_another, try_read, PATIENT_MS, -ECONNRESET, "what is not NBD" },
        { answer_garbage, try_extent, PATIENT_MS, -ECONNRESET, "what is not NBD" },
        { answer_garbage, try_read, PATIENT_MS, -ECONNRESET, "what is not NBD" },
        { answer_elsewhere, try_read, PATIENT_MS, -ECONNRESET, "what is not NBD" },
        { hang_up, try_extent, PATIENT_MS, -ECONNRESET, "has ended the connection" },
        { hang_up, try_read, PATIENT_MS, -ECONNRESET, "has ended the connection" },
        { say_nothing, try_extent, SHORT_MS, -ETIMEDOUT, "has not answered for 50 ms" },
        { say_nothing, try_read, SHORT_MS, -ETIMEDOUT, "has not answered for 50 ms" },
    };
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct nbd_server server = { .script = rows[i].script };
        loses(&server, rows[i].try, rows[i].timeout_ms, rows[i].code, rows[i].says);
    }
}
END_TEST

/* ------------------------------------------------------------ errors that end only one call */

/* What was asked for of the second MiB cannot be read: from 512 KiB of it on. */
static bool fail_some(struct nbd_server *s, struct nbd_request *requests, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct nbd_request *r = &requests[i];
        bool bad = r->is_read && r->offset + r->length > MiB + MiB / 2 && r->offset < 2 * MiB;
        if (bad ? !nbd_send_chunk(s, r->cookie, true, 0x8001, "\0\0\0\5\0\0", 6) : !answer_in_any_order(s, &(struct nbd_request){ r->cookie, r->offset, r->length, r->is_read }, 1))
            return false;
    }
    return true;
}

static bool refuse_status(struct nbd_server *s, struct nbd_request *requests, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct nbd_request *r = &requests[i];
        if (!r->is_read ? !nbd_send_chunk(s, r->cookie, true, 0x8001, "\0\0\0\5\0\0", 6) : !answer_read(s, s->model, r))
            return false;
    }
    return true;
}

START_TEST(error_of_one_call)
{
    struct disk d;
    make_disk(&d, SIZE, 0, 0);
    struct nbd_server server = { .size = SIZE, .reads = true, .contexts = { CONTEXT }, .script = fail_some, .model = &d };
    nbd_server_begin(&server);
    struct image *image = open_image(2, PATIENT_MS);
    uint8_t byte;
    for (unsigned i = 0; i < 5; i++) {
        FAILS(-EIO, try_read(image));
        ck_assert_str_eq(unit_err.message, "cannot read '" NBD_URI "' at offset 1572864: Input/output error");
        OK(image_read(image, 0, 2 * MiB + i, &byte, 1, &unit_err));
        ck_assert_uint_eq(byte, byte_at(&d, 2 * MiB + i));
    }
    image_close(&image);
    nbd_server_end(&server);

    server.script = refuse_status;
    nbd_server_begin(&server);
    image = open_image(2, PATIENT_MS);
    FAILS(-EIO, try_extent(image));
    ck_assert_ptr_nonnull(strstr(unit_err.message, "does not say what is allocated at offset 4096"));
    OK(image_read(image, 0, MiB, &byte, 1, &unit_err));
    FAILS(-EIO, try_extent(image));
    image_close(&image);
    nbd_server_end(&server);
    free(d.zero);
}
END_TEST

/* Less than what was asked for, and called whole. */
static bool answer_half(struct nbd_server *s, struct nbd_request *requests, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct nbd_request half = requests[i];
        half.length /= 2;
        if (!answer_read(s, s->model, &half))
            return false;
    }
    return true;
}

START_TEST(half_a_read)
{
    struct disk d;
    make_disk(&d, SIZE, 0, 0);
    struct nbd_server server = { .script = answer_half, .model = &d };
    loses(&server, try_read, PATIENT_MS, -EPROTO, "sends less than was asked for");
    free(d.zero);
}
END_TEST

/* ------------------------------------------------------------ opening */

static int whole_session(struct nbd_server *server)
{
    struct image *image = NULL;
    nbd_server_begin(server);
    memset(&unit_err, 0, sizeof unit_err);
    int r = image_open(NBD_URI, &(struct image_how){ .lanes = 2, .timeout_ms = PATIENT_MS }, &image, &unit_err);
    if (!r)
        r = try_extent(image);
    if (!r)
        r = image_read(image, 1, MiB, (uint8_t[512]){ 0 }, 512, &unit_err);
    image_close(&image);
    nbd_server_end(server);
    return r;
}

START_TEST(hangs_up_at_every_byte)
{
    struct disk d;
    make_disk(&d, SIZE, 0, 50);
    d.most_extents = 1;
    struct nbd_server server = { .size = SIZE, .block = 512, .reads = true, .contexts = { CONTEXT }, .script = answer_in_any_order, .model = &d };
    OK(whole_session(&server));
    unsigned before = descriptors();
    uint64_t whole = server.sent;
    for (server.budget = 1; server.budget < whole; server.budget += server.budget < 300 ? 1 : 1 + unit_below(20)) {
        int r = whole_session(&server);
        ck_assert_msg(r < 0, "%" PRIu64 " of %" PRIu64 " bytes suffice", server.budget, whole);
    }
    ck_assert_uint_eq(descriptors(), before);
    free(d.zero);
}
END_TEST

START_TEST(not_there)
{
    const struct image_how how = { .lanes = 2, .timeout_ms = PATIENT_MS };
    struct image *image = NULL;
    FAILS(-ENOENT, image_open("nbd+unix:///e?socket=/nowhere/nbd", &how, &image, &unit_err));
    FAILS(-EINVAL, image_open("nbd+unix:///e", &how, &image, &unit_err));
    struct nbd_server server = { .size = SIZE, .no_export = true };
    nbd_server_begin(&server);
    FAILS(-ENOENT, image_open(NBD_URI, &how, &image, &unit_err));
    nbd_server_end(&server);
    ck_assert_ptr_null(image);
    ck_assert(!image_is_uri("nbd") && !image_is_uri("/a/nbd://b") && !image_is_uri("./nbd://b") && image_is_uri("nbds://b") && image_is_uri("nbd+unix:///?socket=a"));
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "right");
    tcase_add_test(tc, random_disks);
    tcase_add_test(tc, asks_once);
    tcase_add_test(tc, knows_nothing);
    tcase_add_test(tc, many_lanes);
    tc = unit_case(suite, "wrong");
    tcase_add_loop_test(tc, wrong_extents, 0, sizeof wrong_answers / sizeof *wrong_answers);
    tcase_add_test(tc, lost);
    tcase_add_test(tc, error_of_one_call);
    tcase_add_test(tc, half_a_read);
    tcase_add_test(tc, hangs_up_at_every_byte);
    tcase_add_test(tc, not_there);
}

UNIT_MAIN("nbdimage", add_cases)
