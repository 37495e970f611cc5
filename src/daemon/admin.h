// SPDX-License-Identifier: BSD-3-Clause
/*
 * The requests about disks and bitmaps, on keepers of their own (session/keep.h):
 * some of them (count, SHA-256, merge) take time in proportion to a bitmap, and
 * QEMU may not answer at all, so its disks have a thread to themselves.
 */
#ifndef DAEMON_ADMIN_H
#define DAEMON_ADMIN_H

#include "net/server.h"
#include "session/keep.h"

enum admin_thread { ADMIN_CHANGES, ADMIN_LOOKS, ADMIN_QEMU, ADMIN_THREADS };

struct admin {
    const char *state_dir;
    struct keeper *keepers[ADMIN_THREADS];
};

/* `state_dir` stays as long as the threads.  What was started before a failure is ended by admin_stop(). */
int admin_start(struct admin *admin, const struct net *net, const char *state_dir, struct df_error *err);
void admin_stop(struct admin *admin);

/* False if the request is none of disks and bitmaps. */
bool admin_request(struct admin *admin, struct request *request);
/* Answer what is finished. */
void admin_receive(struct admin *admin);

#endif
