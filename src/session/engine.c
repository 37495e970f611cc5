// SPDX-License-Identifier: BSD-3-Clause
/* The dispatch of requests, and time. */
#include "session/session.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "net/access.h"
#include "session/dump.h"

/* -------------------------------------------------------------- dispatch */

static struct session *turn_down(struct request **request, const struct df_error *err)
{
    if (err->code == -EACCES)
        request_refused(*request, "another key's session");
    request_fail(request, err);
    return NULL;
}

/* The session that the request names, if the caller may; else the request is answered, and NULL.  role: as it was said. */
static struct session *find(struct engine *engine, struct request **request, const char *role)
{
    const char *uuid = node_text((*request)->message->root, "session");
    struct df_error err;
    struct session *s = NULL;
    if (!strcmp(role, "source") || !strcmp(role, "target"))
        s = session_find(engine, uuid, !strcmp(role, "source") ? ROLE_SOURCE : ROLE_TARGET);
    int r = s ? access_check_owner(&(*request)->caller, (*request)->message->type->name, s->owner, s->text, &err)
              : error_set(&err, -ENOENT, "there is no session %s with this daemon as its %s", uuid, role);
    return r < 0 ? turn_down(request, &err) : s;
}

typedef void session_handler(struct session *s, struct request *request);

/* For what only looks, or must be answered soon. */
static void ask(struct engine *engine, struct request *request, const char *role, session_handler *handler)
{
    struct session *s = find(engine, &request, role);
    if (s)
        handler(s, request);
}

/* For what changes the session: not while one of its steps is under way. */
static void change(struct engine *engine, struct request *request, const char *role, session_handler *handler)
{
    struct session *s = find(engine, &request, role);
    if (s && !remote_defer(s, request))
        handler(s, request);
}

static const char *role_of(const struct request *request)
{
    return node_text(request->message->root, "role");
}

static void pivot(struct session *s, struct request *request)
{
    (s->role == ROLE_SOURCE ? source_pivot : target_pivot)(s, request);
}

static void handle_pivot(struct engine *engine, struct request *request)
{
    change(engine, request, role_of(request), pivot);
}

static void cancel(struct session *s, struct request *request)
{
    (s->role == ROLE_SOURCE ? source_cancel : target_cancel)(s, request);
}

static void handle_cancel(struct engine *engine, struct request *request)
{
    change(engine, request, role_of(request), cancel);
}

static void rollback(struct session *s, struct request *request)
{
    struct df_error err;
    if (s->role == ROLE_SOURCE) {
        source_rollback(s, request);
    } else {
        error_set(&err, -EINVAL, "a roll-back is asked of the source, not of the target");
        request_fail(&request, &err);
    }
}

static void handle_rollback(struct engine *engine, struct request *request)
{
    change(engine, request, role_of(request), rollback);
}

static void handle_wait(struct engine *engine, struct request *request)
{
    ask(engine, request, role_of(request), report_wait);
}

/* So many summaries, with the longest of messages, fit into one reply. */
#define STATUS_SESSIONS 256

static void handle_status(struct engine *engine, struct request *request)
{
    const char *uuid = node_text(request->message->root, "session");
    struct out out;
    unsigned n = 0;
    request_begin_reply(request, &out);
    out_list(&out, "sessions");
    for (struct session *s = engine->sessions; s; s = s->next) {
        if (uuid && strcasecmp(s->text, uuid))
            continue;
        if (n++ == STATUS_SESSIONS)
            break;
        out_map(&out, NULL);
        (uuid ? report_status : report_summary)(s, &out);
        out_close(&out);
    }
    out_close(&out);
    if (uuid && !n) {
        struct df_error err;
        out_destroy(&out);
        error_set(&err, -ENOENT, "there is no session %s here", uuid);
        request_fail(&request, &err);
        return;
    }
    request_reply(&request, &out);
}

/* The messages that know their role by themselves. */

static void handle_attempt(struct engine *engine, struct request *request)
{
    ask(engine, request, "target", target_attempt);
}

static void handle_seal(struct engine *engine, struct request *request)
{
    ask(engine, request, "target", target_seal);
}

static void handle_heartbeat(struct engine *engine, struct request *request)
{
    ask(engine, request, "target", target_heartbeat);
}

static void handle_abandon(struct engine *engine, struct request *request)
{
    change(engine, request, "target", target_abandon);
}

static void handle_resume(struct engine *engine, struct request *request)
{
    change(engine, request, "source", source_resume);
}

static void handle_lease(struct engine *engine, struct request *request)
{
    ask(engine, request, "source", lease_request);
}

static const struct {
    const char *type;
    void (*handle)(struct engine *engine, struct request *request);
} handlers[] = {
    { "prepare", source_prepare }, { "pivot", handle_pivot },     { "cancel", handle_cancel },
    { "rollback", handle_rollback }, { "status", handle_status }, { "wait", handle_wait },
    { "offer", target_offer },     { "attempt", handle_attempt }, { "seal", handle_seal },
    { "lease", handle_lease },     { "heartbeat", handle_heartbeat }, { "resume", handle_resume },
    { "abandon", handle_abandon }, { "dump", dump_request },      { "load", load_request },
};

bool engine_request(struct engine *engine, struct request *request)
{
    for (unsigned i = 0; i < sizeof handlers / sizeof *handlers; i++)
        if (!strcmp(request->message->type->name, handlers[i].type)) {
            handlers[i].handle(engine, request);
            return true;
        }
    return false;
}

void engine_order_done(struct engine *engine, struct order *order)
{
    (void)engine;
    target_order_done(order->opaque, order);
}

/* ------------------------------------------------------------------ time */

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The oldest ended sessions are forgotten; all ended ones let go of what they hold. */
static void sweep(struct engine *engine)
{
    unsigned ended = 0;
    for (struct session *s = engine->sessions, *next; s; s = next) {
        next = s->next;
        if (!state_is_end(s->state) || s->orders || s->held || s->tidy)
            continue;
        if (s->state == SOURCE_FAILED && s->peer && peer_is_busy(s->peer))
            continue;       /* the target must still hear of it */
        session_release(s);
        if (++ended > ENDED_SESSIONS && !s->waiters)
            session_forget(s);
    }
}

static void publish(struct engine *engine, int64_t now)
{
    bool progress = now >= engine->progress_ms, snapshot = now >= engine->snapshot_ms;
    if (progress)
        engine->progress_ms = now + PROGRESS_MS;
    if (snapshot)
        engine->snapshot_ms = now + SNAPSHOT_MS;
    for (struct session *s = engine->sessions; s && (progress || snapshot); s = s->next) {
        uint64_t done = session_chunks_done(s);
        if (snapshot)
            report_event(s, "snapshot");
        else if (done != s->published)
            report_event(s, "progress");
        s->published = done;
    }
}

/* What was not heard while this daemon itself stood still (stopped, or its machine suspended) may lie in its sockets. */
static void forgive_pause(struct engine *engine, int64_t now_ms)
{
    int64_t pause_ms = now_ms - engine->due_ms;
    for (struct session *s = engine->sessions; s && pause_ms > LINK_LOST_MS / 2; s = s->next)
        s->heard_ms += pause_ms;
}

int64_t engine_tick(struct engine *engine)
{
    int64_t now = clock_ms(), next = now + SNAPSHOT_MS;
    if (engine->due_ms)
        forgive_pause(engine, now);
    for (struct session *s = engine->sessions; s; s = s->next) {
        next = earlier(next, report_wake(s, now));
        next = earlier(next, remote_tick(s, now));
        if (!s->released)
            next = earlier(next, (s->role == ROLE_SOURCE ? source_tick : target_tick)(s, now));
    }
    next = earlier(next, dump_tick(engine, now));
    publish(engine, now);
    sweep(engine);
    if (engine->sessions)
        next = earlier(next, engine->progress_ms);
    return engine->due_ms = next;
}

size_t engine_peers(struct engine *engine, zmq_pollitem_t *items, size_t room)
{
    size_t n = 0;
    for (struct session *s = engine->sessions; s && n < room; s = s->next)
        if (s->peer)
            items[n++] = (zmq_pollitem_t){ peer_socket(s->peer), 0, ZMQ_POLLIN, 0 };
    return n;
}

void engine_receive(struct engine *engine)
{
    for (struct session *s = engine->sessions; s; s = s->next)
        if (s->peer)
            peer_receive(s->peer);
}

/* A clean stop: the journals are what the next daemon starts from, also after a restart of the host. */
void engine_destroy(struct engine *engine)
{
    dump_close_all(engine);
    while (engine->sessions) {
        struct session *s = engine->sessions;
        if (s->journal.open)
            journal_sync(&s->journal, engine->sessions_dir, NULL);
        session_free(s);
    }
}
