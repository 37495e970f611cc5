// SPDX-License-Identifier: BSD-3-Clause
#include "image/blocks.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <linux/btrfs.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>

#include "base/cleanup.h"

#define EXTENTS 256     /* that are asked for at once */

/* The bytes are not (or not only) those at the place that is named. */
#define ELSEWHERE (FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_ENCODED | FIEMAP_EXTENT_DATA_ENCRYPTED | \
                   FIEMAP_EXTENT_NOT_ALIGNED | FIEMAP_EXTENT_DATA_INLINE | FIEMAP_EXTENT_DATA_TAIL)

struct blocks {
    int fd;
    bool dead;              /* the file system does not answer */
    uint64_t from, to;      /* what the answer covers */
    uint32_t next;          /* extent to look at first */
    union {
        struct fiemap map;
        char room[sizeof(struct fiemap) + EXTENTS * sizeof(struct fiemap_extent)];
    } answer;
};

/* In whose addresses one number is one place.  An overlay answers for the file systems below it, others may have several devices. */
static bool is_one_space(const struct statfs *fs)
{
    return fs->f_type == XFS_SUPER_MAGIC || fs->f_type == BTRFS_SUPER_MAGIC;
}

/* XFS: files of the realtime device have addresses of their own. */
static bool is_realtime(int fd)
{
    struct fsxattr attributes;
    return ioctl(fd, FS_IOC_FSGETXATTR, &attributes) == 0 && attributes.fsx_xflags & FS_XFLAG_REALTIME;
}

bool blocks_volume(int fd, struct blocks_volume *volume)
{
    struct btrfs_ioctl_fs_info_args btrfs;
    struct statfs fs;
    struct stat st;
    memset(volume, 0, sizeof *volume);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || fstatfs(fd, &fs) < 0 || !is_one_space(&fs))
        return false;
    volume->id[0] = st.st_dev;
    if (fs.f_type == BTRFS_SUPER_MAGIC) {
        memset(&btrfs, 0, sizeof btrfs);
        if (ioctl(fd, BTRFS_IOC_FS_INFO, &btrfs) < 0)
            return false;
        memcpy(volume->id, btrfs.fsid, sizeof volume->id);
    }
    return !is_realtime(fd);
}

struct blocks *blocks_open(int fd)
{
    struct blocks *b = calloc(1, sizeof *b);
    if (b)
        b->fd = fd;
    return b;
}

void blocks_close(struct blocks **blocks)
{
    free(steal(blocks));
}

/* The first question has what is only in memory written, so that it has its place; what is written later is the caller's to know. */
static bool ask(struct blocks *b, uint64_t offset)
{
    struct fiemap *map = &b->answer.map;
    uint32_t flags = b->to ? 0 : FIEMAP_FLAG_SYNC;
    *map = (struct fiemap){ .fm_start = offset, .fm_length = FIEMAP_MAX_OFFSET - offset, .fm_flags = flags, .fm_extent_count = EXTENTS };
    if (ioctl(b->fd, FS_IOC_FIEMAP, map) < 0)
        return false;
    uint32_t n = map->fm_mapped_extents;
    const struct fiemap_extent *last = n ? &map->fm_extents[n - 1] : NULL;
    bool is_all = n < EXTENTS || last->fe_flags & FIEMAP_EXTENT_LAST;
    b->from = offset;
    b->to = is_all ? UINT64_MAX : last->fe_logical + last->fe_length;
    b->next = 0;
    return b->to > offset;
}

bool blocks_find(struct blocks *b, uint64_t offset, uint64_t *at, uint64_t *length)
{
    *length = UINT64_MAX - offset;
    if (!b->dead && (offset < b->from || offset >= b->to))
        b->dead = !ask(b, offset);
    if (b->dead)
        return false;
    const struct fiemap_extent *e = b->answer.map.fm_extents, *end = e + b->answer.map.fm_mapped_extents;
    for (e += b->next; e < end && e->fe_logical + e->fe_length <= offset; e++)
        b->next++;
    if (e == end || e->fe_logical > offset) {
        *length = (e == end ? b->to : e->fe_logical) - offset;
        return false;
    }
    *length = e->fe_logical + e->fe_length - offset;
    *at = e->fe_physical + (offset - e->fe_logical);
    return e->fe_flags & FIEMAP_EXTENT_SHARED && !(e->fe_flags & ELSEWHERE);
}
