// SPDX-License-Identifier: BSD-3-Clause
/*
 * A host that can be restarted, and syncs that are seen: for programs that are
 * linked with -Wl,--wrap=boot_id -Wl,--wrap=fdatasync -Wl,--wrap=fsync.
 */
#ifndef TESTS_UNIT_BOOT_H
#define TESTS_UNIT_BOOT_H

#include "unit.h"

#include "base/boot.h"

static uint8_t unit_boot = 1;       /* the boot that processes of this test see */

int __wrap_boot_id(uint8_t id[BOOT_ID_BYTES], struct df_error *err);
int __wrap_boot_id(uint8_t id[BOOT_ID_BYTES], struct df_error *err)
{
    (void)err;
    memset(id, unit_boot, BOOT_ID_BYTES);
    return 0;
}

/* The test's: what a sync of this path is.  0, or the errno that it fails with. */
static int unit_synced(int fd, const char *path);

static inline int unit_sync(int fd)
{
    char link[64], path[1024];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    ck_assert_int_gt(n, 0);
    path[n] = 0;
    errno = unit_synced(fd, path);
    return errno ? -1 : 0;
}

int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
    return unit_sync(fd);
}

int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    return unit_sync(fd);
}

#endif
