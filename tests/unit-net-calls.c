// SPDX-License-Identifier: BSD-3-Clause
/* Client and peer, against a server; endpoints.  A client that blocks has a thread. */
#include <pthread.h>

#include "base/clock.h"
#include "net/client.h"
#include "net/peer.h"
#include "unit-net.h"

/* -------------------------------------------------------------- client */

struct call {
    pthread_t thread;
    int r;
    struct df_error err;
    uint64_t reply_id, id;
};

static void *call(void *opaque)
{
    struct call *c = opaque;
    struct client *client;
    struct message *reply = NULL;
    struct out out;
    c->r = client_open(&net, &address, &client, &c->err);
    if (c->r)
        return NULL;
    message_begin(&out, "disk-remove", c->id = client_new_id());
    out_text(&out, "disk", "d");
    c->r = client_call(client, &out, 0, &reply, &c->err);
    c->reply_id = reply ? reply->id : 0;
    message_free(&reply);
    client_close(&client);
    return NULL;
}

/* The first try is swallowed as if it had been lost: the second has the same bytes. */
START_TEST(client_sends_again)
{
    struct call c = { 0 };
    ck_assert_int_eq(pthread_create(&c.thread, NULL, call, &c), 0);
    struct request *r = next_request();
    uint64_t first = r->hash;
    server_close(&server);      /* frees the request, forgets the client */
    OK(server_open(&net, guard, &server, &unit_err));
    while (zmq_bind(server_socket(server), address.endpoint) < 0)
        ck_assert_int_eq(errno, EADDRINUSE);
    r = next_request();
    ck_assert_uint_eq(r->hash, first);
    request_ok(&r);
    pthread_join(c.thread, NULL);
    ck_assert_msg(c.r == 0, "%s", c.err.message);
    ck_assert_uint_eq(c.reply_id, c.id);
}
END_TEST

START_TEST(client_gets_the_error)
{
    struct call c = { 0 };
    struct df_error err = { .code = -EROFS, .message = "disk 'd' is read-only" };
    ck_assert_int_eq(pthread_create(&c.thread, NULL, call, &c), 0);
    struct request *r = next_request();
    request_fail(&r, &err);
    pthread_join(c.thread, NULL);
    ck_assert_int_eq(c.r, -EROFS);
    ck_assert_str_eq(c.err.message, err.message);
}
END_TEST

START_TEST(client_gives_up)
{
    struct call c = { 0 };
    ck_assert_int_eq(pthread_create(&c.thread, NULL, call, &c), 0);
    pthread_join(c.thread, NULL);       /* nobody answers */
    ck_assert_int_eq(c.r, -ETIMEDOUT);
    struct request *r = server_receive(server);
    ck_assert_ptr_nonnull(r);
    ck_assert_ptr_null(server_receive(server));     /* the repetitions were seen to be the same */
}
END_TEST

START_TEST(ids_differ)
{
    uint64_t last = client_new_id();
    for (unsigned i = 0; i < 1000; i++) {
        uint64_t id = client_new_id();
        ck_assert_uint_ne(id, last);
        last = id;
    }
}
END_TEST

/* ---------------------------------------------------------------- peer */

static struct {
    unsigned n;
    uint64_t tags[8];
    int r[8];
} answers;

static void take_answer(void *opaque, uint64_t tag, int r, const struct message *reply, const struct df_error *err)
{
    ck_assert_ptr_eq(opaque, &answers);
    ck_assert(r == -ETIMEDOUT ? !reply : reply != NULL);
    ck_assert(r == 0 || err->code == r);
    answers.tags[answers.n] = tag;
    answers.r[answers.n++] = r;
}

static void peer_ask(struct peer *peer, uint64_t tag)
{
    struct out out;
    uint64_t id;
    peer_begin(&out, "disk-remove", &id);
    out_text(&out, "disk", "d");
    peer_send(peer, &out, id, 0, take_answer, &answers, tag);
}

static void peer_until(struct peer *peer, unsigned n)
{
    zmq_pollitem_t item = { peer_socket(peer), 0, ZMQ_POLLIN, 0 };
    while (answers.n < n) {
        int64_t wait = peer_tick(peer) - clock_ms();
        if (answers.n < n)
            zmq_poll(&item, 1, wait < 0 ? 0 : wait > 20000 ? 20000 : (long)wait);
        peer_receive(peer);
    }
}

/* Several under way, answered in another order, each told once. */
START_TEST(peer_has_several_under_way)
{
    struct peer *peer;
    struct request *r[3];
    memset(&answers, 0, sizeof answers);
    OK(peer_open(&net, &address, &peer, &unit_err));
    ck_assert_int_eq(peer_tick(peer), INT64_MAX);
    for (unsigned i = 0; i < 3; i++) {
        peer_ask(peer, i);
        r[i] = next_request();
    }
    struct df_error err = { .code = -ESTALE, .message = "too late for that" };
    request_ok(&r[2]);
    peer_until(peer, 1);
    request_fail(&r[0], &err);
    peer_until(peer, 2);
    request_ok(&r[1]);
    peer_until(peer, 3);
    ck_assert(answers.tags[0] == 2 && answers.tags[1] == 0 && answers.tags[2] == 1);
    ck_assert(answers.r[0] == 0 && answers.r[1] == -ESTALE && answers.r[2] == 0);
    ck_assert_int_eq(peer_tick(peer), INT64_MAX);
    peer_close(&peer);
}
END_TEST

START_TEST(peer_gives_up)
{
    struct peer *peer;
    memset(&answers, 0, sizeof answers);
    OK(peer_open(&net, &address, &peer, &unit_err));
    peer_ask(peer, 7);
    peer_until(peer, 1);        /* nobody answers */
    ck_assert(answers.tags[0] == 7 && answers.r[0] == -ETIMEDOUT);
    struct request *r = server_receive(server);
    ck_assert_ptr_nonnull(r);
    ck_assert_ptr_null(server_receive(server));
    peer_close(&peer);
}
END_TEST

/* A reply is checked against the schema of its own type: one of another type must not get through. */
START_TEST(peer_ignores_other_types)
{
    struct peer *peer;
    struct out out;
    uint64_t id;
    memset(&answers, 0, sizeof answers);
    OK(peer_open(&net, &address, &peer, &unit_err));
    peer_begin(&out, "wait", &id);
    out_text(&out, "session", "6fa2c1d0-0f3e-4b52-9c7b-2d1e8a90b344");
    out_text(&out, "role", "target");
    out_text(&out, "state", "operative");
    out_u64(&out, "timeout_ms", 0);
    peer_send(peer, &out, id, 0, take_answer, &answers, 1);
    struct request *r = next_request();
    message_begin(&out, "disk-add", id);        /* complete, but without the `status` of a wait */
    request_reply(&r, &out);
    peer_until(peer, 1);
    ck_assert_int_eq(answers.r[0], -ETIMEDOUT);
    peer_close(&peer);
}
END_TEST

START_TEST(client_refuses_other_types)
{
    struct call c = { 0 };
    struct out out;
    ck_assert_int_eq(pthread_create(&c.thread, NULL, call, &c), 0);
    struct request *r = next_request();
    message_begin(&out, "disk-add", r->message->id);
    request_reply(&r, &out);
    pthread_join(c.thread, NULL);
    ck_assert_int_eq(c.r, -EPROTO);
}
END_TEST

/* ------------------------------------------------------------- endpoints */

START_TEST(endpoints)
{
    static const char *const good[] = { "tcp://a:1", "tcp://127.0.0.1:65535", "tcp://[::1]:*", "tcp://*:0", "ipc:///x" };
    static const char *const bad[] = { "", "tcp://", "tcp://:1", "tcp://a", "tcp://a:", "tcp://a:65536", "tcp://a:-1", "tcp://a:1x", "ipc://", "udp://a:1", "inproc://x", "x" };
    char resolved[256], path[140];
    for (unsigned i = 0; i < sizeof good / sizeof *good; i++)
        OK(net_check_endpoint(good[i], "endpoint", &unit_err));
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        FAILS(-EINVAL, net_check_endpoint(bad[i], "endpoint", &unit_err));
    snprintf(path, sizeof path, "ipc://%0107d", 0);
    OK(net_check_endpoint(path, "endpoint", &unit_err));
    snprintf(path, sizeof path, "ipc://%0108d", 0);
    FAILS(-EINVAL, net_check_endpoint(path, "endpoint", &unit_err));
    net_resolve("tcp://*:5", "tcp://far:9", resolved);
    ck_assert_str_eq(resolved, "tcp://far:5");
    net_resolve("tcp://[::]:5", "tcp://[fe80::1]:9", resolved);
    ck_assert_str_eq(resolved, "tcp://[fe80::1]:5");
    net_resolve("tcp://near:5", "tcp://far:9", resolved);
    ck_assert_str_eq(resolved, "tcp://near:5");
    net_resolve("tcp://*:5", "ipc:///far", resolved);
    ck_assert_str_eq(resolved, "tcp://*:5");
    ck_assert_int_eq(net_queue_length(1), 1000);
    ck_assert_int_eq(net_queue_length(1 << 20), 8);
    ck_assert_int_eq(net_queue_length(0), 1000);
}
END_TEST

/* What a socket says about itself when it is bound to all addresses must be resolvable. */
START_TEST(wildcards_are_resolved)
{
    static const char *const wild[] = { "tcp://0.0.0.0:*", "tcp://*:*", "tcp://[::]:*" };
    for (unsigned i = 0; i < 3; i++) {
        char bound[256], resolved[256];
        void *s;
        OK(net_socket(&net, ZMQ_PULL, 10, 1000, &s, &unit_err));
        FAILS(-EPERM, net_listen(&net, s, "data", wild[i], bound, &unit_err));
        net.insecure = true;
        OK(net_listen(&net, s, "data", wild[i], bound, &unit_err));
        net.insecure = false;
        net_resolve(bound, "tcp://far:9", resolved);
        ck_assert_msg(!strncmp(resolved, "tcp://far:", 10), "'%s' listens on '%s', is resolved as '%s'", wild[i], bound, resolved);
        net_close(&s);
    }
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = net_case(suite, "calls");
    tcase_add_test(tc, client_sends_again);
    tcase_add_test(tc, client_gets_the_error);
    tcase_add_test(tc, client_gives_up);
    tcase_add_test(tc, client_refuses_other_types);
    tcase_add_test(tc, ids_differ);
    tcase_add_test(tc, peer_has_several_under_way);
    tcase_add_test(tc, peer_gives_up);
    tcase_add_test(tc, peer_ignores_other_types);
    tcase_add_test(tc, endpoints);
    tcase_add_test(tc, wildcards_are_resolved);
}

UNIT_MAIN("net-calls", add_cases)
