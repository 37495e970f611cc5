// SPDX-License-Identifier: BSD-3-Clause
/*
 * A server with keys: its allow directory, and visitors with keys of their own,
 * whose monitors tell what becomes of their connections.
 */
#ifndef TESTS_UNIT_GUARD_H
#define TESTS_UNIT_GUARD_H

#include "net/events.h"
#include "net/monitor.h"
#include "unit-files.h"
#include "unit-net.h"

enum who { OPERATOR, PEER, MONITOR, STRANGER, WHOS };

static const char *const who_names[WHOS] = { "operator", "peer", "monitor", "stranger" };
static struct key_pair daemon_keys, who_keys[WHOS];

static inline const char *in_allow(const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "allow/%s", name);
    return in_dir(path);
}

/* Puts the certificate there, or another in its place, as an editor would: whole or not at all. */
static inline void allow_who(enum who who, const char *roles)
{
    char text[300];
    snprintf(text, sizeof text, "metadata\n    roles = \"%s\"\ncurve\n    public-key = \"%s\"\n", roles, who_keys[who].public_key);
    put_text(in_dir("new"), text, 0644);
    ck_assert_int_eq(rename(in_dir("new"), in_allow(who_names[who])), 0);
}

static inline void forbid_who(enum who who)
{
    ck_assert_int_eq(unlink(in_allow(who_names[who])), 0);
}

static inline void keyed_setup(void)
{
    struct allow *allow = NULL;
    unit_setup();
    log_to_file();
    OK(keys_generate(&daemon_keys, &unit_err));
    for (enum who i = 0; i < WHOS; i++)
        OK(keys_generate(&who_keys[i], &unit_err));
    ck_assert_int_eq(mkdir(in_dir("allow"), 0755), 0);
    allow_who(OPERATOR, "orchestrator");
    allow_who(PEER, "peer");
    allow_who(MONITOR, "monitor");
    OK(net_start(&net, &daemon_keys, &unit_err));
    OK(allow_open(in_dir("allow"), &allow, &unit_err));
    OK(guard_start(&net, &allow, &guard, &unit_err));
    OK(server_open(&net, guard, &server, &unit_err));
}

enum { TCP, IPC, TRANSPORTS };

/* An endpoint for each transport. */
static inline const char *an_endpoint(int transport, const char *name)
{
    static char endpoint[1010];
    snprintf(endpoint, sizeof endpoint, "ipc://%s", in_dir(name));
    return transport == IPC ? endpoint : "tcp://127.0.0.1:*";
}

static inline void serve(int transport)
{
    char bound[256];
    OK(server_listen(server, an_endpoint(transport, "control"), bound, &unit_err));
    snprintf(address.endpoint, sizeof address.endpoint, "%s", bound);
    strcpy(address.key, daemon_keys.public_key);
}

/* ------------------------------------------------------------- visitors */

struct visitor {
    void *socket, *events;
};

/* keys: NULL for one in the clear.  key_there: of the daemon, as the visitor believes. */
static inline struct visitor visit_as(int type, const struct key_pair *keys, const char *endpoint, const char *key_there)
{
    struct net there = { .context = net.context, .secure = keys != NULL };
    struct net_address to = { .key = "" };
    struct visitor v;
    if (keys)
        there.keys = *keys;
    snprintf(to.endpoint, sizeof to.endpoint, "%s", endpoint);
    snprintf(to.key, sizeof to.key, "%s", key_there);
    OK(net_socket(&there, type, 1000, WIRE_CONTROL_BYTES, &v.socket, &unit_err));
    OK(monitor_open(&there, v.socket, MONITOR_HANDSHAKES | ZMQ_EVENT_DISCONNECTED, &v.events, &unit_err));
    if (type == ZMQ_SUB)
        ck_assert_int_eq(zmq_setsockopt(v.socket, ZMQ_SUBSCRIBE, "", 0), 0);
    OK(net_connect(&there, v.socket, &to, &unit_err));
    return v;
}

static inline struct visitor visit(int type, enum who who)
{
    return visit_as(type, &who_keys[who], address.endpoint, daemon_keys.public_key);
}

static inline void leave(struct visitor *v)
{
    monitor_close(v->socket, &v->events);
    net_close(&v->socket);
}

/* What happens to its connection next. */
static inline int next_event(struct visitor *v)
{
    struct monitor_event event;
    zmq_pollitem_t item = { v->events, 0, ZMQ_POLLIN, 0 };
    while (!monitor_next(v->events, &event))
        ck_assert_int_eq(zmq_poll(&item, 1, 20000), 1);
    return event.kind;
}

static inline bool nothing_happened(struct visitor *v)
{
    struct monitor_event event;
    return !monitor_next(v->events, &event);
}

/* One that got in. */
static inline struct visitor guest(int type, enum who who)
{
    struct visitor v = visit(type, who);
    ck_assert_int_eq(next_event(&v), ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
    return v;
}

/* He asks for the disks; the daemon's end of that. */
static inline struct request *ask(struct visitor *v, uint64_t id)
{
    send_request(v->socket, "disk-list", id);
    struct request *r = next_request();
    ck_assert_uint_eq(r->message->id, id);
    return r;
}

static inline void talk(struct visitor *v, uint64_t id)
{
    struct request *r = ask(v, id);
    struct df_error err = { .code = -EBUSY, .message = "any answer will do" };
    request_fail(&r, &err);
    ck_assert_int_eq(expect_reply(v->socket, "disk-list", id), -EBUSY);
}

/*
 * The guard knows of all connections and of the directory as they are now, and
 * has cut what it cuts for that: a certificate that was added now lets in, and it
 * looks at connections, then at the directory, cuts, and only then answers who may
 * come in.
 */
static inline void settle(void)
{
    static unsigned number;
    struct key_pair keys;
    char text[300], name[32];
    OK(keys_generate(&keys, &unit_err));
    snprintf(text, sizeof text, "metadata\n    roles = \"monitor\"\ncurve\n    public-key = \"%s\"\n", keys.public_key);
    snprintf(name, sizeof name, "mark-%u", number++);
    put_text(in_dir("new"), text, 0644);
    ck_assert_int_eq(rename(in_dir("new"), in_allow(name)), 0);
    for (int event = 0; event != ZMQ_EVENT_HANDSHAKE_SUCCEEDED;) {
        struct visitor v = visit_as(ZMQ_DEALER, &keys, address.endpoint, daemon_keys.public_key);
        event = next_event(&v);
        leave(&v);
    }
}

static inline TCase *keyed_case(Suite *suite, const char *name)
{
    return unit_case_with(suite, name, keyed_setup, net_teardown);
}

#endif
