// SPDX-License-Identifier: BSD-3-Clause
/* Limits of connections, by number and by bytes, and who is cut at them. */
#include "unit-connections.h"

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

/* ---------------------------------------------------------------- bytes */

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

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case_with(suite, "connections", setup, teardown);
    tcase_add_test(tc, silent_ones_are_bounded);
    tcase_add_test(tc, newest_is_cut_at_the_hard_limit);
    tcase_add_test(tc, high_descriptor_is_cut);
    tcase_add_loop_test(tc, message_without_an_end, 0, SERVICES);
    tcase_add_test(tc, bytes_begin_anew);
    tcase_add_test(tc, unfinished_in_all);
    tcase_add_test(tc, subscriptions_are_bounded);
}

UNIT_MAIN("connections-limits", add_cases)
