// SPDX-License-Identifier: BSD-3-Clause
/*
 * The request `load`: a dump comes in, block by block, in order, each checked
 * for itself (the sender has checked the whole before).
 *
 *   of a session  its frozen parents here are filled from it as from the source
 *   of a bitmap   a target session without a source is made for it, named by the
 *                 dump; its child records when the last block is here
 *
 * Until the last block has been compared nothing that can be seen has changed;
 * a load that is broken off may be begun again.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "session/target.h"

#define PAUSE_MS 5000   /* after that another load may begin */

/* --------------------------------------------------------- the first block */

static int check_session(const struct session *s, const struct dump_header *h, struct df_error *err)
{
    if (s->state != TARGET_PREPARED && s->state != TARGET_RECEIVING)
        return error_set(err, -EPERM, "session %s is %s: it needs no dump", s->text, state_name(s->state));
    if (h->epoch < s->epoch)
        return error_set(err, -ESTALE, "the dump of session %s is of attempt %" PRIu64 " and attempt %" PRIu32 " was here since: dump it again", s->text, h->epoch, s->epoch);
    if (h->nbitmaps != s->nbitmaps)
        return error_set(err, -EINVAL, "the dump has %zu bitmaps and session %s has %u: it is of another move", h->nbitmaps, s->text, s->nbitmaps);
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        const struct session_bitmap *b = &s->bitmaps[i];
        const struct dump_bitmap *d = &h->bitmaps[i];
        if (strcmp(b->disk, d->disk) || strcmp(b->bitmap, d->name) || b->geometry.granularity != d->granularity || b->geometry.size != d->size)
            return error_set(err, -EINVAL, "the dump has '%s' of disk '%s' where session %s has '%s' of disk '%s': it is of another move",
                             d->name, d->disk, s->text, b->bitmap, b->disk);
    }
    return 0;
}

static int open_bitmap(struct session *s, struct session_bitmap *b, const struct dump_bitmap *d, struct df_error *err)
{
    memcpy(b->disk, d->disk, sizeof b->disk);
    memcpy(b->bitmap, d->name, sizeof b->bitmap);
    b->geometry = (struct geometry){ d->size, d->granularity };
    int r = backend_open(s->engine->state_dir, b->disk, &b->backend, err);
    if (r < 0)
        return r;
    uint64_t own = b->backend->ops->size(b->backend);
    if (own != d->size)
        return error_set(err, -EINVAL, "disk '%s' has %" PRIu64 " bytes and the dump is of one with %" PRIu64 ": the sizes must be equal", b->disk, own, d->size);
    b->info.granularity = d->granularity;
    b->info.enabled = d->enabled;
    b->info.persistent = d->persistent;
    return 0;
}

static int add_bitmaps(struct session *s, const struct dump_header *h, struct df_error *err)
{
    int r = 0;
    for (unsigned i = 0; !r && i < s->nbitmaps; i++)
        r = open_bitmap(s, &s->bitmaps[i], &h->bitmaps[i], err);
    return r < 0 ? r : target_add(s, "the dump", err);
}

/* A session for a bitmap that comes alone. */
static int begin_bitmap(struct engine *engine, const struct dump_header *h, struct session **out, struct df_error *err)
{
    struct session *s = NULL;
    int r = session_new(engine, h->session, ROLE_TARGET, (unsigned)h->nbitmaps, &s, err);
    if (r < 0)
        return r;
    s->chunk_bytes = h->chunk_bytes;
    s->epoch = 1;
    s->is_load = true;
    r = add_bitmaps(s, h, err);
    if (!r && session_is_remote(s))
        r = error_set(err, -ENOTSUP, "a dump of a bitmap cannot be loaded into a disk that QEMU serves: load it into one of dirtyferry's own, and migrate it from there");
    if (!r)
        r = session_try(s, EVENT_START, err);
    if (r < 0) {
        target_discard(s);
        session_free(s);
        return r;
    }
    target_begin(s);
    *out = s;
    return 0;
}

static int find_session(struct engine *engine, const struct dump_header *h, struct session **out, struct df_error *err)
{
    struct session *s = session_find(engine, h->session, ROLE_TARGET);
    if (s && s->state == TARGET_OPERATIVE)
        return error_set(err, -EEXIST, "session %s is operative: it needs no dump, or has it already", s->text);
    if (s && !(s->is_load && state_is_end(s->state))) {
        *out = s;
        return check_session(s, h, err);
    }
    if (h->content == DUMP_BITMAP)
        return begin_bitmap(engine, h, out, err);
    return error_set(err, -ENOENT, "the dump is of session %s, which has no target here: ask the daemon that received it", h->session);
}

static struct intake *make_shadow(const struct load *load, unsigned i, struct df_error *err)
{
    struct intake *in = load->intakes[i], *shadow = calloc(1, sizeof *shadow);
    if (!shadow) {
        error_errno(err, -ENOMEM, "cannot load a dump");
        return NULL;
    }
    shadow->backend = in->backend;
    shadow->map = in->map;
    shadow->digests = in->digests;
    shadow->chunking = dump_chunking(&load->header, i);
    if (map_create_anonymous(chunk_count(&shadow->chunking), &shadow->received, err) < 0) {
        free(shadow);
        return NULL;
    }
    return shadow;
}

static int begin_load(struct session *s, struct load **loadp, struct df_error *err)
{
    struct load *load = *loadp;
    if (s->load && (s->load->busy || clock_ms() - s->load->used_ms < PAUSE_MS) && s->load->header.id != load->header.id)
        return error_set(err, -EBUSY, "another dump of session %s is being loaded: try again later", s->text);
    if (s->load && s->load->busy)
        return error_set(err, -EBUSY, "the dump of session %s is being loaded", s->text);
    load_drop(s);
    s->load = steal(loadp);
    load->index = 1;
    load->used_ms = clock_ms();
    int r = 0;
    for (unsigned i = 0; !r && i < s->nbitmaps; i++) {
        load->intakes[i] = s->bitmaps[i].intake;
        load->shadows[i] = make_shadow(load, i, err);
        r = load->shadows[i] ? 0 : -ENOMEM;
    }
    if (r < 0)
        load_drop(s);
    return r;
}

static void take_header(struct engine *engine, struct request *request, const uint8_t *block, size_t nbytes)
{
    const char *uuid = node_text(request->message->root, "session");
    CLEANUP(cleanup_free) struct load *load = calloc(1, sizeof *load);
    struct dump_head head;
    struct df_error err;
    struct session *s = NULL;
    int r = load ? dump_block_check(block, nbytes, 0, 0, &head, &err) : error_errno(&err, -ENOMEM, "cannot load a dump");
    if (!r && head.kind != DUMP_HEADER)
        r = error_set(&err, -EINVAL, "the first block of the dump is not its header");
    if (!r)
        r = dump_unpack_header(block, nbytes, &load->header, &err);
    if (!r && (strcasecmp(load->header.session, uuid) || load->header.id != node_u64(request->message->root, "dump", 0)))
        r = error_set(&err, -EINVAL, "the dump is of session %s, not of %s", load->header.session, uuid);
    if (!r)
        r = find_session(engine, &load->header, &s, &err);
    if (!r)
        r = begin_load(s, &load, &err);
    if (r < 0)
        request_fail(&request, &err);
    else
        report_reply(&request, s);
}

/* ------------------------------------------------------- the other blocks */

static void take_block(struct session *s, struct request *request, const uint8_t *block, size_t nbytes)
{
    struct load *load = s->load;
    uint64_t index = node_u64(request->message->root, "index", 0);
    struct dump_head head;
    struct df_error err;
    int r = 0;
    if (!load || load->header.id != node_u64(request->message->root, "dump", 0) || load->busy || index > load->index)
        r = error_set(&err, -ESTALE, "block %" PRIu64 " of a dump of session %s is not the next one: load it from its beginning", index, s->text);
    else if (index < load->index) {
        report_reply(&request, s);      /* it is here already */
        return;
    }
    if (!r)
        r = dump_block_check(block, nbytes, load->header.id, index, &head, &err);
    if (!r && head.kind == DUMP_HEADER)
        r = error_set(&err, -EINVAL, "block %" PRIu64 " of the dump is a header", index);
    if (r < 0) {
        request_fail(&request, &err);
        return;
    }
    struct errand *errand = errand_new(s, 0, head.kind == DUMP_END ? ORDER_LOAD_END : ORDER_LOAD, request);
    errand->order.load = load;
    errand->order.block = block;
    errand->order.nbytes = nbytes;
    load->busy = true;
    errand_submit(errand);
}

void load_request(struct engine *engine, struct request *request)
{
    const node *root = request->message->root;
    const char *uuid = node_text(root, "session");
    struct df_error err;
    size_t nbytes;
    const uint8_t *block = node_bin(root, "block", &nbytes);
    if (!node_u64(root, "index", 0)) {
        take_header(engine, request, block, nbytes);
        return;
    }
    struct session *s = session_find(engine, uuid, ROLE_TARGET);
    if (s && !state_is_end(s->state)) {
        take_block(s, request, block, nbytes);
        return;
    }
    error_set(&err, -ENOENT, "there is no session %s that waits for a dump", uuid);
    request_fail(&request, &err);
}

/* The loaded bitmap records from now on: what was written to the disk before is not its business. */
static void record(struct session *s)
{
    struct df_error err;
    if (session_try(s, EVENT_PIVOT, &err) < 0)
        session_note(s, &err);
    else
        target_record(s);
}

static void loaded(struct session *s, struct request *request)
{
    load_drop(s);
    for (unsigned i = 0; i < s->nbitmaps; i++)
        s->bitmaps[i].exact = true;
    target_exact(s);
    if (s->is_load && s->state == TARGET_FILLED)
        record(s);
    if (s->state == TARGET_FILLED)
        report_reply(&request, s);
    else
        report_wait_for(s, request, TARGET_OPERATIVE);
}

void load_order_done(struct session *s, struct errand *errand)
{
    struct load *load = errand->order.load;
    load->busy = false;
    load->used_ms = clock_ms();
    load->index++;
    if (errand->order.r < 0) {
        request_fail(&errand->request, &errand->order.err);
        load_drop(s);
    } else if (errand->order.kind == ORDER_LOAD_END) {
        loaded(s, errand->request);
    } else {
        report_reply(&errand->request, s);
    }
}

void load_drop(struct session *s)
{
    struct load *load = steal(&s->load);
    if (!load)
        return;
    for (unsigned i = 0; i < WIRE_SESSION_BITMAPS; i++)
        if (load->shadows[i]) {
            map_close(&load->shadows[i]->received);
            free(load->shadows[i]);
        }
    free(load);
}
