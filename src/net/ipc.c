// SPDX-License-Identifier: BSD-3-Clause
/*
 * The lock file is removed by who holds the lock, and who gets the lock looks
 * whether the file that he locked is still the one at the path; if not, somebody
 * removed it in between, and he begins again.  So no two hold the lock of a path.
 *
 * Nobody else can write the directory, so between a look and an unlink only
 * programs of this user and root could change what is there.
 */
#include "net/ipc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/files.h"

#define PATH_BYTES sizeof ((struct sockaddr_un *)0)->sun_path

/* Directory, name in it, and the lock's name. */
struct place {
    char directory[PATH_BYTES], name[PATH_BYTES], lock[PATH_BYTES + 5];
};

static int split(const char *path, struct place *place, struct df_error *err)
{
    const char *name;
    if (path[0] == '@')
        return error_set(err, -EPERM, "cannot listen on 'ipc://%.255s': an abstract socket has no permissions, every user could connect: give a path", path);
    if (strlen(path) >= PATH_BYTES)
        return error_set(err, -EINVAL, "cannot listen on 'ipc://%.255s': the path has %zu bytes, %zu are possible", path, strlen(path), PATH_BYTES - 1);
    if (!strcmp(path, "*") || files_split(path, place->directory, sizeof place->directory, &name) < 0)
        return error_set(err, -EINVAL, "cannot listen on 'ipc://%s': that is not the path of a socket", path);
    snprintf(place->name, sizeof place->name, "%s", name);
    snprintf(place->lock, sizeof place->lock, "%s.lock", name);
    return 0;
}

static int open_directory(const char *path, const struct place *place, int *dirfd, struct df_error *err)
{
    struct stat st;
    CLEANUP(cleanup_fd) int fd = open(place->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_errno(err, -errno, "cannot listen on 'ipc://%s': its directory cannot be opened", path);
    if (!files_is_trusted(&st))
        return error_set(err, -EPERM, "cannot listen on 'ipc://%s': its directory belongs to uid %u: choose one that belongs to uid %u, with mode 0700",
                         path, (unsigned)st.st_uid, (unsigned)geteuid());
    if (st.st_mode & (S_IWGRP | S_IWOTH))
        return error_set(err, -EPERM, "cannot listen on 'ipc://%s': others can write to its directory (mode %04o): a private one is needed, with mode 0700",
                         path, (unsigned)(st.st_mode & 07777));
    *dirfd = steal_fd(&fd);
    return 0;
}

static bool is_at(int fd, int dirfd, const char *name)
{
    struct stat held, there;
    return fstat(fd, &held) == 0 && fstatat(dirfd, name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
           held.st_dev == there.st_dev && held.st_ino == there.st_ino;
}

static int take_lock(int dirfd, const char *path, const struct place *place, int *lock_fd, struct df_error *err)
{
    for (;;) {
        CLEANUP(cleanup_fd) int fd = -1;
        int r = files_open(dirfd, place->directory, place->lock, O_RDWR | O_CREAT, &fd, err);
        if (r < 0)
            return r;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
            return errno == EWOULDBLOCK ? error_set(err, -EBUSY, "cannot listen on 'ipc://%s': another program listens there: stop it or choose another path", path)
                                        : error_errno(err, -errno, "cannot lock '%s.lock'", path);
        if (is_at(fd, dirfd, place->lock)) {
            *lock_fd = steal_fd(&fd);
            return 0;
        }
    }
}

/* -ECONNREFUSED: nobody listens on the socket. */
static int try_connect(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    CLEANUP(cleanup_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    memcpy(address.sun_path, path, strlen(path) + 1);
    return fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) < 0 ? -errno : 0;
}

static int make_room(int dirfd, const char *path, const struct place *place, struct df_error *err)
{
    struct stat st;
    if (fstatat(dirfd, place->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : error_errno(err, -errno, "cannot look at '%s'", path);
    if (!S_ISSOCK(st.st_mode))
        return error_set(err, -EEXIST, "cannot listen on 'ipc://%s': what is there is not a socket: move it away or choose another path", path);
    if (st.st_uid != geteuid())
        return error_set(err, -EEXIST, "cannot listen on 'ipc://%s': the socket there belongs to uid %u: choose another path", path, (unsigned)st.st_uid);
    int r = try_connect(path);
    if (r == 0 || r == -EAGAIN || r == -EPROTOTYPE)     /* a full queue, a socket of another type */
        return error_set(err, -EBUSY, "cannot listen on 'ipc://%s': another program listens there: stop it or choose another path", path);
    if (r != -ECONNREFUSED)
        return error_errno(err, r, "cannot find out whether anybody listens on 'ipc://%s'", path);
    return unlinkat(dirfd, place->name, 0) < 0 && errno != ENOENT ? error_errno(err, -errno, "cannot remove the old socket '%s'", path) : 0;
}

static void drop_lock(int dirfd, const struct place *place, int *lock_fd)
{
    if (is_at(*lock_fd, dirfd, place->lock))
        unlinkat(dirfd, place->lock, 0);
    close(steal_fd(lock_fd));
}

int ipc_claim(const char *path, int *lock_fd, struct df_error *err)
{
    struct place place;
    CLEANUP(cleanup_fd) int dirfd = -1;
    int fd = -1;
    *lock_fd = -1;
    int r = split(path, &place, err);
    if (!r)
        r = open_directory(path, &place, &dirfd, err);
    if (!r)
        r = take_lock(dirfd, path, &place, &fd, err);
    if (r < 0)
        return r;
    r = make_room(dirfd, path, &place, err);
    if (r < 0)
        drop_lock(dirfd, &place, &fd);
    else
        *lock_fd = fd;
    return r;
}

void ipc_release(const char *path, int *lock_fd)
{
    struct place place;
    CLEANUP(cleanup_fd) int dirfd = -1;
    if (*lock_fd < 0)
        return;
    if (split(path, &place, NULL) < 0 || open_directory(path, &place, &dirfd, NULL) < 0) {
        close(steal_fd(lock_fd));
        return;
    }
    make_room(dirfd, path, &place, NULL);
    drop_lock(dirfd, &place, lock_fd);
}
