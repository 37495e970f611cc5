// SPDX-License-Identifier: BSD-3-Clause
/* The list of sessions, the dispatch of requests, time. */
#include "session/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

/* -------------------------------------------------------------- sessions */

struct session *session_find(struct engine *engine, const char *uuid, enum session_role role)
{
    uint8_t wanted[UUID_BYTES];
    uuid_parse(uuid, wanted);
    for (struct session *s = engine->sessions; s; s = s->next)
        if (s->role == role && !memcmp(s->uuid, wanted, UUID_BYTES))
            return s;
    return NULL;
}

/* Their requests belong to the server. */
static void forget_waiters(struct waiter **list)
{
    while (*list) {
        struct waiter *w = *list;
        *list = w->next;
        free(w);
    }
}

void session_free(struct session *s)
{
    session_release(s);
    for (struct session **link = &s->engine->sessions; *link; link = &(*link)->next)
        if (*link == s) {
            *link = s->next;
            break;
        }
    forget_waiters(&s->waiters);
    forget_waiters(&s->idle);
    free(s->bitmaps);
    free(s);
}

int session_new(struct engine *engine, const char *uuid, enum session_role role, unsigned nbitmaps, struct session **out, struct df_error *err)
{
    struct session *old = session_find(engine, uuid, role);
    if (old && (!state_is_end(old->state) || old->state == SOURCE_RELEASED || old->state == TARGET_OPERATIVE || old->orders || old->held))
        return error_set(err, -EEXIST, "session %s exists already and is %s: choose another UUID", uuid, state_name(old->state));
    if (old)
        session_free(old);
    unsigned n = 0;
    for (struct session *s = engine->sessions; s; s = s->next)
        n += !state_is_end(s->state);
    if (n >= SESSIONS_MAX)
        return error_set(err, -ENOSPC, "%u sessions are under way, the most that are possible: wait for one to end", n);
    struct session *s = calloc(1, sizeof *s);
    if (s)
        s->bitmaps = calloc(nbitmaps, sizeof *s->bitmaps);
    if (!s || !s->bitmaps) {
        free(s);
        return error_errno(err, -ENOMEM, "cannot start session %s", uuid);
    }
    s->engine = engine;
    s->role = role;
    s->nbitmaps = nbitmaps;
    uuid_parse(uuid, s->uuid);
    uuid_format(s->uuid, s->text);
    s->next = engine->sessions;
    engine->sessions = s;
    *out = s;
    return 0;
}

int session_may(const struct session *s, enum session_event event, struct df_error *err)
{
    if (state_next(s->role, s->state, event))
        return 0;
    return error_set(err, -EPERM, "session %s is %s on the %s: '%s' is not possible then", s->text, state_name(s->state),
                     role_name(s->role), event_name(event));
}

void session_step(struct session *s, enum session_event event)
{
    enum session_state next = state_next(s->role, s->state, event);
    if (!next)
        abort();    /* callers ask session_may() first, or know */
    log_info("session %s %s: %s -> %s (%s)%s%s", s->text, role_name(s->role), state_name(s->state), state_name(next),
             event_name(event), s->message[0] ? ": " : "", s->message);
    s->state = next;
    report_event(s, "state");
    report_wake(s, clock_ms());
}

void session_note(struct session *s, const struct df_error *err)
{
    memcpy(s->message, err->message, sizeof s->message);
    log_warning("session %s %s: %s", s->text, role_name(s->role), s->message);
}

void session_release(struct session *s)
{
    if (s->released)
        return;
    s->released = true;
    lease_forget(s);
    target_release(s);
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        struct session_bitmap *b = &s->bitmaps[i];
        if (b->backend && b->map.ref)
            b->backend->ops->put_map(b->backend, &b->map);
        work_destroy(&b->work);
        backend_close(&b->backend);
    }
    peer_close(&s->peer);
}

/* -------------------------------------------------------------- dispatch */

static struct session *addressed(struct engine *engine, struct request **request)
{
    const node *root = (*request)->message->root;
    const char *uuid = node_text(root, "session"), *role = node_text(root, "role");
    struct df_error err;
    struct session *s = NULL;
    if (!strcmp(role, "source") || !strcmp(role, "target"))
        s = session_find(engine, uuid, !strcmp(role, "source") ? ROLE_SOURCE : ROLE_TARGET);
    if (s)
        return s;
    error_set(&err, -ENOENT, "there is no session %s with this daemon as its %s", uuid, role);
    request_fail(request, &err);
    return NULL;
}

static void handle_pivot(struct engine *engine, struct request *request)
{
    struct session *s = addressed(engine, &request);
    if (s)
        (s->role == ROLE_SOURCE ? source_pivot : target_pivot)(s, request);
}

static void handle_cancel(struct engine *engine, struct request *request)
{
    struct session *s = addressed(engine, &request);
    if (s)
        (s->role == ROLE_SOURCE ? source_cancel : target_cancel)(s, request);
}

static void handle_rollback(struct engine *engine, struct request *request)
{
    struct session *s = addressed(engine, &request);
    struct df_error err;
    if (s && s->role == ROLE_SOURCE) {
        source_rollback(s, request);
    } else if (s) {
        error_set(&err, -EINVAL, "a roll-back is asked of the source, not of the target");
        request_fail(&request, &err);
    }
}

static void handle_wait(struct engine *engine, struct request *request)
{
    struct session *s = addressed(engine, &request);
    if (s)
        report_wait(s, request);
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

/* The messages that name a session and know their role by themselves. */
static void handle_for(struct engine *engine, struct request *request, enum session_role role,
                       void (*handler)(struct session *s, struct request *request))
{
    const char *uuid = node_text(request->message->root, "session");
    struct session *s = session_find(engine, uuid, role);
    struct df_error err;
    if (s && (!s->released || s->state == TARGET_OPERATIVE)) {
        handler(s, request);
        return;
    }
    if (s)
        error_set(&err, -ENOENT, "session %s is over: it is %s", uuid, state_name(s->state));
    else
        error_set(&err, -ENOENT, "there is no session %s with this daemon as its %s", uuid, role_name(role));
    request_fail(&request, &err);
}

static void handle_attempt(struct engine *engine, struct request *request)
{
    handle_for(engine, request, ROLE_TARGET, target_attempt);
}

static void handle_seal(struct engine *engine, struct request *request)
{
    handle_for(engine, request, ROLE_TARGET, target_seal);
}

/* A worker that asks a moment after the end is told the end, not an error. */
static void handle_lease(struct engine *engine, struct request *request)
{
    struct session *s = session_find(engine, node_text(request->message->root, "session"), ROLE_SOURCE);
    if (s)
        lease_request(s, request);
    else
        handle_for(engine, request, ROLE_SOURCE, lease_request);
}

static const struct {
    const char *type;
    void (*handle)(struct engine *engine, struct request *request);
} handlers[] = {
    { "prepare", source_prepare }, { "pivot", handle_pivot },     { "cancel", handle_cancel },
    { "rollback", handle_rollback }, { "status", handle_status }, { "wait", handle_wait },
    { "offer", target_offer },     { "attempt", handle_attempt }, { "seal", handle_seal },
    { "lease", handle_lease },
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
        if (!state_is_end(s->state) || s->orders || s->held)
            continue;
        if (s->state == SOURCE_FAILED && s->peer && peer_is_busy(s->peer))
            continue;       /* the target must still hear of it */
        session_release(s);
        if (++ended > ENDED_SESSIONS && !s->waiters)
            session_free(s);
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

int64_t engine_tick(struct engine *engine)
{
    int64_t now = clock_ms(), next = now + SNAPSHOT_MS;
    for (struct session *s = engine->sessions; s; s = s->next) {
        next = earlier(next, report_wake(s, now));
        if (s->role == ROLE_SOURCE && !s->released)
            next = earlier(next, source_tick(s, now));
    }
    publish(engine, now);
    sweep(engine);
    if (engine->sessions)
        next = earlier(next, engine->progress_ms);
    return next;
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

void engine_destroy(struct engine *engine)
{
    while (engine->sessions)
        session_free(engine->sessions);
}
