// SPDX-License-Identifier: BSD-3-Clause
/*
 * The target's side of a move, as its operator or orchestrator drives it:
 *
 *   offer     make every frozen parent and its locked child; all or nothing
 *   pivot     the children record
 *   cancel    before the pivot: nothing is left
 *   abandon   after it: the source's bits are given up
 *
 * What the source asks for on the way is in incoming.c.
 */
#include "session/target.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"

/* ------------------------------------------------------------------ offer */

/* A larger disk by consent only: its tail will be dirty, which nobody should get unasked. */
static int check_size(const struct session_bitmap *b, bool grow, struct df_error *err)
{
    uint64_t own = b->backend->ops->size(b->backend), size = b->geometry.size;
    if (own < size)
        return error_set(err, -EINVAL, "disk '%s' has %" PRIu64 " bytes on the target and %" PRIu64 " on the source: a smaller disk cannot hold it, make it at least as large",
                         b->disk, own, size);
    if (own > size && !grow)
        return error_set(err, -EINVAL, "disk '%s' has %" PRIu64 " bytes on the target and %" PRIu64 " on the source: the sizes must be equal, "
                         "or be accepted by '--grow', which makes what lies behind the source's end dirty", b->disk, own, size);
    return 0;
}

/* That of the bitmap here, which may not be the source's. */
static uint64_t wanted_granularity(const node *item)
{
    return node_u64(item, "as_granularity", node_u64(item, "granularity", 0));
}

static int accept_bitmap(struct session *s, struct session_bitmap *b, const node *item, bool grow, struct df_error *err)
{
    snprintf(b->disk, sizeof b->disk, "%s", node_text(item, "disk"));
    snprintf(b->bitmap, sizeof b->bitmap, "%s", node_text(item, "bitmap"));
    b->geometry = (struct geometry){ node_u64(item, "size", 0), node_u64(item, "granularity", 0) };
    b->info.granularity = wanted_granularity(item);
    b->info.enabled = node_bool(item, "enabled");
    b->info.persistent = node_bool(item, "persistent");
    int r = granularity_check(b->geometry.granularity, err);
    if (!r)
        r = backend_open(s->engine->state_dir, b->disk, &b->backend, err);
    return r < 0 ? r : check_size(b, grow, err);
}

static int accept_bitmaps(struct session *s, const node *items, bool grow, struct df_error *err)
{
    int r = 0;
    for (unsigned i = 0; !r && i < s->nbitmaps; i++)
        r = accept_bitmap(s, &s->bitmaps[i], &items[i], grow, err);
    return r < 0 ? r : target_add(s, "the session", err);
}

/* Only what this side made: when a bitmap is moved onto itself, the one that is there is the source's. */
void target_discard(struct session *s)
{
    for (unsigned i = 0; i < s->nbitmaps; i++)
        if (s->bitmaps[i].created && s->bitmaps[i].backend)
            s->bitmaps[i].backend->ops->discard(s->bitmaps[i].backend, s->bitmaps[i].bitmap, s->uuid, NULL);
}

static void reply_offer(const struct session *s, struct request **request)
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

static bool is_same(const struct session_bitmap *b, const node *item)
{
    return !strcmp(b->disk, node_text(item, "disk")) && !strcmp(b->bitmap, node_text(item, "bitmap")) &&
           b->geometry.size == node_u64(item, "size", 0) && b->geometry.granularity == node_u64(item, "granularity", 0) &&
           b->info.granularity == wanted_granularity(item) &&
           b->info.enabled == node_bool(item, "enabled") && b->info.persistent == node_bool(item, "persistent");
}

/* A source that asks again, because this daemon was restarted before its answer arrived, gets the answer. */
static bool is_repeated(struct engine *engine, struct request *request)
{
    const node *root = request->message->root;
    struct session *s = session_find(engine, node_text(root, "session"), ROLE_TARGET);
    size_t n;
    const node *items = node_list(root, "bitmaps", &n);
    bool same = s && !strcmp(s->owner, request->caller.key) && s->state == TARGET_PREPARED && n == s->nbitmaps && s->chunk_bytes == node_u64(root, "chunk_size", 0);
    for (size_t i = 0; same && i < n; i++)
        same = is_same(&s->bitmaps[i], &items[i]);
    if (same && !remote_defer(s, request))
        reply_offer(s, &request);
    return same;
}

/* One key cannot take all the room. */
static int check_owner(const struct engine *engine, const char *owner, size_t nbitmaps, struct df_error *err)
{
    unsigned n = 0, descriptors = session_descriptors(ROLE_TARGET, (unsigned)nbitmaps, 0);
    if (!owner[0])
        return 0;
    for (const struct session *s = engine->sessions; s; s = s->next)
        if (!state_is_end(s->state) && !strcmp(s->owner, owner)) {
            n++;
            descriptors += session_descriptors(s->role, s->nbitmaps, s->workers);
        }
    if (n >= SESSIONS_OWNER || (n && descriptors > engine->descriptors_max / 2))
        return error_set(err, -EBUSY, "%u sessions of one key are under way, and no more of them are possible: wait until some of them end", n);
    return 0;
}

/* What another process refuses is taken back here: as if it had been cancelled. */
static void added(struct session *s, int r, const struct df_error *err)
{
    struct request *request = steal(&s->held);
    if (!r) {
        target_begin(s);
        reply_offer(s, &request);
        return;
    }
    session_note(s, err);
    target_discard(s);
    session_step(s, EVENT_CANCEL);
    request_fail(&request, err);
    remote_tidy(s, REMOTE_WITHDRAW, NULL);
}

void target_offer(struct engine *engine, struct request *request)
{
    const node *root = request->message->root;
    struct session *s = NULL;
    struct df_error err;
    size_t n;
    const node *items = node_list(root, "bitmaps", &n);
    if (is_repeated(engine, request))
        return;
    int r = check_owner(engine, request->caller.key, n, &err);
    if (!r)
        r = session_new(engine, node_text(root, "session"), ROLE_TARGET, (unsigned)n, &s, &err);
    if (!r) {
        memcpy(s->owner, request->caller.key, sizeof s->owner);
        s->chunk_bytes = (uint32_t)node_u64(root, "chunk_size", 0);
        s->epoch = 1;
        r = accept_bitmaps(s, items, node_bool(root, "grow"), &err);
        s->touched = session_is_remote(s);
    }
    if (!r)
        r = session_try(s, EVENT_START, &err);
    if (r < 0) {
        if (s) {
            target_discard(s);
            session_free(s);        /* the receiver has not heard of it */
        }
        request_fail(&request, &err);
        return;
    }
    s->held = request;
    s->heard_ms = clock_ms();
    remote_run(s, REMOTE_ADD, added);
}

/* From now on frames are taken and the source is listened for. */
void target_begin(struct session *s)
{
    s->heard_ms = clock_ms();
    for (unsigned i = 0; i < s->nbitmaps; i++)
        if (s->bitmaps[i].intake)
            errand_submit(errand_new(s, i, ORDER_ADD, NULL));
}

/* ------------------------------------------------------------------ pivot */

static void recorded(struct session *s, int r, const struct df_error *why)
{
    bool first = !s->recorded && session_is_remote(s);
    struct df_error err;
    if (r < 0)
        err = *why;
    for (unsigned i = 0; !r && i < s->nbitmaps; i++)
        if (s->bitmaps[i].info.frozen)
            r = s->bitmaps[i].backend->ops->unlock(s->bitmaps[i].backend, s->bitmaps[i].bitmap, s->uuid, &err);
    s->records = r == 0;
    s->again = r < 0;
    s->retry_ms = clock_ms() + RETRY_MS;
    if (r < 0) {
        session_note(s, &err);
        session_fail_held(s, &err);
        return;
    }
    s->recorded = true;
    if (first)
        session_save(s);
    session_reply_held(s);
    if (s->state == TARGET_MERGING)
        target_merge(s);
}

/* After the pivot is in the journal. */
void target_record(struct session *s)
{
    remote_run(s, REMOTE_RECORD, recorded);
}

static bool has_pivoted(const struct session *s)
{
    return s->state == TARGET_RECEIVING || s->state == TARGET_MERGING || s->state == TARGET_OPERATIVE;
}

/*
 * Journal first: once a child may have recorded, no restart forgets it, and no
 * source is told that it may live again.
 */
static void pivot(struct session *s, int r, const struct df_error *why)
{
    struct df_error err;
    if (r < 0)
        err = *why;
    else if (!has_pivoted(s) && !(r = session_may(s, EVENT_PIVOT, &err)))
        r = session_try(s, EVENT_PIVOT, &err);
    if (r < 0)
        session_fail_held(s, &err);
    else if (s->records)
        session_reply_held(s);
    else
        target_record(s);
}

/* Another process that is gone or hangs is found out before, when there is a way back still. */
void target_pivot(struct session *s, struct request *request)
{
    struct df_error err;
    if (!has_pivoted(s) && session_may(s, EVENT_PIVOT, &err) < 0) {
        request_fail(&request, &err);
        return;
    }
    s->held = request;
    if (has_pivoted(s))
        pivot(s, 0, NULL);
    else
        remote_run(s, REMOTE_ADD, pivot);
}

/* -------------------------------------------------------------- ways back */

void target_cancel(struct session *s, struct request *request)
{
    struct df_error err;
    if (s->state == TARGET_CANCELLED) {
        report_reply(&request, s);
        return;
    }
    int r = session_may(s, EVENT_CANCEL, &err);
    if (r < 0) {
        error_set(&err, -EPERM, "session %s is %s on the target: its bitmaps have recorded writes since the pivot, or may have, so there is no way back to the source",
                  s->text, state_name(s->state));
    } else {
        s->message[0] = 0;
        r = session_try(s, EVENT_CANCEL, &err);
    }
    if (r < 0) {
        request_fail(&request, &err);
        return;
    }
    for (unsigned i = 0; i < s->nbitmaps; i++)
        if (s->bitmaps[i].intake)
            errand_submit(errand_new(s, i, ORDER_DROP, NULL));
    target_discard(s);
    s->held = request;
    remote_tidy(s, REMOTE_WITHDRAW, session_reply_held);
}

void target_abandon(struct session *s, struct request *request)
{
    struct df_error err;
    bool all_dirty = node_bool(request->message->root, "all_dirty");
    bool again = (s->state == TARGET_ABANDONING || s->state == TARGET_ABANDONED) && s->all_dirty == all_dirty;
    int r = 0;
    if (s->state == TARGET_ABANDONING && s->all_dirty && !all_dirty && s->again && !s->orders) {
        s->all_dirty = s->again = false;        /* the bitmaps cannot be made: then there are none */
        s->message[0] = 0;
        session_save(s);
        target_give_up(s);
        again = true;
    }
    if (!again && s->state == TARGET_PREPARED)
        r = error_set(&err, -EPERM, "session %s is prepared: its bitmaps record nothing yet, 'cancel' removes them", s->text);
    else if (!again && s->state != TARGET_RECEIVING && !target_is_stuck(s))
        r = error_set(&err, -EPERM, "session %s is %s: it cannot be abandoned then", s->text, state_name(s->state));
    if (!r && !again) {
        s->message[0] = 0;
        s->all_dirty = all_dirty;
        r = session_try(s, EVENT_ABANDON, &err);
    }
    if (r < 0) {
        request_fail(&request, &err);
        return;
    }
    if (!again)
        target_give_up(s);
    report_wait_for(s, request, TARGET_ABANDONED);
}

/* ------------------------------------------------------------------- time */

/* Nobody but the source has the bits that are missing. */
int64_t target_tick(struct session *s, int64_t now_ms)
{
    struct df_error err;
    int64_t due = s->heard_ms + BEAT_MS + LINK_LOST_MS;
    if (s->again && now_ms >= s->retry_ms && (s->orders || s->held)) {
        s->retry_ms = now_ms + RETRY_MS;        /* the others are under way still */
    } else if (s->again && now_ms >= s->retry_ms) {
        s->again = false;
        if (s->state == TARGET_ABANDONING)
            target_give_up(s);
        else if (s->records)
            target_merge(s);
        else
            target_record(s);
    }
    if (s->is_load || s->link_lost || (s->state != TARGET_PREPARED && s->state != TARGET_FILLED && s->state != TARGET_RECEIVING))
        return s->again ? s->retry_ms : INT64_MAX;
    if (now_ms < due)
        return due;
    error_set(&err, -ETIMEDOUT, s->state == TARGET_RECEIVING
              ? "waiting for source: it is not heard; the bitmaps record on, and when it is gone for good, 'dirtyferry load' its dump or 'dirtyferry abandon' the session"
              : "waiting for source: it is not heard; when it is gone for good or has cancelled, 'dirtyferry cancel' the session here");
    session_note(s, &err);
    report_link(s, true);
    return INT64_MAX;
}
