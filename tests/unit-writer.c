// SPDX-License-Identifier: BSD-3-Clause
/*
 * Sections: begin and end, what happens between them, the fence, and writers
 * that are killed in the middle.
 */
#include "unit.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#include "bitmap/disk.h"

#define SIZE (MiB + 5)

static const uint8_t one[DF_SESSION_BYTES] = "session one";
static struct df_disk *disk;
static struct df_writer *w;

static void setup(void)
{
    OK(df_disk_create(unit_dir, "vda", SIZE, &unit_err));
    OK(df_disk_open(unit_dir, "vda", &disk, &unit_err));
    OK(df_bitmap_add(disk, "a", 512, 0, &unit_err));
    OK(df_writer_new(disk, &w, &unit_err));
}

static void teardown(void)
{
    df_writer_free(&w);
    df_writer_free(&w);
    df_disk_close(&disk);
}

static bool is_dirty(const char *name, uint64_t offset)
{
    struct df_bitmap *bitmap = NULL;
    OK(df_bitmap_open(disk, name, &bitmap, &unit_err));
    bool dirty = df_bitmap_test(bitmap, offset);
    df_bitmap_close(&bitmap);
    return dirty;
}

static uint64_t count_of(const char *name)
{
    struct df_bitmap *bitmap = NULL;
    OK(df_bitmap_open(disk, name, &bitmap, &unit_err));
    uint64_t count = df_bitmap_count(bitmap);
    df_bitmap_close(&bitmap);
    return count;
}

/* ------------------------------------------------------------- begin, end */

START_TEST(test_section)
{
    ck_assert_uint_eq(df_disk_open_sections(disk), 0);
    ck_assert_int_eq(df_write_begin(w, 1023, 2), 0);
    ck_assert_uint_eq(df_disk_open_sections(disk), 1);
    ck_assert_uint_eq(count_of("a"), 1024);         /* before the I/O */
    ck_assert_int_eq(df_write_begin(w, 4096, 1), -EBUSY);
    df_write_end(w);
    ck_assert_uint_eq(df_disk_open_sections(disk), 0);
    df_write_end(w);
    ck_assert_uint_eq(count_of("a"), 1024);
    ck_assert_int_eq(df_write_begin(w, 0, SIZE), 0);
    df_write_end(w);
    ck_assert_uint_eq(count_of("a"), MiB + 512);
}
END_TEST

START_TEST(test_ranges)
{
    static const uint64_t bad[][2] = {
        { 0, 0 }, { SIZE, 1 }, { SIZE - 1, 2 }, { 0, SIZE + 1 }, { SIZE, 0 }, { UINT64_MAX, 1 }, { 1, UINT64_MAX }, { UINT64_MAX, UINT64_MAX },
    };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_int_eq(df_write_begin(w, bad[i][0], bad[i][1]), -EINVAL);
        ck_assert_uint_eq(df_disk_open_sections(disk), 0);
    }
    ck_assert_uint_eq(count_of("a"), 0);
    ck_assert_int_eq(df_write_begin(w, SIZE - 1, 1), 0);
    df_write_end(w);
    ck_assert(is_dirty("a", SIZE - 1));
}
END_TEST

START_TEST(test_counted)
{
    struct df_writer *more[5] = { NULL };
    struct df_disk *other = NULL;
    OK(df_disk_open(unit_dir, "vda", &other, &unit_err));
    for (unsigned i = 0; i < 5; i++) {
        OK(df_writer_new(i % 2 ? other : disk, &more[i], &unit_err));
        ck_assert_int_eq(df_write_begin(more[i], i, 1), 0);
        ck_assert_uint_eq(df_disk_open_sections(disk), i + 1);
        ck_assert_uint_eq(df_disk_open_sections(other), i + 1);
    }
    df_write_end(more[2]);
    ck_assert_uint_eq(df_disk_open_sections(disk), 4);
    for (unsigned i = 0; i < 5; i++)
        df_writer_free(&more[i]);       /* ends an open section */
    ck_assert_uint_eq(df_disk_open_sections(disk), 0);
    df_disk_close(&other);
}
END_TEST

START_TEST(test_too_many)
{
    static struct df_writer *all[DF_DISK_WRITERS];
    struct df_writer *more = NULL;
    for (unsigned i = 0; i < DF_DISK_WRITERS - 1; i++)
        OK(df_writer_new(disk, &all[i], &unit_err));
    FAILS(-EMFILE, df_writer_new(disk, &more, &unit_err));
    ck_assert_ptr_null(more);
    FAILS(-EMFILE, df_disk_mark(disk, 0, 1, &unit_err));
    df_writer_free(&all[17]);
    OK(df_writer_new(disk, &more, &unit_err));
    ck_assert_int_eq(df_write_begin(more, 0, 1), 0);
    df_writer_free(&more);
    for (unsigned i = 0; i < DF_DISK_WRITERS - 1; i++)
        df_writer_free(&all[i]);
    ck_assert(is_dirty("a", 0));
}
END_TEST

/* ------------------------------------------------ a change within a section */

static void do_clear(void) { OK(df_bitmap_clear(disk, "a", &unit_err)); }
static void do_freeze(void) { OK(df_bitmap_freeze(disk, "a", one, false, &unit_err)); }
static void do_lock(void) { OK(df_bitmap_freeze(disk, "a", one, true, &unit_err)); }
static void do_unlock(void) { OK(df_bitmap_unlock(disk, "a", one, &unit_err)); }
static void do_reclaim(void) { OK(df_bitmap_reclaim(disk, "a", one, &unit_err)); }
static void do_abdicate(void) { OK(df_bitmap_abdicate(disk, "a", one, &unit_err)); }
static void do_disable(void) { OK(df_bitmap_disable(disk, "a", &unit_err)); }
static void do_enable(void) { OK(df_bitmap_enable(disk, "a", &unit_err)); }
static void do_take(void) { OK(df_bitmap_take(disk, "a", one, &unit_err)); }
static void do_give_back(void) { OK(df_bitmap_give_back(disk, "a", one, &unit_err)); }
static void do_nothing(void) { }

static void do_anew(void)
{
    OK(df_bitmap_remove(disk, "a", &unit_err));
    OK(df_bitmap_add(disk, "a", 65536, 0, &unit_err));
}

/* before begin; between begin and end; after end.  Then the range is dirty in the operative bitmap. */
static void (*const changes[][3])(void) = {
    { do_nothing, do_clear, do_nothing },
    { do_nothing, do_freeze, do_reclaim },
    { do_nothing, do_freeze, do_abdicate },
    { do_freeze, do_reclaim, do_nothing },
    { do_freeze, do_abdicate, do_nothing },
    { do_lock, do_unlock, do_abdicate },
    { do_lock, do_unlock, do_reclaim },
    { do_lock, do_abdicate, do_nothing },
    { do_lock, do_reclaim, do_nothing },
    { do_nothing, do_lock, do_reclaim },
    { do_nothing, do_take, do_give_back },
    { do_take, do_give_back, do_freeze },
    { do_disable, do_enable, do_nothing },
    { do_nothing, do_anew, do_nothing },
};
#define NCHANGES (sizeof changes / sizeof *changes)

START_TEST(test_change_within)
{
    bool new_view = _i % 2;
    unsigned i = (unsigned)_i / 2;
    if (!new_view) {    /* the writer has seen the bitmap before */
        ck_assert_int_eq(df_write_begin(w, 0, 1), 0);
        df_write_end(w);
    }
    changes[i][0]();
    ck_assert_int_eq(df_write_begin(w, 5000, 200), 0);
    changes[i][1]();
    df_write_end(w);
    changes[i][2]();
    if (changes[i][2] == do_freeze)
        do_reclaim();
    ck_assert(is_dirty("a", 5000));
    ck_assert(is_dirty("a", 5199));
}
END_TEST

/* end() marks what took over, and not a bitmap that stopped to record. */
START_TEST(test_disable_within)
{
    OK(df_bitmap_disable(disk, "a", &unit_err));
    ck_assert_int_eq(df_write_begin(w, 0, 1), 0);
    OK(df_bitmap_add(disk, "b", 512, DF_BITMAP_DISABLED, &unit_err));
    df_write_end(w);
    ck_assert_uint_eq(count_of("a") + count_of("b"), 0);
}
END_TEST

START_TEST(test_fence)
{
    ck_assert_int_eq(df_write_begin(w, 512, 1), 0);
    OK(df_bitmap_clear(disk, "a", &unit_err));
    OK(df_disk_fence(disk, &unit_err));
    ck_assert_uint_eq(df_disk_open_sections(disk), 1);
    struct df_writer *late = NULL;
    OK(df_writer_new(disk, &late, &unit_err));
    ck_assert_int_eq(df_write_begin(late, 1024, 1), -EROFS);
    ck_assert_uint_eq(df_disk_open_sections(disk), 1);
    df_write_end(w);                                /* goes on, and is marked where it counts now */
    ck_assert_uint_eq(df_disk_open_sections(disk), 0);
    ck_assert_int_eq(df_write_begin(w, 1024, 1), -EROFS);
    ck_assert_uint_eq(df_disk_open_sections(disk), 0);
    ck_assert(is_dirty("a", 512));
    ck_assert_uint_eq(count_of("a"), 512);
    OK(df_disk_unfence(disk, &unit_err));
    ck_assert_int_eq(df_write_begin(late, 1024, 1), 0);
    df_writer_free(&late);
    ck_assert_uint_eq(count_of("a"), 1024);
}
END_TEST

/*
 * The section is open before begin looks at the epoch.  A transaction of this
 * handle stops begin where it maps what is new; there it must be seen by whoever
 * fences, and then it must see the fence.
 */
static void *begin_and_end(void *result)
{
    *(int *)result = df_write_begin(w, 512, 1);
    df_write_end(w);
    return NULL;
}

START_TEST(test_open_before_look)
{
    struct txn txn;
    pthread_t thread;
    int result = 1;
    unsigned open = 0;
    OK(txn_begin(disk, &txn, &unit_err));
    ck_assert_int_eq(pthread_create(&thread, NULL, begin_and_end, &result), 0);
    for (unsigned i = 0; !open && i < 5000000; i++) {
        sched_yield();
        for (unsigned k = 0; k < 4; k++)
            open += atomic_load(&disk->shared->sections[k].open) != 0;
    }
    txn.fence = _i ? DISK_EPOCH_FENCED : 0;
    txn.changed = true;
    OK(txn_commit(&txn, &unit_err));
    pthread_join(thread, NULL);
    ck_assert_uint_eq(open, 1);
    ck_assert_int_eq(result, _i ? -EROFS : 0);
    ck_assert_uint_eq(df_disk_open_sections(disk), 0);
    ck_assert_uint_eq(count_of("a"), _i ? 0 : 512);
}
END_TEST

/* The fence comes in the middle of begin, between its mark and its second look. */
static bool fence_after_mark;

int __real_map_set(struct map *map, uint64_t first, uint64_t nbits);
int __wrap_map_set(struct map *map, uint64_t first, uint64_t nbits);

int __wrap_map_set(struct map *map, uint64_t first, uint64_t nbits)
{
    int r = __real_map_set(map, first, nbits);
    if (fence_after_mark)
        OK(df_disk_fence(disk, &unit_err));
    return r;
}

/* Refused, though its mark is there already: too much is safe.  The next one is refused before it marks. */
START_TEST(test_fence_after_mark)
{
    fence_after_mark = true;
    ck_assert_int_eq(df_write_begin(w, 512, 1), -EROFS);
    fence_after_mark = false;
    ck_assert_uint_eq(df_disk_open_sections(disk), 0);
    ck_assert(is_dirty("a", 512));
    ck_assert_int_eq(df_write_begin(w, 1024, 1), -EROFS);
    ck_assert_uint_eq(count_of("a"), 512);
}
END_TEST

/* -------------------------------------------------------------- the killed */

struct child {
    pid_t pid;
    int told;       /* readable when its sections are open */
};

/* A process that opens the disk, begins `n` sections of 512 bytes from `offset` on and waits for its end. */
static struct child start_child(uint64_t offset, unsigned n)
{
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    struct child c = { .pid = fork(), .told = fds[0] };
    if (c.pid == 0) {
        struct df_disk *mine = NULL;
        struct df_writer *writers[8] = { NULL };
        if (df_disk_open(unit_dir, "vda", &mine, NULL) < 0)
            _exit(1);
        for (unsigned i = 0; i < n; i++)
            if (df_writer_new(mine, &writers[i], NULL) < 0 || df_write_begin(writers[i], offset + i * 512, 512) < 0)
                _exit(2);
        if (write(fds[1], "x", 1) != 1)
            _exit(3);
        for (;;)
            pause();
    }
    close(fds[1]);
    char byte;
    ck_assert_int_eq(read(c.told, &byte, 1), 1);
    return c;
}

static void kill_child(struct child *c)
{
    kill(c->pid, SIGKILL);
    unit_reap(c->pid, SIGKILL);
    close(c->told);
}

START_TEST(test_killed_is_dropped)
{
    struct child c = start_child(1024, 3);
    uint64_t used = atomic_load(&disk->shared->nsections);
    ck_assert_uint_eq(df_disk_open_sections(disk), 3);
    OK(df_disk_fence(disk, &unit_err));
    ck_assert_uint_eq(df_disk_open_sections(disk), 3);
    FAILS(-EBUSY, df_disk_remove(unit_dir, "vda", &unit_err));
    kill_child(&c);
    ck_assert_uint_eq(df_disk_open_sections(disk), 0);
    OK(df_disk_unfence(disk, &unit_err));
    ck_assert_uint_eq(count_of("a"), 3 * 512);
    /* Their slots serve again, and no new one is needed. */
    c = start_child(4096, 3);
    ck_assert_uint_eq(atomic_load(&disk->shared->nsections), used);
    kill_child(&c);
}
END_TEST

/* A clear between begin and death: part of the write may be on the disk, so the range is dirty afterwards. */
static void reap_by_open(void) { (void)count_of("a"); }
static void reap_by_count(void) { ck_assert_uint_eq(df_disk_open_sections(disk), 0); }

static void reap_by_claim(void)
{
    struct df_writer *more[3] = { NULL };
    for (unsigned i = 0; i < 3; i++)
        OK(df_writer_new(disk, &more[i], &unit_err));
    for (unsigned i = 0; i < DF_DISK_WRITERS; i++)
        ck_assert_uint_eq(atomic_load(&disk->shared->sections[i].open), 0);
    for (unsigned i = 0; i < 3; i++)
        df_writer_free(&more[i]);
}

START_TEST(test_killed_is_marked)
{
    static void (*const ways[])(void) = { reap_by_open, reap_by_count, reap_by_claim };
    OK(df_bitmap_add(disk, "off", 512, DF_BITMAP_DISABLED, &unit_err));
    struct child c = start_child(4096, 2);
    OK(df_bitmap_clear(disk, "a", &unit_err));
    OK(df_bitmap_add(disk, "b", 4096, 0, &unit_err));
    OK(df_bitmap_freeze(disk, "b", one, false, &unit_err));
    ck_assert_uint_eq(count_of("a"), 0);        /* alive: end() will mark it */
    kill_child(&c);
    ways[_i]();
    OK(df_bitmap_abdicate(disk, "b", one, &unit_err));
    ck_assert_uint_eq(count_of("a"), 1024);
    ck_assert_uint_eq(count_of("b"), 4096);
    ck_assert_uint_eq(count_of("off"), 0);
}
END_TEST

/* The same if the bitmap is handed over or used before anybody looked for the dead. */
START_TEST(test_killed_then_merged)
{
    OK(df_bitmap_add(disk, "b", 512, DF_BITMAP_DISABLED, &unit_err));
    struct child c = start_child(4096, 1);
    OK(df_bitmap_clear(disk, "a", &unit_err));
    kill_child(&c);
    OK(df_bitmap_merge(disk, "b", disk, "a", &unit_err));
    ck_assert(is_dirty("b", 4096));
}
END_TEST

/* The range of a dead section cannot be marked now: the bitmap says so, or keeps the section for later. */
START_TEST(test_killed_and_no_descriptors)
{
    struct df_disk *other = NULL;
    struct df_bitmap_info info;
    struct rlimit full, none;
    struct child c = start_child(4096, 1);
    OK(df_bitmap_clear(disk, "a", &unit_err));
    OK(df_disk_open(unit_dir, "vda", &other, &unit_err));
    kill_child(&c);
    getrlimit(RLIMIT_NOFILE, &full);
    none = full;
    none.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &none);
    df_disk_open_sections(other);
    setrlimit(RLIMIT_NOFILE, &full);
    df_disk_close(&other);
    OK(df_bitmap_get_info(disk, "a", &info, &unit_err));
    ck_assert(info.inconsistent || is_dirty("a", 4096));
}
END_TEST

/* What lies in a dead slot is not trusted. */
START_TEST(test_killed_with_garbage)
{
    struct child c = start_child(4096, 3);
    struct section *s = disk->shared->sections;
    unsigned n = 0;
    static const uint64_t garbage[3][2] = { { SIZE, 1 }, { 0, SIZE + 1 }, { 8192, 0 } };
    for (unsigned i = 0; i < DF_DISK_WRITERS && n < 3; i++)
        if (atomic_load(&s[i].open)) {
            atomic_store(&s[i].offset, garbage[n][0]);
            atomic_store(&s[i].length, garbage[n++][1]);
        }
    OK(df_bitmap_clear(disk, "a", &unit_err));
    kill_child(&c);
    ck_assert_uint_eq(df_disk_open_sections(disk), 0);
    ck_assert_uint_eq(count_of("a"), 0);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "section");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_section);
    tcase_add_test(tc, test_ranges);
    tcase_add_test(tc, test_counted);
    tcase_add_test(tc, test_too_many);
    tc = unit_case(suite, "change");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_change_within, 0, 2 * NCHANGES);
    tcase_add_test(tc, test_disable_within);
    tcase_add_test(tc, test_fence);
    tcase_add_loop_test(tc, test_open_before_look, 0, 2);
    tcase_add_test(tc, test_fence_after_mark);
    tc = unit_case(suite, "killed");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_killed_is_dropped);
    tcase_add_loop_test(tc, test_killed_is_marked, 0, 3);
    tcase_add_test(tc, test_killed_then_merged);
    tcase_add_test(tc, test_killed_and_no_descriptors);
    tcase_add_test(tc, test_killed_with_garbage);
}

UNIT_MAIN("writer", add_cases)
