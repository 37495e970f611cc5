// SPDX-License-Identifier: BSD-3-Clause
/*
 * Maps as files that many share: sparse up to the size limit, what is refused
 * as not being a map, the order of the stores, many threads in the same words.
 */
#include "unit.h"

#include <pthread.h>
#include <sched.h>

#include "bitmap/map.h"

static int open_dir(void)
{
    int fd = open(unit_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return fd;
}

/* ------------------------------------------------------------------- files */

START_TEST(test_sparse)
{
    struct map *map = NULL, *again = NULL;
    struct stat st;
    uint64_t last = 0, far[6];
    int dirfd = open_dir();
    OK(map_create(dirfd, "map-huge", DF_BITMAP_BITS_MAX, &map, &unit_err));
    for (unsigned i = 0; i < 6; i++) {
        far[i] = last += 1 + unit_below(DF_BITMAP_BITS_MAX / 8);
        OK(map_set(map, far[i], 1));
    }
    OK(map_set(map, DF_BITMAP_BITS_MAX - 1, 1));
    ck_assert_int_eq(fstatat(dirfd, "map-huge", &st, 0), 0);
    /* Header, 8 MiB of summary, seven blocks; the rest is what file systems need for a map of extents. */
    ck_assert_uint_lt((uint64_t)st.st_blocks * 512, 10 * MiB);
    ck_assert_uint_gt((uint64_t)st.st_size, 256 * GiB);
    OK(map_open(dirfd, "map-huge", DF_BITMAP_BITS_MAX, &again, &unit_err));
    uint64_t bit = map_next_set(again, 0);
    for (unsigned i = 0; i < 6; i++, bit = map_next_set(again, bit + 1)) {
        ck_assert_uint_eq(bit, far[i]);
        ck_assert_uint_eq(map_next_clear(again, bit), bit + 1);
    }
    ck_assert_uint_eq(bit, DF_BITMAP_BITS_MAX - 1);
    ck_assert_uint_eq(map_next_set(again, bit + 1), DF_BITMAP_BITS_MAX);
    ck_assert_uint_eq(map_count(again), 7);
    struct map *merged = NULL;
    OK(map_create(dirfd, "map-merged", DF_BITMAP_BITS_MAX, &merged, &unit_err));
    OK(map_merge(merged, again));
    ck_assert_uint_eq(map_digest(merged, 0, merged->nblocks), map_digest(map, 0, map->nblocks));
    /* Reading changed nothing. */
    ck_assert_int_eq(fstatat(dirfd, "map-huge", &st, 0), 0);
    ck_assert_uint_lt((uint64_t)st.st_blocks * 512, 10 * MiB);
    map_close(&merged);
    map_close(&map);
    map_close(&again);
    close(dirfd);
}
END_TEST

START_TEST(test_limits)
{
    struct map *map = NULL;
    int dirfd = open_dir();
    FAILS(-EFBIG, map_create(dirfd, "map-x", DF_BITMAP_BITS_MAX + 1, &map, &unit_err));
    FAILS(-EFBIG, map_create(dirfd, "map-x", 0, &map, &unit_err));
    FAILS(-EFBIG, map_create(dirfd, "map-x", UINT64_MAX, &map, &unit_err));
    FAILS(-EFBIG, map_create_anonymous(DF_BITMAP_BITS_MAX + 1, &map, &unit_err));
    FAILS(-EFBIG, map_create_anonymous(0, &map, &unit_err));
    ck_assert_int_eq(faccessat(dirfd, "map-x", F_OK, 0), -1);
    ck_assert_ptr_null(map);
    OK(map_create(dirfd, "map-x", 100, &map, &unit_err));
    map_close(&map);
    FAILS(-EEXIST, map_create(dirfd, "map-x", 100, &map, &unit_err));
    ck_assert_int_eq(faccessat(dirfd, "map-x", F_OK, 0), 0);
    close(dirfd);
}
END_TEST

static void poke(int dirfd, const char *file, off_t offset, char byte)
{
    int fd = openat(dirfd, file, O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(pwrite(fd, &byte, 1, offset), 1);
    close(fd);
}

START_TEST(test_open_refuses)
{
    struct map *map = NULL;
    int dirfd = open_dir();
    FAILS(-ENOENT, map_open(dirfd, "map-1", 40000, &map, &unit_err));
    OK(map_create(dirfd, "map-1", 40000, &map, &unit_err));
    OK(map_set(map, 39999, 1));
    map_close(&map);
    OK(map_open(dirfd, "map-1", 40000, &map, &unit_err));
    ck_assert_uint_eq(map_next_set(map, 0), 39999);
    map_close(&map);
    FAILS(-EPROTO, map_open(dirfd, "map-1", 40001, &map, &unit_err));     /* same file size */
    FAILS(-EPROTO, map_open(dirfd, "map-1", 70000, &map, &unit_err));
    FAILS(-EPROTO, map_open(dirfd, "map-1", 1, &map, &unit_err));
    FAILS(-EFBIG, map_open(dirfd, "map-1", 0, &map, &unit_err));
    ck_assert_int_eq(symlinkat("map-1", dirfd, "map-link"), 0);
    FAILS(-EPROTO, map_open(dirfd, "map-link", 40000, &map, &unit_err));
    ck_assert_int_eq(mkdirat(dirfd, "map-dir", 0700), 0);
    FAILS(-EPROTO, map_open(dirfd, "map-dir", 40000, &map, &unit_err));
    poke(dirfd, "map-1", 7, 2);         /* another version */
    FAILS(-EPROTO, map_open(dirfd, "map-1", 40000, &map, &unit_err));
    poke(dirfd, "map-1", 7, 1);
    poke(dirfd, "map-1", 0, 'D');
    FAILS(-EPROTO, map_open(dirfd, "map-1", 40000, &map, &unit_err));
    poke(dirfd, "map-1", 0, 'd');
    OK(map_open(dirfd, "map-1", 40000, &map, &unit_err));
    map_close(&map);
    int fd = openat(dirfd, "map-1", O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(ftruncate(fd, 4096), 0);
    close(fd);
    FAILS(-EPROTO, map_open(dirfd, "map-1", 40000, &map, &unit_err));
    ck_assert_ptr_null(map);
    close(dirfd);
}
END_TEST

/* ------------------------------------------------------------------- order */

/*
 * A leaf bit that is visible has its summary bit.  One thread sets a bit in one
 * fresh block after the other, each when the second thread already waits for
 * it; that one sees the leaf and looks at the summary.  The wrong order leaves
 * a window as long as a system call.
 */
static struct map *order_map;
static _Atomic bool pinned;
static _Atomic uint64_t watched;        /* the second thread waits for this block */

static uint64_t order_bit(uint64_t block)
{
    return block * MAP_BLOCK_BITS + block % MAP_BLOCK_BITS;
}

/* On a processor of one's own, if there are two: on one, the two threads only take turns. */
static void pin_to(unsigned nth)
{
    cpu_set_t all, mine;
    sched_getaffinity(0, sizeof all, &all);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &all) && nth-- == 0) {
            CPU_ZERO(&mine);
            CPU_SET(cpu, &mine);
            sched_setaffinity(0, sizeof mine, &mine);
            return;
        }
}

static void *set_blocks(void *opaque)
{
    (void)opaque;
    pin_to(1);
    atomic_store(&pinned, true);
    for (uint64_t b = 0; b < order_map->nblocks; b++) {
        while (atomic_load(&watched) < b)
            sched_yield();
        map_set(order_map, order_bit(b), 1);
    }
    return NULL;
}

START_TEST(test_summary_before_leaf)
{
    pthread_t thread;
    uint64_t wrong = 0;
    int dirfd = open_dir();
    OK(map_create(dirfd, "map-order", 4000 * MAP_BLOCK_BITS, &order_map, &unit_err));
    ck_assert_int_eq(pthread_create(&thread, NULL, set_blocks, NULL), 0);
    while (sched_yield(), !atomic_load(&pinned))
        ;
    pin_to(0);
    for (uint64_t b = 0; b < order_map->nblocks; b++) {
        _Atomic uint64_t *word = &order_map->leaf[order_bit(b) / 64];
        (void)atomic_load(word);        /* the page fault now, not when it counts */
        atomic_store(&watched, b);
        for (unsigned spins = 0; !atomic_load_explicit(word, memory_order_acquire); spins++)
            if (spins % 4096 == 4095)
                sched_yield();
        wrong += !map_has_block(order_map, b, memory_order_acquire);
    }
    pthread_join(thread, NULL);
    ck_assert_msg(!wrong, "%" PRIu64 " times a leaf bit without its summary bit", wrong);
    map_close(&order_map);
    close(dirfd);
}
END_TEST

/* Many threads set interleaved bits of the same words: no OR gets lost. */
static struct map *crowd_map;

static void *set_every_fourth(void *opaque)
{
    for (uint64_t bit = (uintptr_t)opaque; bit < crowd_map->nbits; bit += 4)
        map_set(crowd_map, bit, 1);
    return NULL;
}

START_TEST(test_crowd)
{
    pthread_t threads[4];
    OK(map_create_anonymous(8 * MAP_BLOCK_BITS, &crowd_map, &unit_err));
    for (uintptr_t i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, set_every_fourth, (void *)i), 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(map_next_clear(crowd_map, 0), crowd_map->nbits);
    ck_assert_uint_eq(map_count(crowd_map), crowd_map->nbits);
    map_close(&crowd_map);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "file");
    tcase_add_test(tc, test_sparse);
    tcase_add_test(tc, test_limits);
    tcase_add_test(tc, test_open_refuses);
    tc = unit_case(suite, "order");
    tcase_add_test(tc, test_summary_before_leaf);
    tcase_add_test(tc, test_crowd);
}

UNIT_MAIN("mapfile", add_cases)
