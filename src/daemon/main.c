// SPDX-License-Identifier: BSD-3-Clause
/*
 * dirtyferryd: one a host, source and target alike.
 *
 * Threads
 *   control   this one: requests, sessions, events, time.  Never does anything
 *             that takes time in proportion to a bitmap.
 *   guard     who may come in, and whose connection is cut (net/guard.h)
 *   receiver  the data socket and the parents that are filled (session/receive.h)
 *   admin     disks and bitmaps: three, for changes, for looks, and for QEMU's (daemon/admin.h)
 *   keeper    syncing, dumps, the bits of comparisons (session/keep.h)
 *   hands     one for each step in another process (session/hands.h)
 *   workers   those of the sessions (session/worker.h)
 * They share nothing but messages by inproc sockets and the shared mappings.
 */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include "backend/quota.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "bitmap/fault.h"
#include "daemon/admin.h"
#include "daemon/comparison.h"
#include "daemon/options.h"
#include "daemon/orphans.h"
#include "daemon/privilege.h"
#include "daemon/ready.h"
#include "daemon/statedir.h"
#include "qemu/remote.h"
#include "session/session.h"
#include "session/worker.h"

struct daemon {
    struct options options;
    struct net net;
    struct guard *guard;
    struct engine *engine;
    struct admin admin;
    struct comparisons *comparisons;
    char control[256], data[256], events[256];  /* where they really listen */
    struct statedir state;
    unsigned descriptors;                       /* that may be open */
    int signals;
};

#define DESCRIPTORS_MIN 512u
#define DESCRIPTORS_MAX 65536u

/* libzmq aborts the process when it cannot get a descriptor: get as many as we may, before. */
static int raise_descriptors(struct daemon *d, struct df_error *err)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return error_errno(err, -errno, "cannot ask how many files may be open");
    rlim_t wanted = limit.rlim_max < DESCRIPTORS_MAX ? limit.rlim_max : DESCRIPTORS_MAX;
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = wanted;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
            return error_errno(err, -errno, "cannot raise the number of files that may be open to %llu", (unsigned long long)wanted);
    }
    if (limit.rlim_cur < DESCRIPTORS_MIN)
        return error_set(err, -EMFILE, "%llu files may be open, and %u are needed: raise the limit by 'ulimit -n' or LimitNOFILE=",
                         (unsigned long long)limit.rlim_cur, DESCRIPTORS_MIN);
    d->descriptors = (unsigned)limit.rlim_cur;
    log_info("%u files may be open", d->descriptors);
    return 0;
}

/* From here on nobody gets in without being looked at. */
static int start_net(struct daemon *d, struct df_error *err)
{
    CLEANUP(allow_close) struct allow *allow = NULL;
    CLEANUP(keys_forget) struct key_pair keys;
    const struct options *o = &d->options;
    int r = o->key ? keys_read_secret(o->key, &keys, err) : 0;
    if (!r && o->allow)
        r = allow_open(o->allow, &allow, err);
    if (!r)
        r = net_start(&d->net, o->key ? &keys : NULL, err);
    d->net.insecure = o->insecure;
    return r < 0 ? r : guard_start(&d->net, &allow, &d->guard, err);
}

static void warn_insecure(const struct daemon *d)
{
    const char *const endpoints[] = { d->control, d->data, d->events };
    for (unsigned i = 0; i < 3; i++)
        if (d->options.insecure && !net_is_local(endpoints[i]))
            log_warning("INSECURE: anybody who reaches '%s' can use this daemon; nothing is checked and nothing is encrypted", endpoints[i]);
}

static int start_sockets(struct daemon *d, struct df_error *err)
{
    struct engine *engine = d->engine;
    const struct options *o = &d->options;
    int r = server_open(&d->net, d->guard, &engine->server, err);
    if (!r)
        r = server_listen(engine->server, o->control, d->control, err);
    if (!r)
        r = server_listen_inproc(engine->server, WORKER_CONTROL_INPROC, err);
    if (!r)
        r = events_listen(&d->net, d->guard, o->events, d->events, &engine->events, err);
    if (!r)
        r = receiver_start(&d->net, d->guard, o->data, d->data, &engine->receiver, err);
    if (!r && o->advertise_data)
        r = net_check_endpoint(o->advertise_data, "--advertise-data", err);
    snprintf(engine->data, sizeof engine->data, "%s", o->advertise_data ? o->advertise_data : d->data);
    return r;
}

static int start_threads(struct daemon *d, struct df_error *err)
{
    int r = keeper_start(&d->net, "inproc://keeper", &d->engine->keeper, err);
    if (!r)
        r = hands_start(&d->engine->hands, err);
    return r < 0 ? r : admin_start(&d->admin, &d->net, d->state.path, err);
}

static int start(struct daemon *d, struct df_error *err)
{
    struct engine *engine = d->engine = calloc(1, sizeof *engine);
    if (!engine)
        return error_errno(err, -ENOMEM, "cannot start");
    engine->sessions_dir = -1;
    int r = statedir_open(&d->state, d->options.state_dir, d->options.writer_group, err);
    if (!r)
        r = privilege_drop(d->state.path, err);
    if (!r)
        r = files_open_directory(d->state.path, "sessions", 0700, &engine->sessions_dir, err);
    if (!r)
        r = start_net(d, err);
    if (r < 0)
        return r;
    engine->net = &d->net;
    engine->state_dir = d->state.path;
    engine->rebooted = d->state.rebooted;
    engine->descriptors_max = d->descriptors * 2 / 5;       /* a third of them is for connections (net/guard.c) */
    r = start_sockets(d, err);
    if (!r)
        r = start_threads(d, err);
    if (!r)
        r = recover_sessions(engine, err);
    if (!r)
        r = comparisons_start(engine, &d->comparisons, err);
    if (!r)
        r = orphans_settle(engine, d->comparisons, err);
    if (!r)
        warn_insecure(d);
    return r < 0 ? r : statedir_note_boot(&d->state, err);
}

static int flush_disk(void *opaque, const char *name)
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    struct df_error err;
    int r = df_disk_open(opaque, name, &disk, &err);
    if (!r)
        r = df_disk_flush(disk, &err);
    if (r < 0 && r != -EBUSY)       /* a writer is there: it does this when it leaves */
        log_error("%s", err.message);
    return 0;
}

/* Workers notice that the context is shut down; the rest is told. */
static void stop(struct daemon *d)
{
    struct engine *engine = d->engine;
    if (!engine)
        return;
    admin_stop(&d->admin);
    receiver_stop(&engine->receiver);
    keeper_stop(&engine->keeper);
    hands_stop(&engine->hands);
    comparisons_stop(&d->comparisons);
    engine_destroy(engine);
    if (engine->state_dir)
        df_disk_list(engine->state_dir, flush_disk, d->state.path, NULL);
    if (engine->sessions_dir >= 0)
        close(engine->sessions_dir);
    server_close(&engine->server);
    net_close(&engine->events);
    guard_stop(&d->guard);
    net_stop(&d->net);
    free(engine);
    statedir_close(&d->state);
}

static void handle_hello(struct daemon *d, struct request *request)
{
    struct out out;
    request_begin_reply(request, &out);
    out_text(&out, "daemon", "dirtyferry " PACKAGE_VERSION);
    out_text(&out, "control", d->control);
    out_text(&out, "data", d->engine->data);
    out_text(&out, "events", d->events);
    request_reply(&request, &out);
}

/* So many, then everything else has its turn: nobody who floods holds up the rest. */
#define REQUESTS_A_TURN 64

static void handle_requests(struct daemon *d)
{
    struct request *request = NULL;
    for (unsigned i = 0; i < REQUESTS_A_TURN && (request = server_receive(d->engine->server)); i++) {
        const char *type = request->message->type->name;
        log_debug("request '%s'", type);
        if (!strcmp(type, "hello"))
            handle_hello(d, request);
        else if (!admin_request(&d->admin, request) && !comparisons_request(d->comparisons, request) && !engine_request(d->engine, request))
            abort();    /* the schema has a request that nobody handles: a test sees to it that there is none */
    }
}

static void handle_done(struct daemon *d)
{
    admin_receive(&d->admin);
    for (struct order *order; (order = receiver_done(d->engine->receiver));)
        engine_order_done(d->engine, order);
    keeper_receive(d->engine->keeper);
    hands_receive(d->engine->hands);
}

static int serve(struct daemon *d, struct df_error *err)
{
    struct engine *engine = d->engine;
    void *const sockets[] = {
        server_socket(engine->server), server_inproc_socket(engine->server), engine->events, receiver_socket(engine->receiver),
        keeper_socket(d->admin.keepers[ADMIN_CHANGES]), keeper_socket(d->admin.keepers[ADMIN_LOOKS]), keeper_socket(d->admin.keepers[ADMIN_QEMU]),
        keeper_socket(engine->keeper),
    };
    enum { SOCKETS = sizeof sockets / sizeof *sockets, FIXED = SOCKETS + 2 };
    static zmq_pollitem_t items[FIXED + SESSIONS_MAX + ENDED_SESSIONS];
    items[0] = (zmq_pollitem_t){ NULL, d->signals, ZMQ_POLLIN, 0 };
    items[1] = (zmq_pollitem_t){ NULL, hands_fd(engine->hands), ZMQ_POLLIN, 0 };
    for (unsigned i = 0; i < SOCKETS; i++)
        items[i + 2] = (zmq_pollitem_t){ sockets[i], 0, ZMQ_POLLIN, 0 };
    for (;;) {
        int64_t due_ms = engine_tick(engine), other_due_ms = comparisons_tick(d->comparisons);
        int64_t wait_ms = (due_ms < other_due_ms ? due_ms : other_due_ms) - clock_ms();
        size_t n = FIXED + engine_peers(engine, items + FIXED, SESSIONS_MAX + ENDED_SESSIONS);
        if (zmq_poll(items, (int)n, wait_ms > 0 ? (long)wait_ms : 0) < 0 && errno != EINTR)
            return error_set(err, -errno, "cannot wait for messages: %s", zmq_strerror(errno));
        if (items[0].revents & ZMQ_POLLIN)
            return 0;
        handle_requests(d);
        handle_done(d);
        events_take(engine->events, d->guard);
        engine_receive(engine);
    }
}

/* Frames are allocated by one thread and freed by another, megabytes a millisecond: do not give each back to the system. */
static void keep_heap(void)
{
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    mallopt(M_TRIM_THRESHOLD, 32 << 20);
}

int main(int argc, char **argv)
{
    struct daemon d = { .state.lock = -1 };
    struct df_error err;
    sigset_t signals;
    if (options_parse(argc, argv, &d.options) < 0)
        return 2;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    d.signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    quota_set_limit(d.options.max_bitmap_bytes);
    backend_set_remote(qemu_remote_open);
    keep_heap();
    umask(077);
    int r = raise_descriptors(&d, &err);
    if (!r)
        r = fault_start(&err);
    if (!r)
        r = start(&d, &err);
    if (!r)
        r = ready_tell(d.control, d.data, d.events, &err);
    if (!r)
        r = serve(&d, &err);
    if (r < 0)
        fprintf(stderr, "dirtyferryd: %s\n", err.message);
    stop(&d);
    return r < 0;
}
