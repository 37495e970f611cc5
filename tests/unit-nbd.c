// SPDX-License-Identifier: BSD-3-Clause
/*
 * src/image/nbd.c against servers that are right: random bitmaps, replies cut
 * anywhere, in any order, compared with a naive model; and what is said about
 * exports that have not what we want.  Servers that are wrong: unit-nbd-hostile.c.
 */
#include <signal.h>
#include <sys/time.h>

#include "image/nbd.h"
#include "nbd-server.h"

#define PATIENT_MS 60000

/* The server's side: a byte for each granule. */
struct disk {
    uint8_t *dirty;
    uint64_t granules, granularity;
    unsigned most_extents;
    uint64_t answered;          /* bytes, in all replies */
    unsigned replies;
};

/* The extents of a request, at most most_extents; the last may be longer than what was asked for. */
static size_t extents_of(const struct disk *d, uint64_t size, const struct nbd_request *r, uint32_t *pairs, uint64_t *covered)
{
    uint64_t at = r->offset, end = r->offset + r->length;
    size_t n = 0, most = 1 + unit_below(d->most_extents);
    for (; n < most && at < end; n++) {
        bool dirty = d->dirty[at / d->granularity];
        uint64_t to = at, longest = unit_below(4) ? end : size;
        while (to < longest && d->dirty[to / d->granularity] == dirty)
            to = (to / d->granularity + 1) * d->granularity;
        to = to < longest ? to : longest;
        if (to - at > UINT32_MAX)
            to = end;
        pairs[2 * n] = (uint32_t)(to - at);
        pairs[2 * n + 1] = dirty;
        at = to;
    }
    *covered = (at < end ? at : end) - r->offset;
    return n;
}

static bool answer_in_any_order(struct nbd_server *s, struct nbd_request *requests, size_t n)
{
    struct disk *d = s->model;
    uint32_t pairs[2 * 64];
    while (n) {
        size_t i = unit_below(n);
        struct nbd_request r = requests[i];
        requests[i] = requests[--n];
        uint64_t covered;
        size_t count = extents_of(d, s->size, &r, pairs, &covered);
        d->answered += covered;
        d->replies++;
        if (!nbd_send_extents(s, r.cookie, true, 1, pairs, count))
            return false;
    }
    return true;
}

static void make_disk(struct disk *d, uint64_t size, uint64_t granularity, unsigned density)
{
    *d = (struct disk){ .granules = map_round_up(size, granularity), .granularity = granularity, .most_extents = 1 + (unsigned)unit_below(64) };
    d->dirty = malloc(d->granules);
    for (uint64_t i = 0; i < d->granules; i++)
        d->dirty[i] = unit_below(100) < density;
}

/* Every bit is what the model says; outwards where our granularity is coarser. */
static void compare(const struct disk *d, uint64_t size, const struct map *map, unsigned shift)
{
    for (uint64_t bit = 0; bit < map->nbits; bit++) {
        uint64_t from = bit << shift, to = from + (UINT64_C(1) << shift);
        bool dirty = false;
        for (uint64_t at = from; at < to && at < size; at = (at / d->granularity + 1) * d->granularity)
            dirty |= d->dirty[at / d->granularity];
        ck_assert_msg(map_test(map, bit) == dirty, "bit %" PRIu64 " is %d", bit, !dirty);
    }
    ck_assert_uint_eq(map_next_set(map, map->nbits), map->nbits);
}

static void read_disk(struct disk *d, uint64_t size, unsigned shift)
{
    struct nbd_server server = { .size = size, .block = 4096, .contexts = { OFFERED, "base:allocation" }, .script = answer_in_any_order, .model = d };
    struct nbd_source *source = NULL;
    struct map *map = NULL;
    nbd_server_begin(&server);
    OK(nbd_source_open(NBD_URI, OFFERED, PATIENT_MS, &source, &unit_err));
    ck_assert_uint_eq(nbd_source_size(source), size);
    OK(map_create_anonymous(map_round_up(size, UINT64_C(1) << shift), &map, &unit_err));
    OK(nbd_source_read(source, shift, map, NULL, &unit_err));
    compare(d, size, map, shift);
    map_close(&map);
    /* Again, as one does whose own link broke. */
    OK(map_create_anonymous(map_round_up(size, UINT64_C(1) << shift), &map, &unit_err));
    OK(nbd_source_read(source, shift, map, NULL, &unit_err));
    nbd_source_close(&source);
    ck_assert_ptr_null(source);
    nbd_server_end(&server);
    compare(d, size, map, shift);
    /* Nothing is asked twice: replies cover the disk exactly. */
    ck_assert_uint_eq(d->answered, 2 * size);
    map_close(&map);
}

START_TEST(random_disks)
{
    for (unsigned i = 0; i < 60; i++) {
        unsigned granularity = 9 + (unsigned)unit_below(10), shift = 9 + (unsigned)unit_below(10);
        uint64_t size = 512 + unit_below(UINT64_C(3000) << granularity);
        size = unit_below(2) ? size : size / 512 * 512;
        struct disk d;
        make_disk(&d, size, UINT64_C(1) << granularity, (unsigned[]){ 0, 1, 50, 99, 100 }[unit_below(5)]);
        read_disk(&d, size, shift);
        free(d.dirty);
    }
}
END_TEST

/* Windows of almost 4 GiB; sizes that are no multiple of anything. */
START_TEST(large_disks)
{
    const uint64_t sizes[] = { 4 * GiB, 64 * 4 * GiB, 8 * TiB + 512, 100 * TiB - 1, 16 * TiB };
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct disk d;
        make_disk(&d, sizes[i], 8 * GiB, i == 4 ? 0 : 50);
        read_disk(&d, sizes[i], 33);
        if (i == 4)
            ck_assert_uint_eq(d.replies, 2 * (sizes[i] / (4 * GiB - MiB) + 1));
        free(d.dirty);
    }
}
END_TEST

/* All of the pipeline is with the server before it answers. */
static bool answer_when_all_are_there(struct nbd_server *s, struct nbd_request *requests, size_t n)
{
    for (; n < 16; n++)
        if (!nbd_take_request(s, &requests[n]))
            return false;
    bool ok = answer_in_any_order(s, requests, n);
    s->script = answer_in_any_order;
    return ok;
}

START_TEST(pipelined)
{
    struct disk d;
    make_disk(&d, 64 * MiB, 64 * KiB, 50);
    struct nbd_server server = { .size = 64 * MiB, .contexts = { OFFERED }, .script = answer_when_all_are_there, .model = &d };
    struct nbd_source *source = NULL;
    struct map *map = NULL;
    nbd_server_begin(&server);
    OK(nbd_source_open(NBD_URI, OFFERED, PATIENT_MS, &source, &unit_err));
    OK(map_create_anonymous(1024, &map, &unit_err));
    OK(nbd_source_read(source, 16, map, NULL, &unit_err));
    nbd_source_close(&source);
    nbd_server_end(&server);
    compare(&d, 64 * MiB, map, 16);
    map_close(&map);
    free(d.dirty);
}
END_TEST

static void ignore(int signal)
{
    (void)signal;
}

START_TEST(interrupted)
{
    struct sigaction action = { .sa_handler = ignore };
    const struct itimerval every_ms = { { 0, 1000 }, { 0, 1000 } }, never = { 0 };
    sigaction(SIGALRM, &action, NULL);
    sigset_t alarms, before;
    sigemptyset(&alarms);
    sigaddset(&alarms, SIGALRM);
    for (unsigned i = 0; i < 5; i++) {
        struct disk d;
        make_disk(&d, 512 * MiB, 64 * KiB, 50);
        struct nbd_server server = { .size = 512 * MiB, .contexts = { OFFERED }, .script = answer_in_any_order, .model = &d };
        struct nbd_source *source = NULL;
        struct map *map = NULL;
        pthread_sigmask(SIG_BLOCK, &alarms, &before);       /* the server's thread has none */
        nbd_server_begin(&server);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        OK(map_create_anonymous(8192, &map, &unit_err));
        setitimer(ITIMER_REAL, &every_ms, NULL);
        OK(nbd_source_open(NBD_URI, OFFERED, PATIENT_MS, &source, &unit_err));
        OK(nbd_source_read(source, 16, map, NULL, &unit_err));
        setitimer(ITIMER_REAL, &never, NULL);
        nbd_source_close(&source);
        nbd_server_end(&server);
        compare(&d, 512 * MiB, map, 16);
        map_close(&map);
        free(d.dirty);
    }
}
END_TEST

START_TEST(wrong_number_of_bits)
{
    struct nbd_server server = { .size = 64 * MiB, .contexts = { OFFERED }, .script = answer_in_any_order };
    struct nbd_source *source = NULL;
    struct map *map = NULL;
    nbd_server_begin(&server);
    OK(nbd_source_open(NBD_URI, OFFERED, PATIENT_MS, &source, &unit_err));
    OK(map_create_anonymous(1023, &map, &unit_err));
    FAILS(-EINVAL, nbd_source_read(source, 16, map, NULL, &unit_err));
    FAILS(-EINVAL, nbd_source_read(source, 15, map, NULL, &unit_err));
    map_close(&map);
    nbd_source_close(&source);
    nbd_server_end(&server);
}
END_TEST

/* --------------------------------------------------------- what is not there */

static void refused(struct nbd_server *server, int code, const char *says)
{
    struct nbd_source *source = NULL;
    nbd_server_begin(server);
    FAILS(code, nbd_source_open(NBD_URI, OFFERED, PATIENT_MS, &source, &unit_err));
    ck_assert_ptr_null(source);
    ck_assert_msg(strstr(unit_err.message, says), "'%s' is not in: %s", says, unit_err.message);
    ck_assert_msg(strstr(unit_err.message, NBD_URI), "the URI is not in: %s", unit_err.message);
    nbd_server_end(server);
}

START_TEST(not_offered)
{
    refused(&(struct nbd_server){ .size = MiB, .contexts = { "base:allocation", "qemu:dirty-bitmap:\n\377" } }, -ENOENT,
            "it offers 'base:allocation', 'qemu:dirty-bitmap:?\?'");
    refused(&(struct nbd_server){ .size = MiB }, -ENOENT, "it offers nothing");
    refused(&(struct nbd_server){ .size = MiB, .contexts = { OFFERED }, .no_export = true }, -ENOENT, "no export named 'e'");
    refused(&(struct nbd_server){ .size = MiB, .contexts = { OFFERED }, .no_structured = true }, -ENOTSUP, "structured replies");
    refused(&(struct nbd_server){ .size = 0, .contexts = { OFFERED } }, -ENOTSUP, "empty");
}
END_TEST

START_TEST(no_server)
{
    struct nbd_source *source = NULL;
    FAILS(-ENOENT, nbd_source_open("nbd+unix:///e?socket=/nowhere/nbd", OFFERED, PATIENT_MS, &source, &unit_err));
    FAILS(-EINVAL, nbd_source_open("http://localhost/e", OFFERED, PATIENT_MS, &source, &unit_err));
    FAILS(-EINVAL, nbd_source_open("nbd+unix:///e", OFFERED, PATIENT_MS, &source, &unit_err));
    FAILS(-EINVAL, nbd_source_open("%", OFFERED, PATIENT_MS, &source, &unit_err));
    ck_assert_ptr_null(source);
    nbd_source_close(&source);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "right");
    tcase_add_test(tc, random_disks);
    tcase_add_test(tc, large_disks);
    tcase_add_test(tc, pipelined);
    tcase_add_test(tc, interrupted);
    tcase_add_test(tc, wrong_number_of_bits);
    tc = unit_case(suite, "absent");
    tcase_add_test(tc, not_offered);
    tcase_add_test(tc, no_server);
}

UNIT_MAIN("nbd", add_cases)
