// SPDX-License-Identifier: BSD-3-Clause
/*
 * What the tests of hostile writers share: the disk "vda" as a process sees it
 * that catches faults, as the daemon does, and the same file as somebody sees
 * it who writes to it past the library.
 */
#ifndef TESTS_UNIT_HOSTILE_H
#define TESTS_UNIT_HOSTILE_H

#include "unit.h"

#include <sys/mman.h>

#include "base/cleanup.h"
#include "bitmap/disk.h"

static const uint8_t one[DF_SESSION_BYTES] = "session one";
static struct df_disk *disk;
static struct disk_shared *evil;        /* a mapping of its own */

static inline void disk_path(char path[600], const char *file)
{
    snprintf(path, 600, "%s/disks/vda%s%s", unit_dir, *file ? "/" : "", file);
}

static inline void map_path(char path[600], uint64_t id)
{
    char file[MAP_FILE_BYTES];
    disk_path(path, mapref_file(id, file));
}

static inline void *map_file(const char *path, size_t nbytes)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    void *at = mmap(NULL, nbytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ck_assert(at != MAP_FAILED);
    close(fd);
    return at;
}

static inline void create(uint64_t size)
{
    char path[600];
    OK(df_disk_create(unit_dir, "vda", size, &unit_err));
    OK(df_disk_open(unit_dir, "vda", &disk, &unit_err));
    disk_path(path, "disk");
    evil = map_file(path, sizeof *evil);
}

/* a: idle, b: frozen, c: taken.  Ids of maps: 1, 2 and its child 3, 4. */
static inline void add_three(void)
{
    OK(df_bitmap_add(disk, "a", 512, DF_BITMAP_PERSISTENT, &unit_err));
    OK(df_bitmap_add(disk, "b", 512, 0, &unit_err));
    OK(df_bitmap_freeze(disk, "b", one, false, &unit_err));
    OK(df_bitmap_add(disk, "c", 4096, 0, &unit_err));
    OK(df_bitmap_take(disk, "c", one, &unit_err));
}

static inline void setup(void)
{
    static bool on;
    if (!on)
        OK(fault_start(&unit_err));
    on = true;
    create(MiB);
    add_three();
}

static inline void teardown(void)
{
    munmap(evil, sizeof *evil);
    df_disk_close(&disk);
}

static inline struct table *in_force(void)
{
    return &evil->tables[atomic_load(&evil->epoch) >> 1 & 1];
}

static inline struct active *active_in_force(void)
{
    return &evil->active[atomic_load(&evil->epoch) >> 1 & 1];
}

/* The checksum is made right again: the rules themselves are what refuses it. */
static inline void forge(struct table *table)
{
    table_seal(table, table->number, table->fence);
}

/* Every call that needs the table says that the disk is damaged; it can be removed and made anew. */
static inline void check_damaged(void)
{
    struct df_bitmap_info info, *infos = NULL;
    struct df_bitmap *bitmap = NULL;
    size_t n;
    FAILS(-EPROTO, df_bitmap_list(disk, &infos, &n, &unit_err));
    ck_assert_ptr_nonnull(strstr(unit_err.message, "disk 'vda' is damaged"));
    ck_assert_ptr_nonnull(strstr(unit_err.message, "remove the disk"));
    FAILS(-EPROTO, df_bitmap_get_info(disk, "a", &info, &unit_err));
    FAILS(-EPROTO, df_bitmap_add(disk, "x", 512, 0, &unit_err));
    FAILS(-EPROTO, df_bitmap_clear(disk, "a", &unit_err));
    FAILS(-EPROTO, df_bitmap_take(disk, "a", one, &unit_err));
    FAILS(-EPROTO, df_bitmap_reclaim(disk, "b", one, &unit_err));
    FAILS(-EPROTO, df_bitmap_open(disk, "a", &bitmap, &unit_err));
    FAILS(-EPROTO, df_bitmap_merge(disk, "a", disk, "a", &unit_err));
    FAILS(-EPROTO, df_disk_fence(disk, &unit_err));
    FAILS(-EPROTO, df_disk_flush(disk, &unit_err));
}

static inline void check_removable(void)
{
    struct df_disk *again = NULL;
    OK(df_disk_remove(unit_dir, "vda", &unit_err));
    FAILS(-ENOENT, df_disk_open(unit_dir, "vda", &again, &unit_err));
    OK(df_disk_create(unit_dir, "vda", MiB, &unit_err));
    OK(df_disk_open(unit_dir, "vda", &again, &unit_err));
    OK(df_bitmap_add(again, "a", 512, 0, &unit_err));
    df_disk_close(&again);
}

#endif
