// SPDX-License-Identifier: BSD-3-Clause
/*
 * Who comes in by which socket, who he is then, and what happens to those who are
 * there when the allow directory changes.  What does not come in is seen by its
 * own monitor: nothing is concluded from time that passes.
 */
#include "unit-guard.h"

/* -------------------------------------------------------------- coming in */

START_TEST(allowed_keys_come_in)
{
    static const unsigned roles[] = { KEY_ORCHESTRATOR, KEY_PEER, KEY_MONITOR };
    serve(_i);
    for (enum who i = OPERATOR; i < STRANGER; i++) {
        struct visitor v = guest(ZMQ_DEALER, i);
        send_request(v.socket, "hello", i);
        struct request *r = next_request();
        ck_assert_str_eq(r->caller.key, who_keys[i].public_key);
        ck_assert_str_eq(r->caller.name, who_names[i]);
        ck_assert_uint_eq(r->caller.roles, roles[i]);
        if (_i == TCP)
            ck_assert_str_eq(r->caller.address, "127.0.0.1");
        request_ok(&r);
        leave(&v);
    }
}
END_TEST

START_TEST(own_key_comes_in)
{
    serve(_i);
    struct visitor v = visit_as(ZMQ_DEALER, &daemon_keys, address.endpoint, daemon_keys.public_key);
    ck_assert_int_eq(next_event(&v), ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
    send_request(v.socket, "hello", 1);
    struct request *r = next_request();
    ck_assert_str_eq(r->caller.key, daemon_keys.public_key);
    ck_assert_uint_eq(r->caller.roles, KEY_SELF | KEY_PEER);
    request_ok(&r);
    leave(&v);
}
END_TEST

/* One of these events comes first; nothing that he sends arrives, and the next one is served. */
static void stays_out(struct visitor v, int events)
{
    ck_assert_int_ne(next_event(&v) & events, 0);
    zmq_send(v.socket, "", 0, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    zmq_send(v.socket, "hello?", 6, ZMQ_DONTWAIT);
    struct visitor good = guest(ZMQ_DEALER, OPERATOR);
    talk(&good, 1);
    ck_assert_ptr_null(server_receive(server));
    leave(&good);
    leave(&v);
}

START_TEST(strangers_stay_out)
{
    serve(_i);
    stays_out(visit(ZMQ_DEALER, STRANGER), ZMQ_EVENT_HANDSHAKE_FAILED_AUTH);
    ck_assert_uint_eq(logged_both("control: this key is not allowed", who_keys[STRANGER].public_key), 1);
}
END_TEST

/* Either end may be the first to see that the other one speaks in another way, and hang up. */
START_TEST(clear_text_stays_out)
{
    serve(_i);
    stays_out(visit_as(ZMQ_DEALER, NULL, address.endpoint, ""), ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL);
}
END_TEST

/* The visitor believes that somebody else listens there: he must not talk to this daemon. */
START_TEST(another_daemon_is_not_talked_to)
{
    serve(_i);
    stays_out(visit_as(ZMQ_DEALER, &who_keys[PEER], address.endpoint, who_keys[STRANGER].public_key), ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL);
}
END_TEST

/* Which roles open which socket: section 13.2 of proto/dirtyferry.md. */
START_TEST(roles_open_sockets)
{
    static const bool data[] = { false, true, false, false }, events[] = { true, false, true, false };
    char data_at[256], events_at[256];
    void *pull, *xpub;
    OK(net_socket(&net, ZMQ_PULL, 10, 1000, &pull, &unit_err));
    OK(guard_listen(guard, SERVICE_DATA, pull, an_endpoint(_i, "data"), data_at, &unit_err));
    OK(events_listen(&net, guard, an_endpoint(_i, "events"), events_at, &xpub, &unit_err));
    for (enum who i = 0; i < WHOS; i++) {
        struct visitor v = visit_as(ZMQ_PUSH, &who_keys[i], data_at, daemon_keys.public_key);
        ck_assert_int_eq(next_event(&v), data[i] ? ZMQ_EVENT_HANDSHAKE_SUCCEEDED : ZMQ_EVENT_HANDSHAKE_FAILED_AUTH);
        leave(&v);
        v = visit_as(ZMQ_SUB, &who_keys[i], events_at, daemon_keys.public_key);
        ck_assert_int_eq(next_event(&v), events[i] ? ZMQ_EVENT_HANDSHAKE_SUCCEEDED : ZMQ_EVENT_HANDSHAKE_FAILED_AUTH);
        leave(&v);
    }
    ck_assert_uint_eq(logged_both("events: the roles of this key do not let it connect", "key 'peer'"), 1);
    net_close(&pull);
    net_close(&xpub);
}
END_TEST

/* A certificate without roles lets nobody in. */
START_TEST(no_role_stays_out)
{
    serve(_i);
    allow_who(PEER, "");
    settle();
    stays_out(visit(ZMQ_DEALER, PEER), ZMQ_EVENT_HANDSHAKE_FAILED_AUTH);
}
END_TEST

/* Keys, and nobody who looks at them. */
START_TEST(no_guard_lets_nobody_in)
{
    char bound[256];
    void *router;
    guard_stop(&guard);
    server_close(&server);
    OK(net_socket(&net, ZMQ_ROUTER, 10, 1000, &router, &unit_err));
    OK(net_listen(&net, router, "control", an_endpoint(_i, "control"), bound, &unit_err));
    struct visitor v = visit_as(ZMQ_DEALER, &who_keys[OPERATOR], bound, daemon_keys.public_key);
    ck_assert_int_eq(next_event(&v), ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL);
    leave(&v);
    net_close(&router);
}
END_TEST

/* ------------------------------------------------ changes of the directory */

START_TEST(removed_key_is_cut)
{
    serve(_i);
    struct visitor other = guest(ZMQ_DEALER, OPERATOR), gone = guest(ZMQ_DEALER, PEER), silent = guest(ZMQ_DEALER, MONITOR);
    settle();       /* all are known to the guard; it goes through them in this order */
    talk(&other, 1);
    send_request(gone.socket, "hello", 2);
    struct request *r = next_request();
    request_ok(&r);
    forbid_who(PEER);
    ck_assert_int_eq(next_event(&gone), ZMQ_EVENT_DISCONNECTED);
    ck_assert_int_eq(next_event(&gone), ZMQ_EVENT_HANDSHAKE_FAILED_AUTH);
    ck_assert_int_eq(next_event(&silent), ZMQ_EVENT_DISCONNECTED);
    ck_assert_int_eq(next_event(&silent), ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
    talk(&silent, 3);
    talk(&other, 4);
    ck_assert(nothing_happened(&other));
    ck_assert(nothing_happened(&silent));
    leave(&other);
    leave(&gone);
    leave(&silent);
}
END_TEST

/* Both subscribe to the same, of which libzmq needs to say only the first; the guard must know both. */
START_TEST(subscribers_are_told_apart)
{
    char bound[256], byte;
    void *xpub;
    serve(_i);
    OK(events_listen(&net, guard, an_endpoint(_i, "events"), bound, &xpub, &unit_err));
    zmq_pollitem_t subscriptions = { xpub, 0, ZMQ_POLLIN, 0 };
    struct visitor stays = visit_as(ZMQ_XSUB, &who_keys[OPERATOR], bound, daemon_keys.public_key);
    ck_assert_int_eq(next_event(&stays), ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
    settle();
    struct visitor gone = visit_as(ZMQ_SUB, &who_keys[MONITOR], bound, daemon_keys.public_key);
    ck_assert_int_eq(next_event(&gone), ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
    ck_assert_int_eq(zmq_poll(&subscriptions, 1, 20000), 1);
    events_take(xpub, guard);
    send_part(stays.socket, "\1", 1, false);
    ck_assert_int_eq(zmq_poll(&subscriptions, 1, 20000), 1);
    events_take(xpub, guard);
    forbid_who(MONITOR);
    ck_assert_int_eq(next_event(&gone), ZMQ_EVENT_DISCONNECTED);
    send_part(xpub, "e", 1, false);
    zmq_pollitem_t event = { stays.socket, 0, ZMQ_POLLIN, 0 };
    ck_assert_int_eq(zmq_poll(&event, 1, 20000), 1);
    ck_assert_int_eq(zmq_recv(stays.socket, &byte, 1, 0), 1);
    ck_assert(nothing_happened(&stays));
    leave(&stays);
    leave(&gone);
    net_close(&xpub);
}
END_TEST

START_TEST(key_comes_back)
{
    serve(_i);
    struct visitor v = guest(ZMQ_DEALER, PEER);
    forbid_who(PEER);
    ck_assert_int_eq(next_event(&v), ZMQ_EVENT_DISCONNECTED);
    leave(&v);
    allow_who(PEER, "peer");
    settle();
    v = guest(ZMQ_DEALER, PEER);
    leave(&v);
}
END_TEST

/* It is cut too, comes again by itself, and may do what is left to it. */
START_TEST(lost_role_is_denied)
{
    serve(_i);
    struct visitor v = guest(ZMQ_DEALER, OPERATOR);
    send_request(v.socket, "disk-remove", 1);
    struct request *r = next_request();
    request_ok(&r);
    ck_assert_int_eq(expect_reply(v.socket, "disk-remove", 1), 0);
    allow_who(OPERATOR, "monitor");
    ck_assert_int_eq(next_event(&v), ZMQ_EVENT_DISCONNECTED);
    ck_assert_int_eq(next_event(&v), ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
    send_request(v.socket, "disk-remove", 1);       /* not even from memory */
    send_request(v.socket, "disk-remove", 2);
    send_request(v.socket, "disk-list", 3);
    r = next_request();
    ck_assert_uint_eq(r->message->id, 3);
    ck_assert_uint_eq(r->caller.roles, KEY_MONITOR);
    request_ok(&r);
    ck_assert_int_eq(expect_reply(v.socket, "disk-remove", 1), -EACCES);
    ck_assert_int_eq(expect_reply(v.socket, "disk-remove", 2), -EACCES);
    leave(&v);
}
END_TEST

/* Nobody can be recognised any more: those who are there lose their connection. */
START_TEST(directory_that_goes_lets_nobody_in)
{
    serve(_i);
    struct visitor v = guest(ZMQ_DEALER, OPERATOR);
    ck_assert_int_eq(rename(in_dir("allow"), in_dir("elsewhere")), 0);
    ck_assert_int_eq(next_event(&v), ZMQ_EVENT_DISCONNECTED);
    ck_assert_int_eq(next_event(&v), ZMQ_EVENT_HANDSHAKE_FAILED_AUTH);
    leave(&v);
}
END_TEST

/* -------------------------------------------------------- within the process */

START_TEST(inproc_needs_no_key)
{
    void *worker;
    OK(server_listen_inproc(server, "inproc://workers", &unit_err));
    OK(net_socket(&net, ZMQ_DEALER, 10, -1, &worker, &unit_err));
    OK(net_connect_inproc(worker, "inproc://workers", &unit_err));
    send_request(worker, "disk-remove", 1);
    struct request *r = server_receive(server);
    ck_assert_ptr_nonnull(r);
    ck_assert_str_eq(r->caller.key, "");
    ck_assert_uint_eq(r->caller.roles, KEY_ALL);
    request_ok(&r);
    ck_assert_int_eq(expect_reply(worker, "disk-remove", 1), 0);
    net_close(&worker);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = keyed_case(suite, "coming in");
    tcase_add_loop_test(tc, allowed_keys_come_in, 0, TRANSPORTS);
    tcase_add_loop_test(tc, own_key_comes_in, 0, TRANSPORTS);
    tcase_add_loop_test(tc, strangers_stay_out, 0, TRANSPORTS);
    tcase_add_loop_test(tc, clear_text_stays_out, 0, TRANSPORTS);
    tcase_add_loop_test(tc, another_daemon_is_not_talked_to, 0, TRANSPORTS);
    tcase_add_loop_test(tc, roles_open_sockets, 0, TRANSPORTS);
    tcase_add_loop_test(tc, no_role_stays_out, 0, TRANSPORTS);
    tcase_add_loop_test(tc, no_guard_lets_nobody_in, 0, TRANSPORTS);
    tcase_add_test(tc, inproc_needs_no_key);
    tc = keyed_case(suite, "changes");
    tcase_add_loop_test(tc, removed_key_is_cut, 0, TRANSPORTS);
    tcase_add_loop_test(tc, subscribers_are_told_apart, 0, TRANSPORTS);
    tcase_add_loop_test(tc, key_comes_back, 0, TRANSPORTS);
    tcase_add_loop_test(tc, lost_role_is_denied, 0, TRANSPORTS);
    tcase_add_loop_test(tc, directory_that_goes_lets_nobody_in, 0, TRANSPORTS);
}

UNIT_MAIN("guard", add_cases)
