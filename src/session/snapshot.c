// SPDX-License-Identifier: BSD-3-Clause
/*
 * The request `dump`: a session's state, or a bitmap, block by block for a file
 * on whatever host the operator sits at.
 *
 * The first block takes a copy of the maps into files without a name, because a
 * bitmap records on and a session may end; the requests that follow are served
 * from it.  Copies belong to the keeper's thread and are dropped when nobody has
 * asked for EXPIRE_MS.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "session/dump.h"

#define SNAPSHOTS 8

struct snapshot {
    struct snapshot *next;
    int64_t used_ms;
    struct still still;
    struct map *copies[WIRE_SESSION_BITMAPS];
};

struct dump_call {
    struct chore chore;         /* first */
    struct engine *engine;
    struct request *request;
    struct session *session;    /* NULL: a bitmap */
    bool last;
    struct dump_cursor at;
    struct dump_block block;
};

static void snapshot_free(struct snapshot **snapshotp)
{
    struct snapshot *snapshot = steal(snapshotp);
    if (!snapshot)
        return;
    for (unsigned i = 0; i < WIRE_SESSION_BITMAPS; i++)
        map_close(&snapshot->copies[i]);
    free(snapshot);
}

/* ------------------------------------------------- on the keeper's thread */

static int copy_map(struct snapshot *snapshot, size_t i, const struct map *map, int dirfd, struct df_error *err)
{
    char name[64];
    snprintf(name, sizeof name, ".copy-%016" PRIx64, snapshot->still.header.id);
    unlinkat(dirfd, name, 0);
    int r = map_create(dirfd, name, map->nbits, &snapshot->copies[i], err);
    unlinkat(dirfd, name, 0);
    if (!r && (r = map_merge(snapshot->copies[i], map)) < 0)
        error_errno(err, r, "cannot copy a bitmap for its dump");
    if (!r && map_is_broken(map))
        r = error_set(err, -EPROTO, "cannot copy a bitmap for its dump: its file was cut, the disk is damaged");
    snapshot->still.maps[i] = snapshot->copies[i];
    return r;
}

static int copy_session(struct snapshot *snapshot, const struct session *s, int dirfd, struct df_error *err)
{
    int r = 0;
    uint64_t id = snapshot->still.header.id;
    dump_describe(s, &snapshot->still);
    snapshot->still.header.id = id;
    for (unsigned i = 0; !r && i < s->nbitmaps; i++)
        r = copy_map(snapshot, i, s->bitmaps[i].map.map, dirfd, err);
    return r;
}

/* A bitmap by itself is named by a fresh UUID, under which it is loaded. */
static void describe_bitmap(struct dump_header *h, struct backend *backend, const struct df_bitmap_info *info)
{
    uint8_t uuid[UUID_BYTES];
    struct dump_bitmap *d = &h->bitmaps[0];
    uuid_generate(uuid);
    uuid_format(uuid, h->session);
    h->content = DUMP_BITMAP;
    h->epoch = 1;
    h->chunk_bytes = WIRE_CHUNK_BYTES;
    h->nbitmaps = 1;
    snprintf(d->disk, sizeof d->disk, "%s", backend->disk);
    snprintf(d->name, sizeof d->name, "%s", info->name);
    d->size = backend->ops->size(backend);
    d->granularity = info->granularity;
    d->enabled = info->enabled;
    d->persistent = info->persistent;
}

static int copy_bitmap(struct snapshot *snapshot, const struct dump_call *call, int dirfd, struct df_error *err)
{
    const node *root = call->request->message->root;
    CLEANUP(backend_close) struct backend *backend = NULL;
    struct backend_map map = { 0 };
    struct df_bitmap_info info;
    const char *name = node_text(root, "bitmap");
    int r = backend_open(call->engine->state_dir, node_text(root, "disk"), &backend, err);
    if (!r && backend->remote)
        r = error_set(err, -ENOTSUP, "bitmap '%s' of disk '%s' cannot be dumped: it is in another process; migrate it to a disk of dirtyferry's own first", name, backend->disk);
    if (!r)
        r = backend->ops->info(backend, name, &info, err);
    if (!r)
        r = backend->ops->peek_map(backend, name, &map, err);
    if (r < 0)
        return r;
    describe_bitmap(&snapshot->still.header, backend, &info);
    r = backend_check_map(backend, name, &map, info.nbits, err);
    if (!r)
        r = copy_map(snapshot, 0, map.map, dirfd, err);
    backend->ops->put_map(backend, &map);
    return r;
}

static void expire(struct engine *engine, int64_t before_ms)
{
    for (struct snapshot **link = &engine->dumps; *link;) {
        struct snapshot *snapshot = *link;
        if (snapshot->used_ms > before_ms) {
            link = &snapshot->next;
            continue;
        }
        *link = snapshot->next;
        snapshot_free(&snapshot);
    }
}

static int take_snapshot(struct dump_call *call, uint64_t id, struct snapshot **out, struct df_error *err)
{
    CLEANUP(snapshot_free) struct snapshot *snapshot = calloc(1, sizeof *snapshot);
    CLEANUP(cleanup_fd) int dirfd = -1;
    unsigned n = 0;
    for (const struct snapshot *other = call->engine->dumps; other; other = other->next)
        n++;
    if (!snapshot || n >= SNAPSHOTS)
        return error_set(err, snapshot ? -EBUSY : -ENOMEM, "%u dumps are under way, the most that are possible: try again later", n);
    snapshot->still.header.id = id;
    int r = dump_open_dir(call->engine->state_dir, &dirfd, err);
    if (!r)
        r = call->session ? copy_session(snapshot, call->session, dirfd, err) : copy_bitmap(snapshot, call, dirfd, err);
    if (r < 0)
        return r;
    snapshot->next = call->engine->dumps;
    call->engine->dumps = *out = snapshot;
    snapshot = NULL;
    return 0;
}

static void work(struct chore *chore)
{
    struct dump_call *call = (struct dump_call *)chore;
    const node *root = call->request->message->root;
    uint64_t id = node_u64(root, "dump", 0);
    struct snapshot *snapshot = call->engine->dumps;
    while (snapshot && snapshot->still.header.id != id)
        snapshot = snapshot->next;
    if (!snapshot && call->at.index)
        chore->r = error_set(&chore->err, -ESTALE, "the dump was given up after a pause, or by a restart: begin again");
    else if (!snapshot)
        chore->r = take_snapshot(call, id, &snapshot, &chore->err);
    if (chore->r < 0)
        return;
    snapshot->used_ms = clock_ms();
    chore->r = still_block(&snapshot->still, &call->at, &call->block, &call->last, &chore->err);
}

/* -------------------------------------------------- on the control thread */

static void done(struct chore *chore)
{
    struct dump_call *call = (struct dump_call *)chore;
    struct out out;
    if (call->session)
        call->session->orders--;
    if (chore->r < 0) {
        request_fail(&call->request, &chore->err);
    } else {
        request_begin_reply(call->request, &out);
        out_bin(&out, "block", call->block.bytes, call->block.nbytes);
        if (!call->last) {
            out_u64(&out, "handle", call->at.handle);
            out_u64(&out, "first", call->at.first);
        }
        request_reply(&call->request, &out);
    }
    dump_block_destroy(&call->block);
    free(call);
}

static int find_session(struct engine *engine, const node *root, struct session **session, struct df_error *err)
{
    const char *uuid = node_text(root, "session");
    if (!uuid)
        return node_text(root, "disk") && node_text(root, "bitmap") ? 0 : error_set(err, -EINVAL, "a dump is of a session, or of a disk and a bitmap");
    struct session *s = session_find(engine, uuid, ROLE_SOURCE);
    if (!s)
        return error_set(err, -ENOENT, "there is no session %s with this daemon as its source", uuid);
    if (s->damaged)
        return error_set(err, -EPERM, "session %s cannot be dumped: %s", s->text, s->message);
    if (s->state == SOURCE_PREPARING || s->state == SOURCE_PREPARED || s->state == SOURCE_FENCING)
        return error_set(err, -EPERM, "session %s is %s: its bitmaps still record, dump it after the pivot", s->text, state_name(s->state));
    if (state_is_end(s->state))
        return error_set(err, -EPERM, "session %s is over: it is %s", s->text, state_name(s->state));
    if (s->unread)
        return error_set(err, -EAGAIN, "session %s cannot be dumped yet: its bits are still being read; try again when 'dirtyferry status' has no message", s->text);
    *session = s;
    return 0;
}

void dump_request(struct engine *engine, struct request *request)
{
    const node *root = request->message->root;
    struct session *s = NULL;
    struct df_error err;
    uint64_t index = node_u64(root, "index", 0);
    int r = index ? 0 : find_session(engine, root, &s, &err);
    struct dump_call *call = r < 0 ? NULL : calloc(1, sizeof *call);
    if (!call) {
        if (!r)
            error_errno(&err, -ENOMEM, "cannot dump");
        request_fail(&request, &err);
        return;
    }
    call->chore.work = work;
    call->chore.done = done;
    call->engine = engine;
    call->request = request;
    call->session = s;
    call->at = (struct dump_cursor){ index, (unsigned)node_u64(root, "handle", 1), node_u64(root, "first", 0) };
    if (s)
        s->orders++;
    engine->dump_ms = clock_ms();
    keeper_send(engine->keeper, &call->chore);
}

/* ------------------------------------------------------------------- time */

struct expiry {
    struct chore chore;         /* first */
    struct engine *engine;
};

static void expiry_work(struct chore *chore)
{
    expire(((struct expiry *)chore)->engine, clock_ms() - DUMP_EXPIRE_MS);
}

static void expiry_done(struct chore *chore)
{
    free(chore);
}

int64_t dump_tick(struct engine *engine, int64_t now_ms)
{
    if (!engine->dump_ms)
        return INT64_MAX;
    if (now_ms <= engine->dump_ms + DUMP_EXPIRE_MS)
        return engine->dump_ms + DUMP_EXPIRE_MS + 1;
    struct expiry *expiry = calloc(1, sizeof *expiry);
    if (!expiry)
        return now_ms + DUMP_EXPIRE_MS;
    engine->dump_ms = 0;
    expiry->chore.work = expiry_work;
    expiry->chore.done = expiry_done;
    expiry->engine = engine;
    keeper_send(engine->keeper, &expiry->chore);
    return INT64_MAX;
}

void dump_close_all(struct engine *engine)
{
    expire(engine, INT64_MAX);
}
