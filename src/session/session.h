// SPDX-License-Identifier: BSD-3-Clause
/*
 * Sessions and the engine that runs them, all on the daemon's control thread.
 *
 *     orchestrator --request--> engine --> source (source.h) / target.c
 *     source    --offer, attempt, seal, wait, cancel--> the target's daemon
 *     workers (threads or processes) --lease--> lease.c
 *     target.c  --orders--> receiver thread
 *
 * Nothing here takes time in proportion to a bitmap, and nothing waits: a
 * request whose answer is not known yet is held and answered later.  Sessions
 * are freed by engine_tick() only, never from inside an answer.
 */
#ifndef SESSION_SESSION_H
#define SESSION_SESSION_H

#include "backend/backend.h"
#include "base/uuid.h"
#include "net/events.h"
#include "net/peer.h"
#include "net/server.h"
#include "session/receive.h"
#include "session/state.h"

#define DRAIN_MS            10000   /* how long a pivot waits for open write sections */
#define STREAM_DELAY_MS     1       /* between the source's pivot and the stream: the target's pivot goes first */
#define LEASE_MS            3000    /* a worker that is silent for that long has died */
#define LEASE_HOLD_MS       5000    /* how long a worker that asks for work is kept waiting */
#define LEASE_BLOCKS        512     /* dirty blocks in one lease: 2 MiB of bitmap */
#define RETRY_MS            1000    /* until the source asks a target again that did not answer */
#define PROGRESS_MS         100
#define SNAPSHOT_MS         1000
#define ENDED_SESSIONS      256     /* kept for status */
#define SESSIONS_MAX        1024

struct range {
    uint64_t first, count;      /* chunks */
};

/* What is still to be sent of one bitmap, and the digests of what was. */
struct work {
    struct range *ranges;
    size_t nranges, room;
    uint64_t unit;              /* chunks: leases are cut at multiples, so that segments stay whole */
    uint64_t segment_blocks;
    uint64_t *digests;
    size_t ndigests;
};

struct session_bitmap {
    char disk[DF_DISK_NAME_MAX + 1], bitmap[DF_BITMAP_NAME_MAX + 1];
    char as_disk[DF_DISK_NAME_MAX + 1], as_bitmap[DF_BITMAP_NAME_MAX + 1];     /* source: what the target calls them */
    struct backend *backend;
    struct df_bitmap_info info;
    struct chunking chunking;
    uint64_t chunks;
    uint16_t handle;
    bool exact;                 /* the parent equals the source */

    struct backend_map map;     /* source */
    bool fenced;                /* this session made the disk read-only */
    struct work work;
    uint64_t chunks_sent;

    struct intake *intake;      /* target */
    bool created;               /* the frozen parent is this session's */
    bool merged;                /* the child's bits are in the parent */
};

struct lease {
    struct lease *next;
    uint64_t id;
    unsigned bitmap;
    struct range range;
    int64_t deadline_ms;
    char worker[65];
};

struct waiter {
    struct waiter *next;
    struct request *request;
    enum session_state state;
    int64_t deadline_ms;
};

struct session {
    struct session *next;
    struct engine *engine;
    uint8_t uuid[UUID_BYTES];
    char text[UUID_TEXT_BYTES];
    enum session_role role;
    enum session_state state;
    char peer_endpoint[256];
    uint32_t epoch;
    uint32_t chunk_bytes;
    unsigned nbitmaps;
    struct session_bitmap *bitmaps;
    char message[DF_ERROR_MESSAGE_BYTES];   /* the last thing that went wrong */
    struct waiter *waiters;
    uint64_t published;                     /* chunks_done of the last progress event */
    bool released;                          /* its resources are gone, only the record is left */

    /* source */
    struct peer *peer;
    char data[256];
    unsigned workers;
    uint64_t max_bandwidth;                 /* bytes/s, 0 = no limit */
    uint64_t frames, bytes, resent_frames;
    struct request *held;                   /* prepare, pivot, cancel or rollback that waits for something */
    int64_t drain_deadline_ms, retry_ms;
    int64_t stream_ms;                      /* workers get nothing before */
    uint64_t pivot;                         /* which pivot of this daemon it was */
    unsigned seals;                         /* not answered yet */
    bool asking;                            /* attempt or wait is under way */
    struct lease *leases;
    struct waiter *idle;                    /* lease requests that wait for work */

    /* target */
    unsigned orders;                        /* not done yet */
};

struct engine {
    void *context;
    const char *state_dir;
    struct server *server;
    struct receiver *receiver;
    void *events;
    char data[256];                         /* what sources are told to connect to */
    struct session *sessions;               /* newest first */
    uint64_t seq, next_lease, pivots;
    uint16_t next_handle;
    bool handles[WIRE_HANDLE_MAX + 1];
    int64_t progress_ms, snapshot_ms;
};

/* ---- engine.c */

/* True if the request was one for sessions and is taken. */
bool engine_request(struct engine *engine, struct request *request);
/* A finished order of the receiver. */
void engine_order_done(struct engine *engine, struct order *order);
/* Does what time demands.  Returns when it wants to be called again (clock_ms). */
int64_t engine_tick(struct engine *engine);
/* The peers' sockets, for the poll; returns how many. */
size_t engine_peers(struct engine *engine, zmq_pollitem_t *items, size_t room);
void engine_receive(struct engine *engine);
void engine_destroy(struct engine *engine);

struct session *session_find(struct engine *engine, const char *uuid, enum session_role role);
int session_new(struct engine *engine, const char *uuid, enum session_role role, unsigned nbitmaps, struct session **session, struct df_error *err);
void session_free(struct session *session);
/* Is the event allowed now?  -EPERM with a sentence, or 0. */
int session_may(const struct session *session, enum session_event event, struct df_error *err);
/* The only place where a state changes: checks, logs, publishes, wakes waiters. */
void session_step(struct session *session, enum session_event event);
/* Close what the session holds.  The record stays for status. */
void session_release(struct session *session);
void session_note(struct session *session, const struct df_error *err);

/* ---- report.c */

uint64_t session_chunks(const struct session *session);
uint64_t session_chunks_done(const struct session *session);
void report_status(const struct session *session, struct out *out);
/* The same without the bitmaps: many of them fit into one message. */
void report_summary(const struct session *session, struct out *out);
void report_event(struct session *session, const char *type);
void report_reply(struct request **request, const struct session *session);
void report_wait(struct session *session, struct request *request);
/* Answer the waiters whose state is reached, or whose time is over.  Returns the next deadline. */
int64_t report_wake(struct session *session, int64_t now_ms);

/* ---- source.h tells which file */

void source_prepare(struct engine *engine, struct request *request);
void source_pivot(struct session *session, struct request *request);
void source_cancel(struct session *session, struct request *request);
void source_rollback(struct session *session, struct request *request);
/* Every lease is back. */
void source_all_sent(struct session *session);
int64_t source_tick(struct session *session, int64_t now_ms);

/* ---- lease.c */

int work_init(struct work *work, const struct session_bitmap *bitmap, struct df_error *err);
void work_destroy(struct work *work);
int work_add(struct work *work, uint64_t first, uint64_t count);
void lease_request(struct session *session, struct request *request);
/* Serve the workers that wait: work when there is some, the end when it is over. */
void lease_serve(struct session *session);
/* Nothing is leased and nothing is left to lease. */
bool lease_all_back(const struct session *session);
/* Take back what dead workers hold.  Returns the next deadline. */
int64_t lease_tick(struct session *session, int64_t now_ms);
void lease_forget(struct session *session);

/* ---- target.c */

void target_offer(struct engine *engine, struct request *request);
void target_pivot(struct session *session, struct request *request);
void target_cancel(struct session *session, struct request *request);
void target_attempt(struct session *session, struct request *request);
void target_seal(struct session *session, struct request *request);
void target_order_done(struct session *session, struct order *order);
void target_release(struct session *session);

#endif
