// SPDX-License-Identifier: BSD-3-Clause
/*
 * A keeper: one thread for what may take long.  The sessions' does what they do
 * with files (syncing, dumps), that of daemon/admin.h the requests about disks
 * and bitmaps.  So neither the control thread nor the stream waits for a disk.
 *
 * A chore goes there by pointer over an inproc PAIR and comes back when it is
 * done; between the two it belongs to the keeper.  A session with a chore under
 * way (session->orders) is neither closed nor freed, so the chore may use its
 * bitmaps, maps and journal.
 */
#ifndef SESSION_KEEP_H
#define SESSION_KEEP_H

#include "net/socket.h"

struct keeper;

/* The first member of what is handed over. */
struct chore {
    void (*work)(struct chore *chore);  /* on the keeper's thread */
    void (*done)(struct chore *chore);  /* on the control thread; frees it */
    int r;
    struct df_error err;
};

/* `endpoint`: inproc, one for each keeper. */
int keeper_start(const struct net *net, const char *endpoint, struct keeper **keeper, struct df_error *err);
/* Ends the thread when the chore that it is at is done.  Those that are queued are lost. */
void keeper_stop(struct keeper **keeper);
void *keeper_socket(struct keeper *keeper);
void keeper_send(struct keeper *keeper, struct chore *chore);
/* Call `done` of all that is finished. */
void keeper_receive(struct keeper *keeper);

#endif
