// SPDX-License-Identifier: BSD-3-Clause
/*
 * The state directory: one daemon has it, and it remembers under which boot of
 * the host that was.
 */
#ifndef DAEMON_STATEDIR_H
#define DAEMON_STATEDIR_H

#include <limits.h>
#include <stdbool.h>

#include <dirtyferry/error.h>

struct statedir {
    char path[PATH_MAX];    /* absolute */
    int lock;               /* the kernel drops it with the process */
    bool rebooted;          /* the host was restarted since the last daemon */
};

/* Makes the directory if it is not there.  -EBUSY: another daemon has it. */
int statedir_open(struct statedir *dir, const char *path, struct df_error *err);
/* When everything that the last boot left has been looked at. */
int statedir_note_boot(const struct statedir *dir, struct df_error *err);
void statedir_close(struct statedir *dir);

#endif
