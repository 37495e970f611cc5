// SPDX-License-Identifier: BSD-3-Clause
/*
 * The receiver: one thread that owns the data socket and all that takes time in
 * proportion to a bitmap on the target: applying frames, comparing digests,
 * merging.  So the control thread is always quick to answer.
 *
 * The control thread hands it commands (struct order) by pointer over an inproc
 * PAIR and gets the same pointer back when the work is done.  Between the two
 * the order, and a parent from its ADD to its DROP, belong to the receiver; the
 * queue gives the order of memory.  Only the counters are read by both.
 */
#ifndef SESSION_RECEIVE_H
#define SESSION_RECEIVE_H

#include <stdatomic.h>

#include "backend/backend.h"
#include "net/guard.h"
#include "wire/dump.h"
#include "wire/frame.h"

/*
 * A parent that is being filled.  A backend that stores it in another geometry
 * than the source's gets it at once, when all of it is here: until then the bits
 * are gathered in a map beside the journal.
 */
struct intake {
    uint16_t handle;
    struct backend *backend;
    char bitmap[DF_BITMAP_NAME_MAX + 1];
    uint8_t session[DF_SESSION_BYTES];
    char owner[KEY_TEXT_BYTES];     /* frames of another key are refused */
    struct geometry geometry;       /* the source's: of chunks, frames and digests */
    struct chunking chunking;
    struct map *map;                /* what frames fill: the parent's, or `staging` */
    struct backend_map parent;
    struct map *staging;            /* or NULL */
    struct map *received;           /* a bit for each chunk that is there */
    uint64_t *digests;              /* of each block that was written whole; 0 = not known */
    uint32_t epoch;                 /* frames of another are ignored */
    _Atomic uint64_t chunks_done;   /* set bits of `received` */
    _Atomic uint64_t frames, bytes; /* of the data socket, repeated ones too */
    int64_t last_frame_ms;
    bool exact;                     /* it equals the source: from now on writers may own the parent, frames are ignored */
    bool failed;                    /* the parent could not be written: state directory full */
    struct order *seal;             /* waiting for frames that may be on their way */
    struct intake *next_waiting;
};

enum order_kind { ORDER_ADD, ORDER_DROP, ORDER_ATTEMPT, ORDER_SEAL, ORDER_RECLAIM, ORDER_GIVE_UP, ORDER_LOAD, ORDER_LOAD_END };

/* A dump that comes in, block by block: to the receiver's thread with an order, and back. */
struct load {
    struct dump_header header;
    struct dump_place place;        /* the next chunk that has to come */
    uint64_t index;                 /* of the next block */
    bool busy;                      /* an order is under way */
    int64_t used_ms;
    /* For each bitmap the intake, and one with the same parent that counts in the dump's chunks. */
    struct intake *intakes[WIRE_SESSION_BITMAPS], *shadows[WIRE_SESSION_BITMAPS];
};

struct order {
    enum order_kind kind;
    struct intake *intake;
    uint32_t epoch;                 /* ATTEMPT, SEAL */
    uint64_t digests[WIRE_SEGMENTS];/* SEAL: the source's */
    size_t ndigests;
    bool all_dirty;                 /* GIVE_UP */
    struct load *load;              /* LOAD, LOAD_END, with one whole block that was checked */
    const uint8_t *block;
    size_t nbytes;
    /* results */
    int r;
    struct df_error err;
    bool exact;                     /* SEAL; LOAD_END: all of them are */
    uint64_t missing, wrong;        /* SEAL: chunks not there; chunks of segments that differed */
    struct { uint64_t first, count; } *ranges;  /* ATTEMPT: chunks not there; free() */
    size_t nranges;
    /* for the control thread */
    void *opaque;
};

/* Frames that are still on their way when a seal arrives are waited for that long. */
#define RECEIVE_QUIET_MS 200

struct receiver;

/* Binds `endpoint`; `bound` gets where it really listens. */
int receiver_start(const struct net *net, struct guard *guard, const char *endpoint, char bound[256], struct receiver **receiver, struct df_error *err);
/* Ends the thread.  Orders that are under way are lost. */
void receiver_stop(struct receiver **receiver);
void *receiver_socket(struct receiver *receiver);
void receiver_send(struct receiver *receiver, struct order *order);
/* A finished order, or NULL when there is none now. */
struct order *receiver_done(struct receiver *receiver);

#endif
