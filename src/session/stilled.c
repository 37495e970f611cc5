// SPDX-License-Identifier: BSD-3-Clause
/*
 * A source that is interrupted: its whole state as a file in STATE/dumps, and
 * the digests that the seal will need.  Two chores, the digests first.
 *
 * The dump has the epoch of the attempt that comes next, so it is fresh as long
 * as no attempt has reached the target; every further interruption writes it
 * anew.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/files.h"
#include "base/log.h"
#include "session/dump.h"
#include "session/source.h"

/* ------------------------------------------------------------------ dumps */

int dump_open_dir(const char *state_dir, int *dirfd, struct df_error *err)
{
    return files_open_directory(state_dir, "dumps", 0700, dirfd, err);
}

static void file_name(const struct session *s, char name[64])
{
    snprintf(name, 64, "%s.dump", s->text);
}

void dump_path(const struct session *s, char *path, size_t room)
{
    snprintf(path, room, "%s/dumps/%s.dump", s->engine->state_dir, s->text);
}

void dump_remove(struct session *s)
{
    char name[64];
    CLEANUP(cleanup_fd) int dirfd = -1;
    if (!s->dump_epoch || s->dumping)
        return;
    s->dump_epoch = 0;
    file_name(s, name);
    if (dump_open_dir(s->engine->state_dir, &dirfd, NULL) == 0)
        files_remove(dirfd, name);
}

struct cleaning {
    struct engine *engine;
    int dirfd;
};

/*
 * At the start nobody writes: what is half written is rubbish.  A dump whose
 * session nobody knows may be the last copy of its bits, and stays.
 */
static int clean_up(void *opaque, const char *name)
{
    const struct cleaning *c = opaque;
    size_t n = strlen(name);
    bool half = (n > 4 && !strcmp(name + n - 4, ".new")) || !strncmp(name, ".copy-", 6);
    char uuid[UUID_TEXT_BYTES];
    const struct session *s = session_file(name, ".dump", uuid) ? session_find(c->engine, uuid, ROLE_SOURCE) : NULL;
    if (half || (s && state_is_end(s->state)))
        files_remove(c->dirfd, name);
    return 0;
}

void dump_clean_up(struct engine *engine)
{
    CLEANUP(cleanup_fd) int dirfd = -1;
    if (dump_open_dir(engine->state_dir, &dirfd, NULL) == 0)
        files_list(dirfd, clean_up, &(struct cleaning){ engine, dirfd });
}

void dump_describe(const struct session *s, struct still *still)
{
    struct dump_header *h = &still->header;
    h->id = dump_new_id();
    h->content = DUMP_SESSION;
    memcpy(h->session, s->text, sizeof h->session);
    h->epoch = s->epoch;
    h->chunk_bytes = dump_chunk_bytes(s->chunk_bytes);
    h->nbitmaps = s->nbitmaps;
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        const struct session_bitmap *b = &s->bitmaps[i];
        struct dump_bitmap *d = &h->bitmaps[i];
        memcpy(d->disk, b->as_disk, sizeof d->disk);
        memcpy(d->name, b->as_bitmap, sizeof d->name);
        d->size = b->backend->ops->size(b->backend);
        d->granularity = b->info.granularity;
        d->enabled = b->info.enabled;
        d->persistent = source_keeps(b);
        still->maps[i] = b->map.map;
    }
}

struct dumping {
    struct chore chore;         /* first */
    struct session *session;
    char name[64];
    struct still still;
};

static void dump_work(struct chore *chore)
{
    struct dumping *d = (struct dumping *)chore;
    CLEANUP(cleanup_fd) int dirfd = -1;
    chore->r = dump_open_dir(d->session->engine->state_dir, &dirfd, &chore->err);
    if (!chore->r)
        chore->r = still_write(&d->still, dirfd, d->name, &chore->err);
}

static void dump_done(struct chore *chore)
{
    struct dumping *d = (struct dumping *)chore;
    struct session *s = d->session;
    s->orders--;
    s->dumping = false;
    if (chore->r < 0) {
        session_note(s, &chore->err);       /* tried again with the link, but not each time */
        s->dump_retry_ms = clock_ms() + DUMP_RETRY_MS;
    } else {
        s->dump_epoch = (uint32_t)d->still.header.epoch;
        log_info("session %s source: its state is in '%s/dumps/%s'", s->text, s->engine->state_dir, d->name);
        session_save(s);
        report_event(s, "state");
    }
    free(d);
    if (state_is_end(s->state))
        dump_remove(s);
    else if (s->dump_epoch && s->dump_epoch != s->epoch)
        dump_session(s);
}

void dump_session(struct session *s)
{
    if (clock_ms() < s->dump_retry_ms)
        return;
    struct dumping *d = s->dumping || s->damaged || s->unread ? NULL : calloc(1, sizeof *d);
    if (!d)
        return;
    d->chore.work = dump_work;
    d->chore.done = dump_done;
    d->session = s;
    dump_describe(s, &d->still);
    file_name(s, d->name);
    s->dumping = true;
    s->orders++;
    keeper_send(s->engine->keeper, &d->chore);
}

/* ---------------------------------------------------------------- digests */

struct digesting {
    struct chore chore;         /* first */
    struct session *session;
    uint64_t digests[][WIRE_SEGMENTS];
};

static void digest_work(struct chore *chore)
{
    struct digesting *d = (struct digesting *)chore;
    for (unsigned i = 0; i < d->session->nbitmaps; i++)
        feed_digests(d->session->bitmaps[i].map.map, d->digests[i], d->session->bitmaps[i].work.ndigests);
}

static void digest_done(struct chore *chore)
{
    struct digesting *d = (struct digesting *)chore;
    struct session *s = d->session;
    s->orders--;
    s->digesting = false;
    for (unsigned i = 0; i < s->nbitmaps; i++)
        memcpy(s->bitmaps[i].work.digests, d->digests[i], s->bitmaps[i].work.ndigests * sizeof **d->digests);
    free(d);
    if (s->state == SOURCE_SEALING)
        seal_begin(s);
}

void digest_session(struct session *s)
{
    struct digesting *d = s->digesting || s->damaged || s->unread ? NULL : calloc(1, sizeof *d + s->nbitmaps * sizeof *d->digests);
    if (!d)
        return;     /* without them segments are sent again as a whole */
    d->chore.work = digest_work;
    d->chore.done = digest_done;
    d->session = s;
    s->digesting = true;
    s->orders++;
    keeper_send(s->engine->keeper, &d->chore);
}
