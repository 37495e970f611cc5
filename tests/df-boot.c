// SPDX-License-Identifier: BSD-3-Clause
/*
 * df-boot [--torn N] STATE [DISK]: pretends that the host was restarted since.
 *
 * Another boot id is stored into the disk, or all disks, and into STATE/lock,
 * where the daemon keeps one.  With --torn the table of bitmaps in force (1) or
 * both tables (2) are damaged, as by pages that did not reach the disk.  No
 * program may have the disks open.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/uuid.h"
#include "bitmap/disk.h"

static const char *state_dir;
static uint8_t boot[BOOT_ID_BYTES];
static unsigned torn;

static int fail(const char *path)
{
    int r = -errno;
    fprintf(stderr, "df-boot: '%s': %s\n", path, strerror(-r));
    return r;
}

static void tear(struct disk_shared *shared)
{
    uint64_t number = atomic_load(&shared->epoch) >> 1;
    for (unsigned i = 0; i < torn; i++)
        shared->tables[(number + i) & 1].next_map ^= 1;
}

/* By read and write: a disk must not be opened by the library here, that would judge it. */
static int restart_disk(void *opaque, const char *name)
{
    static struct disk_shared shared;
    char path[4096];
    (void)opaque;
    snprintf(path, sizeof path, "%s/disks/%s/disk", state_dir, name);
    CLEANUP(cleanup_fd) int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || pread(fd, &shared, sizeof shared, 0) != sizeof shared)
        return fail(path);
    memcpy(shared.boot, boot, sizeof shared.boot);
    tear(&shared);
    return pwrite(fd, &shared, sizeof shared, 0) == sizeof shared ? 0 : fail(path);
}

static int restart_lock(void)
{
    char path[4096];
    struct stat st;
    snprintf(path, sizeof path, "%s/lock", state_dir);
    CLEANUP(cleanup_fd) int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)      /* a daemon was never here */
        return 0;
    if (fd < 0 || fstat(fd, &st) < 0)
        return fail(path);
    return st.st_size < (off_t)sizeof boot || pwrite(fd, boot, sizeof boot, 0) == sizeof boot ? 0 : fail(path);
}

int main(int argc, char **argv)
{
    struct df_error err;
    if (argc > 2 && !strcmp(argv[1], "--torn")) {
        torn = (unsigned)atoi(argv[2]);
        argc -= 2;
        argv += 2;
    }
    if (argc < 2 || argc > 3 || torn > 2) {
        fputs("Usage: df-boot [--torn 1|2] STATE [DISK]\n", stderr);
        return 2;
    }
    state_dir = argv[1];
    uuid_generate(boot);
    int r = restart_lock();
    if (!r && argc == 3)
        r = restart_disk(NULL, argv[2]);
    else if (!r && (r = df_disk_list(state_dir, restart_disk, NULL, &err)) < 0)
        fputs("df-boot: not all disks could be changed\n", stderr);
    return r < 0;
}
