// SPDX-License-Identifier: BSD-3-Clause
/*
 * The source's side of a move.
 *
 *   prepare   take every bitmap, offer them to the target; all or nothing
 *   pivot     fence the disks, wait until no write section is open
 *   stream    lease.c hands out the work of attempt `epoch`
 *   seal      ask the target to compare digests; what it lacks is asked for by
 *             `attempt`, under the next epoch, and streamed again
 *   release   only when the target says operative does the source let go
 *
 * The pivot never touches a disk file's contents or the network: its cost is
 * one transaction a disk and the writes that are under way.
 */
#include "session/session.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "session/worker.h"

#define DRAIN_SPIN_NS (300 * 1000)   /* a write in the page cache is over by then */

static void copy_text(char *to, size_t room, const char *from, const char *fallback)
{
    snprintf(to, room, "%s", from ? from : fallback);
}

/* ---------------------------------------------------------------- prepare */

/* All names first: a session that is refused shows them too. */
static void read_names(struct session *s, const node *items)
{
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        struct session_bitmap *b = &s->bitmaps[i];
        copy_text(b->disk, sizeof b->disk, node_text(&items[i], "disk"), "");
        copy_text(b->bitmap, sizeof b->bitmap, node_text(&items[i], "bitmap"), "");
        copy_text(b->as_disk, sizeof b->as_disk, node_text(&items[i], "as_disk"), b->disk);
        copy_text(b->as_bitmap, sizeof b->as_bitmap, node_text(&items[i], "as_bitmap"), b->bitmap);
    }
    copy_text(s->peer_endpoint, sizeof s->peer_endpoint, node_text(s->held->message->root, "target"), "");
}

static int check_names(const struct session *s, struct df_error *err)
{
    for (unsigned i = 0; i < s->nbitmaps; i++)
        for (unsigned j = 0; j < i; j++) {
            const struct session_bitmap *b = &s->bitmaps[i], *o = &s->bitmaps[j];
            if (!strcmp(o->disk, b->disk) && !strcmp(o->bitmap, b->bitmap))
                return error_set(err, -EINVAL, "bitmap '%s' of disk '%s' is named twice", b->bitmap, b->disk);
            if (!strcmp(o->as_disk, b->as_disk) && !strcmp(o->as_bitmap, b->as_bitmap))
                return error_set(err, -EINVAL, "two bitmaps would become '%s' of disk '%s' on the target", b->as_bitmap, b->as_disk);
        }
    return 0;
}

static int take_bitmaps(struct session *s, struct df_error *err)
{
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        struct session_bitmap *b = &s->bitmaps[i];
        int r = backend_open(s->engine->state_dir, b->disk, &b->backend, err);
        if (!r)
            r = b->backend->ops->info(b->backend, b->bitmap, &b->info, err);
        if (r < 0)
            return r;
        b->chunking = (struct chunking){ b->info.nbits, s->chunk_bytes };
        r = chunking_check(&b->chunking, err);
        if (!r)
            r = b->backend->ops->take(b->backend, b->bitmap, s->uuid, err);
        if (!r)
            r = b->backend->ops->get_map(b->backend, b->bitmap, s->uuid, &b->map, err);
        if (r < 0)
            return r;
        b->chunks = chunk_count(&b->chunking);
        r = work_init(&b->work, b, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* A bitmap that was not taken by this session is left alone: give_back checks the owner. */
static void give_back_bitmaps(struct session *s)
{
    for (unsigned i = 0; i < s->nbitmaps; i++)
        if (s->bitmaps[i].backend)
            s->bitmaps[i].backend->ops->give_back(s->bitmaps[i].backend, s->bitmaps[i].bitmap, s->uuid, NULL);
}

static void fail_held(struct session *s, const struct df_error *err)
{
    struct request *request = steal(&s->held);
    if (request)
        request_fail(&request, err);
}

static void reply_held(struct session *s)
{
    struct request *request = steal(&s->held);
    if (request)
        report_reply(&request, s);
}

static void ignore_answer(void *opaque, uint64_t tag, int r, const struct message *reply, const struct df_error *err)
{
    (void)opaque, (void)tag, (void)r, (void)reply, (void)err;
}

static void send_cancel(struct session *s, peer_answer *answer)
{
    struct out out;
    uint64_t id;
    peer_begin(&out, "cancel", &id);
    out_text(&out, "session", s->text);
    out_text(&out, "role", "target");
    peer_send(s->peer, &out, id, 0, answer, s, 0);
}

static void start_workers(struct session *s)
{
    for (unsigned i = 0; i < s->workers; i++)
        worker_spawn(s->engine->context, s->text, s->data, s->chunk_bytes, i);
}

static int take_offer_reply(struct session *s, const struct message *reply, struct df_error *err)
{
    size_t n;
    const node *handles = node_list(reply->root, "handles", &n);
    if (n != s->nbitmaps)
        return error_set(err, -EPROTO, "the target at '%s' gave %zu handles for %u bitmaps", s->peer_endpoint, n, s->nbitmaps);
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        if (handles[i].via.u64 < 1 || handles[i].via.u64 > WIRE_HANDLE_MAX)
            return error_set(err, -EPROTO, "the target at '%s' gave the handle %" PRIu64, s->peer_endpoint, handles[i].via.u64);
        s->bitmaps[i].handle = (uint16_t)handles[i].via.u64;
    }
    net_resolve(node_text(reply->root, "data"), s->peer_endpoint, s->data);
    return net_check_endpoint(s->data, "the target's data endpoint", err);
}

static void offer_answered(void *opaque, uint64_t tag, int r, const struct message *reply, const struct df_error *answer)
{
    struct session *s = opaque;
    struct df_error err;
    (void)tag;
    if (reply && r < 0)
        error_set(&err, r, "the target at '%.255s' refuses: %.2048s", s->peer_endpoint, answer->message);
    else if (r < 0)
        err = *answer;
    else
        r = take_offer_reply(s, reply, &err);
    if (r < 0) {
        if (!reply || !reply->error)
            send_cancel(s, ignore_answer);      /* it may have accepted without our knowing */
        give_back_bitmaps(s);
        session_note(s, &err);
        session_step(s, EVENT_REFUSED);
        fail_held(s, &err);
        return;
    }
    s->epoch = 1;
    session_step(s, EVENT_ACCEPTED);
    start_workers(s);
    reply_held(s);
}

static void send_offer(struct session *s)
{
    struct out out;
    uint64_t id;
    peer_begin(&out, "offer", &id);
    out_text(&out, "session", s->text);
    out_u64(&out, "chunk_size", s->chunk_bytes);
    out_list(&out, "bitmaps");
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        struct session_bitmap *b = &s->bitmaps[i];
        out_map(&out, NULL);
        out_text(&out, "disk", b->as_disk);
        out_text(&out, "bitmap", b->as_bitmap);
        out_u64(&out, "size", b->backend->ops->size(b->backend));
        out_u64(&out, "granularity", b->info.granularity);
        out_bool(&out, "enabled", b->info.enabled);
        out_bool(&out, "persistent", b->info.persistent);
        out_close(&out);
    }
    out_close(&out);
    peer_send(s->peer, &out, id, 0, offer_answered, s, 0);
}

static int read_prepare(struct session *s, const node *root, struct df_error *err)
{
    uint64_t chunk = node_u64(root, "chunk_size", WIRE_CHUNK_BYTES), workers = node_u64(root, "workers", 2);
    int r = net_check_endpoint(s->peer_endpoint, "target", err);
    if (!r && workers > WIRE_WORKERS)
        r = error_set(err, -EINVAL, "%" PRIu64 " workers are too many: 0 to %u are possible", workers, WIRE_WORKERS);
    if (!r)
        r = chunk_bytes_check(chunk, err);
    if (r < 0)
        return r;
    s->chunk_bytes = (uint32_t)chunk;
    s->workers = (unsigned)workers;
    s->max_bandwidth = node_u64(root, "max_bandwidth", 0);
    return check_names(s, err);
}

void source_prepare(struct engine *engine, struct request *request)
{
    const node *root = request->message->root;
    struct session *s = NULL;
    struct df_error err;
    size_t n;
    const node *items = node_list(root, "bitmaps", &n);
    int r = session_new(engine, node_text(root, "session"), ROLE_SOURCE, (unsigned)n, &s, &err);
    if (!r) {
        s->held = request;
        read_names(s, items);
        session_step(s, EVENT_START);
        r = read_prepare(s, root, &err);
    }
    if (!r)
        r = take_bitmaps(s, &err);
    if (!r)
        r = peer_open(engine->context, s->peer_endpoint, &s->peer, &err);
    if (!r) {
        send_offer(s);
        return;
    }
    if (!s) {
        request_fail(&request, &err);
        return;
    }
    give_back_bitmaps(s);
    session_note(s, &err);
    session_step(s, EVENT_REFUSED);
    fail_held(s, &err);
}

/* ------------------------------------------------------------------ pivot */

/*
 * The fence is the disk's, and several sessions may move bitmaps of one disk.
 * Who made it read-only lifts the fence on the way back, unless another session
 * has pivoted meanwhile: then that one inherits the fence.
 */
static bool inherited(struct session *s, const char *disk)
{
    for (struct session *o = s->engine->sessions; o; o = o->next) {
        bool pivoted = o->state == SOURCE_FENCING || o->state == SOURCE_STREAMING || o->state == SOURCE_SEALING ||
                       o->state == SOURCE_SEALED || (o->state == SOURCE_RELEASED && o->pivot > s->pivot);
        for (unsigned i = 0; o != s && pivoted && i < o->nbitmaps; i++)
            if (!strcmp(o->bitmaps[i].disk, disk)) {
                o->bitmaps[i].fenced = true;
                return true;
            }
    }
    return false;
}

static void unfence_disks(struct session *s)
{
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        struct session_bitmap *b = &s->bitmaps[i];
        if (steal(&b->fenced) && !inherited(s, b->disk))
            b->backend->ops->unfence(b->backend, NULL);
    }
}

static int fence_disks(struct session *s, struct df_error *err)
{
    s->pivot = ++s->engine->pivots;
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        struct session_bitmap *b = &s->bitmaps[i];
        struct df_bitmap_info info;
        int r = b->backend->ops->info(b->backend, b->bitmap, &info, err);
        if (!r && !info.readonly) {
            r = b->backend->ops->fence(b->backend, err);
            b->fenced = r == 0;
        }
        if (r < 0)
            return r;
    }
    return 0;
}

static unsigned open_sections(struct session *s)
{
    unsigned n = 0;
    for (unsigned i = 0; i < s->nbitmaps && !n; i++)
        n = s->bitmaps[i].backend->ops->open_sections(s->bitmaps[i].backend);
    return n;
}

static bool try_drain(struct session *s)
{
    if (open_sections(s))
        return false;
    session_step(s, EVENT_DRAINED);
    reply_held(s);
    lease_serve(s);
    return true;
}

static bool refuse_while_held(struct session *s, struct request **request)
{
    struct df_error err;
    if (!s->held)
        return false;
    error_set(&err, -EBUSY, "session %s is busy with '%s': try again when that is done", s->text, s->held->message->type->name);
    request_fail(request, &err);
    return true;
}

void source_pivot(struct session *s, struct request *request)
{
    struct df_error err;
    if (refuse_while_held(s, &request))
        return;
    if (s->state == SOURCE_STREAMING || s->state == SOURCE_SEALING || s->state == SOURCE_SEALED || s->state == SOURCE_RELEASED) {
        report_reply(&request, s);      /* pivoted already */
        return;
    }
    int r = session_may(s, EVENT_PIVOT, &err);
    if (!r && (r = fence_disks(s, &err)) < 0)
        unfence_disks(s);
    if (r < 0) {
        request_fail(&request, &err);
        return;
    }
    s->held = request;
    s->drain_deadline_ms = clock_ms() + DRAIN_MS;
    session_step(s, EVENT_PIVOT);
    int64_t spin_until_ns = clock_ns() + DRAIN_SPIN_NS;
    while (!try_drain(s) && clock_ns() < spin_until_ns)
        sched_yield();
}

static void give_up_drain(struct session *s)
{
    struct df_error err;
    error_set(&err, -ETIMEDOUT, "%u writes did not end within %d s after the pivot of session %s: the source is writable again, try once more",
              open_sections(s), DRAIN_MS / 1000, s->text);
    unfence_disks(s);
    session_note(s, &err);
    session_step(s, EVENT_STUCK);
    fail_held(s, &err);
}

/* ----------------------------------------------------- seal and let go */

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
    if (!s->leases) {
        for (unsigned i = 0; i < s->nbitmaps; i++)
            if (s->bitmaps[i].work.nranges)
                return;
        source_all_sent(s);     /* late frames have filled the gaps meanwhile */
    }
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

/* -------------------------------------------------------------- ways back */

static void cancel_answered(void *opaque, uint64_t tag, int r, const struct message *reply, const struct df_error *err)
{
    struct session *s = opaque;
    (void)tag, (void)reply;
    if (r < 0 && r != -ENOENT)
        session_note(s, err);       /* it is free here all the same; status says what is left over there */
    give_back_bitmaps(s);
    session_step(s, EVENT_CANCEL);
    reply_held(s);
}

void source_cancel(struct session *s, struct request *request)
{
    struct df_error err;
    if (refuse_while_held(s, &request))
        return;
    if (s->state == SOURCE_CANCELLED) {
        report_reply(&request, s);
        return;
    }
    if (session_may(s, EVENT_CANCEL, &err) < 0) {
        if (!state_is_end(s->state))
            error_set(&err, -EPERM, "session %s is %s: it cannot be cancelled after the pivot; 'rollback' is possible until the target records",
                      s->text, state_name(s->state));
        request_fail(&request, &err);
        return;
    }
    s->held = request;
    send_cancel(s, cancel_answered);
}

/* Invariant 3: only a target that says that its child never recorded lets the source live again. */
static void rollback_answered(void *opaque, uint64_t tag, int r, const struct message *reply, const struct df_error *answer)
{
    struct session *s = opaque;
    struct df_error err;
    (void)tag, (void)reply;
    if (r == -ENOENT)
        error_set(&err, -EPERM, "session %s cannot be rolled back: the target at '%.255s' does not know it any more, so nobody can say that its bitmaps never recorded",
                  s->text, s->peer_endpoint);
    else if (r < 0)
        err = *answer;
    else
        r = session_may(s, EVENT_ROLLBACK, &err);
    if (r < 0) {
        fail_held(s, &err);
        return;
    }
    give_back_bitmaps(s);
    unfence_disks(s);
    s->message[0] = 0;
    session_step(s, EVENT_ROLLBACK);
    reply_held(s);
}

void source_rollback(struct session *s, struct request *request)
{
    struct df_error err;
    if (refuse_while_held(s, &request))
        return;
    if (s->state == SOURCE_ROLLED_BACK) {
        report_reply(&request, s);
        return;
    }
    if (session_may(s, EVENT_ROLLBACK, &err) < 0) {
        request_fail(&request, &err);
        return;
    }
    s->held = request;
    send_cancel(s, rollback_answered);
}

/* ------------------------------------------------------------------- time */

int64_t source_tick(struct session *s, int64_t now_ms)
{
    int64_t next = INT64_MAX;
    if (s->state == SOURCE_FENCING && !try_drain(s)) {
        if (now_ms >= s->drain_deadline_ms)
            give_up_drain(s);
        else
            next = now_ms + 1;
    }
    if (s->retry_ms && now_ms >= s->retry_ms && !s->asking) {
        s->retry_ms = 0;
        if (s->state == SOURCE_SEALING)
            send_attempt(s);
        else if (s->state == SOURCE_SEALED)
            send_wait(s);
    }
    if (s->retry_ms && s->retry_ms < next)
        next = s->retry_ms;
    int64_t lease = lease_tick(s, now_ms), peer = s->peer ? peer_tick(s->peer) : INT64_MAX;
    next = lease < next ? lease : next;
    return peer < next ? peer : next;
}
