// SPDX-License-Identifier: BSD-3-Clause
/* What bitmaps take is computed beforehand (backend/quota.h): it is what their files have afterwards. */
#include <pthread.h>
#include <stdatomic.h>

#include "backend/quota.h"
#include "bitmap/map.h"
#include "unit.h"

static uint64_t file_bytes(int dirfd, uint64_t nbits)
{
    struct map *map = NULL;
    struct stat st;
    OK(map_create(dirfd, "map", nbits, &map, &unit_err));
    map_close(&map);
    ck_assert_int_eq(fstatat(dirfd, "map", &st, 0), 0);
    unlinkat(dirfd, "map", 0);
    return (uint64_t)st.st_size;
}

START_TEST(test_lengths)
{
    int dirfd = open(unit_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    static const uint64_t edges[] = { 1, 64, 65, MAP_BLOCK_BITS, MAP_BLOCK_BITS + 1, 64 * MAP_BLOCK_BITS, 64 * MAP_BLOCK_BITS + 1,
                                      8 * MAP_BLOCK_BYTES * MAP_BLOCK_BITS, 8 * MAP_BLOCK_BYTES * MAP_BLOCK_BITS + 1 };
    for (unsigned i = 0; i < sizeof edges / sizeof *edges + 200; i++) {
        uint64_t nbits = i < sizeof edges / sizeof *edges ? edges[i] : 1 + (unit_random() >> (30 + unit_below(33)));
        uint64_t chunk_bits = UINT64_C(8) << unit_below(18);
        ck_assert_uint_eq(quota_bitmap_bytes(nbits * 512 - unit_below(512), 512), file_bytes(dirfd, nbits));
        struct geometry own = { nbits * 512, 512 }, larger = { nbits * 512 + 1024, 1024 };
        uint64_t received = file_bytes(dirfd, (nbits - 1) / chunk_bits + 1);
        ck_assert_uint_eq(quota_intake_bytes(&own, &own, (uint32_t)(chunk_bits / 8)), 2 * file_bytes(dirfd, nbits) + received);
        ck_assert_uint_eq(quota_intake_bytes(&larger, &own, (uint32_t)(chunk_bits / 8)),
                          2 * file_bytes(dirfd, (nbits + 1) / 2 + 1) + file_bytes(dirfd, nbits) + received);
    }
    close(dirfd);
}
END_TEST

/* Refused elsewhere; a sum of the most that a session can have does not overflow. */
START_TEST(test_nonsense)
{
    uint64_t most = quota_intake_bytes(&(struct geometry){ UINT64_MAX, 0 }, &(struct geometry){ UINT64_MAX, 1 }, 0);
    ck_assert_uint_gt(quota_bitmap_bytes(DF_DISK_SIZE_MAX, 1), DF_BITMAP_BITS_MAX / 8);
    ck_assert_uint_lt(most, UINT64_MAX / 256);
    ck_assert_uint_gt(quota_bitmap_bytes(0, 0), 0);
}
END_TEST

/* `disks` and `sessions` as a daemon makes them. */
static void make_state(char disk[400])
{
    char name[400];
    snprintf(name, sizeof name, "%s/sessions", unit_dir);
    mkdir(name, 0700);
    OK(df_disk_create(unit_dir, "one", TiB, &unit_err));
    snprintf(disk, 400, "%s/disks/one", unit_dir);
}

static void make_file(const char *directory, const char *name, off_t nbytes)
{
    char path[800];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ck_assert_int_eq(ftruncate(fd, nbytes), 0);
    close(fd);
}

START_TEST(test_sum)
{
    char disk[400], sessions[400];
    make_state(disk);
    snprintf(sessions, sizeof sessions, "%s/sessions", unit_dir);
    quota_set_limit(1000000);
    OK(quota_enter(unit_dir, "it", 1000000, &unit_err));
    quota_leave();
    FAILS(-ENOSPC, quota_enter(unit_dir, "it", 1000001, &unit_err));
    make_file(disk, "map-0000000000000001", 300000);
    make_file(disk, "map-0000000000000002", 200000);
    make_file(sessions, "00000000-0000-4000-8000-000000000001.received-0", 50000);
    make_file(sessions, "00000000-0000-4000-8000-000000000001.received-bits-0", 50000);
    make_file(sessions, "00000000-0000-4000-8000-000000000001.target", 100000);     /* no map */
    OK(quota_enter(unit_dir, "it", 400000, &unit_err));
    quota_leave();
    FAILS(-ENOSPC, quota_enter(unit_dir, "it", 400001, &unit_err));
    ck_assert_str_eq(unit_err.message, "it would need 400001 bytes, and 600000 of the 1000000 of --max-bitmap-bytes are taken: remove bitmaps or raise it");
    make_file(disk, "map-0000000000000003", 900000);        /* as after a start with a lower limit */
    FAILS(-ENOSPC, quota_enter(unit_dir, "it", 0, &unit_err));
    quota_set_limit(0);
    OK(quota_enter(unit_dir, "it", UINT64_MAX, &unit_err));
    quota_leave();
}
END_TEST

/* ------------------------------------------------------------------- races */

enum { THREADS = 4, ROOM = 8 };

static char race_disk[400];
static _Atomic int passed;

static void *make_some(void *opaque)
{
    char name[32];
    for (int i = 0; i < ROOM; i++) {
        if (quota_enter(unit_dir, "it", 1000, NULL) < 0)
            continue;
        /* relaxed: read after the threads were joined */
        snprintf(name, sizeof name, "map-%d", atomic_fetch_add_explicit(&passed, 1, memory_order_relaxed));
        make_file(race_disk, name, 1000);
        quota_leave();
    }
    return opaque;
}

/* As many pass as there is room for. */
START_TEST(test_threads)
{
    pthread_t threads[THREADS];
    make_state(race_disk);
    quota_set_limit(ROOM * 1000);
    atomic_store_explicit(&passed, 0, memory_order_relaxed);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, make_some, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    quota_set_limit(0);
    ck_assert_int_eq(atomic_load_explicit(&passed, memory_order_relaxed), ROOM);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "lengths");
    tcase_add_test(tc, test_lengths);
    tcase_add_test(tc, test_nonsense);
    tc = unit_case(suite, "limit");
    tcase_add_test(tc, test_sum);
    tcase_add_test(tc, test_threads);
}

UNIT_MAIN("quota", add_cases)
