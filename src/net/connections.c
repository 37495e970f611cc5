// SPDX-License-Identifier: BSD-3-Clause
#include "net/connections.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/tcp.h>      /* not <netinet/tcp.h>: its struct tcp_info ends before the counters */
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <xxhash.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"

/*
 * Bytes that a connection may bring without a whole message: several of the
 * largest that are allowed, for what is in the pipe when the reader is busy.
 */
static const uint64_t unfinished_bytes[SERVICES] = { 8 << 20, 64 << 20, 64 << 10 };

struct connection {
    _Atomic uint32_t heard;             /* messages */
    _Atomic uint64_t speaker;           /* hash of `key`; 0: silent */
    /* the rest: under the mutex */
    struct connection *previous, *next; /* those that are open, oldest first */
    bool open, cut;
    enum service service;
    char key[KEY_TEXT_BYTES];
    char who[CONNECTION_WHO_BYTES];
    struct sockaddr_storage peer;
    uint32_t heard_then;                /* at the last tick */
    uint64_t unfinished;                /* bytes since then, at the last tick */
    uint64_t taken_then;                /* bytes, when a message was last heard; it grows by what is allowed without one */
};

struct connections {
    pthread_mutex_t mutex;
    struct refusals *refusals;
    unsigned max, max_silent, nopen;
    /*
     * Handshakes that ended well, less the connections of which that is known:
     * they were heard, or ended.  A connection that ends unheard is one of them,
     * unless there are none: then its handshake has failed.
     */
    int64_t settled[SERVICES];
    int64_t refused[SERVICES];          /* keys that were not let in, whose connections have not ended yet */
    int64_t tick_ms;                    /* when the last one was */
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
    c->max_silent = max / 2 < CONNECTION_SILENT ? max / 2 : CONNECTION_SILENT;
    c->tick_ms = clock_ms();
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
    if (!connection->cut && peer.ss_family != AF_UNSPEC && !memcmp(&peer, &connection->peer, sizeof peer))
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
    return !connection->cut && !atomic_load_explicit(&connection->speaker, memory_order_relaxed);
}

static struct connection *oldest_silent(struct connections *c, unsigned *n)
{
    struct connection *oldest = NULL;
    *n = 0;
    for (struct connection *i = c->oldest; i; i = i->next)
        if (is_silent(i)) {
            oldest = oldest ? oldest : i;
            ++*n;
        }
    return oldest;
}

/* Who says nothing goes first; only where all have spoken, the newest. */
static void make_room(struct connections *c, struct connection *newest)
{
    if (c->nopen <= c->max_silent)
        return;         /* max is more */
    unsigned n;
    struct connection *silent = oldest_silent(c, &n);
    bool full = c->nopen > c->max;
    if (silent && silent != newest && (full || n > c->max_silent)) {
        note(c, silent, "too many connections that say nothing, the oldest is ended");
        cut(c, silent);
    } else if (full) {
        note(c, newest, "too many connections, the newest is ended");
        cut(c, newest);
    }
}

static void forget(struct connection *connection)
{
    atomic_store_explicit(&connection->speaker, 0, memory_order_relaxed);
    atomic_store_explicit(&connection->heard, 0, memory_order_relaxed);
    connection->key[0] = 0;
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
    forget(connection);
    connection->heard_then = 0;
    connection->taken_then = 0;
    connection->unfinished = 0;
    connection->cut = false;
    connection->service = service;
    get_peer(fd, &connection->peer);
    describe(fd, &connection->peer, connection->who);
    link_connection(c, connection);
    make_room(c, connection);
}

void connections_settled(struct connections *c, enum service service)
{
    LOCK_SCOPE(&c->mutex);
    c->settled[service]++;
}

void connections_refused(struct connections *c, enum service service)
{
    LOCK_SCOPE(&c->mutex);
    c->refused[service]++;
}

static bool take(int64_t *number)
{
    return *number > 0 && (*number)--;
}

/* What the log has not yet about a connection that ends unheard; NULL: nothing. */
static const char *reason(struct connections *c, enum service service, bool failed)
{
    if (take(&c->refused[service]))
        return NULL;
    if (failed)
        return "a connection that ended before its handshake did";
    return take(&c->settled[service]) ? NULL : "what was sent is no handshake, or one side has a key and the other has none";
}

void connections_closed(struct connections *c, int fd, enum service service, bool failed)
{
    if (fd < 0 || fd >= CONNECTION_DESCRIPTORS)
        return;
    LOCK_SCOPE(&c->mutex);
    struct connection *connection = &c->table[fd];
    if (!connection->open || connection->service != service)
        return;     /* another one has the descriptor by now */
    const char *why = is_silent(connection) ? reason(c, service, failed) : NULL;
    if (why)
        note(c, connection, why);
    unlink_connection(c, connection);
    forget(connection);
}

/* One key cannot take all the room.  A peer has a few for each of its sessions. */
static void bound_key(struct connections *c, struct connection *connection)
{
    unsigned n = 0;
    for (const struct connection *i = c->oldest; i; i = i->next)
        n += !i->cut && i->key[0] && !strcmp(i->key, connection->key);
    if (n <= CONNECTION_KEY)
        return;
    note(c, connection, "too many connections of one key, the newest is ended");
    cut(c, connection);
}

/* Somebody else than before, or the first message: rare, hence the mutex. */
static void set_speaker(struct connections *c, struct connection *connection, const char *key, uint64_t speaker)
{
    LOCK_SCOPE(&c->mutex);
    if (connection->open && is_silent(connection))
        c->settled[connection->service]--;
    snprintf(connection->key, sizeof connection->key, "%s", key);
    atomic_store_explicit(&connection->speaker, speaker, memory_order_relaxed);
    if (connection->open)
        bound_key(c, connection);
}

bool connections_heard(struct connections *c, int fd, const char *key)
{
    if (fd < 0 || fd >= CONNECTION_DESCRIPTORS)
        return false;
    struct connection *connection = &c->table[fd];
    uint64_t speaker = XXH3_64bits(key, strlen(key)) | 1;
    uint32_t heard = atomic_fetch_add_explicit(&connection->heard, 1, memory_order_relaxed) + 1;
    bool fresh = atomic_load_explicit(&connection->speaker, memory_order_relaxed) != speaker;
    if (fresh)
        set_speaker(c, connection, key, speaker);
    if (heard % CONNECTION_SUBSCRIPTIONS)
        return fresh;
    LOCK_SCOPE(&c->mutex);
    if (connection->open && connection->service == SERVICE_EVENTS) {
        note(c, connection, "too many subscriptions");
        cut(c, connection);
    }
    return fresh;
}

void connections_who(struct connections *c, int fd, char who[CONNECTION_WHO_BYTES])
{
    if (fd < 0 || fd >= CONNECTION_DESCRIPTORS)
        return;
    LOCK_SCOPE(&c->mutex);
    if (c->table[fd].open)
        memcpy(who, c->table[fd].who, CONNECTION_WHO_BYTES);
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

/* What needs no message of ours: the other side's heartbeats and acknowledgements of the transport. */
static void judge(struct connections *c, struct connection *connection, uint64_t allowed_bytes)
{
    uint64_t taken = taken_bytes(descriptor(c, connection));
    uint32_t heard = atomic_load_explicit(&connection->heard, memory_order_relaxed);
    connection->taken_then += allowed_bytes;
    if (heard != connection->heard_then || taken < connection->taken_then) {
        connection->heard_then = heard;
        connection->taken_then = taken;
    }
    connection->unfinished = taken - connection->taken_then;
    if (connection->unfinished > unfinished_bytes[connection->service]) {
        note(c, connection, "a message without an end");
        cut(c, connection);
    }
}

/* Many that stay below what one may have: the largest go. */
static void bound_unfinished(struct connections *c)
{
    for (;;) {
        uint64_t all = 0;
        struct connection *largest = NULL;
        for (struct connection *i = c->oldest; i; i = i->next)
            if (!i->cut) {
                all += i->unfinished;
                largest = largest && largest->unfinished >= i->unfinished ? largest : i;
            }
        if (all <= CONNECTION_UNFINISHED)
            return;
        note(c, largest, "many messages without an end, the largest is ended");
        cut(c, largest);
    }
}

bool connections_tick(struct connections *c)
{
    int64_t now_ms = clock_ms();
    LOCK_SCOPE(&c->mutex);
    uint64_t allowed_bytes = (uint64_t)(now_ms - c->tick_ms) * CONNECTION_IDLE_BYTES / 1000;
    c->tick_ms = now_ms;
    for (struct connection *i = c->oldest; i; i = i->next)
        if (!i->cut)
            judge(c, i, allowed_bytes);
    bound_unfinished(c);
    return c->nopen;
}
