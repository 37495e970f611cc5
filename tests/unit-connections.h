// SPDX-License-Identifier: BSD-3-Clause
/* Socket pairs and tcp connections of this process, at whose other end a cut is seen. */
#ifndef TESTS_UNIT_CONNECTIONS_H
#define TESTS_UNIT_CONNECTIONS_H

#include <arpa/inet.h>
#include <poll.h>
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

static inline void setup(void)
{
    struct rlimit limit, more = { CONNECTION_DESCRIPTORS + 100, CONNECTION_DESCRIPTORS + 100 };
    unit_setup();
    log_to_file();
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    ck_assert(setrlimit(RLIMIT_NOFILE, &more) == 0 || setrlimit(RLIMIT_NOFILE, &limit) == 0);   /* root may have more */
    OK(connections_new(10000, &refusals, &c, &unit_err));
}

static inline void teardown(void)
{
    connections_free(&c);
    unit_teardown();
}

static inline struct pair pair_unix(void)
{
    int fds[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    return (struct pair){ .fd = fds[0], .other = fds[1] };
}

static inline struct pair pair_tcp(void)
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

static inline struct pair opened(struct pair p, enum service service)
{
    connections_opened(c, p.fd, service);
    p.service = service;
    return p;
}

static inline bool ended(const struct pair *p, int wait_ms)
{
    struct pollfd item = { .fd = p->other, .events = POLLRDHUP };
    return poll(&item, 1, wait_ms) == 1;
}

/* The kernel may take a moment to tell the other end. */
static inline bool is_cut(const struct pair *p)
{
    return ended(p, 20000);
}

static inline bool is_left(const struct pair *p)
{
    return !ended(p, 0);
}

/* As libzmq does: the event, then the descriptor. */
static inline void closed(struct pair *p)
{
    connections_closed(c, p->fd, p->service, false);
    close(p->fd);
    close(p->other);
}

#endif
