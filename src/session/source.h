// SPDX-License-Identifier: BSD-3-Clause
/*
 * The source's side of a move, in the order in which it happens:
 *
 *   prepare.c   take every bitmap, offer them to the target; all or nothing
 *   pivot.c     fence the disks, wait until no write section is open
 *   lease.c     hand out the work of attempt `epoch` to the workers
 *   seal.c      ask the target to compare digests; let go only when the target
 *               says operative
 *   attempt.c   ask what the target lacks, which is then streamed again
 *   link.c      is the target there?  If not: dump.c, and again attempt.c
 *   source.c    the ways back (cancel, roll-back) and time
 *   recover.c   all of it after a restart of the daemon
 *
 * A request whose answer is not known yet is in session->held.
 */
#ifndef SESSION_SOURCE_H
#define SESSION_SOURCE_H

#include "session/session.h"

/* source.c */
void source_give_back(struct session *session);
/* Answer the held request, if it is a `resume`. */
void source_fail_held_resume(struct session *session, const struct df_error *err);
void source_reply_held_resume(struct session *session);
/* True if another request is held; this one is then refused. */
bool source_is_held(struct session *session, struct request **request);
void source_send_cancel(struct session *session, peer_answer *answer);
void source_abandoned(struct session *session);
void source_given_up(struct session *session);

/* prepare.c */
int source_open(struct session *session, struct session_bitmap *bitmap, bool take, struct df_error *err);
/* As the target's bitmap shall be. */
bool source_keeps(const struct session_bitmap *bitmap);
void source_start_workers(struct session *session);
/* Nothing has changed here, and nothing shall be left at the target. */
void source_withdraw(struct session *session, const struct df_error *err);

/* pivot.c */
void pivot_unfence(struct session *session);
/* Read the bits that another process has, if they are not here yet. */
void pivot_read(struct session *session);
/* While a pivot waits for open write sections.  Returns when it wants to be called again. */
int64_t pivot_tick(struct session *session, int64_t now_ms);

/* seal.c */
void seal_begin(struct session *session);
/* Ask the target again when it did not answer.  Returns when it wants to be called again. */
int64_t seal_tick(struct session *session, int64_t now_ms);
/* Wait for the target to be operative. */
void seal_wait(struct session *session);
void source_let_go(struct session *session);
/* Drop the copy, and its dump: the target is operative, and the journal says so. */
void source_discard(struct session *session);
void source_retry_later(struct session *session, const struct df_error *err);

/* attempt.c */
void attempt_send(struct session *session);
/* The same under the next epoch. */
void attempt_next(struct session *session);

/* link.c */
void link_heard(struct session *session);
/* The stream ends here; the target is asked what it lacks as soon as it answers. */
void link_interrupt(struct session *session, const struct df_error *why);
/* A fresh connection for a request of the operator's. */
bool link_reconnect(struct session *session, struct df_error *err);
int64_t link_tick(struct session *session, int64_t now_ms);

#endif
