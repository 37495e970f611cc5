// SPDX-License-Identifier: BSD-3-Clause
/*
 * Connections, their limits, and who is cut: socket pairs and tcp connections of
 * this process, at whose other end a cut is seen.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "net/connections.h"
#include "unit-files.h"

static struct refusals refusals = REFUSALS_INIT;
static struct connections *c;

/* The daemon's end, and the other one. */
struct pair {
    int fd, other;
    enum service service;
};

static void setup(void)
{
    struct rlimit limit, more = { CONNECTION_DESCRIPTORS + 100, CONNECTION_DESCRIPTORS + 100 };
    unit_setup();
    log_to_file();
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    ck_assert(setrlimit(RLIMIT_NOFILE, &more) == 0 || setrlimit(RLIMIT_NOFILE, &limit) == 0);   /* root may have more */
    OK(connections_new(10000, &refusals, &c, &unit_err));
}

static void teardown(void)
{
    connections_free(&c);
    unit_teardown();
}

static struct pair pair_unix(void)
{
    int fds[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    return (struct pair){ .fd = fds[0], .other = fds[1] };
}

static struct pair pair_tcp(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof at;
    struct pair p;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(listen(listener, 1), 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&at, &n), 0);
    p.other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(p.other, (struct sockaddr *)&at, sizeof at), 0);
    p.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(p.fd, 0);
    close(listener);
    return p;
}

static struct pair opened(struct pair p, enum service service)
{
    connections_opened(c, p.fd, service);
    p.service = service;
    return p;
}

static bool ended(const struct pair *p, int wait_ms)
{
    struct pollfd item = { .fd = p->other, .events = POLLRDHUP };
    return poll(&item, 1, wait_ms) == 1;
}

/* The kernel may take a moment to tell the other end. */
static bool is_cut(const struct pair *p)
{
    return ended(p, 20000);
}

static bool is_left(const struct pair *p)
{
    return !ended(p, 0);
}

/* As libzmq does: the event, then the descriptor. */
static void closed(struct pair *p)
{
    connections_closed(c, p->fd, p->service, false);
    close(p->fd);
    close(p->other);
}

/* --------------------------------------------------------------- limits */

/* One that spoke counts no more; of those that did not, on any socket, the oldest goes. */
START_TEST(silent_ones_are_bounded)
{
    static struct pair p[CONNECTION_SILENT + 3];
    for (unsigned i = 0; i < CONNECTION_SILENT + 1; i++) {
        p[i] = opened(pair_unix(), i % SERVICES);
        if (i == 0)
            connections_heard(c, p[0].fd, "key");
    }
    for (unsigned i = 0; i < CONNECTION_SILENT + 1; i++)
        ck_assert(is_left(&p[i]));
    p[CONNECTION_SILENT + 1] = opened(pair_unix(), SERVICE_DATA);
    ck_assert(is_left(&p[0]) && is_cut(&p[1]) && is_left(&p[2]));
    ck_assert_uint_eq(logged("uid"), 1);
    ck_assert_uint_eq(logged("data: too many connections that say nothing, the oldest is ended"), 1);
    connections_heard(c, p[2].fd, "key");       /* one less */
    p[CONNECTION_SILENT + 2] = opened(pair_unix(), SERVICE_DATA);
    for (unsigned i = 2; i < CONNECTION_SILENT + 3; i++)
        ck_assert(is_left(&p[i]));
    for (unsigned i = 0; i < CONNECTION_SILENT + 3; i++)
        closed(&p[i]);
    ck_assert(!connections_tick(c));
}
END_TEST

START_TEST(newest_is_cut_at_the_hard_limit)
{
    struct pair p[5];
    connections_free(&c);
    OK(connections_new(3, &refusals, &c, &unit_err));
    for (unsigned i = 0; i < 4; i++) {
        p[i] = opened(pair_tcp(), SERVICE_EVENTS);
        connections_heard(c, p[i].fd, "key");
    }
    ck_assert(is_left(&p[0]) && is_left(&p[1]) && is_left(&p[2]) && is_cut(&p[3]));
    ck_assert_uint_eq(logged("refused: 127.0.0.1: events: too many connections, the newest is ended"), 1);
    closed(&p[3]);
    closed(&p[0]);
    p[4] = opened(pair_tcp(), SERVICE_EVENTS);
    ck_assert(is_left(&p[1]) && is_left(&p[2]) && is_left(&p[4]));
    closed(&p[1]);
    closed(&p[2]);
    closed(&p[4]);
}
END_TEST

/* Behind the end of the table. */
START_TEST(high_descriptor_is_cut)
{
    struct pair p = pair_unix();
    int high = fcntl(p.fd, F_DUPFD_CLOEXEC, CONNECTION_DESCRIPTORS);
    if (high < 0) {
        printf("not tried: descriptors go to less than %d here\n", CONNECTION_DESCRIPTORS);
    } else {
        connections_opened(c, high, SERVICE_CONTROL);
        ck_assert(is_cut(&p));
        connections_heard(c, high, "key");
        connections_closed(c, high, SERVICE_CONTROL, true);
        close(high);
    }
    connections_heard(c, -1, "key");        /* of a message without a connection */
    connections_closed(c, -1, SERVICE_CONTROL, true);
    ck_assert(!connections_tick(c));
    close(p.fd);
    close(p.other);
}
END_TEST

/* ----------------------------------------------------------------- keys */

START_TEST(key_is_cut)
{
    struct pair a = opened(pair_unix(), SERVICE_CONTROL), a2 = opened(pair_tcp(), SERVICE_DATA), b = opened(pair_unix(), SERVICE_CONTROL),
                silent = opened(pair_tcp(), SERVICE_EVENTS);
    connections_heard(c, a.fd, "a");
    connections_heard(c, a2.fd, "a");
    connections_heard(c, b.fd, "b");
    connections_cut_key(c, "a");
    ck_assert(is_cut(&a) && is_cut(&a2) && is_left(&b) && is_cut(&silent));
    connections_cut_key(c, "b");
    ck_assert(is_cut(&b));
    closed(&a);
    closed(&a2);
    closed(&b);
    closed(&silent);
}
END_TEST

/* The next connection by that descriptor has nothing of the one before. */
START_TEST(descriptor_is_used_again)
{
    struct pair a = opened(pair_unix(), SERVICE_CONTROL);
    int fd = a.fd;
    connections_heard(c, fd, "a");
    connections_cut_key(c, "a");
    closed(&a);
    struct pair b = opened(pair_unix(), SERVICE_DATA);
    ck_assert_int_eq(b.fd, fd);
    connections_heard(c, fd, "b");
    connections_cut_key(c, "a");
    ck_assert(is_left(&b));
    connections_cut_key(c, "b");
    ck_assert(is_cut(&b));
    closed(&b);
}
END_TEST

/* Events of two sockets come in any order: the end of the one before may be heard of after the beginning of the next. */
START_TEST(end_of_another_service)
{
    struct pair a = opened(pair_unix(), SERVICE_CONTROL);
    connections_opened(c, a.fd, SERVICE_DATA);
    connections_closed(c, a.fd, SERVICE_CONTROL, false);
    connections_heard(c, a.fd, "a");
    ck_assert(connections_tick(c));
    connections_cut_key(c, "a");
    ck_assert(is_cut(&a));
    a.service = SERVICE_DATA;
    closed(&a);
    ck_assert(!connections_tick(c));
}
END_TEST

/* A message of the one before, that lay in a queue, does not give its key for good. */
START_TEST(late_message_of_another)
{
    struct pair b = opened(pair_unix(), SERVICE_CONTROL);
    ck_assert(connections_heard(c, b.fd, "a"));
    ck_assert(!connections_heard(c, b.fd, "a"));
    ck_assert(connections_heard(c, b.fd, "b"));
    connections_cut_key(c, "a");
    ck_assert(is_left(&b));
    connections_cut_key(c, "b");
    ck_assert(is_cut(&b));
    closed(&b);
}
END_TEST

/* The end of the one before was not seen. */
START_TEST(descriptor_is_opened_twice)
{
    struct pair a = opened(pair_unix(), SERVICE_CONTROL), b = opened(pair_unix(), SERVICE_CONTROL);
    connections_heard(c, a.fd, "a");
    connections_opened(c, a.fd, SERVICE_CONTROL);
    connections_heard(c, b.fd, "b");
    connections_cut_key(c, "b");        /* and the silent one, which spoke before */
    ck_assert(is_cut(&a) && is_cut(&b));
    closed(&a);
    closed(&b);
    ck_assert(!connections_tick(c));
}
END_TEST

/* Somebody else's by now, of which no event was taken yet: it is left alone. */
START_TEST(address_is_looked_at)
{
    struct pair a = opened(pair_tcp(), SERVICE_CONTROL), b = pair_tcp();
    connections_heard(c, a.fd, "a");
    close(a.other);
    ck_assert_int_eq(dup2(b.fd, a.fd), a.fd);
    connections_cut_key(c, "a");
    ck_assert(is_left(&b));
    connections_closed(c, a.fd, SERVICE_CONTROL, false);
    close(a.fd);
    close(b.fd);
    close(b.other);
}
END_TEST

#define NO_HANDSHAKE "what was sent is no handshake"
#define NOT_ENDED    "ended before its handshake did"

/* Once each: refusals of the same pair are not logged again for a while. */
START_TEST(reasons_are_logged)
{
    struct pair a = opened(pair_tcp(), SERVICE_CONTROL), b = opened(pair_tcp(), SERVICE_CONTROL), heard = opened(pair_tcp(), SERVICE_CONTROL),
                silent = opened(pair_tcp(), SERVICE_CONTROL), denied = opened(pair_tcp(), SERVICE_CONTROL);
    connections_heard(c, heard.fd, "key");
    connections_settled(c, SERVICE_CONTROL);
    connections_settled(c, SERVICE_CONTROL);
    connections_refused(c, SERVICE_CONTROL);
    closed(&heard);
    closed(&denied);
    closed(&silent);        /* two handshakes were good: the one that was heard, and this one */
    ck_assert_uint_eq(logged("refused"), 0);
    connections_closed(c, a.fd, SERVICE_CONTROL, true);
    ck_assert_uint_eq(logged("refused: 127.0.0.1: control: a connection that " NOT_ENDED), 1);
    connections_closed(c, a.fd, SERVICE_CONTROL, false);    /* it is closed already */
    ck_assert_uint_eq(logged(NO_HANDSHAKE), 0);
    struct pair c1 = opened(pair_tcp(), SERVICE_CONTROL);
    connections_cut_key(c, "");
    closed(&c1);                                            /* that was us */
    closed(&b);
    ck_assert_uint_eq(logged(NO_HANDSHAKE), 0);
    struct pair garbage = opened(pair_tcp(), SERVICE_CONTROL);
    closed(&garbage);
    ck_assert_uint_eq(logged("refused: 127.0.0.1: control: " NO_HANDSHAKE), 1);
    close(a.fd), close(a.other);
}
END_TEST

/* ----------------------------------------------------------------- tick */

/* Bytes go all the way: what the receiving end has is what it counts. */
static void pour(const struct pair *p, size_t nbytes)
{
    static char bytes[65536];
    while (nbytes) {
        size_t n = nbytes < sizeof bytes ? nbytes : sizeof bytes;
        ck_assert_int_eq(send(p->other, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
        ck_assert_int_eq(recv(p->fd, bytes, n, MSG_WAITALL), (ssize_t)n);
        nbytes -= n;
    }
}

/* More than what time alone allows in the course of a test. */
#define SLACK (120 * CONNECTION_IDLE_BYTES)

static const size_t unfinished[SERVICES] = { 8 << 20, 64 << 20, 64 << 10 };

START_TEST(message_without_an_end)
{
    struct pair p = opened(pair_tcp(), _i), whole = opened(pair_tcp(), _i);
    ck_assert(connections_tick(c));
    pour(&p, unfinished[_i]);
    pour(&whole, unfinished[_i]);
    ck_assert(connections_tick(c));
    ck_assert(is_left(&p) && is_left(&whole));
    connections_heard(c, whole.fd, "key");
    pour(&p, SLACK);
    pour(&whole, SLACK);
    connections_tick(c);
    ck_assert(is_cut(&p) && is_left(&whole));
    char line[100];
    snprintf(line, sizeof line, "127.0.0.1: %s: a message without an end", service_name(_i));
    ck_assert_uint_eq(logged(line), 1);
    pour(&whole, unfinished[_i]);
    connections_tick(c);
    ck_assert(is_left(&whole));
    pour(&whole, SLACK);
    connections_tick(c);
    ck_assert(is_cut(&whole));
    closed(&p);
    ck_assert(connections_tick(c));
    closed(&whole);
    ck_assert(!connections_tick(c));
}
END_TEST

/* A count of bytes that goes back is another connection's. */
START_TEST(bytes_begin_anew)
{
    struct pair a = opened(pair_tcp(), SERVICE_EVENTS);
    pour(&a, 64 << 10);
    connections_heard(c, a.fd, "key");
    connections_tick(c);
    closed(&a);
    struct pair b = opened(pair_tcp(), SERVICE_EVENTS);
    pour(&b, 64 << 10);
    connections_tick(c);
    ck_assert(is_left(&b));
    pour(&b, SLACK);
    connections_tick(c);
    ck_assert(is_cut(&b));
    closed(&b);
}
END_TEST

/* None of them has too much for one. */
START_TEST(unfinished_in_all)
{
    struct pair p[3];
    for (unsigned i = 0; i < 3; i++) {
        p[i] = opened(pair_tcp(), SERVICE_DATA);
        pour(&p[i], (40 + i) << 20);
    }
    ck_assert(connections_tick(c));
    ck_assert(is_left(&p[0]) && is_left(&p[1]) && is_left(&p[2]));
    pour(&p[1], 6 << 20);
    ck_assert(connections_tick(c));
    ck_assert(is_left(&p[0]) && is_cut(&p[1]) && is_left(&p[2]));
    ck_assert_uint_eq(logged("data: many messages without an end"), 1);
    for (unsigned i = 0; i < 3; i++)
        closed(&p[i]);
}
END_TEST

START_TEST(subscriptions_are_bounded)
{
    struct pair events = opened(pair_unix(), SERVICE_EVENTS), control = opened(pair_unix(), SERVICE_CONTROL);
    for (unsigned i = 1; i < CONNECTION_SUBSCRIPTIONS; i++) {
        connections_heard(c, events.fd, "a");
        connections_heard(c, control.fd, "b");
    }
    connections_tick(c);
    ck_assert(is_left(&events));
    connections_heard(c, events.fd, "a");
    connections_heard(c, control.fd, "b");
    connections_tick(c);
    ck_assert(is_cut(&events) && is_left(&control));
    ck_assert_uint_eq(logged("events: too many subscriptions"), 1);
    closed(&events);
    closed(&control);
}
END_TEST

/* -------------------------------------------------------------- threads */

#define SPEAKERS 3
#define FDS      8
#define ROUNDS   3000

static struct {
    struct pair pairs[FDS];
    _Atomic bool end;       /* relaxed: only says when to stop */
} race;

static void *speak(void *opaque)
{
    const char *key = opaque;
    for (unsigned i = 0; !atomic_load_explicit(&race.end, memory_order_relaxed); i++)
        connections_heard(c, race.pairs[i % FDS].fd, key);
    return NULL;
}

/* Messages are heard while the guard opens, judges, cuts and closes; nothing is lost or twice in the list. */
START_TEST(threads_speak)
{
    static char keys[SPEAKERS][2] = { "a", "b", "c" };
    pthread_t threads[SPEAKERS];
    for (unsigned i = 0; i < FDS; i++)
        race.pairs[i] = i % 2 ? pair_unix() : pair_tcp();
    for (unsigned i = 0; i < SPEAKERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, speak, keys[i]), 0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        connections_opened(c, race.pairs[unit_below(FDS)].fd, (enum service)unit_below(SERVICES));
        if (unit_below(8) == 0)
            connections_cut_key(c, keys[unit_below(SPEAKERS)]);
        ck_assert(connections_tick(c));
        if (unit_below(2))
            connections_closed(c, race.pairs[unit_below(FDS)].fd, (enum service)unit_below(SERVICES), false);
        else
            connections_opened(c, race.pairs[unit_below(FDS)].fd, SERVICE_CONTROL);
    }
    for (unsigned i = 0; i < FDS * SERVICES; i++)
        connections_closed(c, race.pairs[i / SERVICES].fd, (enum service)(i % SERVICES), false);
    ck_assert(!connections_tick(c));
    atomic_store_explicit(&race.end, true, memory_order_relaxed);
    for (unsigned i = 0; i < SPEAKERS; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < FDS; i++)
        closed(&race.pairs[i]);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case_with(suite, "connections", setup, teardown);
    tcase_add_test(tc, silent_ones_are_bounded);
    tcase_add_test(tc, newest_is_cut_at_the_hard_limit);
    tcase_add_test(tc, high_descriptor_is_cut);
    tcase_add_test(tc, key_is_cut);
    tcase_add_test(tc, descriptor_is_used_again);
    tcase_add_test(tc, descriptor_is_opened_twice);
    tcase_add_test(tc, end_of_another_service);
    tcase_add_test(tc, late_message_of_another);
    tcase_add_test(tc, address_is_looked_at);
    tcase_add_test(tc, reasons_are_logged);
    tcase_add_loop_test(tc, message_without_an_end, 0, SERVICES);
    tcase_add_test(tc, bytes_begin_anew);
    tcase_add_test(tc, unfinished_in_all);
    tcase_add_test(tc, subscriptions_are_bounded);
    tcase_add_test(tc, threads_speak);
}

UNIT_MAIN("connections", add_cases)
