// SPDX-License-Identifier: BSD-3-Clause
/*
 * For chores that wait for somebody else's process: a thread for each, so that a
 * hypervisor that hangs holds up nobody but the session that asks it.  There
 * are few, a session has one at a time at most, and each ends by a deadline of
 * its own.
 *
 * As with a keeper (keep.h) a chore belongs to the hands until `done` is called
 * for it on the control thread.
 */
#ifndef SESSION_HANDS_H
#define SESSION_HANDS_H

#include "session/keep.h"

struct hands;

int hands_start(struct hands **hands, struct df_error *err);
/* Waits for the chores that are under way; they are freed, and nobody hears of them. */
void hands_stop(struct hands **hands);
void hands_send(struct hands *hands, struct chore *chore);
/* Readable when something is finished. */
int hands_fd(const struct hands *hands);
/* Call `done` of all that is finished. */
void hands_receive(struct hands *hands);

#endif
