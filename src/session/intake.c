// SPDX-License-Identifier: BSD-3-Clause
/*
 * The parents of a target session: made, opened again after a restart, closed.
 *
 * Which chunks are there (`received`) is a file beside the journal.  A chunk is
 * noted when its bits are written, and both go through the page cache, so after
 * the death of the process it says what is there, or less.  After a restart of
 * the host it is begun anew: then the order of the two is not known.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static void received_name(const struct session *s, const struct session_bitmap *b, char name[80])
{
    snprintf(name, 80, "%s.received-%u", s->text, (unsigned)(b - s->bitmaps));
}

static int open_received(struct session *s, struct session_bitmap *b, bool fresh, struct df_error *err)
{
    struct intake *in = b->intake;
    char name[80];
    received_name(s, b, name);
    if (!fresh && map_open(s->engine->sessions_dir, name, b->chunks, &in->received, NULL) == 0) {
        atomic_store_explicit(&in->chunks_done, map_count(in->received), memory_order_relaxed);
        return 0;
    }
    unlinkat(s->engine->sessions_dir, name, 0);
    return map_create(s->engine->sessions_dir, name, b->chunks, &in->received, err);
}

static int open_intake(struct session *s, struct session_bitmap *b, bool fresh, struct df_error *err)
{
    struct intake *in = b->intake = calloc(1, sizeof *in);
    if (!in || claim_handle(s->engine, &b->handle) < 0)
        return error_set(err, -ENOSPC, "no more than %u bitmaps can be received at once", WIRE_HANDLE_MAX);
    in->handle = b->handle;
    in->backend = b->backend;
    in->chunking = b->chunking;
    in->epoch = s->epoch;
    in->exact = b->exact;
    memcpy(in->bitmap, b->bitmap, sizeof in->bitmap);
    memcpy(in->session, s->uuid, sizeof in->session);
    memcpy(in->owner, s->owner, sizeof in->owner);
    int r = b->backend->ops->get_map(b->backend, b->bitmap, s->uuid, &in->parent, err);
    if (!r)
        r = backend_check_map(b->backend, b->bitmap, &in->parent, b->chunking.nbits, err);
    if (!r && b->chunks != chunk_count(&b->chunking))   /* those of the journal: the disk was written to meanwhile */
        r = error_set(err, -EPROTO, "bitmap '%s' of disk '%s' has another size than its session: the disk is damaged, remove it and add it anew", b->bitmap, b->disk);
    if (!r)
        r = open_received(s, b, fresh, err);
    if (r < 0)
        return r;
    in->digests = calloc(in->parent.map->nblocks, sizeof *in->digests);
    return in->digests ? 0 : error_errno(err, -ENOMEM, "cannot receive bitmap '%s' of disk '%s'", b->bitmap, b->disk);
}

int target_add(struct session *s, struct session_bitmap *b, uint64_t granularity, unsigned flags, struct df_error *err)
{
    int r = b->backend->ops->add_frozen(b->backend, b->bitmap, granularity, flags, s->uuid, err);
    b->created = r == 0;
    if (!r)
        r = b->backend->ops->info(b->backend, b->bitmap, &b->info, err);
    if (r < 0)
        return r;
    b->chunking = (struct chunking){ b->info.nbits, s->chunk_bytes };
    r = chunking_check(&b->chunking, err);
    b->chunks = chunk_count(&b->chunking);
    return r < 0 ? r : open_intake(s, b, true, err);
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
        /* The journal's number of chunks is for reports: what is filled goes by the bitmap that is there. */
        b->chunking = (struct chunking){ b->info.nbits, s->chunk_bytes };
        r = chunking_check(&b->chunking, err);
        b->chunks = chunk_count(&b->chunking);
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

/* Called when no order is under way any more.  A session that goes on after a restart keeps its files. */
void target_release(struct session *s)
{
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        struct session_bitmap *b = &s->bitmaps[i];
        char name[80];
        if (b->intake)
            close_intake(s, b);
        received_name(s, b, name);
        if (s->role == ROLE_TARGET && (state_is_end(s->state) || s->state == STATE_NONE))
            unlinkat(s->engine->sessions_dir, name, 0);
    }
}
