// SPDX-License-Identifier: BSD-3-Clause
#include "base/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"

int files_pwrite(int fd, const void *bytes, size_t nbytes, off_t offset)
{
    const char *at = bytes;
    while (nbytes) {
        ssize_t n = pwrite(fd, at, nbytes, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        at += n;
        offset += n;
        nbytes -= (size_t)n;
    }
    return 0;
}

int files_sync(int fd)
{
    return fdatasync(fd) < 0 && errno != EINVAL ? -errno : 0;
}

int files_sync_directory(int fd)
{
    return fsync(fd) < 0 && errno != EINVAL ? -errno : 0;
}

int files_open_directory(const char *parent, const char *name, int *dirfd, struct df_error *err)
{
    CLEANUP(cleanup_fd) int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, -errno, "cannot open the state directory '%s'", parent);
    if (mkdirat(fd, name, 0700) < 0 && errno != EEXIST)
        return error_errno(err, -errno, "cannot make '%s/%s'", parent, name);
    *dirfd = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return *dirfd < 0 ? error_errno(err, -errno, "cannot open '%s/%s'", parent, name) : 0;
}

int files_list(int dirfd, int (*each)(void *opaque, const char *name), void *opaque)
{
    /* A description of its own: the caller's keeps its place. */
    int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    int r = dir ? 0 : -errno;
    for (struct dirent *e; !r && (e = readdir(dir));)
        r = each(opaque, e->d_name);
    if (dir)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
    return r;
}
