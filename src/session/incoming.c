// SPDX-License-Identifier: BSD-3-Clause
/*
 * What the source asks of its target, and what the receiver answers:
 *
 *   heartbeat  is the session known, and what is its state?
 *   attempt    frames of that epoch count from now on; what is missing?
 *   seal       is a parent exact?
 *   merge      when all are exact and the pivot was here: parent |= child
 *
 * What takes time is ordered from the receiver thread (receive.h).  A request
 * that waits for an order is held by the order.
 */
#include "session/target.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"

/* The answers of all bitmaps to one attempt. */
struct collected {
    struct request *request;
    unsigned left;
    struct df_error err;
    struct out out;
};

struct errand *errand_new(struct session *s, unsigned bitmap, enum order_kind kind, struct request *request)
{
    struct errand *errand = calloc(1, sizeof *errand);
    if (!errand)
        abort();    /* the receiver could not be told: nothing works without memory */
    errand->order.kind = kind;
    errand->order.intake = s->bitmaps[bitmap].intake;
    errand->order.opaque = s;
    errand->session = s;
    errand->bitmap = bitmap;
    errand->request = request;
    s->orders++;
    return errand;
}

void errand_submit(struct errand *errand)
{
    receiver_send(errand->session->engine->receiver, &errand->order);
}

/* ------------------------------------------- heartbeat, attempt, seal */

static void heard(struct session *s)
{
    s->heard_ms = clock_ms();
    if (s->link_lost)
        s->message[0] = 0;
    report_link(s, false);
}

static uint64_t taken_bytes(const struct session *s)
{
    uint64_t frames, bytes;
    session_traffic(s, &frames, &bytes);
    return bytes;
}

void target_heartbeat(struct session *s, struct request *request)
{
    struct out out;
    heard(s);
    request_begin_reply(request, &out);
    out_text(&out, "state", state_name(s->state));
    out_u64(&out, "epoch", s->epoch);
    out_u64(&out, "bytes", taken_bytes(s));
    request_reply(&request, &out);
}

/* All bits are here: whatever of the source's messages was late or lost, the answer is that nothing is missing. */
static bool is_complete(const struct session *s)
{
    return s->state == TARGET_FILLED || s->state == TARGET_MERGING || s->state == TARGET_OPERATIVE;
}

static void begin_attempt_reply(const struct session *s, const struct request *request, struct out *out)
{
    request_begin_reply(request, out);
    out_text(out, "state", state_name(s->state));
    out_text(out, "data", s->engine->data);
    out_u64(out, "bytes", taken_bytes(s));
    out_list(out, "missing");
}

static void reply_nothing_missing(const struct session *s, struct request **request)
{
    struct out out;
    begin_attempt_reply(s, *request, &out);
    out_close(&out);
    request_reply(request, &out);
}

static void reply_sealed(struct request **request, bool exact, uint64_t missing, uint64_t wrong)
{
    struct out out;
    request_begin_reply(*request, &out);
    out_bool(&out, "exact", exact);
    out_u64(&out, "missing", missing);
    out_u64(&out, "wrong", wrong);
    request_reply(request, &out);
}

void target_attempt(struct session *s, struct request *request)
{
    heard(s);
    if (is_complete(s) || state_is_end(s->state) || s->state == TARGET_ABANDONING) {
        reply_nothing_missing(s, &request);     /* the state says what that means */
        return;
    }
    uint32_t epoch = (uint32_t)node_u64(request->message->root, "epoch", 0);
    struct collected *c = calloc(1, sizeof *c);
    struct df_error err;
    if (!c || epoch < s->epoch) {
        error_set(&err, c ? -ESTALE : -ENOMEM, "attempt %" PRIu32 " of session %s is refused: it is %s, attempt %" PRIu32, epoch, s->text, state_name(s->state), s->epoch);
        free(c);
        request_fail(&request, &err);
        return;
    }
    s->epoch = epoch;
    session_save(s);
    c->request = request;
    c->left = s->nbitmaps;
    begin_attempt_reply(s, request, &c->out);
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        struct errand *errand = errand_new(s, i, ORDER_ATTEMPT, NULL);
        errand->order.epoch = epoch;
        errand->collected = c;
        errand_submit(errand);
    }
}

static void attempt_done(struct session *s, struct errand *errand)
{
    struct collected *c = errand->collected;
    const struct order *order = &errand->order;
    for (size_t i = 0; i < order->nranges; i++) {
        out_map(&c->out, NULL);
        out_u64(&c->out, "handle", s->bitmaps[errand->bitmap].handle);
        out_u64(&c->out, "first", order->ranges[i].first);
        out_u64(&c->out, "count", order->ranges[i].count);
        out_close(&c->out);
    }
    free(order->ranges);
    if (order->r < 0)
        c->err = order->err;
    if (--c->left)
        return;
    if (c->err.code) {
        out_destroy(&c->out);
        request_fail(&c->request, &c->err);
    } else {
        out_close(&c->out);
        request_reply(&c->request, &c->out);
    }
    free(c);
}

void target_seal(struct session *s, struct request *request)
{
    const node *root = request->message->root;
    heard(s);
    uint64_t handle = node_u64(root, "handle", 0);
    struct df_error err;
    size_t nbytes;
    const uint8_t *digests = node_bin(root, "digests", &nbytes);
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        if (s->bitmaps[i].handle != handle)
            continue;
        if (is_complete(s)) {
            reply_sealed(&request, true, 0, 0);
            return;
        }
        if (!s->bitmaps[i].intake || state_is_end(s->state) || s->state == TARGET_ABANDONING)
            break;
        struct errand *errand = errand_new(s, i, ORDER_SEAL, request);
        errand->order.epoch = (uint32_t)node_u64(root, "epoch", 0);
        errand->order.ndigests = nbytes / 8;
        for (size_t d = 0; d < nbytes / 8; d++) {
            uint64_t v;
            memcpy(&v, digests + 8 * d, 8);
            errand->order.digests[d] = le64toh(v);
        }
        errand_submit(errand);
        return;
    }
    error_set(&err, -ENOENT, "session %s is %s and receives no bitmap with the handle %" PRIu64, s->text, state_name(s->state), handle);
    request_fail(&request, &err);
}

/* A bitmap is exact once and for all: its parent takes no more frames.  When all are, they are merged. */
void target_exact(struct session *s)
{
    bool all = true;
    for (unsigned i = 0; i < s->nbitmaps; i++)
        all = all && s->bitmaps[i].exact;
    if (!all || !state_next(s->role, s->state, EVENT_EXACT)) {
        session_save(s);
        return;
    }
    s->message[0] = 0;
    session_step(s, EVENT_EXACT);
    if (s->state == TARGET_MERGING && s->records)      /* else when they do */
        target_merge(s);
}

static void seal_done(struct session *s, struct errand *errand)
{
    const struct order *order = &errand->order;
    if (order->r < 0) {
        request_fail(&errand->request, &order->err);
        return;
    }
    /* Journal first: a source that has heard "exact" does not send anything again. */
    s->bitmaps[errand->bitmap].exact = order->exact;
    if (order->exact)
        target_exact(s);
    reply_sealed(&errand->request, order->exact, order->missing, order->wrong);
}

/* ------------------------------------------------------ merge, give up */

static void try_again_later(struct session *s, const struct df_error *err)
{
    session_note(s, err);
    s->again = true;
    s->retry_ms = clock_ms() + RETRY_MS;
}

static void durably_merged(struct session *s, int r, const struct df_error *err)
{
    if (r < 0) {
        try_again_later(s, err);
        return;
    }
    s->message[0] = 0;      /* of what was tried again */
    session_step(s, EVENT_OPERATIVE);
}

/*
 * Invariant 6: "operative" lets the source drop its copy, so it is said, and
 * written down, when ours is on stable storage.
 */
static void when_all_are_merged(struct session *s)
{
    for (unsigned i = 0; i < s->nbitmaps; i++)
        if (!s->bitmaps[i].merged)
            return;
    if (s->state == TARGET_ABANDONING)
        session_step(s, EVENT_ABANDONED);
    else
        durable_sync(s, true, durably_merged);
}

static void order_all(struct session *s, enum order_kind kind)
{
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        struct session_bitmap *b = &s->bitmaps[i];
        if (!b->intake)
            b->merged = true;       /* before a restart */
        if (b->merged)
            continue;
        struct errand *errand = errand_new(s, i, kind, NULL);
        errand->order.all_dirty = s->all_dirty;
        errand_submit(errand);
    }
    when_all_are_merged(s);
}

static void stored(struct session *s, int r, const struct df_error *err)
{
    if (r < 0) {
        try_again_later(s, err);
        return;
    }
    s->stored = true;
    order_all(s, ORDER_RECLAIM);
}

/* Where another process has the bitmap, what is here was its parent; it goes when that one has it. */
void target_merge(struct session *s)
{
    if (s->stored)
        order_all(s, ORDER_RECLAIM);
    else
        remote_run(s, REMOTE_MERGE, stored);
}

bool target_is_stuck(const struct session *s)
{
    return s->state == TARGET_MERGING && !s->stored && s->again;
}

static void given_up(struct session *s, int r, const struct df_error *err)
{
    if (r < 0 && !(r == -ENOTCONN && !s->all_dirty))
        try_again_later(s, err);
    else
        order_all(s, ORDER_GIVE_UP);
}

/* In whatever state the hand-over of the bitmaps is. */
void target_give_up(struct session *s)
{
    remote_run(s, REMOTE_GIVE_UP, given_up);
}

static void merged(struct session *s, struct errand *errand)
{
    if (errand->order.r < 0) {
        try_again_later(s, &errand->order.err);
        return;
    }
    errand_submit(errand_new(s, errand->bitmap, ORDER_DROP, NULL));
    s->bitmaps[errand->bitmap].merged = true;
    when_all_are_merged(s);
}

void target_order_done(struct session *s, struct order *order)
{
    struct errand *errand = (struct errand *)order;
    s->orders--;
    switch (order->kind) {
    case ORDER_ADD:
    case ORDER_DROP:
        break;
    case ORDER_ATTEMPT:
        attempt_done(s, errand);
        break;
    case ORDER_SEAL:
        seal_done(s, errand);
        break;
    case ORDER_RECLAIM:
    case ORDER_GIVE_UP:
        merged(s, errand);
        break;
    case ORDER_LOAD:
    case ORDER_LOAD_END:
        load_order_done(s, errand);
        break;
    }
    free(errand);
}
