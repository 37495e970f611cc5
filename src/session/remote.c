// SPDX-License-Identifier: BSD-3-Clause
/*
 * The steps of a session in other processes (backend/backend.h): on a thread of
 * their own, one at a time.  A session whose bitmaps are all here does them at
 * once, without a detour.
 *
 * While a step is under way its thread reads the bitmaps' backends and maps, and
 * the control thread keeps its hands off them: requests that would change the
 * session wait until the step is done and are handled then, in their order.
 *
 * What has to be tidied up after an end, or after a pivot that failed, is tried
 * until it is done or nobody is there any more; the session is kept as long.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "session/session.h"

_Static_assert(WIRE_SESSION_BITMAPS <= REMOTE_JOBS, "a step has a job for each bitmap of a session");

struct remote_work {
    struct chore chore;         /* first: the hands hand this pointer back */
    struct session *session;
    enum remote_step step;
    remote_done *done;
    size_t n;
    unsigned bitmaps[WIRE_SESSION_BITMAPS];     /* of which session_bitmap each job is */
    struct remote_job jobs[WIRE_SESSION_BITMAPS];
};

bool session_is_remote(const struct session *s)
{
    for (unsigned i = 0; i < s->nbitmaps; i++)
        if (s->bitmaps[i].backend && s->bitmaps[i].backend->remote)
            return true;
    return false;
}

static void add_job(struct remote_work *w, unsigned i)
{
    struct session_bitmap *b = &w->session->bitmaps[i];
    if (!b->backend || !b->backend->remote)
        return;
    w->bitmaps[w->n] = i;
    w->jobs[w->n++] = (struct remote_job){
        .backend = b->backend, .bitmap = b->bitmap, .session = w->session->uuid, .info = b->info,
        .all_dirty = w->session->all_dirty, .recorded = w->session->recorded, .late_bytes = b->late_bytes,
    };
}

static void work(struct chore *chore)
{
    struct remote_work *w = (struct remote_work *)chore;
    chore->r = w->jobs[0].backend->remote->ops->run(w->step, w->jobs, w->n, &chore->err);
}

/* In the order in which they came; one of them may begin another step. */
static void handle_deferred(struct session *s)
{
    struct engine *engine = s->engine;
    while (s->deferred && !s->remote) {
        struct waiter *w = s->deferred;
        struct request *request = w->request;
        s->deferred = w->next;
        free(w);
        engine_request(engine, request);
    }
}

static void done(struct chore *chore)
{
    struct remote_work *w = (struct remote_work *)chore;
    struct session *s = w->session;
    s->orders--;
    s->remote = false;
    for (size_t i = 0; i < w->n; i++)
        s->bitmaps[w->bitmaps[i]].late_bytes = w->jobs[i].late_bytes;
    s->orders++;        /* it stays while its own answers are given */
    w->done(s, chore->r, &chore->err);
    handle_deferred(s);
    s->orders--;
    free(w);
}

void remote_run(struct session *s, enum remote_step step, remote_done *then)
{
    if (!session_is_remote(s)) {
        then(s, 0, NULL);
        return;
    }
    struct remote_work *w = calloc(1, sizeof *w);
    if (!w)
        abort();    /* nothing works without memory */
    w->chore.work = work;
    w->chore.done = done;
    w->session = s;
    w->step = step;
    w->done = then;
    for (unsigned i = 0; i < s->nbitmaps; i++)
        add_job(w, i);
    s->remote = true;
    s->orders++;
    hands_send(s->engine->hands, &w->chore);
}

bool remote_defer(struct session *s, struct request *request)
{
    if (!s->remote)
        return false;
    struct waiter *w = calloc(1, sizeof *w), **link = &s->deferred;
    if (!w)
        abort();
    w->request = request;
    while (*link)
        link = &(*link)->next;
    *link = w;
    return true;
}

uint64_t remote_late_bytes(const struct session *s)
{
    uint64_t late_bytes = 0;
    for (unsigned i = 0; i < s->nbitmaps; i++)
        late_bytes += s->bitmaps[i].late_bytes;
    return late_bytes;
}

/* ---------------------------------------------------------------- tidying */

static void tidied(struct session *s, int r, const struct df_error *err)
{
    void (*then)(struct session *s) = steal(&s->tidied);
    struct df_error gone;
    if (r < 0 && r != -ENOTCONN)
        session_note(s, err);
    if (r == -ENOTCONN && s->tidy_step == REMOTE_THAW && s->state != SOURCE_ABANDONED) {
        error_set(&gone, r, "%.1024s; a bitmap that comes back with it is disabled, as the pivot left it: make a full backup", err->message);
        session_note(s, &gone);
    }
    if (r < 0 && r != -ENOTCONN && r != -ENODATA) {
        s->tidy_ms = clock_ms() + TIDY_MS;
        s->tidy_failed = true;
    } else {
        if (s->tidy_failed && r != -ENODATA)
            s->message[0] = 0;      /* it said why not */
        s->tidy_failed = false;
        s->tidy = false;
        s->touched = false;
        session_save(s);
    }
    if (then)
        then(s);
}

void remote_tidy(struct session *s, enum remote_step step, void (*then)(struct session *s))
{
    if (!session_is_remote(s) || !s->touched) {
        if (then)
            then(s);
        return;
    }
    s->tidy = true;
    s->tidy_step = step;
    s->tidied = then;
    s->tidy_ms = 0;
    if (!s->remote)     /* else when the step that is under way is done */
        remote_run(s, step, tidied);
}

int64_t remote_tick(struct session *s, int64_t now_ms)
{
    if (!s->tidy || s->remote)
        return INT64_MAX;
    if (now_ms < s->tidy_ms)
        return s->tidy_ms;
    remote_run(s, s->tidy_step, tidied);
    return INT64_MAX;
}
