// SPDX-License-Identifier: BSD-3-Clause
/*
 * What the tests of restarts of the host share: a log of the syncs, which can
 * fail, a disk that is opened and closed, what its bitmaps say.
 */
#ifndef TESTS_UNIT_CRASH_H
#define TESTS_UNIT_CRASH_H

#include "unit-boot.h"

#include "base/cleanup.h"
#include "bitmap/disk.h"

static const uint8_t one[DF_SESSION_BYTES] = "session one", two[DF_SESSION_BYTES] = "session two";
static struct df_disk *disk;

/* ------------------------------------------------------------------- syncs */

static struct {
    unsigned n;             /* calls */
    unsigned fail_at;       /* this one fails, counted from 1 */
    int fail_with;
    char log[1024];         /* of each: m(ap), D(irectory), and of the disk O(pen) C(losed) U(nsure) */
} syncs;

static inline void syncs_reset(unsigned fail_at, int fail_with)
{
    memset(&syncs, 0, sizeof syncs);
    syncs.fail_at = fail_at;
    syncs.fail_with = fail_with;
}

static inline int unit_synced(int fd, const char *path)
{
    const char *file = strrchr(path, '/') + 1;
    char c = 'D';
    if (!strncmp(file, "map-", 4)) {
        c = 'm';
    } else if (!strcmp(file, "disk")) {
        uint32_t closed = 9;
        ck_assert_int_eq(pread(fd, &closed, sizeof closed, offsetof(struct disk_shared, closed)), sizeof closed);
        c = "OCU"[closed];
    }
    if (syncs.n < sizeof syncs.log - 1)
        syncs.log[syncs.n] = c;
    return ++syncs.n == syncs.fail_at ? syncs.fail_with : 0;
}

static inline uint32_t closed_now(void)
{
    return atomic_load(&disk->shared->closed);
}

/* ----------------------------------------------------------------- helpers */

static inline void setup(void)
{
    unit_boot = 1;
    syncs_reset(0, 0);
    OK(df_disk_create(unit_dir, "vda", MiB, &unit_err));
    OK(df_disk_open(unit_dir, "vda", &disk, &unit_err));
}

static inline void teardown(void)
{
    df_disk_close(&disk);
}

static inline void restart_host(void)
{
    df_disk_close(&disk);
    unit_boot++;
}

static inline void reopen(void)
{
    OK(df_disk_open(unit_dir, "vda", &disk, &unit_err));
}

static inline void add(const char *name, unsigned flags)
{
    OK(df_bitmap_add(disk, name, 512, flags, &unit_err));
}

/* A write of granule i. */
static inline void mark(unsigned i)
{
    OK(df_disk_mark(disk, i * 512, 512, &unit_err));
}

static inline struct df_bitmap_info info_of(const char *name)
{
    struct df_bitmap_info info;
    OK(df_bitmap_get_info(disk, name, &info, &unit_err));
    return info;
}

static inline bool is_lost(const char *name)
{
    return info_of(name).inconsistent;
}

/* The first 64 granules of a map, whatever the state of its bitmap. */
static inline uint64_t bits_of(const char *name)
{
    struct map_ref *ref = NULL;
    uint64_t bits = 0;
    OK(disk_peek_map(disk, name, &ref));
    for (unsigned i = 0; i < 64; i++)
        bits |= (uint64_t)map_test(ref->map, i) << i;
    disk_put_map(disk, &ref);
    return bits;
}

static inline uint64_t count_of(const char *name)
{
    struct df_bitmap *bitmap = NULL;
    OK(df_bitmap_open(disk, name, &bitmap, &unit_err));
    uint64_t count = df_bitmap_count(bitmap);
    df_bitmap_close(&bitmap);
    return count;
}

static inline struct record record_of(const char *name)
{
    CLEANUP(txn_abort) struct txn txn;
    struct record *record;
    OK(txn_begin(disk, &txn, &unit_err));
    OK(txn_get(&txn, name, &record, &unit_err));
    return *record;
}

static inline void set_state(const char *name, enum record_state state)
{
    struct txn txn;
    OK(txn_begin(disk, &txn, &unit_err));
    txn_find(&txn, name)->state = (uint8_t)state;
    txn.changed = true;
    OK(txn_commit(&txn, &unit_err));
}

static inline void map_path(char path[600], uint64_t id)
{
    char file[MAP_FILE_BYTES];
    snprintf(path, 600, "%s/disks/vda/%s", unit_dir, mapref_file(id, file));
}

/* Records on, cannot be used, can be removed and added anew. */
static inline void check_lost(const char *name)
{
    struct df_bitmap *bitmap = NULL;
    struct df_bitmap_info info = info_of(name);
    ck_assert(info.inconsistent && info.recording);
    mark(60);
    ck_assert(bits_of(name) >> 60 & 1);
    FAILS(-EINVAL, df_bitmap_open(disk, name, &bitmap, &unit_err));
    ck_assert_ptr_nonnull(strstr(unit_err.message, "remove it, add it anew and take a full backup"));
    FAILS(-EINVAL, df_bitmap_clear(disk, name, &unit_err));
    FAILS(-EINVAL, df_bitmap_take(disk, name, one, &unit_err));
    OK(df_bitmap_remove(disk, name, &unit_err));
    add(name, DF_BITMAP_PERSISTENT);
    ck_assert(!is_lost(name));
    ck_assert_uint_eq(count_of(name), 0);
}

#endif
