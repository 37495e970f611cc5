// SPDX-License-Identifier: BSD-3-Clause
/*
 * A bitmap that a comparison fills: what it may do meanwhile, where writes go,
 * what becomes of `inconsistent`, kills at each step of the begin, restarts of
 * the host, a file system that is full, a file that was cut.
 */
#include "unit-crash.h"

#include <fcntl.h>

static const uint8_t three[DF_SESSION_BYTES] = "comparison three", four[DF_SESSION_BYTES] = "comparison four";

static void begin(void)
{
    OK(disk_compare_begin(disk, "a", three, &unit_err));
}

static bool complete(void)
{
    bool inconsistent;
    OK(disk_compare_complete(disk, "a", three, &inconsistent, &unit_err));
    return inconsistent;
}

static int set(uint64_t offset, uint64_t length)
{
    const struct disk_range stretch = { offset, length };
    return disk_compare_set(disk, "a", three, &stretch, 1, &unit_err);
}

static void damage_map(const char *name)
{
    struct map_ref *ref = NULL;
    OK(disk_peek_map(disk, name, &ref));
    atomic_store(&ref->map->header->damaged, 1);
    disk_put_map(disk, &ref);
}

/* As it was left by whom: flag, word of the map, both. */
enum lack { LACKS_NOTHING, LACK_FLAG, LACK_WORD, LACK_BOTH, LACKS };

static void lack(enum lack what)
{
    if (what & LACK_FLAG)
        OK(df_bitmap_set_inconsistent(disk, "a", &unit_err));
    if (what & LACK_WORD)
        damage_map("a");
    ck_assert_int_eq(is_lost("a"), what != LACKS_NOTHING);
}

/* ------------------------------------------------------------- what it may */

START_TEST(test_busy)
{
    struct df_bitmap *bitmap = NULL;
    struct map_ref *ref = NULL;
    static const struct disk_range first = { 0, 512 };
    bool inconsistent;
    add("a", 0);
    add("b", 0);
    lack((enum lack)_i);
    begin();
    struct df_bitmap_info before = info_of("a"), after;
    ck_assert(before.busy && before.compared && before.recording && !before.frozen && before.inconsistent == (_i != 0));
    ck_assert_mem_eq(before.session, three, sizeof three);
    FAILS(-EBUSY, df_bitmap_remove(disk, "a", &unit_err));
    ck_assert_ptr_nonnull(strstr(unit_err.message, "a comparison fills it; let 'dirtyferry bitmap diff' come to its end"));
    FAILS(-EBUSY, df_bitmap_clear(disk, "a", &unit_err));
    FAILS(-EBUSY, df_bitmap_enable(disk, "a", &unit_err));
    FAILS(-EBUSY, df_bitmap_disable(disk, "a", &unit_err));
    FAILS(-EBUSY, df_bitmap_merge(disk, "a", disk, "b", &unit_err));
    FAILS(-EBUSY, df_bitmap_merge(disk, "b", disk, "a", &unit_err));
    FAILS(-EBUSY, df_bitmap_open(disk, "a", &bitmap, &unit_err));
    FAILS(-EBUSY, df_disk_remove(unit_dir, "vda", &unit_err));
    ck_assert_ptr_nonnull(strstr(unit_err.message, "a comparison fills its bitmap 'a'"));
    /* A session of its very name is another. */
    for (unsigned i = 0; i < 2; i++) {
        const uint8_t *session = i ? one : three;
        FAILS(-EBUSY, df_bitmap_take(disk, "a", session, &unit_err));
        ck_assert_ptr_nonnull(strstr(unit_err.message, "a comparison fills it"));
        FAILS(-EBUSY, df_bitmap_give_back(disk, "a", session, &unit_err));
        FAILS(-EBUSY, df_bitmap_freeze(disk, "a", session, true, &unit_err));
        FAILS(-EBUSY, df_bitmap_unlock(disk, "a", session, &unit_err));
        FAILS(-EBUSY, df_bitmap_abdicate(disk, "a", session, &unit_err));
        FAILS(-EBUSY, df_bitmap_reclaim(disk, "a", session, &unit_err));
        FAILS(-EBUSY, df_bitmap_give_up(disk, "a", session, true, &unit_err));
        FAILS(-EBUSY, disk_get_map(disk, "a", session, &ref, &unit_err));
        OK(df_bitmap_discard(disk, "a", session, &unit_err));
    }
    FAILS(-EBUSY, disk_compare_begin(disk, "a", four, &unit_err));
    FAILS(-ENOENT, disk_compare_set(disk, "a", four, &first, 1, &unit_err));
    FAILS(-ENOENT, disk_compare_complete(disk, "a", four, &inconsistent, &unit_err));
    OK(disk_compare_cancel(disk, "a", four, &unit_err));
    after = info_of("a");
    ck_assert_mem_eq(&before, &after, sizeof before);
    OK(disk_compare_cancel(disk, "a", three, &unit_err));
    OK(disk_compare_cancel(disk, "a", three, &unit_err));
    OK(disk_compare_cancel(disk, "nix", three, &unit_err));
    FAILS(-ENOENT, set(0, 512));
    after = info_of("a");
    ck_assert(!after.busy && !after.compared && after.inconsistent == (_i != 0));
}
END_TEST

START_TEST(test_refused)
{
    add("off", DF_BITMAP_DISABLED);
    add("a", 0);
    FAILS(-ENOENT, disk_compare_begin(disk, "nix", three, &unit_err));
    FAILS(-EINVAL, disk_compare_begin(disk, "off", three, &unit_err));
    ck_assert_ptr_nonnull(strstr(unit_err.message, "does not record"));
    OK(df_bitmap_take(disk, "a", one, &unit_err));
    FAILS(-EBUSY, disk_compare_begin(disk, "a", one, &unit_err));
    OK(df_bitmap_give_back(disk, "a", one, &unit_err));
    OK(df_disk_fence(disk, &unit_err));
    FAILS(-EROFS, disk_compare_begin(disk, "a", three, &unit_err));
    OK(df_disk_unfence(disk, &unit_err));
    char path[600];
    map_path(path, record_of("a").map);
    ck_assert_int_eq(truncate(path, 100), 0);
    FAILS(-EPROTO, disk_compare_begin(disk, "a", three, &unit_err));
    ck_assert_ptr_nonnull(strstr(unit_err.message, "was cut or is gone; remove it and add it anew"));
    ck_assert_int_eq(unlink(path), 0);
    FAILS(-ENOENT, disk_compare_begin(disk, "a", three, &unit_err));
    ck_assert_uint_eq(record_of("a").state, RECORD_IDLE);
}
END_TEST

/* -------------------------------------------------------------------- bits */

/* Writes and verdicts are all there, whoever comes first; ranges outwards, the last granule too. */
START_TEST(test_bits)
{
    struct df_writer *w = NULL;
    const struct disk_range ranges[] = { { 3 * 512, 512 }, { 10 * 512 + 511, 2 }, { MiB - 1, 1 } };
    add("a", 0);
    mark(1);
    OK(df_writer_new(disk, &w, &unit_err));
    OK(df_write_begin(w, 20 * 512, 512));
    begin();
    mark(2);
    OK(disk_compare_set(disk, "a", three, ranges, 3, &unit_err));
    mark(40);
    df_write_end(w);
    df_writer_free(&w);
    ck_assert(!complete());
    mark(41);
    ck_assert_uint_eq(bits_of("a"), UINT64_C(1) << 1 | 1 << 2 | 1 << 3 | 1 << 10 | 1 << 11 | 1 << 20 | UINT64_C(1) << 40 | UINT64_C(1) << 41);
    struct df_bitmap *bitmap = NULL;
    OK(df_bitmap_open(disk, "a", &bitmap, &unit_err));
    ck_assert(df_bitmap_test(bitmap, MiB - 1));
    ck_assert_uint_eq(df_bitmap_count(bitmap), 9 * 512);
    df_bitmap_close(&bitmap);
}
END_TEST

/* A bitmap that was enabled in the middle of a write: the write is there when it is over. */
START_TEST(test_open_section)
{
    struct df_writer *w = NULL;
    add("a", DF_BITMAP_DISABLED);
    OK(df_writer_new(disk, &w, &unit_err));
    OK(df_write_begin(w, 5 * 512, 512));
    OK(df_bitmap_enable(disk, "a", &unit_err));
    begin();
    df_write_end(w);
    df_writer_free(&w);
    ck_assert(!complete());
    ck_assert_uint_eq(bits_of("a"), 1 << 5);
}
END_TEST

/* ------------------------------------------------------------ inconsistent */

START_TEST(test_complete)
{
    add("a", DF_BITMAP_PERSISTENT);
    lack((enum lack)_i);
    begin();
    ck_assert_int_eq(is_lost("a"), _i != LACKS_NOTHING);
    OK(set(0, MiB));
    ck_assert_int_eq(is_lost("a"), _i != LACKS_NOTHING);
    ck_assert(!complete());
    ck_assert(!is_lost("a"));
    ck_assert_uint_eq(count_of("a"), MiB);
}
END_TEST

/* What goes wrong in the middle stays, and another comparison makes it good. */
START_TEST(test_lost_meanwhile)
{
    add("a", 0);
    lack((enum lack)(_i % LACKS));
    begin();
    OK(set(0, 512));
    if (_i / LACKS)
        damage_map("a");
    else
        OK(disk_set_unrecorded(disk, &unit_err));
    ck_assert(complete());
    ck_assert(is_lost("a"));
    begin();
    ck_assert(is_lost("a") && !complete() && !is_lost("a"));
}
END_TEST

/* By the same comparison, from the start: what went wrong before is made good. */
START_TEST(test_again)
{
    add("a", 0);
    lack((enum lack)_i);
    begin();
    OK(disk_set_unrecorded(disk, &unit_err));
    damage_map("a");
    begin();
    ck_assert(is_lost("a") && info_of("a").compared);
    if (_i % 2) {
        OK(disk_compare_cancel(disk, "a", three, &unit_err));
        ck_assert(is_lost("a"));
    } else {
        ck_assert(!complete() && !is_lost("a"));
    }
}
END_TEST

/* ------------------------------------------------------------------- kills */

/* The process dies before or behind the how many-th commit. */
static unsigned die_at;
static bool die_behind;

int __real_txn_commit(struct txn *txn, struct df_error *err);
int __wrap_txn_commit(struct txn *txn, struct df_error *err);
int __wrap_txn_commit(struct txn *txn, struct df_error *err)
{
    bool here = die_at && !--die_at;
    if (here && !die_behind)
        kill(getpid(), SIGKILL);
    int r = __real_txn_commit(txn, err);
    if (here)
        kill(getpid(), SIGKILL);
    return r;
}

static void die_in(void (*what)(void), unsigned at, bool behind)
{
    df_disk_close(&disk);
    pid_t pid = fork();
    if (pid == 0) {
        reopen();
        die_at = at;
        die_behind = behind;
        what();
        _exit(1);
    }
    unit_reap(pid, SIGKILL);
    reopen();
}

static void do_complete(void) { complete(); }
static void do_cancel(void) { OK(disk_compare_cancel(disk, "a", three, &unit_err)); }

/* Wherever the begin dies: it is as before or begun, and an inconsistent one says so until the end of a whole comparison. */
START_TEST(test_killed_begin)
{
    enum lack what = (enum lack)(_i % LACKS);
    unsigned at = 1 + (unsigned)_i / LACKS % 2;
    bool behind = _i / LACKS / 2;
    add("a", 0);
    lack(what);
    die_in(begin, at, behind);
    bool begun = at == 2 && behind;
    ck_assert_int_eq(info_of("a").compared, begun);
    ck_assert_int_eq(is_lost("a"), what != LACKS_NOTHING);
    if (begun && what == LACK_FLAG) {
        do_cancel();
        ck_assert(is_lost("a"));
    }
    begin();
    ck_assert_int_eq(is_lost("a"), what != LACKS_NOTHING);
    ck_assert(!complete() && !is_lost("a"));
}
END_TEST

START_TEST(test_killed_end)
{
    bool behind = _i % 2, cancel = _i / 2;
    add("a", 0);
    lack(LACK_BOTH);
    begin();
    die_in(cancel ? do_cancel : do_complete, 1, behind);
    ck_assert_int_eq(info_of("a").compared, !behind);
    ck_assert_int_eq(is_lost("a"), cancel || !behind);
}
END_TEST

/* ------------------------------------------------- restarts of the host */

/* Never fenced; inconsistent until it was compared once more from the start. */
START_TEST(test_restart)
{
    bool clean = _i & 1, persistent = _i & 2, was_lost = _i & 4;
    add("a", persistent ? DF_BITMAP_PERSISTENT : 0);
    if (was_lost)
        lack(LACK_FLAG);
    begin();
    OK(set(512, 512));
    if (clean)
        OK(df_disk_flush(disk, &unit_err));
    restart_host();
    reopen();
    ck_assert(!df_disk_is_readonly(disk) && info_of("a").compared && info_of("a").recording);
    ck_assert_int_eq(is_lost("a"), was_lost || !clean || !persistent);
    if (clean && persistent)
        ck_assert_uint_eq(bits_of("a"), 1 << 1);
    begin();
    OK(set(0, 512));
    ck_assert(!complete() && !is_lost("a"));
}
END_TEST

/* ---------------------------------------------------------- full, and cut */

int __real_madvise(void *at, size_t nbytes, int advice);
int __wrap_madvise(void *at, size_t nbytes, int advice);
static bool is_full;
int __wrap_madvise(void *at, size_t nbytes, int advice)
{
    errno = ENOSPC;
    return is_full ? -1 : __real_madvise(at, nbytes, advice);
}

START_TEST(test_full)
{
    add("a", 0);
    begin();
    is_full = true;
    FAILS(-ENOSPC, set(0, 512));
    is_full = false;
    ck_assert(!is_lost("a"));
    OK(set(0, 512));
    ck_assert(!complete());
    ck_assert_uint_eq(bits_of("a"), 1);
}
END_TEST

START_TEST(test_cut)
{
    char path[600];
    struct map_ref *ref = NULL;
    OK(fault_start(&unit_err));
    add("a", 0);
    begin();
    OK(disk_peek_map(disk, "a", &ref));
    map_path(path, record_of("a").map);
    ck_assert_int_eq(truncate(path, 4096), 0);
    FAILS(-EPROTO, set(0, 512));
    ck_assert_ptr_nonnull(strstr(unit_err.message, "its file was cut; cancel the comparison"));
    ck_assert(complete());
    ck_assert(is_lost("a"));
    FAILS(-EPROTO, disk_compare_begin(disk, "a", three, &unit_err));
    disk_put_map(disk, &ref);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "compare");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_busy, 0, LACKS);
    tcase_add_test(tc, test_refused);
    tcase_add_test(tc, test_bits);
    tcase_add_test(tc, test_open_section);
    tcase_add_loop_test(tc, test_complete, 0, LACKS);
    tcase_add_loop_test(tc, test_lost_meanwhile, 0, 2 * LACKS);
    tcase_add_loop_test(tc, test_again, 0, LACKS);
    tcase_add_loop_test(tc, test_killed_begin, 0, 4 * LACKS);
    tcase_add_loop_test(tc, test_killed_end, 0, 4);
    tcase_add_loop_test(tc, test_restart, 0, 8);
    tcase_add_test(tc, test_full);
    tcase_add_test(tc, test_cut);
}

UNIT_MAIN("compare", add_cases)
