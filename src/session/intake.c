// SPDX-License-Identifier: BSD-3-Clause
/*
 * The parents of a target session: made, opened again after a restart, closed.
 *
 * Which chunks are there (`received`) is a file beside the journal.  A chunk is
 * noted when its bits are written, and both go through the page cache, so after
 * the death of the process it says what is there, or less.  After a restart of
 * the host it is begun anew: then the order of the two is not known.
 *
 * Where the parent cannot be filled in place, because it is stored in another
 * geometry than the source's, the bits go to a map beside that file
 * (`staging`); both are there, or both are begun anew.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/quota.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "session/target.h"

static int claim_handle(struct engine *engine, uint16_t *handle)
{
    for (unsigned i = 0; i < WIRE_HANDLE_MAX && !*handle; i++) {
        engine->next_handle = engine->next_handle == WIRE_HANDLE_MAX ? 1 : (uint16_t)(engine->next_handle + 1);
        if (!engine->handles[engine->next_handle])
            *handle = engine->next_handle;
    }
    if (!*handle)
        return -ENOSPC;
    engine->handles[*handle] = true;
    return 0;
}

#define NAME_BYTES 80

/* Both begin with what recover.c cleans up and the quota counts. */
static void received_name(const struct session *s, const struct session_bitmap *b, char name[NAME_BYTES])
{
    snprintf(name, NAME_BYTES, "%s.received-%u", s->text, (unsigned)(b - s->bitmaps));
}

static void staging_name(const struct session *s, const struct session_bitmap *b, char name[NAME_BYTES])
{
    snprintf(name, NAME_BYTES, "%s.received-bits-%u", s->text, (unsigned)(b - s->bitmaps));
}

/* *fresh: what is there does not count; and afterwards, it did not. */
static int open_beside(const struct session *s, const char *name, uint64_t nbits, bool *fresh, struct map **map, struct df_error *err)
{
    if (!*fresh && map_open(s->engine->sessions_dir, name, nbits, map, NULL) == 0)
        return 0;
    *fresh = true;
    unlinkat(s->engine->sessions_dir, name, 0);
    return map_create(s->engine->sessions_dir, name, nbits, map, err);
}

static int open_received(struct session *s, struct session_bitmap *b, bool fresh, struct df_error *err)
{
    struct intake *in = b->intake;
    char name[NAME_BYTES];
    received_name(s, b, name);
    int r = open_beside(s, name, b->chunks, &fresh, &in->received, err);
    if (!r && !fresh)
        atomic_store_explicit(&in->chunks_done, map_count(in->received), memory_order_relaxed);
    return r;
}

/* The parent itself is filled at the end only; that it is there and whole is to be known now. */
static int open_staging(struct session *s, struct session_bitmap *b, bool *fresh, struct df_error *err)
{
    struct intake *in = b->intake;
    struct backend_map parent = { 0 };
    char name[NAME_BYTES];
    int r = b->backend->ops->get_map(b->backend, b->bitmap, s->uuid, &parent, err);
    if (r < 0)
        return r;
    b->backend->ops->put_map(b->backend, &parent);
    staging_name(s, b, name);
    r = open_beside(s, name, b->chunking.nbits, fresh, &in->staging, err);
    in->map = in->staging;
    return r;
}

static int open_parent(struct session *s, struct session_bitmap *b, struct df_error *err)
{
    struct intake *in = b->intake;
    int r = b->backend->ops->get_map(b->backend, b->bitmap, s->uuid, &in->parent, err);
    if (!r)
        r = backend_check_map(b->backend, b->bitmap, &in->parent, b->chunking.nbits, err);
    in->map = in->parent.map;
    return r;
}

static int open_intake(struct session *s, struct session_bitmap *b, bool fresh, struct df_error *err)
{
    struct intake *in = b->intake = calloc(1, sizeof *in);
    if (!in || claim_handle(s->engine, &b->handle) < 0)
        return error_set(err, -ENOSPC, "no more than %u bitmaps can be received at once", WIRE_HANDLE_MAX);
    in->handle = b->handle;
    in->backend = b->backend;
    in->geometry = b->geometry;
    in->chunking = b->chunking;
    in->epoch = s->epoch;
    in->exact = b->exact;
    memcpy(in->bitmap, b->bitmap, sizeof in->bitmap);
    memcpy(in->session, s->uuid, sizeof in->session);
    memcpy(in->owner, s->owner, sizeof in->owner);
    int r = b->staged ? open_staging(s, b, &fresh, err) : open_parent(s, b, err);
    if (!r && b->chunks != chunk_count(&b->chunking))   /* those of the journal: the disk was written to meanwhile */
        r = error_set(err, -EPROTO, "bitmap '%s' of disk '%s' has another size than its session: the disk is damaged, remove it and add it anew", b->bitmap, b->disk);
    if (!r)
        r = open_received(s, b, fresh, err);
    if (r < 0)
        return r;
    in->digests = calloc(in->map->nblocks, sizeof *in->digests);
    return in->digests ? 0 : error_errno(err, -ENOMEM, "cannot receive bitmap '%s' of disk '%s'", b->bitmap, b->disk);
}

static struct geometry own_geometry(const struct session_bitmap *b)
{
    return (struct geometry){ b->backend->ops->size(b->backend), b->info.granularity };
}

/* The journal's number of chunks is for reports. */
static int set_chunking(const struct session *s, struct session_bitmap *b, struct df_error *err)
{
    b->chunking = (struct chunking){ geometry_bits(&b->geometry), s->chunk_bytes };
    b->chunks = chunk_count(&b->chunking);
    return chunking_check(&b->chunking, err);
}

static int add(struct session *s, struct session_bitmap *b, struct df_error *err)
{
    unsigned flags = (b->info.enabled ? 0 : DF_BITMAP_DISABLED) | (b->info.persistent ? DF_BITMAP_PERSISTENT : 0);
    int r = b->backend->ops->add_frozen(b->backend, b->bitmap, b->info.granularity, flags, s->uuid, err);
    b->created = r == 0;
    if (!r)
        r = b->backend->ops->info(b->backend, b->bitmap, &b->info, err);
    if (r < 0)
        return r;
    const struct geometry own = own_geometry(b);
    b->staged = b->backend->ops->fill && !geometry_is_same(&own, &b->geometry);
    r = set_chunking(s, b, err);
    return r < 0 ? r : open_intake(s, b, true, err);
}

int target_add(struct session *s, const char *what, struct df_error *err)
{
    uint64_t nbytes = 0;
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        const struct session_bitmap *b = &s->bitmaps[i];
        const struct geometry own = own_geometry(b);
        nbytes += quota_intake_bytes(&own, &b->geometry, s->chunk_bytes);
    }
    int r = quota_enter(s->engine->state_dir, what, nbytes, err);
    if (r < 0)
        return r;
    for (unsigned i = 0; !r && i < s->nbitmaps; i++)
        r = add(s, &s->bitmaps[i], err);
    quota_leave();
    return r;
}

int target_open(struct session *s, bool fresh, struct df_error *err)
{
    int r = 0;
    for (unsigned i = 0; !r && i < s->nbitmaps; i++) {
        struct session_bitmap *b = &s->bitmaps[i];
        r = backend_open(s->engine->state_dir, b->disk, &b->backend, err);
        if (!r)
            r = b->backend->ops->info(b->backend, b->bitmap, &b->info, err);
        if (r == -ENOENT && b->backend && b->backend->remote && s->state == TARGET_MERGING)
            r = 0, b->info.busy = false;
        /* Not busy any more, or dropped: it was reclaimed, and only the journal does not know it yet. */
        if (r < 0 || !b->info.busy)
            continue;
        if (!b->geometry.size)      /* a journal of before there were others */
            b->geometry = own_geometry(b);
        r = set_chunking(s, b, err);
        if (!r)
            r = open_intake(s, b, fresh, err);
    }
    return r;
}

static void intake_free(struct intake **intakep)
{
    struct intake *in = steal(intakep);
    if (!in)
        return;
    if (in->parent.ref)
        in->backend->ops->put_map(in->backend, &in->parent);
    map_close(&in->staging);
    map_close(&in->received);
    free(in->digests);
    free(in);
}

static void close_intake(struct session *s, struct session_bitmap *b)
{
    s->frames += b->intake->frames;
    s->bytes += b->intake->bytes;
    b->chunks_sent = b->intake->chunks_done;
    s->engine->handles[b->handle] = false;
    intake_free(&b->intake);
}

static void remove_beside(const struct session *s, const struct session_bitmap *b)
{
    char name[NAME_BYTES];
    received_name(s, b, name);
    unlinkat(s->engine->sessions_dir, name, 0);
    staging_name(s, b, name);
    unlinkat(s->engine->sessions_dir, name, 0);
}

/* Called when no order is under way any more.  A session that goes on after a restart keeps its files. */
void target_release(struct session *s)
{
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        struct session_bitmap *b = &s->bitmaps[i];
        if (b->intake)
            close_intake(s, b);
        if (s->role == ROLE_TARGET && (state_is_end(s->state) || s->state == STATE_NONE))
            remove_beside(s, b);
    }
}
