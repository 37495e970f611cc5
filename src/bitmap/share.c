// SPDX-License-Identifier: BSD-3-Clause
/*
 * Who may use the files of disks: their owner alone, or a group of writers too.
 *
 * The set-group-ID bit of STATE/disks decides.  With it a new disk's directory
 * has it, too, and its files belong to the group, which may write to them.  The
 * directories are the owner's: a writer can record and close a disk, but cannot
 * add or remove a file, nor put another one in the place of a file.  Where a
 * disk's bitmaps or data are (DISK_QEMU, DISK_DATA) is not for the group.
 */
#include "bitmap/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/files.h"

struct share {
    bool shared;
    int dirfd;          /* STATE/disks, then the disk's directory */
    struct stat state, disks;
};

/* The group first: a change of it clears set-group-ID. */
static int set_mode(const struct share *share, int fd, mode_t group_mode, mode_t own_mode)
{
    if (share->shared && fchown(fd, (uid_t)-1, share->disks.st_gid) < 0)
        return -errno;
    return fchmod(fd, share->shared ? group_mode : own_mode) < 0 ? -errno : 0;
}

/* What is no file of ours stays as it is; who opens it says what is wrong. */
static int share_file(void *opaque, const char *name)
{
    const struct share *share = opaque;
    CLEANUP(cleanup_fd) int fd = -1;
    struct stat st;
    const char *why;
    int r = files_open_shared(share->dirfd, name, share->state.st_uid, &fd, &st, &why);
    if (r < 0)
        return r == -EPROTO || r == -ENOENT ? 0 : r;
    bool is_attachment = !strcmp(name, DISK_QEMU) || !strcmp(name, DISK_DATA);
    return set_mode(share, fd, is_attachment ? 0600 : DISK_GROUP_FILE_MODE, 0600);
}

static int share_disk(void *opaque, const char *name)
{
    struct share disk = *(const struct share *)opaque;
    struct stat st;
    if (name[0] == '.')
        return 0;
    CLEANUP(cleanup_fd) int fd = openat(disk.dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOTDIR || errno == ELOOP || errno == ENOENT ? 0 : -errno;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (files_distrust(&st, S_IFDIR, disk.state.st_uid))
        return 0;
    disk.dirfd = fd;
    int r = files_list(fd, share_file, &disk);
    return r < 0 ? r : set_mode(&disk, fd, DISK_GROUP_DIRECTORY_MODE, 0700);
}

int disk_share_all(const char *state_dir, bool shared, struct df_error *err)
{
    struct share share = { .shared = shared };
    struct df_error why;
    CLEANUP(cleanup_fd) int disks = disks_open(state_dir, false, &share.state, &share.disks, &why);
    if (disks == -ENOENT)
        return 0;
    if (disks < 0)
        return error_set(err, disks, "%s", why.message);
    share.dirfd = disks;
    int r = files_list(disks, share_disk, &share);
    return r < 0 ? error_errno(err, r, "cannot set who may use the disks of '%s'", state_dir) : 0;
}
