// SPDX-License-Identifier: BSD-3-Clause
/*
 * What was said of a disk when it was made: where its bitmaps are kept, if not
 * here, or where its contents are.  The file is born with the disk (disk.c), is
 * never written again and goes with it, so whoever reads it reads all of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/files.h"
#include "bitmap/disk.h"

/* The directory of a disk; what is wrong with it is for df_disk_open() to say. */
static int open_disk(const char *state_dir, const char *name)
{
    struct stat state_st, disks_st;
    if (!*name || name[0] == '.' || strchr(name, '/'))
        return -ENOENT;
    CLEANUP(cleanup_fd) int disks = disks_open(state_dir, false, &state_st, &disks_st, NULL);
    return disks < 0 ? -ENOENT : openat(disks, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

int disk_attachment(const char *state_dir, const char *name, const char *file, char text[DISK_ATTACHMENT_BYTES + 1], struct df_error *err)
{
    struct stat st;
    CLEANUP(cleanup_fd) int fd = -1;
    CLEANUP(cleanup_fd) int dirfd = open_disk(state_dir, name);
    if (dirfd < 0 || (fstatat(dirfd, file, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT))
        return 0;
    int r = files_open(dirfd, name, file, O_RDONLY, &fd, err);
    if (r < 0)
        return r;
    ssize_t n = pread(fd, text, DISK_ATTACHMENT_BYTES + 1, 0);
    if (n < 0)
        return error_errno(err, -errno, "cannot read the file '%s' of disk '%s'", file, name);
    if (n > DISK_ATTACHMENT_BYTES)
        return error_set(err, -EPROTO, "the file '%s' of disk '%s' is too long: it is damaged, remove the disk and add it anew", file, name);
    text[n] = 0;
    return 1;
}
