// SPDX-License-Identifier: BSD-3-Clause
/*
 * The pivot on the source: from its answer on no write succeeds there.
 *
 * It never touches a map's contents or the network: its cost is one transaction
 * a disk and the writes that are under way.  Where another process has the
 * bitmaps, that one is told to hold them still, and its bits are read behind the
 * answer (`unread`).
 */
#include "session/source.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"

#define DRAIN_SPIN_NS (300 * 1000)   /* a write in the page cache is over by then */

static bool has_pivoted(const struct session *s)
{
    return s->state == SOURCE_STREAMING || s->state == SOURCE_SEALING || s->state == SOURCE_SEALED || s->state == SOURCE_INTERRUPTED ||
           s->state == SOURCE_RELEASED || s->state == SOURCE_ABANDONED;
}

/*
 * The fence is the disk's, and several sessions may move bitmaps of one disk.
 * Who made it read-only lifts the fence on the way back, unless another session
 * has pivoted meanwhile: then that one inherits the fence.
 */
static bool inherited(struct session *s, const char *disk)
{
    for (struct session *o = s->engine->sessions; o; o = o->next) {
        bool holds = o->state == SOURCE_FENCING || (has_pivoted(o) && (!state_is_end(o->state) || o->pivot > s->pivot));
        for (unsigned i = 0; o != s && holds && i < o->nbitmaps; i++)
            if (!strcmp(o->bitmaps[i].disk, disk)) {
                o->bitmaps[i].fenced = true;
                session_save(o);
                return true;
            }
    }
    return false;
}

/*
 * The journal says `fenced` until the fence is lifted: a daemon that is killed
 * in between lifts it when it comes back, and never again later.
 */
void pivot_unfence(struct session *s)
{
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        struct session_bitmap *b = &s->bitmaps[i];
        if (b->fenced && b->backend && !inherited(s, b->disk))
            b->backend->ops->unfence(b->backend, NULL);
    }
    for (unsigned i = 0; i < s->nbitmaps; i++)
        s->bitmaps[i].fenced = false;
    session_save(s);
}

/* Whose fence it will be is in the journal before it is there. */
static int claim_fences(struct session *s, struct df_error *err)
{
    int r = 0;
    for (unsigned i = 0; !r && i < s->nbitmaps; i++) {
        struct session_bitmap *b = &s->bitmaps[i];
        struct df_bitmap_info info;
        r = b->backend->ops->info(b->backend, b->bitmap, &info, err);
        b->fenced = r == 0 && !info.readonly;
    }
    s->pivot = s->engine->pivots + 1;
    s->touched = s->touched || session_is_remote(s);
    s->tidy = false;        /* of a pivot that failed */
    return r < 0 ? r : session_try(s, EVENT_PIVOT, err);
}

static int fence_disks(struct session *s, struct df_error *err)
{
    int r = 0;
    for (unsigned i = 0; !r && i < s->nbitmaps; i++)
        if (s->bitmaps[i].fenced)
            r = s->bitmaps[i].backend->ops->fence(s->bitmaps[i].backend, err);
    return r;
}

static unsigned open_sections(struct session *s)
{
    unsigned n = 0;
    for (unsigned i = 0; i < s->nbitmaps && !n; i++)
        n = s->bitmaps[i].backend->ops->open_sections(s->bitmaps[i].backend);
    return n;
}

/* The writers go on here. */
static void give_up(struct session *s, const struct df_error *err)
{
    pivot_unfence(s);
    session_note(s, err);
    s->unread = false;
    session_step(s, EVENT_STUCK);
    session_fail_held(s, err);
    remote_tidy(s, REMOTE_THAW, NULL);
}

/* ------------------------------------------------- bits in other processes */

static void are_read(struct session *s, int r, const struct df_error *err)
{
    struct df_error late;
    uint64_t late_bytes = remote_late_bytes(s);
    if (!s->unread)
        return;         /* rolled back or abandoned meanwhile */
    if (r < 0) {
        session_note(s, err);
        s->read_ms = clock_ms() + RETRY_MS;
        return;
    }
    s->message[0] = 0;
    if (late_bytes) {
        error_set(&late, -EROFS, "%" PRIu64 " bytes were written on the source after the pivot; they are in the bitmap, but stop the guest before the pivot", late_bytes);
        session_note(s, &late);
    }
    s->unread = false;
    session_save(s);
    if (s->state == SOURCE_INTERRUPTED) {
        digest_session(s);
        dump_session(s);
    }
    lease_serve(s);
}

/* Tried until it succeeds, or the session is rolled back. */
void pivot_read(struct session *s)
{
    if (s->unread && !s->damaged && !state_is_end(s->state))
        remote_run(s, REMOTE_READ, are_read);
}

static int64_t read_again(struct session *s, int64_t now_ms)
{
    if (!s->unread || s->damaged || s->remote || s->held || state_is_end(s->state))
        return INT64_MAX;
    if (now_ms < s->read_ms)
        return s->read_ms;
    pivot_read(s);
    return INT64_MAX;
}

/* ------------------------------------------------------------------ drain */

/* A write that could not be recorded since the bitmap was taken: it must not arrive as a good one. */
static bool lacks_writes(const struct session *s, struct df_error *err)
{
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        const struct session_bitmap *b = &s->bitmaps[i];
        struct df_bitmap_info info;
        if (b->backend->ops->info(b->backend, b->bitmap, &info, err) < 0)
            return true;
        if (!info.inconsistent)
            continue;
        error_set(err, -EINVAL, "bitmap '%s' of disk '%s' has become inconsistent and cannot be moved: the source is writable again; cancel session %s and move the others without it",
                  b->bitmap, b->disk, s->text);
        return true;
    }
    return false;
}

static bool try_drain(struct session *s)
{
    struct df_error err;
    if (open_sections(s))
        return false;
    if (lacks_writes(s, &err)) {
        give_up(s, &err);
        return true;
    }
    s->stream_ms = clock_ms() + STREAM_DELAY_MS;
    s->taken_ms = clock_ms();
    s->unread = session_is_remote(s);
    if (session_try(s, EVENT_DRAINED, &err) < 0) {     /* a restart would lift the fence */
        give_up(s, &err);
        return true;
    }
    session_reply_held(s);
    pivot_read(s);
    return true;
}

static void frozen(struct session *s, int r, const struct df_error *err)
{
    if (r < 0) {
        give_up(s, err);
        return;
    }
    s->drain_deadline_ms = clock_ms() + DRAIN_MS;
    int64_t spin_until_ns = clock_ns() + DRAIN_SPIN_NS;
    while (!try_drain(s) && clock_ns() < spin_until_ns)
        sched_yield();
}

void source_pivot(struct session *s, struct request *request)
{
    struct df_error err;
    if (source_is_held(s, &request))
        return;
    if (s->damaged) {
        error_set(&err, -EIO, "session %s cannot be pivoted: %s", s->text, s->message);
        request_fail(&request, &err);
        return;
    }
    if (has_pivoted(s)) {
        report_reply(&request, s);
        return;
    }
    int r = session_may(s, EVENT_PIVOT, &err);
    if (!r)
        r = claim_fences(s, &err);
    if (r < 0) {
        request_fail(&request, &err);
        return;
    }
    s->engine->pivots++;
    s->held = request;
    if (fence_disks(s, &err) < 0) {
        give_up(s, &err);
        return;
    }
    remote_run(s, REMOTE_FREEZE, frozen);
}

static void give_up_drain(struct session *s)
{
    struct df_error err;
    error_set(&err, -ETIMEDOUT, "%u writes did not end within %d s after the pivot of session %s: the source is writable again, try once more",
              open_sections(s), DRAIN_MS / 1000, s->text);
    give_up(s, &err);
}

int64_t pivot_tick(struct session *s, int64_t now_ms)
{
    if (s->state != SOURCE_FENCING)
        return read_again(s, now_ms);
    if (s->remote || try_drain(s))
        return INT64_MAX;
    if (now_ms < s->drain_deadline_ms)
        return now_ms + 1;
    give_up_drain(s);
    return INT64_MAX;
}
