// SPDX-License-Identifier: BSD-3-Clause
#include "daemon/statedir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/boot.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/files.h"

static int lock_directory(struct statedir *dir, const char *path, struct df_error *err)
{
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_errno(err, -errno, "cannot make the state directory '%s'", path);
    CLEANUP(cleanup_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, -errno, "cannot open the state directory '%s'", path);
    dir->lock = openat(fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (dir->lock < 0)
        return error_errno(err, -errno, "cannot open '%s/lock'", path);
    if (flock(dir->lock, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? error_set(err, -EBUSY, "another dirtyferryd serves the state directory '%s': stop it or choose another directory", path)
                                    : error_errno(err, -errno, "cannot lock '%s/lock'", path);
    return realpath(path, dir->path) ? 0 : error_errno(err, -errno, "cannot find the state directory '%s'", path);
}

/* The lock file holds the boot id under which the last daemon ran; not there: it was never synced. */
static int look_at_boot(struct statedir *dir, struct df_error *err)
{
    uint8_t now[BOOT_ID_BYTES], then[BOOT_ID_BYTES];
    int r = boot_id(now, err);
    if (!r)
        dir->rebooted = pread(dir->lock, then, sizeof then, 0) != sizeof then || memcmp(now, then, sizeof now) != 0;
    return r;
}

int statedir_open(struct statedir *dir, const char *path, struct df_error *err)
{
    *dir = (struct statedir){ .lock = -1 };
    int r = lock_directory(dir, path, err);
    return r < 0 ? r : look_at_boot(dir, err);
}

int statedir_note_boot(const struct statedir *dir, struct df_error *err)
{
    uint8_t now[BOOT_ID_BYTES];
    int r = boot_id(now, err);
    if (!r && pwrite(dir->lock, now, sizeof now, 0) != sizeof now)
        r = error_errno(err, -errno, "cannot write '%s/lock'", dir->path);
    if (!r && (r = files_sync(dir->lock)) < 0)
        error_errno(err, r, "cannot make '%s/lock' durable", dir->path);
    return r;
}

void statedir_close(struct statedir *dir)
{
    if (dir->lock >= 0)
        close(dir->lock);
    dir->lock = -1;
}
