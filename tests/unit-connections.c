// SPDX-License-Identifier: BSD-3-Clause
/* Connections come, speak and go: whose they are, and who is cut with a key. */
#include <pthread.h>
#include <stdatomic.h>

#include "unit-connections.h"

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
    tcase_add_test(tc, key_is_cut);
    tcase_add_test(tc, descriptor_is_used_again);
    tcase_add_test(tc, end_of_another_service);
    tcase_add_test(tc, late_message_of_another);
    tcase_add_test(tc, descriptor_is_opened_twice);
    tcase_add_test(tc, address_is_looked_at);
    tcase_add_test(tc, reasons_are_logged);
    tcase_add_test(tc, threads_speak);
}

UNIT_MAIN("connections", add_cases)
