// SPDX-License-Identifier: BSD-3-Clause
/* The first step of a move, on the source: nothing is changed anywhere unless all of it succeeds. */
#include "session/source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "session/worker.h"

static void copy_text(char *to, size_t room, const char *from, const char *fallback)
{
    snprintf(to, room, "%s", from ? from : fallback);
}

/* All names first: a session that is refused shows them too. */
static void read_names(struct session *s, const node *root, const node *items)
{
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        struct session_bitmap *b = &s->bitmaps[i];
        copy_text(b->disk, sizeof b->disk, node_text(&items[i], "disk"), "");
        copy_text(b->bitmap, sizeof b->bitmap, node_text(&items[i], "bitmap"), "");
        copy_text(b->as_disk, sizeof b->as_disk, node_text(&items[i], "as_disk"), b->disk);
        copy_text(b->as_bitmap, sizeof b->as_bitmap, node_text(&items[i], "as_bitmap"), b->bitmap);
        b->as_granularity = node_u64(&items[i], "as_granularity", 0);
        b->transient = node_bool(&items[i], "transient");
    }
    copy_text(s->peer_address.endpoint, sizeof s->peer_address.endpoint, node_text(root, "target"), "");
    copy_text(s->peer_address.key, sizeof s->peer_address.key, node_text(root, "target_key"), "");
}

static int check_names(const struct session *s, struct df_error *err)
{
    for (unsigned i = 0; i < s->nbitmaps; i++)
        for (unsigned j = 0; j < i; j++) {
            const struct session_bitmap *b = &s->bitmaps[i], *o = &s->bitmaps[j];
            if (!strcmp(o->disk, b->disk) && !strcmp(o->bitmap, b->bitmap))
                return error_set(err, -EINVAL, "bitmap '%s' of disk '%s' is named twice", b->bitmap, b->disk);
            if (!strcmp(o->as_disk, b->as_disk) && !strcmp(o->as_bitmap, b->as_bitmap))
                return error_set(err, -EINVAL, "two bitmaps would become '%s' of disk '%s' on the target", b->as_bitmap, b->as_disk);
        }
    return 0;
}

int source_open(struct session *s, struct session_bitmap *b, bool take, struct df_error *err)
{
    int r = b->backend ? 0 : backend_open(s->engine->state_dir, b->disk, &b->backend, err);
    if (!r)
        r = b->backend->ops->info(b->backend, b->bitmap, &b->info, err);
    if (r < 0)
        return r;
    b->chunking = (struct chunking){ b->info.nbits, s->chunk_bytes };
    r = chunking_check(&b->chunking, err);
    if (!r && take)
        r = b->backend->ops->take(b->backend, b->bitmap, s->uuid, err);
    if (!r)
        r = b->backend->ops->get_map(b->backend, b->bitmap, s->uuid, &b->map, err);
    if (!r)
        r = backend_check_map(b->backend, b->bitmap, &b->map, b->chunking.nbits, err);
    if (r < 0)
        return r;
    b->chunks = chunk_count(&b->chunking);
    return work_init(&b->work, b, err);
}

static int open_backends(struct session *s, struct df_error *err)
{
    int r = 0;
    for (unsigned i = 0; !r && i < s->nbitmaps; i++)
        r = backend_open(s->engine->state_dir, s->bitmaps[i].disk, &s->bitmaps[i].backend, err);
    return r;
}

static int take_bitmaps(struct session *s, struct df_error *err)
{
    int r = 0;
    for (unsigned i = 0; !r && i < s->nbitmaps; i++)
        r = source_open(s, &s->bitmaps[i], true, err);
    return r;
}

static void ignore_answer(void *opaque, uint64_t tag, int r, const struct message *reply, const struct df_error *err)
{
    (void)opaque, (void)tag, (void)r, (void)reply, (void)err;
}

void source_start_workers(struct session *s)
{
    struct net_address data = s->peer_address;      /* one key for all sockets of a daemon */
    snprintf(data.endpoint, sizeof data.endpoint, "%s", s->data);
    for (unsigned i = 0; i < s->workers; i++)
        worker_spawn(s->engine->net, s->text, &data, s->chunk_bytes, i);
}

static int take_offer_reply(struct session *s, const struct message *reply, struct df_error *err)
{
    size_t n;
    const node *handles = node_list(reply->root, "handles", &n);
    if (n != s->nbitmaps)
        return error_set(err, -EPROTO, "the target at '%s' gave %zu handles for %u bitmaps", s->peer_address.endpoint, n, s->nbitmaps);
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        if (handles[i].via.u64 < 1 || handles[i].via.u64 > WIRE_HANDLE_MAX)
            return error_set(err, -EPROTO, "the target at '%s' gave the handle %" PRIu64, s->peer_address.endpoint, handles[i].via.u64);
        s->bitmaps[i].handle = (uint16_t)handles[i].via.u64;
    }
    net_resolve(node_text(reply->root, "data"), s->peer_address.endpoint, s->data);
    return net_check_endpoint(s->data, "the target's data endpoint", err);
}

/* Nothing was changed: say why, everywhere. */
static void refuse(struct session *s, const struct df_error *err)
{
    source_give_back(s);
    session_note(s, err);
    session_step(s, EVENT_REFUSED);
    session_fail_held(s, err);
}

void source_withdraw(struct session *s, const struct df_error *err)
{
    if (s->peer)
        source_send_cancel(s, ignore_answer);      /* it may have accepted without our knowing */
    refuse(s, err);
}

static void offer_answered(void *opaque, uint64_t tag, int r, const struct message *reply, const struct df_error *answer)
{
    struct session *s = opaque;
    struct df_error err;
    (void)tag;
    if (reply && r < 0)
        error_set(&err, r, "the target at '%.255s' refuses: %.2048s", s->peer_address.endpoint, answer->message);
    else if (r < 0)
        err = *answer;
    else
        r = take_offer_reply(s, reply, &err);
    if (r < 0) {
        (reply && reply->error ? refuse : source_withdraw)(s, &err);
        return;
    }
    s->epoch = 1;
    s->heard_ms = clock_ms();
    session_step(s, EVENT_ACCEPTED);
    source_start_workers(s);
    session_reply_held(s);
}

bool source_keeps(const struct session_bitmap *b)
{
    return b->info.persistent && !b->transient;
}

static void send_offer(struct session *s)
{
    struct out out;
    uint64_t id;
    peer_begin(&out, "offer", &id);
    out_text(&out, "session", s->text);
    out_u64(&out, "chunk_size", s->chunk_bytes);
    if (s->grow)
        out_bool(&out, "grow", true);
    out_list(&out, "bitmaps");
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        struct session_bitmap *b = &s->bitmaps[i];
        out_map(&out, NULL);
        out_text(&out, "disk", b->as_disk);
        out_text(&out, "bitmap", b->as_bitmap);
        out_u64(&out, "size", b->backend->ops->size(b->backend));
        out_u64(&out, "granularity", b->info.granularity);
        out_bool(&out, "enabled", b->info.enabled);
        out_bool(&out, "persistent", source_keeps(b));
        if (b->as_granularity)
            out_u64(&out, "as_granularity", b->as_granularity);
        out_close(&out);
    }
    out_close(&out);
    peer_send(s->peer, &out, id, 0, offer_answered, s, 0);
}

static int read_prepare(struct session *s, const node *root, struct df_error *err)
{
    uint64_t chunk = node_u64(root, "chunk_size", WIRE_CHUNK_BYTES), workers = node_u64(root, "workers", DEFAULT_WORKERS);
    int r = net_check_address(&s->peer_address, "target", err);
    if (!r && workers > WIRE_WORKERS)
        r = error_set(err, -EINVAL, "%" PRIu64 " workers are too many: 0 to %u are possible", workers, WIRE_WORKERS);
    if (!r)
        r = chunk_bytes_check(chunk, err);
    if (r < 0)
        return r;
    s->chunk_bytes = (uint32_t)chunk;
    s->workers = (unsigned)workers;
    s->max_bandwidth = node_u64(root, "max_bandwidth", 0);
    s->grow = node_bool(root, "grow");
    for (unsigned i = 0; !r && i < s->nbitmaps; i++)
        if (s->bitmaps[i].as_granularity)
            r = granularity_check(s->bitmaps[i].as_granularity, err);
    return r < 0 ? r : check_names(s, err);
}

static void taken_durably(struct session *s, int r, const struct df_error *err)
{
    if (r < 0)
        refuse(s, err);
    else
        send_offer(s);
}

static void looked_at(struct session *s, int r, const struct df_error *why)
{
    struct df_error err;
    if (r < 0) {
        refuse(s, why);
        return;
    }
    r = take_bitmaps(s, &err);
    if (!r)
        r = peer_open(s->engine->net, &s->peer_address, &s->peer, &err);
    if (!r)
        durable_sync(s, false, taken_durably);
    else
        refuse(s, &err);
}

static bool is_same(const struct session_bitmap *b, const node *item)
{
    const char *as_disk = node_text(item, "as_disk"), *as_bitmap = node_text(item, "as_bitmap");
    return !strcmp(b->disk, node_text(item, "disk")) && !strcmp(b->bitmap, node_text(item, "bitmap")) &&
           !strcmp(b->as_disk, as_disk ? as_disk : b->disk) && !strcmp(b->as_bitmap, as_bitmap ? as_bitmap : b->bitmap) &&
           b->as_granularity == node_u64(item, "as_granularity", 0) && b->transient == node_bool(item, "transient");
}

/* Who asks again, because this daemon was restarted before its answer arrived, gets the answer. */
static bool is_repeated(struct engine *engine, struct request *request)
{
    const node *root = request->message->root;
    const struct session *s = session_find(engine, node_text(root, "session"), ROLE_SOURCE);
    const char *target_key = node_text(root, "target_key");
    size_t n;
    const node *items = node_list(root, "bitmaps", &n);
    bool same = s && s->state == SOURCE_PREPARED && n == s->nbitmaps && !strcmp(s->peer_address.endpoint, node_text(root, "target")) &&
                !strcmp(s->peer_address.key, target_key ? target_key : "") && s->chunk_bytes == node_u64(root, "chunk_size", WIRE_CHUNK_BYTES);
    for (size_t i = 0; same && i < n; i++)
        same = is_same(&s->bitmaps[i], &items[i]);
    if (same)
        report_reply(&request, s);
    return same;
}

void source_prepare(struct engine *engine, struct request *request)
{
    const node *root = request->message->root;
    struct session *s = NULL;
    struct df_error err;
    size_t n;
    const node *items = node_list(root, "bitmaps", &n);
    if (is_repeated(engine, request))
        return;
    struct df_error wrong;
    int r = session_new(engine, node_text(root, "session"), ROLE_SOURCE, (unsigned)n, &s, &err);
    if (!r) {
        s->held = request;
        read_names(s, root, items);
        wrong.code = 0;
        read_prepare(s, root, &wrong);
        r = session_try(s, EVENT_START, &err);
    }
    if (r < 0) {
        if (s)
            session_free(s);    /* not even written down */
        request_fail(&request, &err);
        return;
    }
    r = wrong.code ? wrong.code : open_backends(s, &wrong);
    if (r < 0)
        refuse(s, &wrong);
    else
        remote_run(s, REMOTE_LOOK, looked_at);
}
