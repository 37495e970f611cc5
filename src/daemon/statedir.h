// SPDX-License-Identifier: BSD-3-Clause
/*
 * The state directory: one daemon has it, it remembers under which boot of the
 * host that was, and it is private (base/files.h), which is looked at when a
 * daemon starts.  With a writer group only what writers need is open:
 *
 *                 private   with a group
 *     STATE        0700     0750 GROUP
 *     disks        0700     02750 GROUP     what is in it: bitmap/share.c
 *     sessions     0700     0700
 *     dumps        0700     0700
 *     comparisons  0700     0700
 *     lock         0600     0600
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

/*
 * Makes the directory if it is not there.  -EBUSY: another daemon has it.
 * writer_group: a name or a number, or NULL; then what a daemon before has
 * opened to a group is closed again.
 */
int statedir_open(struct statedir *dir, const char *path, const char *writer_group, struct df_error *err);
/* When everything that the last boot left has been looked at. */
int statedir_note_boot(const struct statedir *dir, struct df_error *err);
void statedir_close(struct statedir *dir);

#endif
