// SPDX-License-Identifier: BSD-3-Clause
#include "base/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"

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

int files_split(const char *path, char *directory, size_t room, const char **name)
{
    const char *slash = strrchr(path, '/');
    size_t n = slash > path ? (size_t)(slash - path) : 1;       /* "/", or "." */
    *name = slash ? slash + 1 : path;
    if (!**name || !strcmp(*name, ".") || !strcmp(*name, ".."))
        return -EINVAL;
    if (n >= room)
        return -ENAMETOOLONG;
    memcpy(directory, slash ? path : ".", n);
    directory[n] = 0;
    return 0;
}

#define PATH_ROOM (PATH_MAX + NAME_MAX + 2)

/* --------------------------------------------------------------- whose is it */

static const char *kind(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFLNK: return "a symbolic link";
    case S_IFDIR: return "a directory";
    case S_IFREG: return "a file";
    case S_IFSOCK: return "a socket";
    default: return "a pipe or a device";
    }
}

static int judge(const struct stat *st, mode_t type, const char *path, struct df_error *err)
{
    if ((st->st_mode & S_IFMT) != type)
        return error_set(err, -EPROTO, "cannot open '%s': it is %s, not %s: move it away", path, kind(st->st_mode), kind(type));
    if (st->st_uid != geteuid())
        return error_set(err, -EPERM, "cannot open '%s': it belongs to uid %u and this program runs as uid %u: give it to that user by chown, or choose another",
                         path, (unsigned)st->st_uid, (unsigned)geteuid());
    if (type == S_IFREG && st->st_nlink > 1)
        return error_set(err, -EPERM, "cannot open '%s': it has %lu names (hard links), so others may reach it: copy it, and put the copy in its place",
                         path, (unsigned long)st->st_nlink);
    if (st->st_mode & (S_IWGRP | S_IWOTH))
        return error_set(err, -EPERM, "cannot open '%s': it can be written by others (mode %04o): if you trust what is in it, 'chmod go-w' it",
                         path, (unsigned)(st->st_mode & 07777));
    return 0;
}

int files_check_directory(int fd, const char *path, struct df_error *err)
{
    struct stat st;
    return fstat(fd, &st) < 0 ? error_errno(err, -errno, "cannot look at '%s'", path) : judge(&st, S_IFDIR, path, err);
}

int files_limit_mode(int fd, const char *path, mode_t mode, struct df_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_errno(err, -errno, "cannot look at '%s'", path);
    mode_t now = st.st_mode & 07777;
    if (!(now & ~mode))
        return 0;
    if (fchmod(fd, now & mode) < 0)
        return error_errno(err, -errno, "cannot give '%s' the mode %04o", path, (unsigned)(now & mode));
    if (now & 077 & ~mode)
        log_warning("'%s' was open to others (mode %04o): it has mode %04o now", path, (unsigned)now, (unsigned)(now & mode));
    return 0;
}

/* Opening has failed, or the file is not what it should be: the second says more than the first. */
static int open_private(int dirfd, const char *name, int flags, mode_t mode, const char *path, int *out, struct df_error *err)
{
    mode_t type = flags & O_DIRECTORY ? S_IFDIR : S_IFREG;
    struct stat st;
    /* O_NONBLOCK: a pipe must not keep us waiting. */
    CLEANUP(cleanup_fd) int fd = openat(dirfd, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, mode);
    int r = fd < 0 ? -errno : 0;
    if ((fd < 0 ? fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) : fstat(fd, &st)) == 0) {
        int judged = judge(&st, type, path, err);
        if (judged < 0)
            return judged;
    }
    if (r < 0)
        return error_errno(err, r, "cannot open '%s'", path);
    r = files_limit_mode(fd, path, mode, err);
    if (!r)
        *out = steal_fd(&fd);
    return r;
}

int files_open(int dirfd, const char *place, const char *name, int flags, int *fd, struct df_error *err)
{
    char path[PATH_ROOM];
    snprintf(path, sizeof path, "%s/%s", place, name);
    return open_private(dirfd, name, flags, 0600, path, fd, err);
}

int files_open_directory(const char *parent, const char *name, mode_t mode, int *dirfd, struct df_error *err)
{
    char path[PATH_ROOM];
    CLEANUP(cleanup_fd) int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, -errno, "cannot open the state directory '%s'", parent);
    if (mkdirat(fd, name, 0700) < 0 && errno != EEXIST)
        return error_errno(err, -errno, "cannot make '%s/%s'", parent, name);
    snprintf(path, sizeof path, "%s/%s", parent, name);
    return open_private(fd, name, O_RDONLY | O_DIRECTORY, mode, path, dirfd, err);
}

int files_look(int dirfd, const char *name)
{
    struct stat st;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    return S_ISREG(st.st_mode) && st.st_uid == geteuid() ? 1 : -EPROTO;
}

void files_remove(int dirfd, const char *name)
{
    int r = files_look(dirfd, name);
    if (r == -EPROTO)
        log_warning("'%s' is not a file of this program: it stays", name);
    else if (r > 0)
        unlinkat(dirfd, name, 0);
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

bool files_is_trusted(const struct stat *st)
{
    return st->st_uid == 0 || st->st_uid == geteuid();
}

const char *files_distrust(const struct stat *st, mode_t type, uid_t owner)
{
    if ((st->st_mode & S_IFMT) != type)
        return type == S_IFDIR ? "is not a directory" : "is not a regular file";
    if (!files_is_trusted(st) && st->st_uid != owner)
        return "belongs to another user";
    if (st->st_mode & S_IWOTH)
        return "can be written by every user";
    /* None: it was removed since it was opened, as maps are. */
    if (type == S_IFREG && st->st_nlink > 1)
        return "has a second name (a hard link)";
    return NULL;
}

int files_open_shared(int dirfd, const char *file, uid_t owner, int *out, struct stat *st, const char **why)
{
    CLEANUP(cleanup_fd) int fd = openat(dirfd, file, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    *why = NULL;
    if (fd < 0)
        switch (errno) {
        case ELOOP:
            *why = "is a symbolic link";
            return -EPROTO;
        case EISDIR: case ENXIO: case ENODEV:
            *why = "is not a regular file";
            return -EPROTO;
        default:
            return -errno;
        }
    if (fstat(fd, st) < 0)
        return -errno;
    *why = files_distrust(st, S_IFREG, owner);
    if (*why)
        return -EPROTO;
    *out = steal_fd(&fd);
    return 0;
}
