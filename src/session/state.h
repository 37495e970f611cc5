// SPDX-License-Identifier: BSD-3-Clause
/*
 * All that can happen to a session, as data: next state by state and event.  An
 * empty cell is an event that is refused.  proto/states.txt shows the same
 * table; a test compares them.
 */
#ifndef SESSION_STATE_H
#define SESSION_STATE_H

#include <stdbool.h>
#include <stdio.h>

enum session_role { ROLE_SOURCE, ROLE_TARGET };

enum session_state {
    STATE_NONE,

    /* source */
    SOURCE_PREPARING,       /* the offer is on its way; the disk records on */
    SOURCE_PREPARED,        /* the target is ready; the disk records on */
    SOURCE_FENCING,         /* no write begins any more; open ones are waited for */
    SOURCE_STREAMING,       /* read-only; workers send what the target lacks */
    SOURCE_SEALING,         /* all is sent; the target compares digests */
    SOURCE_SEALED,          /* the target has every bit; it is not operative yet */
    SOURCE_INTERRUPTED,     /* read-only; the target is out of reach, or it is not asked yet what it has */
    SOURCE_RELEASED,        /* end: the target is operative, the copy is let go */
    SOURCE_FAILED,          /* end: the target refused the offer, nothing has changed */
    SOURCE_CANCELLED,       /* end: before the pivot, nothing has changed */
    SOURCE_ROLLED_BACK,     /* end: after the pivot, the source is live again */
    SOURCE_ABANDONED,       /* end: the target does not want the bits; they stay here, the disk is read-only */

    /* target */
    TARGET_PREPARED,        /* frozen parent, locked child */
    TARGET_FILLED,          /* the same, and the parent has every bit */
    TARGET_RECEIVING,       /* the child records, the parent is filled */
    TARGET_MERGING,         /* the parent has every bit and takes the child's */
    TARGET_OPERATIVE,       /* end: the bitmaps can be used */
    TARGET_ABANDONING,      /* the source's bits are given up, the child's are merged */
    TARGET_CANCELLED,       /* end: before the pivot, the bitmaps are removed */
    TARGET_ABANDONED,       /* end: the bitmaps are inconsistent, or all dirty */

    STATES,
};

enum session_event {
    EVENT_START,            /* a prepare or an offer arrives */
    EVENT_ACCEPTED,         /* the target accepts the offer */
    EVENT_REFUSED,          /* it does not, or does not answer */
    EVENT_PIVOT,
    EVENT_DRAINED,          /* no write section is open any more */
    EVENT_STUCK,            /* one is open for too long */
    EVENT_SENT,             /* every lease is back */
    EVENT_INEXACT,          /* source: the target lacks something; it is sent again */
    EVENT_EXACT,            /* every parent equals the source, by digests */
    EVENT_OPERATIVE,        /* parents and children are merged */
    EVENT_CANCEL,
    EVENT_ROLLBACK,
    EVENT_LOST,             /* the target does not answer, or this daemon was restarted */
    EVENT_RESUMED,          /* it has said what it lacks */
    EVENT_CRASHED,          /* this host was restarted without a clean stop */
    EVENT_ABANDON,
    EVENT_ABANDONED,        /* that is done */
    EVENTS,
};

/* STATE_NONE: refused. */
enum session_state state_next(enum session_role role, enum session_state state, enum session_event event);
const char *state_name(enum session_state state);
const char *event_name(enum session_event event);
const char *role_name(enum session_role role);
bool state_is_end(enum session_state state);
/* By the name and role; STATE_NONE if there is none. */
enum session_state state_find(enum session_role role, const char *name);

/* The table as text, one line a transition: proto/states.txt. */
void state_print(FILE *to);

#endif
