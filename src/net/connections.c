// SPDX-License-Identifier: BSD-3-Clause
#include "net/connections.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/tcp.h>      /* not <netinet/tcp.h>: its struct tcp_info ends before the counters */
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/error.h"

/*
 * Bytes that a connection may bring without a whole message: several of the
 * largest that are allowed, for what is in the pipe when the reader is busy.
 */
static const uint64_t unfinished_bytes[SERVICES] = { 8 << 20, 64 << 20, 64 << 10 };

struct connection {
    _Atomic uint32_t heard;             /* messages */
    _Atomic bool spoke;                 /* `key` is set */
    /* the rest: under the mutex */
    struct connection *previous, *next; /* those that are open, oldest first */
    bool open, cut;
    enum service service;
    char key[KEY_TEXT_BYTES];
    char who[CONNECTION_WHO_BYTES];
    struct sockaddr_storage peer;
    uint32_t heard_then;                /* at the last tick */
    uint64_t taken_then;                /* bytes, when a message was last heard */
};

struct connections {
    pthread_mutex_t mutex;
    struct refusals *refusals;
    unsigned max, nopen;
    struct connection *oldest, *newest;
    struct connection table[CONNECTION_DESCRIPTORS];
};

const char *service_name(enum service service)
{
    static const char *const names[SERVICES] = { "control", "data", "events" };
    return names[service];
}

int connections_new(unsigned max, struct refusals *refusals, struct connections **out, struct df_error *err)
{
    struct connections *c = calloc(1, sizeof *c);      /* pages that are not used are not there */
    if (!c)
        return error_errno(err, -ENOMEM, "cannot watch connections");
    pthread_mutex_init(&c->mutex, NULL);
    c->max = max;
    c->refusals = refusals;
    *out = c;
    return 0;
}

void connections_free(struct connections **cp)
{
    struct connections *c = steal(cp);
    if (!c)
        return;
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

/* ------------------------------------------------------------------ peers */

static void get_peer(int fd, struct sockaddr_storage *peer)
{
    socklen_t n = sizeof *peer;
    memset(peer, 0, sizeof *peer);
    if (getpeername(fd, (struct sockaddr *)peer, &n) < 0)
        peer->ss_family = AF_UNSPEC;
}

/* The address without the port, or the user at the other end of a local socket: what is the same when it comes again. */
static void describe(int fd, const struct sockaddr_storage *peer, char who[CONNECTION_WHO_BYTES])
{
    struct ucred user;
    socklen_t n = sizeof user;
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)peer;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)peer;
    snprintf(who, CONNECTION_WHO_BYTES, "somebody who has left");
    if (peer->ss_family == AF_INET)
        inet_ntop(AF_INET, &v4->sin_addr, who, CONNECTION_WHO_BYTES);
    else if (peer->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
        inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], who, CONNECTION_WHO_BYTES);
    else if (peer->ss_family == AF_INET6)
        inet_ntop(AF_INET6, &v6->sin6_addr, who, CONNECTION_WHO_BYTES);
    else if (peer->ss_family == AF_UNIX && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &user, &n) == 0)
        snprintf(who, CONNECTION_WHO_BYTES, "uid %u", (unsigned)user.uid);
}

static int descriptor(const struct connections *c, const struct connection *connection)
{
    return (int)(connection - c->table);
}

static void note(struct connections *c, const struct connection *connection, const char *what)
{
    char line[160];
    snprintf(line, sizeof line, "%s: %s", service_name(connection->service), what);
    refusals_note(c->refusals, connection->who, line);
}

/* The descriptor may be another connection's by now, whose end nobody has seen yet: then leave it alone. */
static void cut(struct connections *c, struct connection *connection)
{
    struct sockaddr_storage peer;
    int fd = descriptor(c, connection);
    get_peer(fd, &peer);
    if (!connection->cut && !memcmp(&peer, &connection->peer, sizeof peer))
        shutdown(fd, SHUT_RDWR);
    connection->cut = true;
}

/* ------------------------------------------------------- come, speak, go */

static void unlink_connection(struct connections *c, struct connection *connection)
{
    *(connection->previous ? &connection->previous->next : &c->oldest) = connection->next;
    *(connection->next ? &connection->next->previous : &c->newest) = connection->previous;
    connection->previous = connection->next = NULL;
    connection->open = false;
    c->nopen--;
}

static void link_connection(struct connections *c, struct connection *connection)
{
    connection->previous = c->newest;
    *(c->newest ? &c->newest->next : &c->oldest) = connection;
    c->newest = connection;
    connection->open = true;
    c->nopen++;
}

static bool is_silent(const struct connection *connection)
{
    return !connection->cut && !atomic_load_explicit(&connection->spoke, memory_order_relaxed);
}

static void bound_silent(struct connections *c)
{
    unsigned n = 0;
    struct connection *oldest = NULL;
    for (struct connection *i = c->newest; i; i = i->previous)
        if (is_silent(i)) {
            n++;
            oldest = i;
        }
    if (n <= CONNECTION_SILENT)
        return;
    note(c, oldest, "too many connections that say nothing, the oldest is ended");
    cut(c, oldest);
}

void connections_opened(struct connections *c, int fd, enum service service)
{
    if (fd < 0 || fd >= CONNECTION_DESCRIPTORS) {
        shutdown(fd, SHUT_RDWR);
        refusals_note(c->refusals, service_name(service), "too many connections");
        return;
    }
    LOCK_SCOPE(&c->mutex);
    struct connection *connection = &c->table[fd];
    if (connection->open)
        unlink_connection(c, connection);
    atomic_store_explicit(&connection->spoke, false, memory_order_relaxed);
    atomic_store_explicit(&connection->heard, 0, memory_order_relaxed);
    connection->heard_then = 0;
    connection->taken_then = 0;
    connection->cut = false;
    connection->key[0] = 0;
    connection->service = service;
    get_peer(fd, &connection->peer);
    describe(fd, &connection->peer, connection->who);
    link_connection(c, connection);
    if (c->nopen > c->max) {
        note(c, connection, "too many connections, the newest is ended");
        cut(c, connection);
    } else {
        bound_silent(c);
    }
}

void connections_closed(struct connections *c, int fd, const char *why)
{
    if (fd < 0 || fd >= CONNECTION_DESCRIPTORS)
        return;
    LOCK_SCOPE(&c->mutex);
    struct connection *connection = &c->table[fd];
    if (!connection->open)
        return;
    if (why && !connection->cut)
        note(c, connection, why);
    unlink_connection(c, connection);
}

void connections_heard(struct connections *c, int fd, const char *key)
{
    if (fd < 0 || fd >= CONNECTION_DESCRIPTORS)
        return;
    struct connection *connection = &c->table[fd];
    uint32_t heard = atomic_fetch_add_explicit(&connection->heard, 1, memory_order_relaxed) + 1;
    if (atomic_load_explicit(&connection->spoke, memory_order_relaxed) && heard % CONNECTION_SUBSCRIPTIONS)
        return;
    LOCK_SCOPE(&c->mutex);
    if (connection->open && connection->service == SERVICE_EVENTS && heard >= CONNECTION_SUBSCRIPTIONS) {
        note(c, connection, "too many subscriptions");
        cut(c, connection);
    }
    snprintf(connection->key, sizeof connection->key, "%s", key);
    atomic_store_explicit(&connection->spoke, true, memory_order_relaxed);
}

void connections_cut_key(struct connections *c, const char *key)
{
    LOCK_SCOPE(&c->mutex);
    for (struct connection *i = c->oldest; i; i = i->next)
        if (is_silent(i) || !strcmp(i->key, key))
            cut(c, i);
}

/* ------------------------------------------------------------------- tick */

static uint64_t taken_bytes(int fd)
{
    struct tcp_info info = { 0 };
    socklen_t n = sizeof info;
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) == 0 ? info.tcpi_bytes_received : 0;
}

static void judge(struct connections *c, struct connection *connection)
{
    uint64_t taken = taken_bytes(descriptor(c, connection));
    uint32_t heard = atomic_load_explicit(&connection->heard, memory_order_relaxed);
    if (heard != connection->heard_then || taken < connection->taken_then) {
        connection->heard_then = heard;
        connection->taken_then = taken;
    } else if (taken - connection->taken_then > unfinished_bytes[connection->service]) {
        note(c, connection, "a message without an end");
        cut(c, connection);
    }
}

bool connections_tick(struct connections *c)
{
    LOCK_SCOPE(&c->mutex);
    for (struct connection *i = c->oldest; i; i = i->next)
        if (!i->cut)
            judge(c, i);
    return c->nopen;
}
