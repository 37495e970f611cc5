// SPDX-License-Identifier: BSD-3-Clause
#include "daemon/statedir.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/boot.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/files.h"
#include "bitmap/disk.h"

/* A symbolic link that the operator gave is followed: what it leads to is looked at. */
static int open_directory(const char *path, int *out, struct df_error *err)
{
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_errno(err, -errno, "cannot make the state directory '%s'", path);
    CLEANUP(cleanup_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, -errno, "cannot open the state directory '%s'", path);
    int r = files_check_directory(fd, path, err);
    if (!r)
        *out = steal_fd(&fd);
    return r;
}

static int lock_directory(struct statedir *dir, int fd, const char *path, struct df_error *err)
{
    int r = files_open(fd, path, "lock", O_RDWR | O_CREAT, &dir->lock, err);
    if (r < 0)
        return r;
    if (flock(dir->lock, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? error_set(err, -EBUSY, "another dirtyferryd serves the state directory '%s': stop it or choose another directory", path)
                                    : error_errno(err, -errno, "cannot lock '%s/lock'", path);
    return realpath(path, dir->path) ? 0 : error_errno(err, -errno, "cannot find the state directory '%s'", path);
}

/* --------------------------------------------------------- whose is it */

static int find_group(const char *name, gid_t *group, struct df_error *err)
{
    char *end;
    const struct group *found = getgrnam(name);
    unsigned long number = strtoul(name, &end, 10);
    bool is_number = name[0] >= '0' && name[0] <= '9' && !*end && number < (gid_t)-1;
    if (!found && !is_number)
        return error_set(err, -EINVAL, "--writer-group '%s' is no group of this host: write the name of one that is, or a number", name);
    *group = found ? found->gr_gid : (gid_t)number;
    return 0;
}

/*
 * Root is in any group that it likes, as long as it has its capabilities.  It
 * gives them up, and would then no longer be able to keep S_ISGID on what it makes.
 */
static void join(gid_t group)
{
    gid_t groups[NGROUPS_MAX + 1];
    int n = getgroups(NGROUPS_MAX, groups);
    for (int i = 0; i < n; i++)
        if (groups[i] == group)
            return;
    if (n < 0 || getegid() == group)
        return;
    groups[n] = group;
    setgroups((size_t)n + 1, groups);   /* who may not is told by open_to_group() */
}

/* The kernel takes S_ISGID away without a word when the user is not in the group: look again. */
static int open_to_group(int fd, const char *path, mode_t mode, gid_t group, struct df_error *err)
{
    struct stat st;
    int r = fchown(fd, (uid_t)-1, group) < 0 || fchmod(fd, mode) < 0 || fstat(fd, &st) < 0 ? -errno : 0;
    if (!r && ((st.st_mode & 07777) != mode || st.st_gid != group))
        r = -EPERM;
    return r < 0 ? error_set(err, r, "cannot open '%s' to group %u of --writer-group: %s; the daemon's user must be in that group", path, (unsigned)group, strerror(-r)) : 0;
}

/* Where QEMU reads what is for it and makes its socket (src/qemu): programs of the group may write there, so nothing in it is believed. */
static int open_exchange(const struct statedir *dir, char path[PATH_MAX + 8], int *out, struct df_error *err)
{
    struct stat st;
    snprintf(path, PATH_MAX + 8, "%s/qemu", dir->path);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_errno(err, -errno, "cannot make '%s'", path);
    CLEANUP(cleanup_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_errno(err, -errno, "cannot open '%s'", path);
    if (st.st_uid != geteuid())
        return error_set(err, -EPERM, "'%s' belongs to user %u, not to the daemon's: remove it", path, (unsigned)st.st_uid);
    *out = steal_fd(&fd);
    return 0;
}

/* STATE/disks and STATE/qemu, then STATE: nobody gets in before the rest is as it should be. */
static int share_with(const struct statedir *dir, int fd, int disks, const char *path, gid_t group, struct df_error *err)
{
    CLEANUP(cleanup_fd) int qemu = -1;
    char qemu_path[PATH_MAX + 8];
    join(group);
    int r = open_to_group(disks, path, 02750, group, err);
    if (!r)
        r = open_exchange(dir, qemu_path, &qemu, err);
    if (!r)
        r = open_to_group(qemu, qemu_path, 02770, group, err);
    if (!r)
        r = disk_share_all(dir->path, true, err);
    return r < 0 ? r : open_to_group(fd, dir->path, 0750, group, err);
}

/* The set-group-ID bit says that disks may be open to a group still. */
static int close_disks(const struct statedir *dir, int disks, const char *path, struct df_error *err)
{
    struct stat st;
    CLEANUP(cleanup_fd) int qemu = -1;
    char qemu_path[PATH_MAX + 8];
    int r = fstat(disks, &st) == 0 && (st.st_mode & S_ISGID) ? disk_share_all(dir->path, false, err) : 0;
    if (!r)
        r = open_exchange(dir, qemu_path, &qemu, err);
    if (!r)
        r = files_limit_mode(qemu, qemu_path, 0700, err);
    return r < 0 ? r : files_limit_mode(disks, path, 0700, err);
}

static int set_modes(const struct statedir *dir, int fd, const char *writer_group, struct df_error *err)
{
    CLEANUP(cleanup_fd) int disks = -1;
    char path[PATH_MAX + 8];
    gid_t group = 0;
    snprintf(path, sizeof path, "%s/disks", dir->path);
    int r = writer_group ? find_group(writer_group, &group, err) : 0;
    if (!r)
        r = files_limit_mode(fd, dir->path, writer_group ? 0750 : 0700, err);
    if (!r)
        r = files_open_directory(dir->path, "disks", 02750, &disks, err);
    if (r < 0)
        return r;
    return writer_group ? share_with(dir, fd, disks, path, group, err) : close_disks(dir, disks, path, err);
}

static int check_parts(const struct statedir *dir, struct df_error *err)
{
    static const char *const parts[] = { "sessions", "dumps", "comparisons" };
    int r = 0;
    for (unsigned i = 0; !r && i < sizeof parts / sizeof *parts; i++) {
        CLEANUP(cleanup_fd) int fd = -1;
        r = files_open_directory(dir->path, parts[i], 0700, &fd, err);
    }
    return r;
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

int statedir_open(struct statedir *dir, const char *path, const char *writer_group, struct df_error *err)
{
    CLEANUP(cleanup_fd) int fd = -1;
    *dir = (struct statedir){ .lock = -1 };
    int r = open_directory(path, &fd, err);
    if (!r)
        r = lock_directory(dir, fd, path, err);
    if (!r)
        r = check_parts(dir, err);
    if (!r)
        r = set_modes(dir, fd, writer_group, err);
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
