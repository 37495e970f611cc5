// SPDX-License-Identifier: BSD-3-Clause
/*
 * A server on an ipc socket in the test's own directory, which the test drives
 * step by step.
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

static inline TCase *net_case(Suite *suite, const char *name)
{
    TCase *tc = tcase_create(name);
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, net_setup, net_teardown);
    suite_add_tcase(suite, tc);
    return tc;
}

#endif
