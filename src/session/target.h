// SPDX-License-Identifier: BSD-3-Clause
/*
 * The target's side of a move:
 *
 *   target.c    offer, pivot, cancel, abandon; time
 *   incoming.c  what the source asks for: heartbeat, attempt, seal; the merge
 *   intake.c    the parents that are filled
 *   load.c      the same from a dump
 *   receive.h   the thread that fills them
 */
#ifndef SESSION_TARGET_H
#define SESSION_TARGET_H

#include "session/session.h"

/* An order on its way, and who asked for it. */
struct errand {
    struct order order;         /* first: the receiver hands this pointer back */
    struct session *session;
    unsigned bitmap;
    struct request *request;
    struct collected *collected;
};

/* incoming.c */
struct errand *errand_new(struct session *session, unsigned bitmap, enum order_kind kind, struct request *request);
void errand_submit(struct errand *errand);
/* A bitmap has become exact: were they all? */
void target_exact(struct session *session);
void target_merge(struct session *session);
/* Every bit is here, and another process cannot merge it: what it recorded is lost, or it is gone for good. */
bool target_is_stuck(const struct session *session);
void target_give_up(struct session *session);

/* target.c */
void target_begin(struct session *session);
/* The children record; repeated until all of them do.  Answers a pivot that is held. */
void target_record(struct session *session);
void target_discard(struct session *session);

/*
 * intake.c: all bitmaps of a session whose disks are open, as their `info` has
 * them; `what` is named if there is no room.  `created` is set as soon as there
 * is something to discard.
 */
int target_add(struct session *session, const char *what, struct df_error *err);
/* After a restart.  fresh: what was received before does not count. */
int target_open(struct session *session, bool fresh, struct df_error *err);

/* load.c */
void load_order_done(struct session *session, struct errand *errand);

#endif
