// SPDX-License-Identifier: BSD-3-Clause
/*
 * The requests about disks and bitmaps, on a thread of their own: some of them
 * (count, SHA-256, merge) take time in proportion to a bitmap.
 *
 * The control thread hands over a job by pointer and gets it back when it is
 * done; only it touches the control socket.
 */
#ifndef DAEMON_ADMIN_H
#define DAEMON_ADMIN_H

#include "net/server.h"

struct admin;

struct job {
    struct request *request;
    struct out out;             /* the reply when r is 0 */
    int r;
    struct df_error err;
};

int admin_start(void *context, const char *state_dir, struct admin **admin, struct df_error *err);
void admin_stop(struct admin **admin);
void *admin_socket(struct admin *admin);
/* False if the request is none of disks and bitmaps. */
bool admin_request(struct admin *admin, struct request *request);
struct job *admin_done(struct admin *admin);

#endif
