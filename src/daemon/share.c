// SPDX-License-Identifier: BSD-3-Clause
#include "daemon/share.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"

struct sharing {
    int dirfd;
    const char *disk;       /* in the log */
    bool shared;
    gid_t group;
};

static void set(int fd, const struct sharing *s, const char *name, mode_t type)
{
    mode_t open_mode = type == S_IFDIR ? 02750 : 0660, closed_mode = type == S_IFDIR ? 0700 : 0600;
    struct stat st;
    bool ours = fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == type && st.st_uid == geteuid() && (type == S_IFDIR || st.st_nlink == 1);
    if (!ours)
        log_warning("'%s' of disk '%s' is not private: it keeps its mode", name, s->disk);
    else if ((s->shared && fchown(fd, (uid_t)-1, s->group) < 0) || fchmod(fd, s->shared ? open_mode : closed_mode) < 0)
        log_error("'%s' of disk '%s' cannot be opened to group %u, or closed: %s", name, s->disk, (unsigned)s->group, strerror(errno));
}

static int each_file(void *opaque, const char *name)
{
    const struct sharing *s = opaque;
    if (!strcmp(name, ".") || !strcmp(name, ".."))
        return 0;
    CLEANUP(cleanup_fd) int fd = openat(s->dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd >= 0)
        set(fd, s, name, S_IFREG);
    else if (errno != ENOENT)
        log_warning("'%s' of disk '%s' keeps its mode: %s", name, s->disk, strerror(errno));
    return 0;
}

/* One that was half made or half removed when its daemon died has a dot in front. */
static int each_disk(void *opaque, const char *name)
{
    const struct sharing *all = opaque;
    if (name[0] == '.')
        return 0;
    CLEANUP(cleanup_fd) int fd = openat(all->dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    struct sharing own = { fd, name, all->shared, all->group };
    if (fd < 0) {
        log_warning("disk '%s' keeps its mode: %s", name, strerror(errno));
        return 0;
    }
    set(fd, &own, ".", S_IFDIR);
    files_list(fd, each_file, &own);
    return 0;
}

int share_disks(int disks, const char *path, bool shared, struct df_error *err)
{
    struct stat st;
    int r = fstat(disks, &st) < 0 ? -errno : 0;
    if (!r)
        r = files_list(disks, each_disk, &(struct sharing){ disks, NULL, shared, st.st_gid });
    return r < 0 ? error_errno(err, r, "cannot list the disks in '%s'", path) : 0;
}
