// SPDX-License-Identifier: BSD-3-Clause
#include "net/guard.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "net/monitor.h"
#include "net/zap.h"

#define EVENTS_A_TURN 256
#define RELOAD_MS 1000      /* inotify does not tell of a directory above that was replaced */

struct guard {
    struct net *net;
    struct allow *allow;                /* NULL: no keys */
    struct refusals refusals;
    struct connections *connections;
    pthread_t thread;
    void *control;                      /* the other end of `orders` */
    /* the thread's */
    void *orders, *zap;
    void *monitors[SERVICES];
    bool cut_again;                     /* a key has gone: see take_changes() */
    bool failed[SERVICES];              /* the connection that ends next did so in its handshake */
};

/* What the starting thread hands over; an empty message ends the guard. */
struct watch {
    enum service service;
    void *monitor;
};

/* ----------------------------------------------------------------- policy */

/* Who may connect at all.  What he may ask then is in access.c. */
static const unsigned may_connect[SERVICES] = {
    [SERVICE_CONTROL] = KEY_ALL,
    [SERVICE_DATA]    = KEY_PEER | KEY_SELF,
    [SERVICE_EVENTS]  = KEY_ORCHESTRATOR | KEY_MONITOR | KEY_SELF,
};

/* libzmq writes an IPv4 address that an IPv6 socket sees as "::ffff:192.0.2.1", and "localhost:UID:GID:PID" for ipc. */
static void set_address(struct caller *caller, const char *address)
{
    const char *plain = !strncmp(address, "::ffff:", 7) ? address + 7 : address;
    unsigned uid;
    if (sscanf(address, "localhost:%u:", &uid) == 1)
        snprintf(caller->address, sizeof caller->address, "uid %u", uid);
    else
        snprintf(caller->address, sizeof caller->address, "%.63s", plain[0] ? plain : "a local process");
}

static unsigned roles_of(struct guard *guard, const char *key, char name[ALLOW_NAME_BYTES])
{
    if (!strcmp(key, guard->net->keys.public_key)) {
        snprintf(name, ALLOW_NAME_BYTES, "own");
        return KEY_SELF | KEY_PEER;
    }
    return allow_roles(guard->allow, key, name);
}

static void answer_zap(struct guard *guard)
{
    struct zap_request request;
    for (unsigned n = 0; n < EVENTS_A_TURN && zap_receive(guard->zap, &request); n++) {
        struct caller caller = { 0 };
        enum service service = 0;
        while (service < SERVICES && strcmp(service_name(service), request.domain))
            service++;
        snprintf(caller.key, sizeof caller.key, "%s", request.key);
        set_address(&caller, request.address);
        if (request.key[0])
            caller.roles = roles_of(guard, request.key, caller.name);
        bool ok = service < SERVICES && caller.roles & may_connect[service];
        if (!ok && service < SERVICES)
            connections_refused(guard->connections, service);
        if (!ok)
            guard_refused(guard, &caller, caller.roles ? "%s: the roles of this key do not let it connect" : "%s: this key is not allowed", request.domain);
        zap_reply(guard->zap, &request, ok ? request.key : NULL);
    }
}

/* ----------------------------------------------------------------- thread */

static void connection_event(struct guard *guard, enum service service, const struct monitor_event *event)
{
    switch (event->kind) {
    case ZMQ_EVENT_ACCEPTED:
        connections_opened(guard->connections, (int)event->value, service);
        break;
    case ZMQ_EVENT_DISCONNECTED:
        connections_closed(guard->connections, (int)event->value, service, guard->failed[service]);
        guard->failed[service] = false;
        break;
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        connections_settled(guard->connections, service);
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        guard->failed[service] = true;
        break;
    case ZMQ_EVENT_ACCEPT_FAILED:
        refusals_note(&guard->refusals, service_name(service), "a connection could not be accepted: no descriptor is left");
        break;
    default:
        break;
    }
}

/* So many of each, then ZAP and the tick have their turn.  True: that was all. */
static bool take_events(struct guard *guard)
{
    bool all = true;
    for (enum service i = 0; i < SERVICES; i++) {
        struct monitor_event event;
        unsigned n = 0;
        while (n < EVENTS_A_TURN && guard->monitors[i] && monitor_next(guard->monitors[i], &event)) {
            connection_event(guard, i, &event);
            n++;
        }
        all = all && n < EVENTS_A_TURN;
    }
    return all;
}

static void cut_key(void *opaque, const char *key)
{
    struct guard *guard = opaque;
    connections_cut_key(guard->connections, key);
    guard->cut_again = true;
}

/*
 * Connections of a key that is gone may be accepted already, and not known here
 * yet.  When all of them are, those that say nothing are cut once more; the
 * others by the first thing that they say (guard_heard).
 */
static void take_changes(struct guard *guard, bool all_known)
{
    allow_refresh(guard->allow, cut_key, guard);
    if (!guard->cut_again || !all_known)
        return;
    connections_cut_key(guard->connections, "");
    guard->cut_again = false;
}

/* False: the end. */
static bool take_orders(struct guard *guard)
{
    struct watch watch;
    int n;
    while ((n = zmq_recv(guard->orders, &watch, sizeof watch, ZMQ_DONTWAIT)) == sizeof watch) {
        net_close(&guard->monitors[watch.service]);
        guard->monitors[watch.service] = watch.monitor;
    }
    return n < 0 && errno != ETERM;
}

static void *run(void *opaque)
{
    struct guard *guard = opaque;
    bool busy = false;
    for (;;) {
        zmq_pollitem_t items[3 + SERVICES] = { { guard->orders, 0, ZMQ_POLLIN, 0 } };
        int n = 1, fd = guard->allow ? allow_fd(guard->allow) : -1;
        for (enum service i = 0; i < SERVICES; i++)
            if (guard->monitors[i])
                items[n++] = (zmq_pollitem_t){ guard->monitors[i], 0, ZMQ_POLLIN, 0 };
        if (guard->zap)
            items[n++] = (zmq_pollitem_t){ guard->zap, 0, ZMQ_POLLIN, 0 };
        if (fd >= 0)
            items[n++] = (zmq_pollitem_t){ NULL, fd, ZMQ_POLLIN, 0 };
        long wait_ms = busy ? GUARD_TICK_MS : guard->allow ? RELOAD_MS : -1;
        if ((zmq_poll(items, n, wait_ms) < 0 && errno == ETERM) || !take_orders(guard))
            break;
        bool all = take_events(guard);
        if (guard->allow)
            take_changes(guard, all);
        if (guard->zap)
            answer_zap(guard);
        busy = connections_tick(guard->connections);
    }
    net_close(&guard->orders);
    net_close(&guard->zap);
    for (enum service i = 0; i < SERVICES; i++)
        net_close(&guard->monitors[i]);
    return NULL;
}

/* ------------------------------------------------------------ start, stop */

static void guard_free(struct guard *guard)
{
    net_close(&guard->orders);
    net_close(&guard->zap);
    net_close(&guard->control);
    connections_free(&guard->connections);
    allow_close(&guard->allow);
    free(guard);
}

/* The rest is for files, for what this daemon connects to, and for those that are accepted before the guard hears of them. */
static unsigned max_connections(void)
{
    struct rlimit limit;
    rlim_t n = getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur / 3 : 0;
    return n < CONNECTION_DESCRIPTORS / 2 ? (unsigned)n : CONNECTION_DESCRIPTORS / 2;
}

static int open_sockets(struct guard *guard, struct df_error *err)
{
    int r = net_socket(guard->net, ZMQ_PAIR, 0, -1, &guard->orders, err);
    if (!r)
        r = net_socket(guard->net, ZMQ_PAIR, 0, -1, &guard->control, err);
    if (!r)
        r = net_bind_inproc(guard->orders, "inproc://guard", err);
    if (!r)
        r = net_connect_inproc(guard->control, "inproc://guard", err);
    if (!r && guard->allow)
        r = net_socket(guard->net, ZMQ_REP, 0, -1, &guard->zap, err);
    if (!r && guard->allow)
        r = net_bind_inproc(guard->zap, ZAP_ENDPOINT, err);
    return r;
}

int guard_start(struct net *net, struct allow **allow, struct guard **out, struct df_error *err)
{
    struct guard *guard = calloc(1, sizeof *guard);
    if (!guard)
        return error_errno(err, -ENOMEM, "cannot start the guard");
    *guard = (struct guard){ .net = net, .allow = steal(allow), .refusals = REFUSALS_INIT };
    int r = connections_new(max_connections(), &guard->refusals, &guard->connections, err);
    if (!r)
        r = open_sockets(guard, err);
    if (!r && (r = -pthread_create(&guard->thread, NULL, run, guard)) < 0)
        error_errno(err, r, "cannot start the guard");
    if (r < 0) {
        guard_free(guard);
        return r;
    }
    *out = guard;
    return 0;
}

void guard_stop(struct guard **guardp)
{
    struct guard *guard = steal(guardp);
    if (!guard)
        return;
    zmq_send(guard->control, "", 0, 0);
    pthread_join(guard->thread, NULL);
    guard_free(guard);
}

int guard_listen(struct guard *guard, enum service service, void *socket, const char *endpoint, char bound[256], struct df_error *err)
{
    struct watch watch = { .service = service };
    int r = monitor_open(guard->net, socket, MONITOR_INCOMING, &watch.monitor, err);
    if (r < 0)
        return r;
    zmq_send(guard->control, &watch, sizeof watch, 0);
    return net_listen(guard->net, socket, service_name(service), endpoint, bound, err);
}

/* --------------------------------------------------------------- messages */

static const char *property(zmq_msg_t *msg, const char *name)
{
    const char *text = zmq_msg_gets(msg, name);
    return text ? text : "";
}

/* In the clear it is what the other side says about itself. */
static const char *key_of(const struct guard *guard, zmq_msg_t *msg)
{
    return guard->allow ? property(msg, "User-Id") : "";
}

void guard_heard(struct guard *guard, enum service service, zmq_msg_t *msg)
{
    char name[ALLOW_NAME_BYTES];
    const char *key = key_of(guard, msg);
    bool fresh = connections_heard(guard->connections, zmq_msg_get(msg, ZMQ_SRCFD), key);
    /* It was accepted, and the key taken out, before this thread heard of either: see take_changes(). */
    if (fresh && guard->allow && !(roles_of(guard, key, name) & may_connect[service]))
        connections_cut_key(guard->connections, key);
}

void guard_trusted(struct caller *caller)
{
    *caller = (struct caller){ .roles = KEY_ALL };
    snprintf(caller->address, sizeof caller->address, "this process");
}

void guard_caller(struct guard *guard, zmq_msg_t *msg, struct caller *caller)
{
    *caller = (struct caller){ .roles = guard->allow ? 0 : KEY_ALL };
    set_address(caller, property(msg, "Peer-Address"));
    if (!property(msg, "Peer-Address")[0])      /* of old versions of the protocol libzmq does not say it */
        connections_who(guard->connections, zmq_msg_get(msg, ZMQ_SRCFD), caller->address);
    snprintf(caller->key, sizeof caller->key, "%s", key_of(guard, msg));
    if (guard->allow && caller->key[0])
        caller->roles = roles_of(guard, caller->key, caller->name);
}

void guard_refused(struct guard *guard, const struct caller *caller, const char *format, ...)
{
    char who[192], what[256];
    va_list ap;
    va_start(ap, format);
    vsnprintf(what, sizeof what, format, ap);
    va_end(ap);
    if (caller->name[0])
        snprintf(who, sizeof who, "key '%s' at %s", caller->name, caller->address);
    else
        snprintf(who, sizeof who, "%s%s%s", caller->address, caller->key[0] ? ", key " : "", caller->key);
    refusals_note(&guard->refusals, who, what);
}

bool guard_is_from(const struct guard *guard, zmq_msg_t *msg, const char *key)
{
    return !guard->allow || (key[0] && !strcmp(key_of(guard, msg), key));
}
