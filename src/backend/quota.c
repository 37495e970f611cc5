// SPDX-License-Identifier: BSD-3-Clause
/*
 * The sum is taken anew each time: no count has to be kept right across
 * restarts, and by programs that know nothing of it.  It costs a look at each
 * map file, and only with a limit.
 */
#include "backend/quota.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include <dirtyferry/bitmap.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/files.h"

static uint64_t limit;
/* Held from quota_enter to quota_leave; disks are locked within, never the other way round. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void quota_set_limit(uint64_t nbytes)
{
    limit = nbytes;
}

/* ------------------------------------------------------------------ wanted */

/* Nobody has more bits: whoever asks for them is refused elsewhere. */
static uint64_t map_bytes(uint64_t nbits)
{
    return map_file_bytes(nbits < DF_BITMAP_BITS_MAX ? nbits : DF_BITMAP_BITS_MAX);
}

static uint64_t bits(uint64_t disk_size, uint64_t granularity)
{
    return map_round_up(disk_size, granularity ? granularity : 1);
}

uint64_t quota_bitmap_bytes(uint64_t disk_size, uint64_t granularity)
{
    return map_bytes(bits(disk_size, granularity));
}

uint64_t quota_intake_bytes(const struct geometry *own, const struct geometry *source, uint32_t chunk_bytes)
{
    uint64_t nbits = bits(source->size, source->granularity);
    uint64_t staging = geometry_is_same(own, source) ? 0 : map_bytes(nbits);
    return 2 * quota_bitmap_bytes(own->size, own->granularity) + staging + map_bytes(map_round_up(nbits, chunk_bytes ? UINT64_C(8) * chunk_bytes : 1));
}

/* ------------------------------------------------------------------- taken */

struct sum {
    int dirfd;
    const char *part;       /* of the names that count */
    uint64_t nbytes;
};

static int add_file(void *opaque, const char *name)
{
    struct sum *sum = opaque;
    struct stat st;
    if (strstr(name, sum->part) && fstatat(sum->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
        sum->nbytes += (uint64_t)st.st_size;
    return 0;
}

static int add_directory(struct sum *sum, int dirfd, const char *name, const char *part)
{
    CLEANUP(cleanup_fd) int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    struct sum own = { fd, part, 0 };
    int r = fd < 0 ? -errno : files_list(fd, add_file, &own);
    sum->nbytes += own.nbytes;
    return r == -ENOENT || r == -ENOTDIR ? 0 : r;       /* removed meanwhile, or no disk */
}

/* A disk that comes or goes has a name with a dot in front, and no maps, or none for long. */
static int add_disk(void *opaque, const char *name)
{
    struct sum *sum = opaque;
    return name[0] == '.' ? 0 : add_directory(sum, sum->dirfd, name, "map-");
}

static int add_all(const char *state_dir, uint64_t *nbytes)
{
    CLEANUP(cleanup_fd) int state = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(cleanup_fd) int disks = state < 0 ? -1 : openat(state, "disks", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (disks < 0)
        return -errno;
    struct sum sum = { disks, NULL, 0 };
    int r = files_list(disks, add_disk, &sum);
    if (!r)
        r = add_directory(&sum, state, "sessions", ".received-");
    *nbytes = sum.nbytes;
    return r;
}

int quota_enter(const char *state_dir, const char *what, uint64_t nbytes, struct df_error *err)
{
    uint64_t taken = 0;
    if (!limit)
        return 0;
    pthread_mutex_lock(&mutex);
    int r = add_all(state_dir, &taken);
    if (r < 0)
        error_errno(err, r, "cannot add up the bitmaps in '%s'", state_dir);
    else if (taken > limit || nbytes > limit - taken)
        r = error_set(err, -ENOSPC, "%s would need %" PRIu64 " bytes, and %" PRIu64 " of the %" PRIu64 " of --max-bitmap-bytes are taken: remove bitmaps or raise it",
                      what, nbytes, taken, limit);
    if (r < 0)
        pthread_mutex_unlock(&mutex);
    return r;
}

void quota_leave(void)
{
    if (limit)
        pthread_mutex_unlock(&mutex);
}
