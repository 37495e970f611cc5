// SPDX-License-Identifier: BSD-3-Clause
/*
 * src/image/nbd.c against servers that are wrong, slow, gone or hostile: every
 * read ends, with the code that is expected, and leaves no descriptor behind.
 */
#include <dirent.h>

#include "image/nbd.h"
#include "nbd-server.h"

#define SIZE        (64 * MiB)
#define PATIENT_MS  60000
#define SHORT_MS    50          /* of tests in which nothing else but the time can end it */

static unsigned descriptors(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* Opens and reads; what went wrong is in unit_err. */
static int try(int timeout_ms, const _Atomic bool *stop)
{
    struct nbd_source *source = NULL;
    struct map *map = NULL;
    memset(&unit_err, 0, sizeof unit_err);
    int r = nbd_source_open(NBD_URI, OFFERED, timeout_ms, &source, &unit_err);
    if (!r) {
        OK(map_create_anonymous(SIZE / 65536, &map, &unit_err));
        r = nbd_source_read(source, 16, map, stop, &unit_err);
    }
    nbd_source_close(&source);
    map_close(&map);
    return r;
}

static void fails(struct nbd_server *server, int timeout_ms, int code, const char *says)
{
    unsigned before = descriptors();
    nbd_server_begin(server);
    FAILS(code, try(timeout_ms, NULL));
    ck_assert_msg(strstr(unit_err.message, says), "'%s' is not in: %s", says, unit_err.message);
    nbd_server_end(server);
    ck_assert_uint_eq(descriptors(), before);
}

/* ------------------------------------------------------------ wrong answers */

struct answer {
    const char *says;
    uint32_t pairs[6];
    unsigned n;
    uint32_t id;
    unsigned times;
};

#define WINDOW (1 * MiB)       /* the first one of a disk of 64 MiB: what most answers are about */

static const struct answer wrong_answers[] = {
    { "no length", { 0, 1 }, 1, 1, 1 },
    { "no length", { 65536, 1, 0, 0 }, 2, 1, 1 },
    { "flags 0x2", { 65536, 2 }, 1, 1, 1 },
    { "flags 0x80000001", { 65536, 0x80000001 }, 1, 1, 1 },
    { "beyond the end", { (uint32_t)SIZE + 512, 1 }, 1, 1, 1 },
    { "beyond the end", { UINT32_MAX, 1 }, 1, 1, 1 },
    { "beyond the end", { 65536, 1, UINT32_MAX, 0 }, 2, 1, 1 },
    { "behind what was asked for", { 2 * WINDOW + 65536, 0, 65536, 1 }, 2, 1, 1 },
    { "middle of a block", { 1, 1 }, 1, 1, 1 },
    { "middle of a block", { 65536, 1, 511, 0 }, 2, 1, 1 },
    { "not asked for", { 65536, 1 }, 1, 1, 2 },
    { "without extents", { 65536, 1 }, 1, 2, 1 },
};

/* To every request alike: any of them may be the one that is found out. */
static bool answer_wrongly(struct nbd_server *s, struct nbd_request *requests, size_t n)
{
    const struct answer *a = s->model;
    for (size_t i = 0; i < n; i++)
        for (unsigned t = 1; t <= a->times; t++)
            if (!nbd_send_extents(s, requests[i].cookie, t == a->times, a->id, a->pairs, a->n))
                return false;
    return true;
}

START_TEST(wrong_answer)
{
    const struct answer *a = &wrong_answers[_i];
    struct nbd_server server = { .size = SIZE, .contexts = { OFFERED, "base:allocation" }, .script = answer_wrongly, .model = (void *)a };
    fails(&server, PATIENT_MS, -EPROTO, a->says);
}
END_TEST

static bool answer_nothing(struct nbd_server *s, struct nbd_request *requests, size_t n)
{
    return nbd_send_chunk(s, requests[n - 1].cookie, true, 0, "", 0);
}

static bool answer_error(struct nbd_server *s, struct nbd_request *requests, size_t n)
{
    return nbd_send_chunk(s, requests[n - 1].cookie, true, 0x8001, "\0\0\0\5\0\0", 6);
}

static bool answer_another(struct nbd_server *s, struct nbd_request *requests, size_t n)
{
    return nbd_send_extents(s, requests[n - 1].cookie + 1000, true, 1, (uint32_t[]){ 65536, 1 }, 1);
}

static bool answer_too_much(struct nbd_server *s, struct nbd_request *requests, size_t n)
{
    struct nbd_bytes b = { 0 };
    nbd_add(&b, UINT32_C(0x668e33ef), 4);
    nbd_add(&b, 1, 2);
    nbd_add(&b, 5, 2);
    nbd_add(&b, requests[n - 1].cookie, 8);
    nbd_add(&b, UINT32_MAX, 4);
    return nbd_put(s, b.bytes, b.n);
}

START_TEST(wrong_otherwise)
{
    static const struct {
        nbd_script *script;
        int code;
        const char *says;
    } rows[] = {
        { answer_nothing, -EPROTO, "without extents" }, { answer_error, -EIO, "does not say what is dirty" },
        { answer_another, -ECONNRESET, "what is not NBD" }, { answer_too_much, -ECONNRESET, "what is not NBD" },
        { answer_garbage, -ECONNRESET, "what is not NBD" }, { hang_up, -ECONNRESET, "has ended the connection" },
    };
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct nbd_server server = { .size = SIZE, .contexts = { OFFERED }, .script = rows[i].script };
        fails(&server, PATIENT_MS, rows[i].code, rows[i].says);
    }
    struct nbd_server garbage = { .size = SIZE, .garbage = true };
    fails(&garbage, PATIENT_MS, -ECONNRESET, "what is not NBD");
}
END_TEST

/* --------------------------------------------- links that end, or are silent */

static bool answer_all(struct nbd_server *s, struct nbd_request *requests, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!nbd_send_extents(s, requests[i].cookie, true, 1, (uint32_t[]){ 65536, 1, requests[i].length - 65536, 0 }, 2))
            return false;
    return true;
}

static uint64_t whole_session(void)
{
    struct nbd_server server = { .size = SIZE, .contexts = { OFFERED }, .script = answer_all };
    nbd_server_begin(&server);
    OK(try(PATIENT_MS, NULL));
    nbd_server_end(&server);
    return server.sent;
}

START_TEST(hangs_up_at_every_byte)
{
    uint64_t whole = whole_session();
    unsigned before = descriptors();
    for (uint64_t budget = 1; budget < whole; budget += budget < 400 ? 1 : 1 + unit_below(50)) {
        struct nbd_server server = { .size = SIZE, .contexts = { OFFERED }, .script = answer_all, .budget = budget };
        nbd_server_begin(&server);
        int r = try(PATIENT_MS, NULL);
        nbd_server_end(&server);
        /* An answer to the list of contexts may be cut so that libnbd calls it an error. */
        ck_assert_msg(r < 0 && strpbrk(unit_err.message, " "), "cut after %" PRIu64 " of %" PRIu64 " bytes: %d", budget, whole, r);
        ck_assert_msg(r == -ECONNRESET, "%d: %s", r, unit_err.message);
    }
    ck_assert_uint_eq(descriptors(), before);
}
END_TEST

START_TEST(falls_silent)
{
    uint64_t whole = whole_session();
    for (uint64_t budget = 1; budget < whole; budget += 1 + unit_below(whole / 24)) {
        struct nbd_server server = { .size = SIZE, .contexts = { OFFERED }, .script = answer_all, .budget = budget, .silent = true };
        fails(&server, SHORT_MS, -ETIMEDOUT, "has not answered for 50 ms");
    }
}
END_TEST

/* ------------------------------------------------------------ the time it takes */

static _Atomic int64_t leap_ms;     /* how far the clock is ahead */

int __real_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
    int r = __real_clock_gettime(clock, ts);
    int64_t ms = atomic_load(&leap_ms);
    ts->tv_sec += ms / 1000;
    ts->tv_nsec += ms % 1000 * 1000000;
    ts->tv_sec += ts->tv_nsec / 1000000000;
    ts->tv_nsec %= 1000000000;
    return r;
}

/*
 * 1 MiB is one request at a time, answered 64 KiB by 64 KiB: each takes 40 of the
 * 60 seconds.  When the next request is here, the client has looked at the clock.
 */
static bool answer_slowly(struct nbd_server *s, struct nbd_request *requests, size_t n)
{
    ck_assert_uint_eq(n, 1);
    atomic_fetch_add(&leap_ms, 40000);
    return nbd_send_extents(s, requests->cookie, true, 1, (uint32_t[]){ 65536, 1 }, 1);
}

START_TEST(slow_but_alive)
{
    struct nbd_server server = { .size = MiB, .contexts = { OFFERED }, .script = answer_slowly };
    struct nbd_source *source = NULL;
    struct map *map = NULL;
    nbd_server_begin(&server);
    OK(nbd_source_open(NBD_URI, OFFERED, PATIENT_MS, &source, &unit_err));
    OK(map_create_anonymous(16, &map, &unit_err));
    OK(nbd_source_read(source, 16, map, NULL, &unit_err));
    ck_assert_int_eq(leap_ms, 16 * 40000);
    nbd_source_close(&source);
    map_close(&map);
    nbd_server_end(&server);
}
END_TEST

/* ------------------------------------------------------------ endless answers */

static bool trickle(struct nbd_server *s, struct nbd_request *requests, size_t n)
{
    for (size_t i = 0;; i++) {
        (void)n;
        if (!nbd_send_chunk(s, requests[0].cookie, false, 5, "\0\0\0\7\0\1\0\0\0\0\0", 12))
            return false;
    }
}

/* As fast as it can, and never at an end. */
START_TEST(endless)
{
    struct nbd_server chunks = { .size = SIZE, .contexts = { OFFERED }, .script = trickle };
    nbd_server_begin(&chunks);
    int r = try(SHORT_MS, NULL);
    ck_assert_msg(r == -ETIMEDOUT || r == -EPROTO, "%d %s", r, unit_err.message);
    nbd_server_end(&chunks);
    struct nbd_server contexts = { .size = SIZE, .contexts = { OFFERED }, .script = answer_all, .endless_list = true };
    fails(&contexts, SHORT_MS, -ETIMEDOUT, "has not answered for 50 ms");
}
END_TEST

/* The server says stop: by then the read is under way for sure. */
static bool stop_it(struct nbd_server *s, struct nbd_request *requests, size_t n)
{
    (void)requests, (void)n;
    atomic_store((_Atomic bool *)s->model, true);
    s->silent = true;
    return false;
}

START_TEST(stopped)
{
    _Atomic bool stop = false;
    struct nbd_server server = { .size = SIZE, .contexts = { OFFERED }, .script = stop_it, .model = &stop };
    unsigned before = descriptors();
    nbd_server_begin(&server);
    FAILS(-ECANCELED, try(PATIENT_MS, &stop));
    nbd_server_end(&server);
    ck_assert_uint_eq(descriptors(), before);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "wrong");
    tcase_add_loop_test(tc, wrong_answer, 0, sizeof wrong_answers / sizeof *wrong_answers);
    tcase_add_test(tc, wrong_otherwise);
    tc = unit_case(suite, "gone");
    tcase_add_test(tc, hangs_up_at_every_byte);
    tcase_add_test(tc, falls_silent);
    tcase_add_test(tc, slow_but_alive);
    tcase_add_test(tc, endless);
    tcase_add_test(tc, stopped);
}

UNIT_MAIN("nbd-hostile", add_cases)
