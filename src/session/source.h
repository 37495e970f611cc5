// SPDX-License-Identifier: BSD-3-Clause
/*
 * The source's side of a move, in the order in which it happens:
 *
 *   prepare.c   take every bitmap, offer them to the target; all or nothing
 *   pivot.c     fence the disks, wait until no write section is open
 *   lease.c     hand out the work of attempt `epoch` to the workers
 *   seal.c      ask the target to compare digests; what it lacks is asked for by
 *               `attempt`, under the next epoch, and streamed again; let go only
 *               when the target says operative
 *   source.c    the ways back (cancel, roll-back) and time
 *
 * A request whose answer is not known yet is in session->held.
 */
#ifndef SESSION_SOURCE_H
#define SESSION_SOURCE_H

#include "session/session.h"

/* source.c */
void source_give_back(struct session *session);
void source_fail_held(struct session *session, const struct df_error *err);
void source_reply_held(struct session *session);
/* True if another request is held; this one is then refused. */
bool source_is_held(struct session *session, struct request **request);
void source_send_cancel(struct session *session, peer_answer *answer);

/* pivot.c */
void pivot_unfence(struct session *session);
/* While a pivot waits for open write sections.  Returns when it wants to be called again. */
int64_t pivot_tick(struct session *session, int64_t now_ms);

/* seal.c: ask the target again when it did not answer.  Returns when it wants to be called again. */
int64_t seal_tick(struct session *session, int64_t now_ms);

#endif
