// SPDX-License-Identifier: BSD-3-Clause
/*
 * A server on an ipc socket in the test's own directory, which the test drives
 * step by step, and messages made by hand.
 */
#ifndef TESTS_UNIT_NET_H
#define TESTS_UNIT_NET_H

#include "net/server.h"
#include "unit.h"

static struct net net;
static struct guard *guard;
static struct server *server;
static struct net_address address;

static inline void net_setup(void)
{
    unit_setup();
    struct allow *none = NULL;
    char bound[256];
    snprintf(address.endpoint, sizeof address.endpoint, "ipc://%.200s/control", unit_dir);
    OK(net_start(&net, NULL, &unit_err));
    OK(guard_start(&net, &none, &guard, &unit_err));
    OK(server_open(&net, guard, &server, &unit_err));
    OK(server_listen(server, address.endpoint, bound, &unit_err));
}

static inline void net_teardown(void)
{
    server_close(&server);
    guard_stop(&guard);
    net_stop(&net);
    unit_teardown();
}

/* The next request; waits for the message, not for time. */
static inline struct request *next_request(void)
{
    zmq_pollitem_t item = { server_socket(server), 0, ZMQ_POLLIN, 0 };
    for (;;) {
        struct request *request = server_receive(server);
        if (request)
            return request;
        ck_assert_int_eq(zmq_poll(&item, 1, 20000), 1);
    }
}

/* ------------------------------------------------------------ messages */

static inline void send_part(void *s, const void *bytes, size_t n, bool more)
{
    ck_assert_int_eq(zmq_send(s, bytes, n, more ? ZMQ_SNDMORE : 0), (int)n);
}

static inline size_t a_request(uint8_t *bytes, const char *type, uint64_t id)
{
    struct out out;
    const uint8_t *at;
    size_t n;
    message_begin(&out, type, id);
    if (!strcmp(type, "disk-remove"))
        out_text(&out, "disk", "d");
    ck_assert(out_finish(&out, &at, &n));
    memcpy(bytes, at, n);
    out_destroy(&out);
    return n;
}

static inline void send_request(void *s, const char *type, uint64_t id)
{
    uint8_t bytes[200];
    size_t n = a_request(bytes, type, id);
    send_part(s, "", 0, true);
    send_part(s, bytes, n, false);
}

/* Type and id of the reply that arrives next; its error's code or 0. */
static inline int expect_reply(void *s, const char *type, uint64_t id)
{
    struct message *m = NULL;
    struct df_error err = { 0 };
    char part[4096];
    uint64_t got;
    zmq_pollitem_t item = { s, 0, ZMQ_POLLIN, 0 };
    ck_assert_int_eq(zmq_poll(&item, 1, 20000), 1);
    ck_assert_int_eq(zmq_recv(s, part, sizeof part, 0), 0);
    int n = zmq_recv(s, part, sizeof part, 0);
    OK(message_decode(part, (size_t)n, MESSAGE_REPLY, &m, &got, &unit_err));
    ck_assert_str_eq(m->type->name, type);
    ck_assert_uint_eq(got, id);
    int code = message_get_error(m, &err);
    message_free(&m);
    return code;
}

static inline TCase *net_case(Suite *suite, const char *name)
{
    return unit_case_with(suite, name, net_setup, net_teardown);
}

#endif
