// SPDX-License-Identifier: BSD-3-Clause
/*
 * The target's side of a move.
 *
 *   offer     make every frozen parent and its locked child; all or nothing
 *   pivot     the children record
 *   attempt   frames of that epoch count from now on; what is missing?
 *   seal      is a parent exact?
 *   merge     when all are exact and the pivot was here: parent |= child
 *
 * What takes time is ordered from the receiver thread (receive.h).  A request
 * that waits for an order is held by the order.
 */
#include "session/session.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"

/* An order on its way, and who asked for it. */
struct errand {
    struct order order;         /* first: the receiver hands this pointer back */
    struct session *session;
    unsigned bitmap;
    struct request *request;
    struct collected *collected;
};

/* The answers of all bitmaps to one attempt. */
struct collected {
    struct request *request;
    unsigned left;
    struct df_error err;
    struct out out;
};

static struct errand *send_order(struct session *s, unsigned bitmap, enum order_kind kind, struct request *request)
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

static void submit(struct errand *errand)
{
    receiver_send(errand->session->engine->receiver, &errand->order);
}

/* ------------------------------------------------------------------ offer */

static int new_handle(struct engine *engine, uint16_t *handle)
{
    for (unsigned i = 0; i < WIRE_HANDLE_MAX; i++) {
        engine->next_handle = engine->next_handle == WIRE_HANDLE_MAX ? 1 : (uint16_t)(engine->next_handle + 1);
        if (!engine->handles[engine->next_handle]) {
            engine->handles[engine->next_handle] = true;
            *handle = engine->next_handle;
            return 0;
        }
    }
    return -ENOSPC;
}

static void intake_free(struct intake **intakep)
{
    struct intake *in = steal(intakep);
    if (!in)
        return;
    if (in->parent.ref)
        in->backend->ops->put_map(in->backend, &in->parent);
    map_close(&in->received);
    free(in->digests);
    free(in);
}

static int new_intake(struct session *s, struct session_bitmap *b, struct df_error *err)
{
    struct intake *in = calloc(1, sizeof *in);
    if (!in || new_handle(s->engine, &b->handle) < 0) {
        free(in);
        return error_set(err, -ENOSPC, "no more than %u bitmaps can be received at once", WIRE_HANDLE_MAX);
    }
    b->intake = in;
    in->handle = b->handle;
    in->backend = b->backend;
    in->chunking = b->chunking;
    in->epoch = 1;
    memcpy(in->bitmap, b->bitmap, sizeof in->bitmap);
    memcpy(in->session, s->uuid, sizeof in->session);
    int r = b->backend->ops->get_map(b->backend, b->bitmap, s->uuid, &in->parent, err);
    if (!r)
        r = map_create_anonymous(b->chunks, &in->received, err);
    if (r < 0)
        return r;
    in->digests = calloc(in->parent.map->nblocks, sizeof *in->digests);
    return in->digests ? 0 : error_errno(err, -ENOMEM, "cannot receive bitmap '%s' of disk '%s'", b->bitmap, b->disk);
}

static int accept_bitmap(struct session *s, struct session_bitmap *b, const node *item, struct df_error *err)
{
    uint64_t size = node_u64(item, "size", 0), granularity = node_u64(item, "granularity", 0);
    unsigned flags = (node_bool(item, "enabled") ? 0 : DF_BITMAP_DISABLED) | (node_bool(item, "persistent") ? DF_BITMAP_PERSISTENT : 0);
    snprintf(b->disk, sizeof b->disk, "%s", node_text(item, "disk"));
    snprintf(b->bitmap, sizeof b->bitmap, "%s", node_text(item, "bitmap"));
    int r = backend_open(s->engine->state_dir, b->disk, &b->backend, err);
    if (r < 0)
        return r;
    uint64_t own = b->backend->ops->size(b->backend);
    if (own != size)
        return error_set(err, -EINVAL, "disk '%s' has %" PRIu64 " bytes on the target and %" PRIu64 " on the source: the sizes must be equal", b->disk, own, size);
    r = b->backend->ops->add_frozen(b->backend, b->bitmap, granularity, flags, s->uuid, err);
    b->created = r == 0;
    if (!r)
        r = b->backend->ops->info(b->backend, b->bitmap, &b->info, err);
    if (r < 0)
        return r;
    b->chunking = (struct chunking){ b->info.nbits, s->chunk_bytes };
    r = chunking_check(&b->chunking, err);
    b->chunks = chunk_count(&b->chunking);
    return r < 0 ? r : new_intake(s, b, err);
}

/* Only what this side made: when a bitmap is moved onto itself, the one that is there is the source's. */
static void discard_bitmaps(struct session *s)
{
    for (unsigned i = 0; i < s->nbitmaps; i++)
        if (s->bitmaps[i].created)
            s->bitmaps[i].backend->ops->discard(s->bitmaps[i].backend, s->bitmaps[i].bitmap, s->uuid, NULL);
}

static void reply_offer(struct session *s, struct request **request)
{
    struct out out;
    request_begin_reply(*request, &out);
    out_text(&out, "data", s->engine->data);
    out_list(&out, "handles");
    for (unsigned i = 0; i < s->nbitmaps; i++)
        out_u64(&out, NULL, s->bitmaps[i].handle);
    out_close(&out);
    request_reply(request, &out);
}

void target_offer(struct engine *engine, struct request *request)
{
    const node *root = request->message->root;
    struct session *s = NULL;
    struct df_error err;
    size_t n;
    const node *items = node_list(root, "bitmaps", &n);
    int r = session_new(engine, node_text(root, "session"), ROLE_TARGET, (unsigned)n, &s, &err);
    if (!r) {
        s->chunk_bytes = (uint32_t)node_u64(root, "chunk_size", 0);
        s->epoch = 1;
    }
    for (size_t i = 0; !r && i < n; i++)
        r = accept_bitmap(s, &s->bitmaps[i], &items[i], &err);
    if (r < 0) {
        if (s) {
            discard_bitmaps(s);
            session_free(s);        /* the receiver has not heard of it */
        }
        request_fail(&request, &err);
        return;
    }
    session_step(s, EVENT_START);
    for (unsigned i = 0; i < s->nbitmaps; i++)
        submit(send_order(s, i, ORDER_ADD, NULL));
    reply_offer(s, &request);
}

/* ------------------------------------------------------ pivot and cancel */

static void merge(struct session *s)
{
    for (unsigned i = 0; i < s->nbitmaps; i++)
        submit(send_order(s, i, ORDER_RECLAIM, NULL));
}

void target_pivot(struct session *s, struct request *request)
{
    struct df_error err;
    if (s->state == TARGET_RECEIVING || s->state == TARGET_MERGING || s->state == TARGET_OPERATIVE) {
        report_reply(&request, s);      /* pivoted already */
        return;
    }
    int r = session_may(s, EVENT_PIVOT, &err);
    for (unsigned i = 0; !r && i < s->nbitmaps; i++)
        r = s->bitmaps[i].backend->ops->unlock(s->bitmaps[i].backend, s->bitmaps[i].bitmap, s->uuid, &err);
    if (r < 0) {
        request_fail(&request, &err);
        return;
    }
    session_step(s, EVENT_PIVOT);
    report_reply(&request, s);
    if (s->state == TARGET_MERGING)
        merge(s);
}

void target_cancel(struct session *s, struct request *request)
{
    struct df_error err;
    if (s->state == TARGET_CANCELLED) {
        report_reply(&request, s);
        return;
    }
    if (session_may(s, EVENT_CANCEL, &err) < 0) {
        error_set(&err, -EPERM, "session %s is %s on the target: its bitmaps have recorded writes since the pivot, so there is no way back to the source",
                  s->text, state_name(s->state));
        request_fail(&request, &err);
        return;
    }
    for (unsigned i = 0; i < s->nbitmaps; i++)
        submit(send_order(s, i, ORDER_DROP, NULL));
    discard_bitmaps(s);
    session_step(s, EVENT_CANCEL);
    report_reply(&request, s);
}

/* Called when no order is under way any more. */
void target_release(struct session *s)
{
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        struct session_bitmap *b = &s->bitmaps[i];
        if (!b->intake)
            continue;
        s->frames += b->intake->frames;
        s->bytes += b->intake->bytes;
        b->chunks_sent = b->intake->chunks_done;
        s->engine->handles[b->handle] = false;
        intake_free(&b->intake);
    }
}

/* -------------------------------------------------------- attempt, seal */

/* All bits are here: whatever of the source's messages was late or lost, the answer is that nothing is missing. */
static bool is_complete(const struct session *s)
{
    return s->state == TARGET_FILLED || s->state == TARGET_MERGING || s->state == TARGET_OPERATIVE;
}

static void reply_nothing_missing(struct request **request)
{
    struct out out;
    request_begin_reply(*request, &out);
    out_list(&out, "missing");
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
    if (is_complete(s)) {
        reply_nothing_missing(&request);
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
    c->request = request;
    c->left = s->nbitmaps;
    request_begin_reply(request, &c->out);
    out_list(&c->out, "missing");
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        struct errand *errand = send_order(s, i, ORDER_ATTEMPT, NULL);
        errand->order.epoch = epoch;
        errand->collected = c;
        submit(errand);
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
        struct errand *errand = send_order(s, i, ORDER_SEAL, request);
        errand->order.epoch = (uint32_t)node_u64(root, "epoch", 0);
        errand->order.ndigests = nbytes / 8;
        for (size_t d = 0; d < nbytes / 8; d++) {
            uint64_t v;
            memcpy(&v, digests + 8 * d, 8);
            errand->order.digests[d] = le64toh(v);
        }
        submit(errand);
        return;
    }
    error_set(&err, -ENOENT, "session %s has no bitmap with the handle %" PRIu64, s->text, handle);
    request_fail(&request, &err);
}

static bool all_exact(const struct session *s)
{
    for (unsigned i = 0; i < s->nbitmaps; i++)
        if (!s->bitmaps[i].exact)
            return false;
    return true;
}

static void seal_done(struct session *s, struct errand *errand)
{
    const struct order *order = &errand->order;
    if (order->r < 0) {
        request_fail(&errand->request, &order->err);
        return;
    }
    s->bitmaps[errand->bitmap].exact = order->exact;
    reply_sealed(&errand->request, order->exact, order->missing, order->wrong);
    if (!all_exact(s) || !state_next(s->role, s->state, EVENT_EXACT))
        return;
    session_step(s, EVENT_EXACT);
    if (s->state == TARGET_MERGING)
        merge(s);
}

static void reclaim_done(struct session *s, struct errand *errand)
{
    struct session_bitmap *b = &s->bitmaps[errand->bitmap];
    submit(send_order(s, errand->bitmap, ORDER_DROP, NULL));
    if (errand->order.r < 0) {
        session_note(s, &errand->order.err);
        return;
    }
    b->merged = true;
    for (unsigned i = 0; i < s->nbitmaps; i++)
        if (!s->bitmaps[i].merged)
            return;
    session_step(s, EVENT_OPERATIVE);
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
        reclaim_done(s, errand);
        break;
    }
    free(errand);
}
