// SPDX-License-Identifier: BSD-3-Clause
/*
 * dirtyferryd: one a host, source and target alike.
 *
 * Threads
 *   control   this one: requests, sessions, events, time.  Never does anything
 *             that takes time in proportion to a bitmap.
 *   receiver  the data socket and the parents that are filled (session/receive.h)
 *   admin     disks and bitmaps (daemon/admin.h)
 *   keeper    syncing and dumps (session/keep.h)
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

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "daemon/admin.h"
#include "daemon/options.h"
#include "daemon/orphans.h"
#include "daemon/statedir.h"
#include "session/session.h"
#include "session/worker.h"

struct daemon {
    struct options options;
    struct engine *engine;
    struct keeper *admin;
    char control[256], data[256], events[256];  /* where they really listen */
    struct statedir state;
    int signals;
};

/* libzmq aborts the process when it cannot get a descriptor: get as many as we may, before. */
static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int start(struct daemon *d, struct df_error *err)
{
    struct engine *engine = d->engine = calloc(1, sizeof *engine);
    const struct options *o = &d->options;
    if (!engine)
        return error_errno(err, -ENOMEM, "cannot start");
    engine->sessions_dir = -1;
    int r = statedir_open(&d->state, o->state_dir, err);
    if (!r)
        r = files_open_directory(d->state.path, "sessions", &engine->sessions_dir, err);
    if (!r && !(engine->context = net_context(err)))
        r = -ENOMEM;
    if (r < 0)
        return r;
    engine->state_dir = d->state.path;
    engine->rebooted = d->state.rebooted;
    r = server_open(engine->context, &engine->server, err);
    if (!r)
        r = net_bind(server_socket(engine->server), o->control, d->control, err);
    if (!r)
        r = net_bind(server_socket(engine->server), WORKER_CONTROL_INPROC, NULL, err);
    if (!r)
        r = net_socket(engine->context, ZMQ_PUB, 1000, WIRE_CONTROL_BYTES, &engine->events, err);
    if (!r)
        r = net_bind(engine->events, o->events, d->events, err);
    if (!r)
        r = receiver_start(engine->context, o->data, d->data, &engine->receiver, err);
    if (!r)
        r = keeper_start(engine->context, "inproc://keeper", &engine->keeper, err);
    if (!r)
        r = keeper_start(engine->context, "inproc://admin", &d->admin, err);
    if (!r && o->advertise_data)
        r = net_check_endpoint(o->advertise_data, "--advertise-data", err);
    snprintf(engine->data, sizeof engine->data, "%s", o->advertise_data ? o->advertise_data : d->data);
    if (!r)
        r = recover_sessions(engine, err);
    if (!r)
        r = orphans_settle(engine, err);
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
    keeper_stop(&d->admin);
    receiver_stop(&engine->receiver);
    keeper_stop(&engine->keeper);
    engine_destroy(engine);
    if (engine->state_dir)
        df_disk_list(engine->state_dir, flush_disk, d->state.path, NULL);
    if (engine->sessions_dir >= 0)
        close(engine->sessions_dir);
    server_close(&engine->server);
    net_close(&engine->events);
    if (engine->context) {
        zmq_ctx_shutdown(engine->context);
        zmq_ctx_term(engine->context);
    }
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

static void handle_requests(struct daemon *d)
{
    for (struct request *request; (request = server_receive(d->engine->server));) {
        log_debug("request '%s'", request->message->type->name);
        if (!strcmp(request->message->type->name, "hello"))
            handle_hello(d, request);
        else if (!admin_request(d->admin, d->state.path, request) && !engine_request(d->engine, request))
            abort();    /* the schema has a request that nobody handles: a test sees to it that there is none */
    }
}

static void handle_done(struct daemon *d)
{
    keeper_receive(d->admin);
    for (struct order *order; (order = receiver_done(d->engine->receiver));)
        engine_order_done(d->engine, order);
    keeper_receive(d->engine->keeper);
}

enum { FIXED_ITEMS = 5 };

static int serve(struct daemon *d, struct df_error *err)
{
    static zmq_pollitem_t items[FIXED_ITEMS + SESSIONS_MAX + ENDED_SESSIONS];
    struct engine *engine = d->engine;
    items[0] = (zmq_pollitem_t){ server_socket(engine->server), 0, ZMQ_POLLIN, 0 };
    items[1] = (zmq_pollitem_t){ receiver_socket(engine->receiver), 0, ZMQ_POLLIN, 0 };
    items[2] = (zmq_pollitem_t){ keeper_socket(d->admin), 0, ZMQ_POLLIN, 0 };
    items[3] = (zmq_pollitem_t){ NULL, d->signals, ZMQ_POLLIN, 0 };
    items[4] = (zmq_pollitem_t){ keeper_socket(engine->keeper), 0, ZMQ_POLLIN, 0 };
    for (;;) {
        int64_t wait_ms = engine_tick(engine) - clock_ms();
        size_t n = FIXED_ITEMS + engine_peers(engine, items + FIXED_ITEMS, SESSIONS_MAX + ENDED_SESSIONS);
        if (zmq_poll(items, (int)n, wait_ms > 0 ? (long)wait_ms : 0) < 0 && errno != EINTR)
            return error_set(err, -errno, "cannot wait for messages: %s", zmq_strerror(errno));
        if (items[3].revents & ZMQ_POLLIN)
            return 0;
        handle_requests(d);
        handle_done(d);
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
    raise_descriptors();
    keep_heap();
    umask(077);
    int r = start(&d, &err);
    if (!r) {
        printf("ready control=%s data=%s events=%s\n", d.control, d.data, d.events);
        fflush(stdout);
        r = serve(&d, &err);
    }
    if (r < 0)
        fprintf(stderr, "dirtyferryd: %s\n", err.message);
    stop(&d);
    return r < 0;
}
