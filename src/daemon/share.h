// SPDX-License-Identifier: BSD-3-Clause
/* The disks that are there when a daemon starts, opened to the writer group or closed again. */
#ifndef DAEMON_SHARE_H
#define DAEMON_SHARE_H

#include <stdbool.h>

#include <dirtyferry/error.h>

/*
 * disks: STATE/disks, which the error calls `path`.  Shared: each disk gets its
 * group, directories 02750, files 0660; else 0700 and 0600.  What is not a
 * private disk of this user stays as it is, and the log says so.
 */
int share_disks(int disks, const char *path, bool shared, struct df_error *err);

#endif
