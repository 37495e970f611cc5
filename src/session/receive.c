// SPDX-License-Identifier: BSD-3-Clause
/*
 * A frame that is not perfectly valid has no effect at all.  One that is may be
 * applied any number of times (fill.h).
 */
#include "session/receive.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "session/fill.h"

#define FRAMES_BETWEEN_ORDERS 256   /* about a quarter of a millisecond */
#define SEAL_TICK_MS          20

struct receiver {
    pthread_t thread;
    void *data, *orders;            /* the thread's sockets */
    void *control;                  /* the other end of orders */
    struct guard *guard;
    uint64_t messages;
    int64_t now_ms;                 /* of the frames at hand */
    struct intake *waiting;         /* those with a seal that waits, by next_waiting */
    struct intake *intakes[WIRE_HANDLE_MAX + 1];
    struct fill fill[1];
};

/* ---------------------------------------------------------------- frames */

static void note_bad(struct receiver *rx, zmq_msg_t *msg, const char *what)
{
    struct caller caller;
    guard_caller(rx->guard, msg, &caller);
    guard_refused(rx->guard, &caller, "data: a frame: %s", what);
}

/*
 * The guard wants to know which connections finish messages: of small ones a
 * sample will do, one of sixteen.  Not every sixteenth: libzmq takes from its
 * connections in turn, and some of them would never be heard.
 */
static void hear(struct receiver *rx, zmq_msg_t *msg)
{
    if (rx->messages++ * UINT64_C(0x9e3779b97f4a7c15) >> 60 == 0 || zmq_msg_size(msg) >= 65536)
        guard_heard(rx->guard, SERVICE_DATA, msg);
}

static bool is_received(const struct intake *in, const struct frame *frame)
{
    return map_next_clear(in->received, frame->first) >= frame->first + (uint64_t)frame->count;
}

static void count(_Atomic uint64_t *counter, uint64_t n)
{
    uint64_t old = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, old + n, memory_order_relaxed);
}

static void take_frame(struct receiver *rx, zmq_msg_t *msg)
{
    struct frame frame;
    size_t nbytes = zmq_msg_size(msg);
    const char *wrong = frame_unpack(zmq_msg_data(msg), nbytes, &frame);
    struct intake *in = wrong ? NULL : rx->intakes[frame.handle];
    if (!in || in->exact || frame.epoch != (uint8_t)in->epoch) {
        if (wrong)
            note_bad(rx, msg, wrong);
        return;     /* late: of a session that is over or an attempt that was given up */
    }
    wrong = guard_is_from(rx->guard, msg, in->owner) ? frame_check(&frame, &in->chunking) : "the session was opened by another key";
    if (wrong) {
        note_bad(rx, msg, wrong);
        return;
    }
    in->last_frame_ms = rx->now_ms;
    count(&in->frames, 1);
    count(&in->bytes, nbytes);
    if (is_received(in, &frame))
        return;
    fill_frame(rx->fill, in, &frame);
}

/* Of a message of several parts nothing is taken, its last one neither. */
static void take_message(struct receiver *rx, zmq_msg_t *msg, bool *in_parts)
{
    bool more = zmq_msg_more(msg);
    if (!more)
        hear(rx, msg);
    if (more && !*in_parts)
        note_bad(rx, msg, "a message of several parts");
    if (!more && !*in_parts)
        take_frame(rx, msg);
    *in_parts = more;
}

static void take_frames(struct receiver *rx)
{
    bool in_parts = false;
    rx->now_ms = clock_ms();
    for (unsigned i = 0; i < FRAMES_BETWEEN_ORDERS || in_parts; i++) {
        zmq_msg_t msg;
        zmq_msg_init(&msg);
        if (net_recv(&msg, rx->data, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&msg);
            fill_flush(rx->fill, NULL);
            return;
        }
        take_message(rx, &msg, &in_parts);
        zmq_msg_close(&msg);
    }
}

/* ---------------------------------------------------------------- orders */

/* Forget the chunks of a segment; the next attempt sends them again, and a frame overwrites what is there. */
static uint64_t reset_segment(struct intake *in, uint64_t first_block, uint64_t nblocks)
{
    uint64_t chunk_words = in->chunking.chunk_bytes / 8;
    uint64_t first = first_block * MAP_BLOCK_WORDS / chunk_words;
    uint64_t end = map_round_up((first_block + nblocks) * MAP_BLOCK_WORDS, chunk_words);
    if (end > in->received->nbits)
        end = in->received->nbits;
    for (uint64_t c = first; c < end; c++) {
        if (!map_test(in->received, c))
            continue;
        in->received->leaf[c / 64] &= ~htole64(UINT64_C(1) << (c % 64));
        count(&in->chunks_done, UINT64_MAX);    /* minus one */
    }
    return end - first;
}

/* Invariant 4: only a parent whose digests equal the source's is exact.  One of another geometry is so when it has those bits. */
int receive_compare(struct intake *in, const uint64_t *digests, size_t n, uint64_t *wrong, struct df_error *err)
{
    uint64_t blocks = map_segment_blocks(in->map->nblocks);
    int r = 0;
    *wrong = 0;
    for (size_t i = 0; i < n; i++)
        if (fill_digest(in, i * blocks, blocks) != digests[i])
            *wrong += reset_segment(in, i * blocks, blocks);
    if (!*wrong && in->staging)
        r = in->backend->ops->fill(in->backend, in->bitmap, in->session, in->staging, &in->geometry, err);
    in->exact = !*wrong && !r;
    return r;
}

static void finish(struct receiver *rx, struct order *order)
{
    zmq_send(rx->orders, &order, sizeof order, 0);
}

/* True when the seal is answered, false when frames may still be on their way. */
static bool try_seal(struct intake *in, struct order *order)
{
    uint64_t chunks = in->received->nbits;
    uint64_t done = atomic_load_explicit(&in->chunks_done, memory_order_relaxed);
    if (in->failed) {
        in->failed = false;
        order->r = error_set(&order->err, -ENOSPC, "bitmap '%s' of disk '%s' cannot be filled: no space in the target's state directory",
                             in->bitmap, in->backend->disk);
        return true;
    }
    if (map_is_broken(in->map)) {
        order->r = error_set(&order->err, -EPROTO, "bitmap '%s' of disk '%s' cannot be filled: its file was cut, the disk is damaged",
                             in->bitmap, in->backend->disk);
        return true;
    }
    if (done < chunks && !in->exact) {
        if (clock_ms() - in->last_frame_ms < RECEIVE_QUIET_MS)
            return false;
        order->missing = chunks - done;
        return true;
    }
    if (in->exact) {
        order->exact = true;    /* once and for all: its source stands still */
        return true;
    }
    if (order->ndigests != map_round_up(in->map->nblocks, map_segment_blocks(in->map->nblocks)))
        order->r = error_set(&order->err, -EPROTO, "a seal of bitmap '%s' of disk '%s' has %zu digests, not one for each segment",
                             in->bitmap, in->backend->disk, order->ndigests);
    else
        order->r = receive_compare(in, order->digests, order->ndigests, &order->wrong, &order->err);
    order->exact = in->exact;
    return true;
}

/* A frame may be on its way whatever the clock of the last one says: the quiet time starts anew. */
static void start_seal(struct receiver *rx, struct order *order)
{
    struct intake *in = order->intake;
    if (order->epoch != in->epoch) {
        order->r = error_set(&order->err, -ESTALE, "a seal of attempt %" PRIu32 " comes too late: attempt %" PRIu32 " is under way", order->epoch, in->epoch);
        finish(rx, order);
        return;
    }
    in->last_frame_ms = clock_ms();
    if (in->seal || try_seal(in, order)) {
        finish(rx, order);
        return;
    }
    in->seal = order;
    in->next_waiting = rx->waiting;
    rx->waiting = in;
}

static void poll_seals(struct receiver *rx)
{
    for (struct intake **link = &rx->waiting; *link;) {
        struct intake *in = *link;
        if (!try_seal(in, in->seal)) {
            link = &in->next_waiting;
            continue;
        }
        *link = in->next_waiting;
        finish(rx, steal(&in->seal));
    }
}

static void list_missing(struct intake *in, struct order *order)
{
    size_t max = WIRE_MISSING_RANGES / WIRE_SESSION_BITMAPS;
    order->ranges = calloc(max, sizeof *order->ranges);
    if (!order->ranges) {
        order->r = error_errno(&order->err, -ENOMEM, "cannot list what is missing");
        return;
    }
    uint64_t chunks = in->received->nbits;
    for (uint64_t from = in->exact ? chunks : map_next_clear(in->received, 0); from < chunks;) {
        uint64_t to = map_next_set(in->received, from);
        if (order->nranges == max - 1)
            to = chunks;    /* the last range takes all that is left, received or not */
        order->ranges[order->nranges].first = from;
        order->ranges[order->nranges++].count = to - from;
        from = map_next_clear(in->received, to);
    }
}

static void drop_seal(struct receiver *rx, struct intake *in)
{
    if (!in->seal)
        return;
    in->seal->r = error_set(&in->seal->err, -ESTALE, "the seal was overtaken");
    struct intake **link = &rx->waiting;
    while (*link != in)
        link = &(*link)->next_waiting;
    *link = in->next_waiting;
    finish(rx, steal(&in->seal));
}

static void obey(struct receiver *rx, struct order *order)
{
    struct intake *in = order->intake;
    if (order->load) {
        load_obey(rx->fill, order);
        finish(rx, order);
        return;
    }
    fill_flush(rx->fill, in);
    switch (order->kind) {
    case ORDER_ADD:
        rx->intakes[in->handle] = in;
        break;
    case ORDER_DROP:
        drop_seal(rx, in);
        rx->intakes[in->handle] = NULL;
        break;
    case ORDER_ATTEMPT:
        if (order->epoch > in->epoch) {
            drop_seal(rx, in);
            in->epoch = order->epoch;
        }
        list_missing(in, order);
        break;
    case ORDER_SEAL:
        start_seal(rx, order);
        return;
    case ORDER_RECLAIM:
        order->r = in->backend->ops->reclaim(in->backend, in->bitmap, in->session, &order->err);
        break;
    case ORDER_GIVE_UP:
        in->exact = true;       /* frames that are on their way would be overwritten, or overwrite */
        order->r = in->backend->ops->give_up(in->backend, in->bitmap, in->session, order->all_dirty, &order->err);
        break;
    case ORDER_LOAD:
    case ORDER_LOAD_END:
        break;
    }
    finish(rx, order);
}

/* ---------------------------------------------------------------- thread */

static void *run(void *opaque)
{
    struct receiver *rx = opaque;
    zmq_pollitem_t items[2] = { { rx->orders, 0, ZMQ_POLLIN, 0 }, { rx->data, 0, ZMQ_POLLIN, 0 } };
    for (;;) {
        if (zmq_poll(items, 2, rx->waiting ? SEAL_TICK_MS : -1) < 0 && errno == ETERM)
            break;
        struct order *order;
        int n;
        while ((n = zmq_recv(rx->orders, &order, sizeof order, ZMQ_DONTWAIT)) == sizeof order)
            obey(rx, order);
        if (n == 0)
            break;      /* the word to stop */
        take_frames(rx);
        poll_seals(rx);
    }
    net_close(&rx->data);
    net_close(&rx->orders);
    return NULL;
}

int receiver_start(const struct net *net, struct guard *guard, const char *endpoint, char bound[256], struct receiver **out, struct df_error *err)
{
    struct receiver *rx = calloc(1, sizeof *rx);
    if (!rx)
        return error_errno(err, -ENOMEM, "cannot start the receiver");
    rx->guard = guard;
    int r = net_socket(net, ZMQ_PULL, 1000, WIRE_CHUNK_BYTES_MAX + WIRE_ENVELOPE_BYTES, &rx->data, err);
    if (!r)
        r = net_socket(net, ZMQ_PAIR, 0, -1, &rx->orders, err);
    if (!r)
        r = net_socket(net, ZMQ_PAIR, 0, -1, &rx->control, err);
    if (!r)
        r = net_bind_inproc(rx->orders, "inproc://receiver", err);
    if (!r)
        r = net_connect_inproc(rx->control, "inproc://receiver", err);
    if (!r)
        r = guard_listen(guard, SERVICE_DATA, rx->data, endpoint, bound, err);
    if (!r && (r = -pthread_create(&rx->thread, NULL, run, rx)) < 0)
        error_errno(err, r, "cannot start the receiver");
    if (r < 0) {
        net_close(&rx->data);
        net_close(&rx->orders);
        net_close(&rx->control);
        free(rx);
        return r;
    }
    *out = rx;
    return 0;
}

void receiver_stop(struct receiver **rxp)
{
    struct receiver *rx = steal(rxp);
    if (!rx)
        return;
    zmq_send(rx->control, "", 0, 0);
    pthread_join(rx->thread, NULL);
    net_close(&rx->control);
    free(rx);
}

void *receiver_socket(struct receiver *rx)
{
    return rx->control;
}

void receiver_send(struct receiver *rx, struct order *order)
{
    zmq_send(rx->control, &order, sizeof order, 0);
}

struct order *receiver_done(struct receiver *rx)
{
    struct order *order;
    int n;
    do
        n = zmq_recv(rx->control, &order, sizeof order, ZMQ_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n == sizeof order ? order : NULL;
}
