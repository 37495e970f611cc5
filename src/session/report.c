// SPDX-License-Identifier: BSD-3-Clause
/* What the world sees of a session: status, events, and requests that wait for a state. */
#include "session/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

uint64_t session_chunks(const struct session *s)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < s->nbitmaps; i++)
        n += s->bitmaps[i].chunks;
    return n;
}

static uint64_t bitmap_done(const struct session_bitmap *b)
{
    if (b->exact)
        return b->chunks;
    return b->intake ? atomic_load_explicit(&b->intake->chunks_done, memory_order_relaxed) : b->chunks_sent;
}

uint64_t session_chunks_done(const struct session *s)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < s->nbitmaps; i++)
        n += bitmap_done(&s->bitmaps[i]);
    return n;
}

void session_traffic(const struct session *s, uint64_t *frames, uint64_t *bytes)
{
    *frames = s->frames;
    *bytes = s->bytes;
    for (unsigned i = 0; i < s->nbitmaps; i++)
        if (s->bitmaps[i].intake) {
            *frames += atomic_load_explicit(&s->bitmaps[i].intake->frames, memory_order_relaxed);
            *bytes += atomic_load_explicit(&s->bitmaps[i].intake->bytes, memory_order_relaxed);
        }
}

/* SESSION_FIELDS of the schema. */
void report_summary(const struct session *s, struct out *out)
{
    uint64_t frames, bytes;
    session_traffic(s, &frames, &bytes);
    out_text(out, "session", s->text);
    out_text(out, "role", role_name(s->role));
    out_text(out, "state", state_name(s->state));
    if (s->peer_address.endpoint[0])
        out_text(out, "peer", s->peer_address.endpoint);
    out_u64(out, "epoch", s->epoch);
    out_u64(out, "chunks", session_chunks(s));
    out_u64(out, "chunks_done", session_chunks_done(s));
    out_u64(out, "frames", frames);
    out_u64(out, "bytes", bytes);
    out_u64(out, "resent_frames", s->resent_frames);
    if (!state_is_end(s->state) && !s->is_load)
        out_text(out, "link", s->link_lost ? "lost" : "up");
    if (s->dump_epoch && !state_is_end(s->state)) {
        char path[4096];
        dump_path(s, path, sizeof path);
        out_text(out, "dump", path);
    }
    if (s->message[0])
        out_text(out, "message", s->message);
}

void report_status(const struct session *s, struct out *out)
{
    report_summary(s, out);
    out_list(out, "bitmaps");
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        const struct session_bitmap *b = &s->bitmaps[i];
        out_map(out, NULL);
        out_text(out, "disk", b->disk);
        out_text(out, "bitmap", b->bitmap);
        if (s->role == ROLE_SOURCE) {
            out_text(out, "as_disk", b->as_disk);
            out_text(out, "as_bitmap", b->as_bitmap);
        }
        out_u64(out, "chunks", b->chunks);
        out_u64(out, "chunks_done", bitmap_done(b));
        out_close(out);
    }
    out_close(out);
}

void report_event(struct session *s, const char *type)
{
    struct out out;
    char topic[64];
    uint64_t seq = ++s->engine->seq;
    snprintf(topic, sizeof topic, "session/%s/%s", s->text, type);
    message_begin(&out, type, seq);
    out_u64(&out, "seq", seq);
    report_summary(s, &out);
    events_publish(s->engine->events, topic, &out);
}

void report_link(struct session *s, bool lost)
{
    if (s->link_lost == lost)
        return;
    s->link_lost = lost;
    if (lost)
        log_warning("session %s %s: the link is lost", s->text, role_name(s->role));
    else
        log_info("session %s %s: the link is there again", s->text, role_name(s->role));
    report_event(s, "link");
}

void report_reply(struct request **request, const struct session *s)
{
    struct out out;
    request_begin_reply(*request, &out);
    out_map(&out, "status");
    report_status(s, &out);
    out_close(&out);
    request_reply(request, &out);
}

static void wait_for(struct session *s, struct request *request, enum session_state state, uint64_t timeout_ms)
{
    struct waiter *w = calloc(1, sizeof *w);
    if (!w) {
        report_reply(&request, s);
        return;
    }
    w->request = request;
    w->state = state;
    w->deadline_ms = clock_ms() + (int64_t)timeout_ms;
    w->next = s->waiters;
    s->waiters = w;
    report_wake(s, clock_ms());
}

void report_wait_for(struct session *s, struct request *request, enum session_state state)
{
    wait_for(s, request, state, WIRE_WAIT_MS);
}

void session_fail_held(struct session *s, const struct df_error *err)
{
    struct request *request = steal(&s->held);
    s->resume_deadline_ms = 0;
    if (request)
        request_fail(&request, err);
}

void session_reply_held(struct session *s)
{
    struct request *request = steal(&s->held);
    s->resume_deadline_ms = 0;
    if (request)
        report_reply(&request, s);
}

void report_wait(struct session *s, struct request *request)
{
    const node *root = request->message->root;
    struct df_error err;
    enum session_state state = state_find(s->role, node_text(root, "state"));
    if (state) {
        wait_for(s, request, state, node_u64(root, "timeout_ms", 0));
        return;
    }
    error_set(&err, -EINVAL, "session %s: '%s' is not a state of the %s", s->text, node_text(root, "state"), role_name(s->role));
    request_fail(&request, &err);
}

int64_t report_wake(struct session *s, int64_t now_ms)
{
    int64_t next = INT64_MAX;
    for (struct waiter **link = &s->waiters; *link;) {
        struct waiter *w = *link;
        if (w->state != s->state && !state_is_end(s->state) && w->deadline_ms > now_ms) {
            if (w->deadline_ms < next)
                next = w->deadline_ms;
            link = &w->next;
            continue;
        }
        *link = w->next;
        report_reply(&w->request, s);
        free(w);
    }
    return next;
}
