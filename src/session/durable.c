// SPDX-License-Identifier: BSD-3-Clause
/*
 * What must be on stable storage before it is claimed:
 *
 *   source, before the offer       the bitmap is taken.  After a host crash the
 *                                  disk then comes up read-only, for nobody knows
 *                                  whether the pivot was here, which is not synced
 *   target, before "operative"     the merged bits, the table, the journal
 *   source, before it lets go      the journal: the target is operative
 *
 * By a chore; the session goes on when it is done.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "session/session.h"

struct sync {
    struct chore chore;         /* first: the keeper hands this pointer back */
    struct session *session;
    bool maps;
    void (*done)(struct session *session, int r, const struct df_error *err);
};

static bool is_first_of_its_disk(const struct session *s, unsigned i)
{
    for (unsigned k = 0; k < i; k++)
        if (!strcmp(s->bitmaps[k].disk, s->bitmaps[i].disk))
            return false;
    return true;
}

static void work(struct chore *chore)
{
    struct sync *sync = (struct sync *)chore;
    struct session *s = sync->session;
    for (unsigned i = 0; !chore->r && i < s->nbitmaps && sync->maps; i++)
        chore->r = s->bitmaps[i].backend->ops->sync_map(s->bitmaps[i].backend, s->bitmaps[i].bitmap, &chore->err);
    for (unsigned i = 0; !chore->r && i < s->nbitmaps; i++)
        if (s->bitmaps[i].backend && is_first_of_its_disk(s, i))
            chore->r = s->bitmaps[i].backend->ops->sync(s->bitmaps[i].backend, &chore->err);
    if (!chore->r)
        chore->r = journal_sync(&s->journal, s->engine->sessions_dir, &chore->err);
}

static void done(struct chore *chore)
{
    struct sync *sync = (struct sync *)chore;
    struct session *s = sync->session;
    s->orders--;
    if (!chore->r)
        journal_sync_ended(&s->journal);
    sync->done(s, chore->r, &chore->err);
    free(sync);
}

void durable_sync(struct session *s, bool maps, void (*then)(struct session *s, int r, const struct df_error *err))
{
    struct sync *sync = calloc(1, sizeof *sync);
    if (!sync)
        abort();    /* nothing works without memory */
    sync->chore.work = work;
    sync->chore.done = done;
    sync->session = s;
    sync->maps = maps;
    sync->done = then;
    journal_sync_begins(&s->journal);
    s->orders++;
    keeper_send(s->engine->keeper, &sync->chore);
}
