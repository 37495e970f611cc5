// SPDX-License-Identifier: BSD-3-Clause
/* The server: what is replayed, what is asked anew, what is dropped. */
#include "unit-net.h"

/* ---------------------------------------------------- a socket by hand */

static void *raw_socket(int type)
{
    void *s;
    OK(net_socket(&net, type, 100, -1, &s, &unit_err));
    OK(net_connect(&net, s, &address, &unit_err));
    return s;
}

/* -------------------------------------------------------------- server */

START_TEST(changes_are_replayed)
{
    void *a = raw_socket(ZMQ_DEALER), *b = raw_socket(ZMQ_DEALER);
    send_request(a, "disk-remove", 1);
    struct request *r = next_request();
    struct df_error err = { .code = -EBUSY, .message = "the first and only time" };
    request_fail(&r, &err);
    ck_assert_int_eq(expect_reply(a, "disk-remove", 1), -EBUSY);
    /* The same bytes from elsewhere are not shown to the daemon; another id is. */
    send_request(b, "disk-remove", 1);
    send_request(b, "disk-remove", 2);
    r = next_request();
    ck_assert_uint_eq(r->message->id, 2);
    request_ok(&r);
    ck_assert_int_eq(expect_reply(b, "disk-remove", 1), -EBUSY);
    ck_assert_int_eq(expect_reply(b, "disk-remove", 2), 0);
    net_close(&a);
    net_close(&b);
}
END_TEST

START_TEST(questions_are_answered_anew)
{
    void *a = raw_socket(ZMQ_DEALER);
    struct df_error err = { .code = -EBUSY, .message = "different from the second time" };
    send_request(a, "disk-list", 5);
    struct request *r = next_request();
    request_fail(&r, &err);
    ck_assert_int_eq(expect_reply(a, "disk-list", 5), -EBUSY);
    err.code = -ENOENT;
    send_request(a, "disk-list", 5);
    r = next_request();
    request_fail(&r, &err);
    ck_assert_int_eq(expect_reply(a, "disk-list", 5), -ENOENT);
    net_close(&a);
}
END_TEST

/* While the first is worked on: one request for the daemon, one reply, to the last address. */
START_TEST(pending_request_is_readdressed)
{
    void *a = raw_socket(ZMQ_DEALER), *b = raw_socket(ZMQ_DEALER);
    send_request(a, "disk-remove", 1);
    struct request *first = next_request();
    send_request(b, "disk-remove", 1);
    send_request(b, "disk-remove", 2);
    struct request *second = next_request();
    ck_assert_uint_eq(second->message->id, 2);
    request_ok(&first);
    ck_assert_int_eq(expect_reply(b, "disk-remove", 1), 0);
    request_ok(&second);
    ck_assert_int_eq(expect_reply(b, "disk-remove", 2), 0);
    /* Nothing went to the first address: the next that arrives there is of a later request. */
    send_request(a, "disk-remove", 3);
    first = next_request();
    request_ok(&first);
    ck_assert_int_eq(expect_reply(a, "disk-remove", 3), 0);
    net_close(&a);
    net_close(&b);
}
END_TEST

/* Only the last SERVER_REPLIES are remembered. */
START_TEST(old_replies_are_forgotten)
{
    void *a = raw_socket(ZMQ_DEALER);
    for (uint64_t id = 0; id <= SERVER_REPLIES; id++) {
        send_request(a, "disk-remove", id);
        struct request *r = next_request();
        request_ok(&r);
        expect_reply(a, "disk-remove", id);
    }
    send_request(a, "disk-remove", 1);      /* remembered: replayed by the call that gets the next one */
    send_request(a, "disk-remove", 0);      /* forgotten */
    struct request *r = next_request();
    ck_assert_uint_eq(r->message->id, 0);
    request_ok(&r);
    expect_reply(a, "disk-remove", 1);
    expect_reply(a, "disk-remove", 0);
    net_close(&a);
}
END_TEST

START_TEST(envelope_comes_back)
{
    uint8_t body[200];
    char part[200];
    size_t n = a_request(body, "disk-list", 9);
    void *a = raw_socket(ZMQ_DEALER);
    send_part(a, "\1\2\3\4", 4, true);
    send_part(a, "xyz", 3, true);
    send_part(a, "", 0, true);
    send_part(a, body, n, false);
    struct request *r = next_request();
    request_ok(&r);
    ck_assert_int_eq(zmq_recv(a, part, sizeof part, 0), 4);
    ck_assert_mem_eq(part, "\1\2\3\4", 4);
    ck_assert_int_eq(zmq_recv(a, part, sizeof part, 0), 3);
    ck_assert_int_eq(zmq_recv(a, part, sizeof part, 0), 0);
    ck_assert_int_gt(zmq_recv(a, part, sizeof part, 0), 0);
    net_close(&a);
}
END_TEST

/* Dropped or answered with `protocol`, and the next one is served. */
START_TEST(bad_messages)
{
    uint8_t body[200], *big = calloc(1, WIRE_CONTROL_BYTES + 1);
    size_t n = a_request(body, "disk-list", 9);
    void *a = raw_socket(ZMQ_DEALER), *rude = raw_socket(ZMQ_DEALER);
    send_part(a, body, n, false);                   /* no empty part */
    send_part(a, "", 0, false);                     /* nothing behind it: an empty body, which is answered */
    send_part(a, "", 0, true), send_part(a, body, n, true), send_part(a, "more", 4, false);
    for (unsigned i = 0; i < 50; i++)
        send_part(a, "long envelope", 13, i < 49);
    for (unsigned i = 0; i < 5; i++)
        send_part(a, "x", 1, true);
    send_part(a, "", 0, true), send_part(a, body, n, false);
    send_part(rude, "", 0, true), send_part(rude, big, WIRE_CONTROL_BYTES + 1, false);
    send_part(a, "", 0, true), send_part(a, "garbage", 7, false);
    send_part(a, "", 0, true), send_part(a, "", 0, false);
    send_request(a, "no-such-type", 77);
    send_request(a, "state", 78);                   /* an event is no request */
    send_request(a, "disk-list", 10);
    struct request *r = next_request();
    ck_assert_uint_eq(r->message->id, 10);
    request_ok(&r);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(expect_reply(a, "hello", 0), -EPROTO);
    ck_assert_int_eq(expect_reply(a, "hello", 77), -EPROTO);
    ck_assert_int_eq(expect_reply(a, "hello", 78), -EPROTO);
    net_close(&a);
    net_close(&rude);
    free(big);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = net_case(suite, "server");
    tcase_add_test(tc, changes_are_replayed);
    tcase_add_test(tc, questions_are_answered_anew);
    tcase_add_test(tc, pending_request_is_readdressed);
    tcase_add_test(tc, old_replies_are_forgotten);
    tcase_add_test(tc, envelope_comes_back);
    tcase_add_test(tc, bad_messages);
}

UNIT_MAIN("net", add_cases)
