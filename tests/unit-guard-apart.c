// SPDX-License-Identifier: BSD-3-Clause
/* What keys keep apart: requests, replies, places among those that wait, frames. */
#include "unit-guard.h"

START_TEST(same_bytes_of_another_key)
{
    serve(_i);
    struct visitor a = guest(ZMQ_DEALER, OPERATOR);
    allow_who(STRANGER, "orchestrator");
    settle();
    struct visitor b = guest(ZMQ_DEALER, STRANGER);
    struct df_error first = { .code = -EBUSY, .message = "for the first key" }, second = { .code = -ENOENT, .message = "for the second key" };
    send_request(a.socket, "disk-remove", 1);
    struct request *ra = next_request();
    send_request(b.socket, "disk-remove", 1);       /* the first is being worked on */
    struct request *rb = next_request();
    ck_assert_str_eq(rb->caller.key, who_keys[STRANGER].public_key);
    request_fail(&ra, &first);
    ck_assert_int_eq(expect_reply(a.socket, "disk-remove", 1), -EBUSY);
    request_fail(&rb, &second);
    ck_assert_int_eq(expect_reply(b.socket, "disk-remove", 1), -ENOENT);
    send_request(a.socket, "disk-remove", 1);       /* both are remembered, each for its own key */
    send_request(b.socket, "disk-remove", 1);
    ra = ask(&a, 2);
    rb = ask(&b, 3);
    ck_assert_int_eq(expect_reply(a.socket, "disk-remove", 1), -EBUSY);
    ck_assert_int_eq(expect_reply(b.socket, "disk-remove", 1), -ENOENT);
    request_ok(&ra);
    request_ok(&rb);
    leave(&a);
    leave(&b);
}
END_TEST

START_TEST(replies_are_replayed_to_their_key)
{
    serve(_i);
    struct visitor a = guest(ZMQ_DEALER, OPERATOR);
    allow_who(STRANGER, "orchestrator");
    settle();
    struct visitor b = guest(ZMQ_DEALER, STRANGER);
    struct df_error err = { .code = -EBUSY, .message = "for the first key" };
    send_request(a.socket, "disk-remove", 1);
    struct request *r = next_request();
    request_fail(&r, &err);
    ck_assert_int_eq(expect_reply(a.socket, "disk-remove", 1), -EBUSY);
    send_request(b.socket, "disk-remove", 1);       /* he knows the bytes: it is a request of his own */
    r = next_request();
    ck_assert_str_eq(r->caller.key, who_keys[STRANGER].public_key);
    request_ok(&r);
    ck_assert_int_eq(expect_reply(b.socket, "disk-remove", 1), 0);
    send_request(a.socket, "disk-remove", 1);
    struct request *last = ask(&a, 2);
    ck_assert_int_eq(expect_reply(a.socket, "disk-remove", 1), -EBUSY);
    request_ok(&last);
    leave(&a);
    leave(&b);
}
END_TEST

/* The server answers him by itself: nobody else is shown his request. */
static void is_turned_down(struct visitor *v, const char *type, uint64_t id)
{
    zmq_pollitem_t items[2] = { { v->socket, 0, ZMQ_POLLIN, 0 }, { server_socket(server), 0, ZMQ_POLLIN, 0 } };
    while (!items[0].revents) {
        ck_assert_ptr_null(server_receive(server));
        ck_assert_int_gt(zmq_poll(items, 2, 20000), 0);
    }
    ck_assert_int_eq(expect_reply(v->socket, type, id), -EAGAIN);
}

/* `n` of one key are kept, one more is not; another key, and the first when one is answered, may ask on. */
static void fill_up(enum who who, const char *type, uint64_t n)
{
    struct visitor v = guest(ZMQ_DEALER, who), other = guest(ZMQ_DEALER, OPERATOR);
    struct request *first = NULL;
    for (uint64_t id = 1; id <= n; id++) {
        send_request(v.socket, type, id);
        struct request *r = next_request();
        ck_assert_uint_eq(r->message->id, id);
        first = first ? first : r;
    }
    send_request(v.socket, type, n + 1);
    is_turned_down(&v, type, n + 1);
    talk(&other, 1);
    request_ok(&first);
    send_request(v.socket, type, n + 2);
    struct request *r = next_request();
    ck_assert_uint_eq(r->message->id, n + 2);
    leave(&v);
    leave(&other);
}

START_TEST(open_requests_are_bounded)
{
    serve(_i);
    fill_up(MONITOR, "disk-list", SERVER_OPEN_LOOKS);
    fill_up(PEER, "hello", SERVER_OPEN_ONE);
}
END_TEST

START_TEST(frames_have_a_key)
{
    char bound[256];
    void *pull;
    zmq_msg_t msg;
    zmq_msg_init(&msg);
    OK(net_socket(&net, ZMQ_PULL, 10, 1000, &pull, &unit_err));
    OK(guard_listen(guard, SERVICE_DATA, pull, an_endpoint(_i, "data"), bound, &unit_err));
    struct visitor v = visit_as(ZMQ_PUSH, &who_keys[PEER], bound, daemon_keys.public_key);
    send_part(v.socket, "frame", 5, false);
    ck_assert_int_eq(net_recv(&msg, pull, 0), 5);
    ck_assert(guard_is_from(guard, &msg, who_keys[PEER].public_key));
    ck_assert(!guard_is_from(guard, &msg, who_keys[MONITOR].public_key));
    ck_assert(!guard_is_from(guard, &msg, ""));     /* a session that was opened without keys */
    zmq_msg_close(&msg);
    zmq_msg_init(&msg);
    ck_assert(!guard_is_from(guard, &msg, ""));     /* of nobody */
    zmq_msg_close(&msg);
    leave(&v);
    net_close(&pull);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = keyed_case(suite, "keys keep apart");
    tcase_add_loop_test(tc, same_bytes_of_another_key, 0, TRANSPORTS);
    tcase_add_loop_test(tc, replies_are_replayed_to_their_key, 0, TRANSPORTS);
    tcase_add_loop_test(tc, open_requests_are_bounded, 0, TRANSPORTS);
    tcase_add_loop_test(tc, frames_have_a_key, 0, TRANSPORTS);
}

UNIT_MAIN("guard-apart", add_cases)
