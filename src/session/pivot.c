// SPDX-License-Identifier: BSD-3-Clause
/*
 * The pivot on the source: from its answer on no write succeeds there.
 *
 * It never touches a map's contents or the network: its cost is one transaction
 * a disk and the writes that are under way.
 */
#include "session/source.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"

#define DRAIN_SPIN_NS (300 * 1000)   /* a write in the page cache is over by then */

static bool has_pivoted(const struct session *s)
{
    return s->state == SOURCE_STREAMING || s->state == SOURCE_SEALING || s->state == SOURCE_SEALED || s->state == SOURCE_RELEASED;
}

/*
 * The fence is the disk's, and several sessions may move bitmaps of one disk.
 * Who made it read-only lifts the fence on the way back, unless another session
 * has pivoted meanwhile: then that one inherits the fence.
 */
static bool inherited(struct session *s, const char *disk)
{
    for (struct session *o = s->engine->sessions; o; o = o->next) {
        bool holds = o->state == SOURCE_FENCING || (has_pivoted(o) && (o->state != SOURCE_RELEASED || o->pivot > s->pivot));
        for (unsigned i = 0; o != s && holds && i < o->nbitmaps; i++)
            if (!strcmp(o->bitmaps[i].disk, disk)) {
                o->bitmaps[i].fenced = true;
                return true;
            }
    }
    return false;
}

void pivot_unfence(struct session *s)
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
    s->stream_ms = clock_ms() + STREAM_DELAY_MS;
    session_step(s, EVENT_DRAINED);
    source_reply_held(s);
    return true;
}

void source_pivot(struct session *s, struct request *request)
{
    struct df_error err;
    if (source_is_held(s, &request))
        return;
    if (has_pivoted(s)) {
        report_reply(&request, s);
        return;
    }
    int r = session_may(s, EVENT_PIVOT, &err);
    if (!r && (r = fence_disks(s, &err)) < 0)
        pivot_unfence(s);
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
    pivot_unfence(s);
    session_note(s, &err);
    session_step(s, EVENT_STUCK);
    source_fail_held(s, &err);
}

int64_t pivot_tick(struct session *s, int64_t now_ms)
{
    if (s->state != SOURCE_FENCING || try_drain(s))
        return INT64_MAX;
    if (now_ms < s->drain_deadline_ms)
        return now_ms + 1;
    give_up_drain(s);
    return INT64_MAX;
}
