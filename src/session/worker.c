// SPDX-License-Identifier: BSD-3-Clause
/*
 * From map to frames.  The map is read-only by the time a lease exists, so its
 * words are read without atomics; blocks that the summary calls clean are not
 * touched at all.
 *
 * While the target takes nothing the worker keeps its lease alive and looks
 * whether it still is its own; that is also how it notices that the session
 * ended.
 */
#include "session/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "bitmap/map.h"
#include "net/client.h"
#include "session/feed.h"

#define KEEP_MS     1000    /* a third of the time after which a lease is taken away */
#define RATE_MS     100     /* the same at a limited rate, which is shared anew when a worker comes or goes */
#define SEND_TRY_MS 250
#define STALL_MS    1250    /* one frame is not taken for so long: with SEND_TRY_MS the daemon hears of it within 2 s */
#define HOLD_MS     6000    /* the daemon answers a request for work within 5 s */

struct worker {
    const struct net *net;
    void *push;
    struct client *client;
    const char *session, *name;
    struct net_address data;    /* where push is connected to */
    char path[4096];            /* of the map that is open */
    struct map *map;

    uint64_t lease, epoch;
    uint64_t frames, bytes;     /* of this lease */
    int64_t kept_ms;            /* when the lease was last confirmed */
    uint64_t rate;              /* bytes/s, 0 = no limit */
    int64_t due_ns;             /* when the next frame may go at that rate */
};

static int connect_data(struct worker *w, const struct net_address *data, uint32_t chunk_bytes, struct df_error *err)
{
    if (w->push && !strcmp(w->data.endpoint, data->endpoint) && !strcmp(w->data.key, data->key))
        return 0;
    net_close(&w->push);
    int r = net_socket(w->net, ZMQ_PUSH, net_queue_length(chunk_bytes), WIRE_CHUNK_BYTES_MAX + WIRE_ENVELOPE_BYTES, &w->push, err);
    if (r < 0)
        return r;
    /* Frames wait here while there is no connection; those in a dead pipe are lost and sent again. */
    int on = 1, timeout = SEND_TRY_MS;
    zmq_setsockopt(w->push, ZMQ_IMMEDIATE, &on, sizeof on);
    zmq_setsockopt(w->push, ZMQ_SNDTIMEO, &timeout, sizeof timeout);
    w->data = *data;
    return net_connect(w->net, w->push, data, err);
}

static void begin_request(const struct worker *w, struct out *out)
{
    client_begin(out, "lease");
    out_text(out, "session", w->session);
    out_text(out, "worker", w->name);
}

/* Confirm the lease when that is due, or there is something to say.  -ECANCELED: it is ours no more. */
static int keep_lease(struct worker *w, bool stalled, struct df_error *err)
{
    if (clock_ms() - w->kept_ms < (w->rate ? RATE_MS : KEEP_MS) && !stalled)
        return 0;
    CLEANUP(message_free) struct message *reply = NULL;
    struct out out;
    begin_request(w, &out);
    out_u64(&out, "lease", w->lease);
    out_bool(&out, "done", false);
    if (stalled)
        out_bool(&out, "stalled", true);
    int r = client_call(w->client, &out, 0, &reply, err);
    if (r < 0)
        return r;
    w->kept_ms = clock_ms();
    w->rate = node_u64(reply->root, "rate", 0);
    return strcmp(node_text(reply->root, "grant"), "keep") ? -ECANCELED : 0;
}

/* At a limited rate a frame may go when those before it would have passed the link. */
static int pace(struct worker *w, size_t nbytes, struct df_error *err)
{
    if (!w->rate)
        return 0;
    int64_t now = clock_ns();
    if (w->due_ns < now - NS_PER_S / 10)
        w->due_ns = now;        /* idle time is not saved up */
    while (w->due_ns > now) {
        int64_t left = w->due_ns - now;
        clock_sleep_ns(left < RATE_MS * NS_PER_MS ? left : RATE_MS * NS_PER_MS);
        int r = keep_lease(w, false, err);
        if (r < 0)
            return r;
        now = clock_ns();
    }
    w->due_ns += (int64_t)((double)nbytes * (double)NS_PER_S / (double)w->rate);
    return 0;
}

static int send_frame(struct worker *w, const struct frame *frame, struct df_error *err)
{
    size_t n = frame_bytes(frame);
    zmq_msg_t msg;
    int r = pace(w, n, err);
    if (r < 0)
        return r;
    if (zmq_msg_init_size(&msg, n) < 0)
        return error_errno(err, -ENOMEM, "cannot make a frame of %zu bytes", n);
    frame_pack(frame, zmq_msg_data(&msg));
    int64_t since_ms = 0;
    while (!r && zmq_msg_send(&msg, w->push, 0) < 0) {
        int64_t now_ms = clock_ms();
        since_ms = since_ms ? since_ms : now_ms;
        r = errno == EAGAIN || errno == EINTR ? keep_lease(w, now_ms - since_ms >= STALL_MS, err)
                                              : error_set(err, -errno, "cannot send to '%s': %s", w->data.endpoint, zmq_strerror(errno));
    }
    if (r < 0) {
        zmq_msg_close(&msg);
        return r;
    }
    w->frames++;
    w->bytes += n;
    return w->frames % 64 ? 0 : keep_lease(w, false, err);
}

/* A lease, as the worker sees it. */
struct stream {
    struct chunking chunking;
    uint64_t first, end;        /* chunks */
    struct frame head;          /* handle and epoch */
    uint64_t digests[MAP_SEGMENTS];     /* little-endian, of the segments that it is made of */
    size_t ndigests;            /* 0 if it has a part of a segment */
};

/* Chunks [chunk, end): feed them, send what becomes full. */
static int feed(struct worker *w, const struct stream *st, struct encoder *e, uint64_t chunk, uint64_t end, struct df_error *err)
{
    struct frame frame = st->head;
    int r = 0;
    while (!r && (chunk = feed_chunks(e, w->map, chunk, end)) < end && encoder_finish(e, &frame))
        r = send_frame(w, &frame, err);
    return r;
}

/* Does the lease consist of whole segments (the last one may be short)? */
static bool is_whole(const struct stream *st, uint64_t segment_bytes)
{
    uint64_t chunk_bytes = st->chunking.chunk_bytes;
    return st->first * chunk_bytes % segment_bytes == 0 &&
           (st->end == chunk_count(&st->chunking) || st->end * chunk_bytes % segment_bytes == 0);
}

/* A segment, or a chunk if that is larger, at a time: it is hashed while it is in the cache. */
static int stream(struct worker *w, struct stream *st, struct df_error *err)
{
    CLEANUP(encoder_destroy) struct encoder e;
    int r = encoder_init(&e, &st->chunking, err);
    if (r < 0)
        return r;
    uint64_t blocks = map_segment_blocks(w->map->nblocks), segment_bytes = blocks * MAP_BLOCK_BYTES;
    uint64_t chunk_bytes = st->chunking.chunk_bytes;
    uint64_t step = segment_bytes > chunk_bytes ? segment_bytes / chunk_bytes : 1;
    bool whole = is_whole(st, segment_bytes);
    uint64_t segment = st->first * chunk_bytes / segment_bytes;
    encoder_start(&e, (uint32_t)st->first);
    for (uint64_t chunk = st->first; !r && chunk < st->end; chunk += step) {
        uint64_t next = st->end - chunk < step ? st->end : chunk + step;
        r = feed(w, st, &e, chunk, next, err);
        for (; whole && segment * segment_bytes < next * chunk_bytes && segment * blocks < w->map->nblocks; segment++)
            st->digests[st->ndigests++] = htole64(map_digest(w->map, segment * blocks, blocks));
    }
    struct frame frame = st->head;
    if (!r && encoder_finish(&e, &frame))
        r = send_frame(w, &frame, err);
    if (!r && map_is_broken(w->map))    /* zeroes were sent and hashed: never hand that back as done */
        r = error_set(err, -EPROTO, "the map '%s' was cut while it was sent: its disk is damaged", w->path);
    return r;
}

static int open_lease(struct worker *w, const node *root, struct stream *st, struct df_error *err)
{
    const char *path = node_text(root, "map"), *endpoint = node_text(root, "data"), *key = node_text(root, "data_key");
    struct net_address data = { .key = "" };
    st->chunking = (struct chunking){ node_u64(root, "nbits", 0), (uint32_t)node_u64(root, "chunk_size", 0) };
    st->first = node_u64(root, "first", 0);
    st->end = st->first + node_u64(root, "count", 0);
    st->head = (struct frame){ .handle = (uint16_t)node_u64(root, "handle", 0), .epoch = (uint8_t)node_u64(root, "epoch", 0) };
    st->ndigests = 0;
    if (w->epoch != node_u64(root, "epoch", 0))
        net_close(&w->push);    /* a new attempt may follow a dead link: on a fresh connection */
    w->epoch = node_u64(root, "epoch", 0);
    w->lease = node_u64(root, "lease", 0);
    w->rate = node_u64(root, "rate", 0);
    w->frames = w->bytes = 0;
    w->kept_ms = clock_ms();
    if (!path || !endpoint || !st->chunking.nbits)
        return error_set(err, -EPROTO, "a lease lacks its map, its data endpoint or its size");
    int r = chunking_check(&st->chunking, err);
    if (!r && (st->end <= st->first || st->end > chunk_count(&st->chunking)))
        r = error_set(err, -EPROTO, "a lease of chunks %" PRIu64 " to %" PRIu64 " is out of range", st->first, st->end);
    if (r < 0)
        return r;
    if (!w->map || strcmp(w->path, path)) {
        map_close(&w->map);
        snprintf(w->path, sizeof w->path, "%s", path);
        r = map_open(AT_FDCWD, path, st->chunking.nbits, &w->map, err);
    }
    snprintf(data.endpoint, sizeof data.endpoint, "%s", endpoint);
    snprintf(data.key, sizeof data.key, "%s", key ? key : "");
    return r < 0 ? r : connect_data(w, &data, st->chunking.chunk_bytes, err);
}

/* Leases, one after the other.  Each request for the next one hands back the last. */
static int work(struct worker *w, struct df_error *err)
{
    struct stream st = { .ndigests = 0 };
    bool done = false;
    for (;;) {
        CLEANUP(message_free) struct message *reply = NULL;
        struct out out;
        begin_request(w, &out);
        if (done) {
            out_u64(&out, "lease", w->lease);
            out_bool(&out, "done", true);
            out_u64(&out, "frames", w->frames);
            out_u64(&out, "bytes", w->bytes);
            if (st.ndigests)
                out_bin(&out, "digests", st.digests, st.ndigests * sizeof *st.digests);
        }
        int r = client_call(w->client, &out, HOLD_MS, &reply, err);
        if (r < 0)
            return r;
        done = false;
        const char *grant = node_text(reply->root, "grant");
        if (!strcmp(grant, "end"))
            return 0;
        if (strcmp(grant, "work"))
            continue;
        r = open_lease(w, reply->root, &st, err);
        if (!r)
            r = stream(w, &st, err);
        if (r == -ECANCELED)
            continue;
        if (r < 0)
            return r;
        done = true;
    }
}

static void stop(struct worker *w)
{
    client_close(&w->client);
    net_close(&w->push);
    map_close(&w->map);
}

int worker_run(const struct net *net, const struct net_address *control, const char *session, const char *name, struct df_error *err)
{
    struct worker w = { .net = net, .session = session, .name = name, .epoch = 1 };
    int r = client_open(net, control, &w.client, err);
    if (!r)
        r = work(&w, err);
    stop(&w);
    return r;
}

/* ---------------------------------------------------------------- threads */

struct thread_arguments {
    const struct net *net;
    struct net_address data;
    char session[64], name[32];
    uint32_t chunk_bytes;
};

static void *run(void *opaque)
{
    CLEANUP(cleanup_free) struct thread_arguments *a = opaque;
    struct worker w = { .net = a->net, .session = a->session, .name = a->name, .epoch = 1 };
    struct df_error err;
    int r = client_open_inproc(a->net, WORKER_CONTROL_INPROC, &w.client, &err);
    if (!r)
        r = connect_data(&w, &a->data, a->chunk_bytes, &err);
    if (!r)
        r = work(&w, &err);
    stop(&w);
    /* ENOENT: the session ended meanwhile; ETERM: the daemon is stopping. */
    if (r < 0 && r != -ENOENT && r != -ETERM)
        log_error("worker '%s' of session %s gave up: %s", a->name, a->session, err.message);
    return NULL;
}

void worker_spawn(const struct net *net, const char *session, const struct net_address *data, uint32_t chunk_bytes, unsigned number)
{
    struct thread_arguments *a = calloc(1, sizeof *a);
    pthread_t thread;
    if (!a)
        return;
    a->net = net;
    a->data = *data;
    a->chunk_bytes = chunk_bytes;
    snprintf(a->session, sizeof a->session, "%s", session);
    snprintf(a->name, sizeof a->name, "thread %u", number);
    int r = pthread_create(&thread, NULL, run, a);
    if (r) {
        log_error("session %s: cannot start a worker: %s", session, strerror(r));
        free(a);
        return;
    }
    pthread_detach(thread);
}
