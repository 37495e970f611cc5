// SPDX-License-Identifier: BSD-3-Clause
/*
 * The requests about disks and bitmaps, on a keeper of their own (session/keep.h):
 * some of them (count, SHA-256, merge) take time in proportion to a bitmap.
 */
#ifndef DAEMON_ADMIN_H
#define DAEMON_ADMIN_H

#include "net/server.h"
#include "session/keep.h"

/* False if the request is none of disks and bitmaps.  `state_dir` stays as long as the keeper. */
bool admin_request(struct keeper *keeper, const char *state_dir, struct request *request);

#endif
