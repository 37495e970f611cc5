// SPDX-License-Identifier: BSD-3-Clause
/*
 * From "all is sent" to "let go": digests, what is missing, and the wait for
 * the target to be operative.  Whatever gets lost on the way is asked again.
 */
#include "session/source.h"

#include <errno.h>

#include "base/clock.h"
#include "base/error.h"

static void send_attempt(struct session *s);
static void send_wait(struct session *s);

static void retry_later(struct session *s, const struct df_error *err)
{
    session_note(s, err);
    s->retry_ms = clock_ms() + RETRY_MS;
}

static void sealed(struct session *s)
{
    for (unsigned i = 0; i < s->nbitmaps; i++)
        if (!s->bitmaps[i].exact) {
            send_attempt(s);
            return;
        }
    s->message[0] = 0;
    session_step(s, EVENT_EXACT);
    send_wait(s);
}

static void seal_answered(void *opaque, uint64_t tag, int r, const struct message *reply, const struct df_error *err)
{
    struct session *s = opaque;
    if (r < 0)
        session_note(s, err);
    else
        s->bitmaps[tag].exact = node_bool(reply->root, "exact");
    if (--s->seals == 0 && s->state == SOURCE_SEALING)
        sealed(s);
}

static void send_seal(struct session *s, unsigned i)
{
    struct session_bitmap *b = &s->bitmaps[i];
    struct out out;
    uint64_t id, digests[WIRE_SEGMENTS];
    for (size_t d = 0; d < b->work.ndigests; d++)
        digests[d] = htole64(b->work.digests[d]);
    peer_begin(&out, "seal", &id);
    out_text(&out, "session", s->text);
    out_u64(&out, "epoch", s->epoch);
    out_u64(&out, "handle", b->handle);
    out_bin(&out, "digests", digests, b->work.ndigests * sizeof *digests);
    s->seals++;
    peer_send(s->peer, &out, id, RETRY_MS, seal_answered, s, i);
}

void source_all_sent(struct session *s)
{
    session_step(s, EVENT_SENT);
    if (s->seals)
        return;
    for (unsigned i = 0; i < s->nbitmaps; i++)
        if (!s->bitmaps[i].exact)
            send_seal(s, i);
}

static int take_missing(struct session *s, const struct message *reply)
{
    size_t n;
    const node *items = node_list(reply->root, "missing", &n);
    for (size_t i = 0; i < n; i++) {
        uint64_t handle = node_u64(&items[i], "handle", 0), first = node_u64(&items[i], "first", 0), count = node_u64(&items[i], "count", 0);
        for (unsigned k = 0; k < s->nbitmaps; k++) {
            struct session_bitmap *b = &s->bitmaps[k];
            if (b->handle != handle || first >= b->chunks || count > b->chunks - first)
                continue;
            if (work_add(&b->work, first, count) < 0)
                return -ENOMEM;
            b->exact = false;
            b->chunks_sent = b->chunks_sent > count ? b->chunks_sent - count : 0;
        }
    }
    return 0;
}

static void attempt_answered(void *opaque, uint64_t tag, int r, const struct message *reply, const struct df_error *answer)
{
    struct session *s = opaque;
    struct df_error err;
    (void)tag;
    s->asking = false;
    if (s->state != SOURCE_SEALING)
        return;
    if (r < 0)
        err = *answer;
    else if ((r = take_missing(s, reply)) < 0)
        error_errno(&err, r, "cannot plan what is to be sent again");
    if (r < 0) {
        retry_later(s, &err);
        return;
    }
    session_step(s, EVENT_INEXACT);
    lease_serve(s);
    if (lease_all_back(s))
        source_all_sent(s);     /* late frames have filled the gaps meanwhile */
}

static void send_attempt(struct session *s)
{
    struct out out;
    uint64_t id;
    s->asking = true;
    s->epoch++;
    peer_begin(&out, "attempt", &id);
    out_text(&out, "session", s->text);
    out_u64(&out, "epoch", s->epoch);
    peer_send(s->peer, &out, id, RETRY_MS, attempt_answered, s, 0);
}

/* Invariant 6: the source's copy goes when the target's is operative, not before. */
static void let_go(struct session *s)
{
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        struct df_error err;
        struct session_bitmap *b = &s->bitmaps[i];
        if (b->backend->ops->discard(b->backend, b->bitmap, s->uuid, &err) < 0)
            session_note(s, &err);
    }
    session_step(s, EVENT_OPERATIVE);
}

static void wait_answered(void *opaque, uint64_t tag, int r, const struct message *reply, const struct df_error *err)
{
    struct session *s = opaque;
    (void)tag;
    s->asking = false;
    if (s->state != SOURCE_SEALED)
        return;
    enum session_state state = r < 0 ? STATE_NONE : state_find(ROLE_TARGET, node_text(node_map(reply->root, "status"), "state"));
    struct df_error lost;
    if (state == TARGET_OPERATIVE) {
        let_go(s);
    } else if (r < 0) {
        retry_later(s, err);
    } else if (state_is_end(state)) {
        error_set(&lost, -ECANCELED, "the target at '%s' has given session %s up: roll it back", s->peer_endpoint, s->text);
        retry_later(s, &lost);
    } else {
        s->retry_ms = clock_ms();
    }
}

static void send_wait(struct session *s)
{
    struct out out;
    uint64_t id;
    s->asking = true;
    peer_begin(&out, "wait", &id);
    out_text(&out, "session", s->text);
    out_text(&out, "role", "target");
    out_text(&out, "state", "operative");
    out_u64(&out, "timeout_ms", LEASE_HOLD_MS);
    peer_send(s->peer, &out, id, LEASE_HOLD_MS, wait_answered, s, 0);
}

int64_t seal_tick(struct session *s, int64_t now_ms)
{
    if (s->retry_ms && now_ms >= s->retry_ms && !s->asking) {
        s->retry_ms = 0;
        if (s->state == SOURCE_SEALING)
            send_attempt(s);
        else if (s->state == SOURCE_SEALED)
            send_wait(s);
    }
    return s->retry_ms ? s->retry_ms : INT64_MAX;
}
