// SPDX-License-Identifier: BSD-3-Clause
/*
 * Who sends what: ranges of chunks that are leased to workers.
 *
 * A range is in exactly one place: in the bitmap's work, or in a lease.  A
 * worker hands a lease back as done, with the digests of its segments; the
 * lease of one that falls silent goes back to the work.  When both are empty,
 * everything was sent once.  What was sent twice does no harm.
 *
 * A lease holds a bounded number of dirty blocks, found by the summary, so a
 * clean bitmap of any size is one lease.
 */
#include "session/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

int work_init(struct work *work, const struct session_bitmap *b, struct df_error *err)
{
    uint64_t nblocks = b->map.map->nblocks;
    work->segment_blocks = map_segment_blocks(nblocks);
    work->ndigests = map_round_up(nblocks, work->segment_blocks);
    uint64_t unit_bytes = work->segment_blocks * MAP_BLOCK_BYTES;
    work->unit = unit_bytes > b->chunking.chunk_bytes ? unit_bytes / b->chunking.chunk_bytes : 1;
    work->digests = calloc(work->ndigests, sizeof *work->digests);
    if (!work->digests || work_add(work, 0, b->chunks) < 0)
        return error_errno(err, -ENOMEM, "cannot plan the move of bitmap '%s'", b->bitmap);
    return 0;
}

void work_destroy(struct work *work)
{
    free(work->ranges);
    free(work->digests);
    *work = (struct work){ 0 };
}

int work_add(struct work *work, uint64_t first, uint64_t count)
{
    if (work->nranges == work->room) {
        size_t room = work->room ? 2 * work->room : 8;
        struct range *ranges = realloc(work->ranges, room * sizeof *ranges);
        if (!ranges)
            return -ENOMEM;
        work->ranges = ranges;
        work->room = room;
    }
    work->ranges[work->nranges++] = (struct range){ first, count };
    return 0;
}

void work_forget(struct session *s)
{
    for (unsigned i = 0; i < s->nbitmaps; i++)
        s->bitmaps[i].work.nranges = 0;
}

/* The first part of `range` that has at most LEASE_BLOCKS dirty blocks, in whole units. */
static uint64_t cut(const struct session_bitmap *b, const struct range *range)
{
    const struct map *map = b->map.map;
    uint64_t end = range->first + range->count, chunk_bytes = b->chunking.chunk_bytes;
    uint64_t end_block = map_round_up(end * chunk_bytes, MAP_BLOCK_BYTES);
    if (end_block > map->nblocks)
        end_block = map->nblocks;
    uint64_t block = map_next_block_before(map, range->first * chunk_bytes / MAP_BLOCK_BYTES, end_block);
    for (unsigned n = 1; block < end_block && n < LEASE_BLOCKS; n++)
        block = map_next_block_before(map, block + 1, end_block);
    if (block >= end_block)
        return range->count;
    uint64_t chunk = map_round_up(map_round_up((block + 1) * MAP_BLOCK_BYTES, chunk_bytes), b->work.unit) * b->work.unit;
    return chunk < end ? chunk - range->first : range->count;
}

static struct lease *grant(struct session *s, const char *worker)
{
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        struct work *work = &s->bitmaps[i].work;
        if (!work->nranges)
            continue;
        struct lease *lease = calloc(1, sizeof *lease);
        if (!lease)
            return NULL;
        struct range *range = &work->ranges[work->nranges - 1];
        lease->id = ++s->engine->next_lease;
        lease->bitmap = i;
        lease->range = (struct range){ range->first, cut(&s->bitmaps[i], range) };
        lease->deadline_ms = clock_ms() + LEASE_MS;
        memcpy(lease->worker, worker, strlen(worker) + 1);
        range->first += lease->range.count;
        range->count -= lease->range.count;
        if (!range->count)
            work->nranges--;
        lease->next = s->leases;
        s->leases = lease;
        return lease;
    }
    return NULL;
}

static bool has_work(const struct session *s)
{
    for (unsigned i = 0; i < s->nbitmaps; i++)
        if (s->bitmaps[i].work.nranges)
            return true;
    return false;
}

bool lease_all_back(const struct session *s)
{
    return !s->leases && !has_work(s);
}

static void reply_grant(struct request **request, const char *word)
{
    struct out out;
    request_begin_reply(*request, &out);
    out_text(&out, "grant", word);
    request_reply(request, &out);
}

/*
 * Each worker holds one lease at most.  What is allowed is shared by those that
 * do, and while there is work by the threads that are about to; they ask again
 * often enough (worker.c) that the last one has it all.
 */
static void put_rate(struct out *out, const struct session *s)
{
    unsigned n = 0;
    for (const struct lease *lease = s->leases; lease; lease = lease->next)
        n++;
    if (n < s->workers && has_work(s))
        n = s->workers;
    if (s->max_bandwidth)
        out_u64(out, "rate", s->max_bandwidth > n && n ? s->max_bandwidth / n : s->max_bandwidth);
}

static void reply_keep(struct request **request, const struct session *s)
{
    struct out out;
    request_begin_reply(*request, &out);
    out_text(&out, "grant", "keep");
    put_rate(&out, s);
    request_reply(request, &out);
}

static void reply_work(struct request **request, const struct session *s, const struct lease *lease)
{
    const struct session_bitmap *b = &s->bitmaps[lease->bitmap];
    struct out out;
    request_begin_reply(*request, &out);
    out_text(&out, "grant", "work");
    out_u64(&out, "lease", lease->id);
    out_u64(&out, "epoch", s->epoch);
    out_u64(&out, "handle", b->handle);
    out_u64(&out, "first", lease->range.first);
    out_u64(&out, "count", lease->range.count);
    out_u64(&out, "chunk_size", s->chunk_bytes);
    out_u64(&out, "nbits", b->chunking.nbits);
    out_text(&out, "map", b->map.path);
    out_text(&out, "data", s->data);
    if (s->peer_address.key[0])
        out_text(&out, "data_key", s->peer_address.key);
    put_rate(&out, s);
    request_reply(request, &out);
}

static bool is_over(const struct session *s)
{
    return state_is_end(s->state) || s->released;
}

/*
 * What the queues between worker and receiver can hold is counted in frames of
 * whatever size; this bounds it in bytes, whatever the speed of the two sides:
 * WINDOW_BYTES and the leases that are out.  Frames that are lost count as being
 * on their way until the attempt ends.
 */
bool lease_window_is_full(const struct session *s)
{
    return s->bytes - s->sent_mark > s->taken - s->taken_mark + WINDOW_BYTES;
}

static bool may_stream(const struct session *s)
{
    return s->state == SOURCE_STREAMING && !s->unread && clock_ms() >= s->stream_ms && has_work(s) && !lease_window_is_full(s);
}

void lease_serve(struct session *s)
{
    while (s->idle && (is_over(s) || may_stream(s))) {
        struct waiter *w = s->idle;
        struct lease *lease = is_over(s) ? NULL : grant(s, node_text(w->request->message->root, "worker"));
        if (!lease && !is_over(s))
            return;
        s->idle = w->next;
        if (lease)
            reply_work(&w->request, s, lease);
        else
            reply_grant(&w->request, "end");
        free(w);
    }
}

static struct lease *unlink_lease(struct session *s, uint64_t id)
{
    for (struct lease **link = &s->leases; *link; link = &(*link)->next)
        if ((*link)->id == id) {
            struct lease *lease = *link;
            *link = lease->next;
            return lease;
        }
    return NULL;
}

/* Whole segments come with their digests; parts of one, sent again, do not. */
static void keep_digests(struct session_bitmap *b, const struct range *range, const uint8_t *bytes, size_t nbytes)
{
    struct work *work = &b->work;
    uint64_t chunk_bytes = b->chunking.chunk_bytes, segment_bytes = work->segment_blocks * MAP_BLOCK_BYTES;
    uint64_t first = range->first * chunk_bytes / segment_bytes;
    for (size_t i = 0; i < nbytes / 8 && first + i < work->ndigests; i++) {
        uint64_t digest;
        memcpy(&digest, bytes + 8 * i, 8);
        work->digests[first + i] = le64toh(digest);
    }
}

static void hand_back(struct session *s, const node *root)
{
    struct lease *lease = unlink_lease(s, node_u64(root, "lease", 0));
    size_t nbytes;
    const uint8_t *digests = node_bin(root, "digests", &nbytes);
    uint64_t frames = node_u64(root, "frames", 0);
    s->frames += frames;
    s->sent_ms = clock_ms();
    s->bytes += node_u64(root, "bytes", 0);
    if (s->epoch > 1)
        s->resent_frames += frames;
    if (!lease)
        return;     /* it was given to another one meanwhile */
    struct session_bitmap *b = &s->bitmaps[lease->bitmap];
    if (digests)
        keep_digests(b, &lease->range, digests, nbytes);
    b->chunks_sent += lease->range.count;
    source_flows(s);
    free(lease);
    if (s->state == SOURCE_STREAMING && lease_all_back(s))
        source_all_sent(s);
}

static bool renew(struct session *s, uint64_t id)
{
    for (struct lease *lease = s->leases; lease; lease = lease->next)
        if (lease->id == id) {
            lease->deadline_ms = clock_ms() + LEASE_MS;
            return true;
        }
    return false;
}

void lease_request(struct session *s, struct request *request)
{
    const node *root = request->message->root;
    if (node_has(root, "lease") && !node_bool(root, "done")) {
        bool own = renew(s, node_u64(root, "lease", 0));
        if (own && node_bool(root, "stalled"))
            source_stalled(s);
        if (own && s->leases)
            reply_keep(&request, s);
        else
            reply_grant(&request, "none");
        return;
    }
    if (node_has(root, "lease"))
        hand_back(s, root);
    struct waiter *w = calloc(1, sizeof *w);
    if (!w) {
        reply_grant(&request, "none");
        return;
    }
    w->request = request;
    w->deadline_ms = clock_ms() + LEASE_HOLD_MS;
    w->next = s->idle;
    s->idle = w;
    lease_serve(s);
}

int64_t lease_tick(struct session *s, int64_t now_ms)
{
    int64_t next = INT64_MAX;
    for (struct lease **link = &s->leases; *link;) {
        struct lease *lease = *link;
        if (lease->deadline_ms > now_ms) {
            next = lease->deadline_ms < next ? lease->deadline_ms : next;
            link = &lease->next;
            continue;
        }
        log_warning("session %s: worker '%s' is silent, its lease goes to another one", s->text, lease->worker);
        if (work_add(&s->bitmaps[lease->bitmap].work, lease->range.first, lease->range.count) < 0)
            break;      /* no memory now: the next tick tries again */
        *link = lease->next;
        free(lease);
    }
    for (struct waiter **link = &s->idle; *link;) {
        struct waiter *w = *link;
        if (w->deadline_ms > now_ms) {
            next = w->deadline_ms < next ? w->deadline_ms : next;
            link = &w->next;
            continue;
        }
        *link = w->next;
        reply_grant(&w->request, "none");
        free(w);
    }
    lease_serve(s);
    if (s->state == SOURCE_STREAMING && now_ms < s->stream_ms && s->stream_ms < next)
        next = s->stream_ms;
    return next;
}

void lease_revoke(struct session *s)
{
    while (s->leases) {
        struct lease *lease = s->leases;
        s->leases = lease->next;
        free(lease);
    }
}

void lease_forget(struct session *s)
{
    lease_serve(s);
    lease_revoke(s);
}
