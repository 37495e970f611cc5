// SPDX-License-Identifier: BSD-3-Clause
/*
 * Sessions and the engine that runs them, all on the daemon's control thread.
 *
 *     orchestrator --request--> engine --> source (source.h) / target.c
 *     source    --offer, attempt, seal, wait, cancel--> the target's daemon
 *     workers (threads or processes) --lease--> lease.c
 *     target.c  --orders--> receiver thread (receive.h)
 *     all       --chores--> keeper thread (keep.h): syncing, dumps
 *     all       --steps--> hands (remote.c): what other processes have to do
 *     every step of a state --> journal.h, from which recover.c starts again
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
#include "session/hands.h"
#include "session/journal.h"
#include "session/keep.h"
#include "session/receive.h"
#include "session/state.h"

#define DRAIN_MS            10000   /* how long a pivot waits for open write sections */
#define STREAM_DELAY_MS     1       /* between the source's pivot and the stream: the target's pivot goes first */
#define LEASE_MS            3000    /* a worker that is silent for that long has died */
#define LEASE_HOLD_MS       5000    /* how long a worker that asks for work is kept waiting */
#define LEASE_BLOCKS        512     /* dirty blocks in one lease: 2 MiB of bitmap */
#define WINDOW_BYTES        (16 << 20)  /* sent and not taken by the target yet: behind that no lease is given */
#define WINDOW_MS           5       /* how often the target is asked what it has taken when that is reached */
#define STALLED_MS          1250    /* nothing is sent or taken for so long: the data link is dead */
#define STALLED_MAX_MS      60000   /* the same when it was said before and was wrong */
#define RETRY_MS            1000    /* until the source asks a target again that said no */
#define REFUSED_MS          5000    /* the same when it could not take what was sent: its state directory is full */
#define BEAT_MS             300     /* the source asks its target whether it is there */
#define LINK_LOST_MS        1500    /* without an answer: with BEAT_MS a dead link is noticed within 2 s */
#define RECONNECT_MS        250     /* first pause between two tries to reach the target again; it doubles */
#define RECONNECT_MAX_MS    4000
#define RESUME_MS           5000    /* how long `resume` waits for the target */
#define DUMP_EXPIRE_MS      10000   /* a dump that nobody goes on with is dropped */
#define DUMP_RETRY_MS       10000   /* until a dump that could not be written is tried again */
#define TIDY_MS             2000    /* until another process is asked again to tidy up */
#define PROGRESS_MS         100
#define SNAPSHOT_MS         1000
#define ENDED_SESSIONS      256     /* kept for status */
#define SESSIONS_MAX        1024
#define BITMAP_DESCRIPTORS  4       /* that one takes: disk, directory, map that is filled, received map */
#define TARGET_DESCRIPTORS  2       /* a session beside that: its journal, and one to spare */
#define SOURCE_DESCRIPTORS  6       /* at the source also its connection and what libzmq adds */
#define WORKER_DESCRIPTORS  4
#define DEFAULT_WORKERS     2
#define SESSIONS_OWNER      (SESSIONS_MAX / 4)  /* under way, of one key */

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
    uint64_t as_granularity;    /* source: of the target's bitmap, 0 = the same */
    bool transient;             /* source: the target's bitmap is not persistent, whatever this one is */
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
    uint64_t late_bytes;        /* of disk, written in another process after the pivot */

    struct geometry geometry;   /* target: the source's; `info` is of the bitmap here */
    struct intake *intake;
    struct intake *loading;     /* the same parent, filled from a dump */
    bool staged;                /* the parent is not filled in place: it has another geometry */
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
    struct net_address peer_address;        /* of the source's target */
    char owner[KEY_TEXT_BYTES];             /* target: the key that opened it; "" without keys */
    uint32_t epoch;
    uint32_t chunk_bytes;
    unsigned nbitmaps;
    struct session_bitmap *bitmaps;
    char message[DF_ERROR_MESSAGE_BYTES];   /* the last thing that went wrong */
    struct journal journal;
    unsigned orders;                        /* of the receiver, the keeper and the hands that are not done yet */
    struct request *held;                   /* that waits for something */
    bool damaged;                           /* this host was restarted without a clean stop: the bits here cannot be trusted */
    bool link_lost;
    int64_t heard_ms;                       /* when the other side was last heard */
    struct waiter *waiters;
    uint64_t published;                     /* chunks_done of the last progress event */
    bool released;                          /* its resources are gone, only the record is left */

    /* another process has bitmaps of it (remote.c) */
    bool remote;                            /* a step is under way */
    bool touched;                           /* it may have something there that has to go; in the journal */
    bool tidy;                              /* that has to go now: again at tidy_ms */
    enum remote_step tidy_step;
    bool tidy_failed;                       /* the message is about that */
    int64_t tidy_ms;
    void (*tidied)(struct session *session);
    struct waiter *deferred;                /* requests that wait for the end of the step */
    bool unread;                            /* source: the bits are there still: nothing to send, dump or compare */
    int64_t read_ms;                        /* when they are asked for again */
    bool recorded;                          /* target: the children there have recorded; in the journal */
    bool stored;                            /* target: merged there */

    /* source */
    struct peer *peer;
    char data[256];
    unsigned workers;
    uint64_t max_bandwidth;                 /* bytes/s, 0 = no limit */
    bool grow;                              /* the target's disks may be larger */
    uint64_t frames, bytes, resent_frames;
    int64_t drain_deadline_ms, retry_ms;
    int64_t stream_ms;                      /* workers get nothing before */
    uint64_t pivot;                         /* which pivot of this daemon it was */
    unsigned seals;                         /* of this epoch, not answered yet */
    bool seal_failed;                       /* one of them was answered by an error */
    bool seal_again;                        /* the same epoch is sealed again at retry_ms: frames were on their way */
    bool asking;                            /* attempt or wait is under way */
    struct lease *leases;
    struct waiter *idle;                    /* lease requests that wait for work */
    /* Bytes that the target has taken; this counter and `bytes` as they were when the attempt began. */
    uint64_t taken, taken_mark, sent_mark;
    int64_t taken_ms, sent_ms;              /* when each last grew */
    bool stalled;                           /* the data link is dead, as far as is known */
    int patience_ms;                        /* how long nothing may be taken before that is said; it grows for slow links */
    bool beating;                           /* a heartbeat is not answered yet */
    int64_t beat_ms;                        /* when the next one goes */
    int reconnect_ms;                       /* the pause before the next try */
    int64_t resume_deadline_ms;             /* of a held `resume` */
    uint32_t dump_epoch;                    /* of the dump in STATE/dumps, 0 = none */
    int64_t dump_retry_ms;                  /* one could not be written: not tried before */
    bool dumping, digesting;                /* chores under way */
    bool letting_go;                        /* the target is operative, the journal is being synced */

    /* target */
    bool is_load;                           /* there is no source: it is filled from a dump of a bitmap */
    bool all_dirty;                         /* abandoned so */
    struct load *load;                      /* a dump that comes in, block by block */
    bool records;                           /* since the pivot all children do */
    bool again;                             /* that failed, or merging, or syncing: again at retry_ms */
};

struct engine {
    const struct net *net;
    const char *state_dir;
    int sessions_dir;                       /* STATE/sessions */
    unsigned descriptors_max;               /* that all sessions under way may take */
    bool rebooted;                          /* the host was restarted since the last daemon */
    struct keeper *keeper;
    struct hands *hands;
    struct snapshot *dumps;                 /* the keeper's: copies that dumps are made from */
    int64_t dump_ms;                        /* when the last request for one was here */
    struct server *server;
    struct receiver *receiver;
    void *events;
    char data[256];                         /* what sources are told to connect to */
    struct session *sessions;               /* newest first */
    uint64_t seq, next_lease, pivots;
    uint16_t next_handle;
    bool handles[WIRE_HANDLE_MAX + 1];
    int64_t progress_ms, snapshot_ms;
    int64_t due_ms;                         /* when the next tick is due */
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

/* ---- sessions.c */

struct session *session_find(struct engine *engine, const char *uuid, enum session_role role);
/* Is that the name of a session's file: its UUID, and behind it `behind`? */
bool session_file(const char *name, const char *behind, char uuid[UUID_TEXT_BYTES]);
/* How many a session takes, or one that begins with that many bitmaps and workers. */
unsigned session_descriptors(enum session_role role, unsigned nbitmaps, unsigned workers);
int session_new(struct engine *engine, const char *uuid, enum session_role role, unsigned nbitmaps, struct session **session, struct df_error *err);
void session_free(struct session *session);
/* The same, and its journal: after a restart nobody remembers it. */
void session_forget(struct session *session);
/* Is the event allowed now?  -EPERM with a sentence, or 0. */
int session_may(const struct session *session, enum session_event event, struct df_error *err);
/*
 * The only places where a state changes: journal, log, publish, wake waiters.
 * session_try: when the journal cannot be written, nothing has changed.
 * session_step: for what has happened already; a journal that cannot be written is noted.
 */
int session_try(struct session *session, enum session_event event, struct df_error *err);
void session_step(struct session *session, enum session_event event);
/* Write the journal for something beside the state. */
void session_save(struct session *session);
/* Close what the session holds.  The record stays for status. */
void session_release(struct session *session);
void session_note(struct session *session, const struct df_error *err);

/* ---- recover.c: what the journals say, at the start.  Afterwards, is the bitmap one of a session that goes on? */

int recover_sessions(struct engine *engine, struct df_error *err);
bool recover_knows(const struct engine *engine, const uint8_t session[DF_SESSION_BYTES]);

/* ---- durable.c: chores that a session waits for */

/* Sync the tables and maps of the session's bitmaps and its journal, then call `done` (r < 0: it failed). */
void durable_sync(struct session *session, bool maps, void (*done)(struct session *session, int r, const struct df_error *err));

/* ---- remote.c */

typedef void remote_done(struct session *session, int r, const struct df_error *err);

bool session_is_remote(const struct session *session);
/* Do the step in the other processes, then call `done`: at once if there are none. */
void remote_run(struct session *session, enum remote_step step, remote_done *done);
/* True: a step is under way, the request is taken and handled after it. */
bool remote_defer(struct session *session, struct request *request);
/* Of disk, written there after the pivot: see struct remote_job. */
uint64_t remote_late_bytes(const struct session *session);
/* What the session has there goes away: tried until it did.  `then` (or NULL) is called after the first try. */
void remote_tidy(struct session *session, enum remote_step step, void (*then)(struct session *session));
int64_t remote_tick(struct session *session, int64_t now_ms);

/* ---- stilled.c */

/* Write the source's state to STATE/dumps, unless that is under way.  -> session->dump_epoch */
void dump_session(struct session *session);
/* Compute the digests of what stands still, for the seal: those of interrupted leases, or of before a restart, are not known. */
void digest_session(struct session *session);
void dump_remove(struct session *session);
void dump_path(const struct session *session, char *path, size_t room);
/* When the sessions are known again after a start. */
void dump_clean_up(struct engine *engine);

/* ---- snapshot.c: the request `dump`, for the next block of a session's or a bitmap's dump */

void dump_request(struct engine *engine, struct request *request);
int64_t dump_tick(struct engine *engine, int64_t now_ms);

/* ---- load.c: the request `load` */

void load_request(struct engine *engine, struct request *request);
void load_drop(struct session *session);

/* ---- report.c */

uint64_t session_chunks(const struct session *session);
uint64_t session_chunks_done(const struct session *session);
/* Over the data socket so far. */
void session_traffic(const struct session *session, uint64_t *frames, uint64_t *bytes);
void report_status(const struct session *session, struct out *out);
/* The same without the bitmaps: many of them fit into one message. */
void report_summary(const struct session *session, struct out *out);
void report_event(struct session *session, const char *type);
/* The link was lost, or is there again. */
void report_link(struct session *session, bool lost);
void report_reply(struct request **request, const struct session *session);
/* Answer the request that is held, if there is one. */
void session_reply_held(struct session *session);
void session_fail_held(struct session *session, const struct df_error *err);
void report_wait(struct session *session, struct request *request);
/* Answer when that state is reached, or 10 s are over. */
void report_wait_for(struct session *session, struct request *request, enum session_state state);
/* Answer the waiters whose state is reached, or whose time is over.  Returns the next deadline. */
int64_t report_wake(struct session *session, int64_t now_ms);

/* ---- source.h tells which file */

void source_prepare(struct engine *engine, struct request *request);
void source_pivot(struct session *session, struct request *request);
void source_cancel(struct session *session, struct request *request);
void source_rollback(struct session *session, struct request *request);
void source_resume(struct session *session, struct request *request);
/* Every lease is back. */
void source_all_sent(struct session *session);
/* A worker cannot send: the data link is dead, unless the target still takes what is on its way.  It works. */
void source_stalled(struct session *session);
void source_flows(struct session *session);
int64_t source_tick(struct session *session, int64_t now_ms);

/* ---- lease.c */

int work_init(struct work *work, const struct session_bitmap *bitmap, struct df_error *err);
void work_destroy(struct work *work);
int work_add(struct work *work, uint64_t first, uint64_t count);
/* Nothing is to be sent until the target has said what it lacks. */
void work_forget(struct session *session);
/* All leases are void; what their workers send still does no harm. */
void lease_revoke(struct session *session);
void lease_request(struct session *session, struct request *request);
/* Serve the workers that wait: work when there is some, the end when it is over. */
void lease_serve(struct session *session);
/* Is so much on its way that the target has to take some first? */
bool lease_window_is_full(const struct session *session);
/* Nothing is leased and nothing is left to lease. */
bool lease_all_back(const struct session *session);
/* Take back what dead workers hold.  Returns the next deadline. */
int64_t lease_tick(struct session *session, int64_t now_ms);
void lease_forget(struct session *session);

/* ---- target.h tells which file */

void target_offer(struct engine *engine, struct request *request);
void target_pivot(struct session *session, struct request *request);
void target_cancel(struct session *session, struct request *request);
void target_attempt(struct session *session, struct request *request);
void target_seal(struct session *session, struct request *request);
void target_order_done(struct session *session, struct order *order);
void target_release(struct session *session);
void target_abandon(struct session *session, struct request *request);
void target_heartbeat(struct session *session, struct request *request);
int64_t target_tick(struct session *session, int64_t now_ms);

#endif
