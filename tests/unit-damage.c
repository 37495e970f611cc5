// SPDX-License-Identifier: BSD-3-Clause
/*
 * A disk whose files a crash of the host has damaged: tables, maps, all of it;
 * a second crash in the judgement; and how a target gives up bits that will
 * never come.
 */
#include "unit-crash.h"

/* ------------------------------------------------------------------ damage */

/* n = 1: the table in force, 2: both. */
static void tear(unsigned n)
{
    uint64_t number = atomic_load(&disk->shared->epoch) >> 1;
    for (unsigned i = 0; i < n; i++)
        disk->shared->tables[(number + i) & 1].records[0].name[700] ^= 1;
}

/*
 * The other table comes back, with the fence that the torn one had.  It is an
 * older one (unclean; clean) or a copy of the same, and then as good.
 */
START_TEST(test_torn_table)
{
    bool clean = _i > 0, copy = _i == 2;
    add("p", DF_BITMAP_PERSISTENT);
    mark(1);
    OK(df_disk_fence(disk, &unit_err));
    if (clean)
        OK(df_disk_flush(disk, &unit_err));
    uint64_t epoch = atomic_load(&disk->shared->epoch);
    if (clean && !copy)
        table_seal(&disk->shared->tables[~(epoch >> 1) & 1], (epoch >> 1) - 1, 0);
    tear(1);
    restart_host();
    reopen();
    ck_assert_uint_gt(atomic_load(&disk->shared->epoch), epoch);
    ck_assert(df_disk_is_readonly(disk));
    OK(df_disk_unfence(disk, &unit_err));
    ck_assert_int_eq(is_lost("p"), !copy);
    ck_assert_uint_eq(bits_of("p"), 1 << 1);
    mark(2);
    ck_assert_uint_eq(bits_of("p"), 1 << 1 | 1 << 2);
}
END_TEST

/* Both directions: what is in force is behind, or the epoch is.  It never runs backwards. */
START_TEST(test_torn_epoch)
{
    add("a", 0);
    add("b", 0);
    uint64_t epoch = atomic_load(&disk->shared->epoch);
    atomic_store(&disk->shared->epoch, _i == 0 ? epoch + 2 : epoch - 2 * (uint64_t)_i);
    restart_host();
    reopen();
    ck_assert_uint_gt(atomic_load(&disk->shared->epoch), epoch);
    ck_assert(is_lost("a") && is_lost("b"));
    check_lost("b");
}
END_TEST

static void write_at(const char *file, off_t offset, const void *bytes, size_t n)
{
    char path[600];
    snprintf(path, sizeof path, "%s/disks/vda/%s", unit_dir, file);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, bytes, n, offset), (ssize_t)n);
    close(fd);
}

START_TEST(test_lost_disk)
{
    char path[600];
    struct df_disk *none = NULL;
    snprintf(path, sizeof path, "%s/disks/vda/disk", unit_dir);
    add("p", DF_BITMAP_PERSISTENT);
    OK(df_bitmap_take(disk, "p", one, &unit_err));
    tear(_i == 0 ? 2 : 0);
    restart_host();
    if (_i == 1)
        write_at("disk", 7, "\1", 1);       /* another version */
    else if (_i == 2)
        ck_assert_int_eq(truncate(path, 0), 0);
    else if (_i == 3)
        ck_assert_int_eq(unlink(path), 0);
    for (unsigned i = 0; i < 2; i++) {
        FAILS(-EPROTO, df_disk_open(unit_dir, "vda", &none, &unit_err));
        ck_assert_ptr_nonnull(strstr(unit_err.message, "remove the disk"));
    }
    OK(df_disk_remove(unit_dir, "vda", &unit_err));
    FAILS(-ENOENT, df_disk_open(unit_dir, "vda", &none, &unit_err));
    OK(df_disk_create(unit_dir, "vda", MiB, &unit_err));
    reopen();
}
END_TEST

/* Damaged under a program that writes: that program first. */
START_TEST(test_lost_disk_in_use)
{
    struct df_writer *writer = NULL;
    OK(df_writer_new(disk, &writer, &unit_err));
    write_at("disk", 7, "\1", 1);
    FAILS(-EBUSY, df_disk_remove(unit_dir, "vda", &unit_err));
    df_writer_free(&writer);
    OK(df_disk_remove(unit_dir, "vda", &unit_err));
}
END_TEST

/* A map that cannot be opened: that bitmap only, it records on, the others are not hindered. */
START_TEST(test_lost_map)
{
    char path[600];
    bool clean = _i & 1, child = _i & 2, gone = _i & 4;
    add("p", DF_BITMAP_PERSISTENT);
    add("other", DF_BITMAP_PERSISTENT);
    mark(1);
    if (child)
        OK(df_bitmap_freeze(disk, "p", one, false, &unit_err));
    if (clean)
        OK(df_disk_flush(disk, &unit_err));
    map_path(path, child ? record_of("p").child : record_of("p").map);
    restart_host();
    ck_assert_int_eq(gone ? unlink(path) : truncate(path, 100), 0);
    reopen();
    ck_assert(is_lost("p") && is_lost("other") == !clean && info_of("p").recording);
    mark(2);
    ck_assert_uint_eq(bits_of("other"), 1 << 1 | 1 << 2);
    ck_assert_int_eq(is_lost("other"), !clean);
    if (child)
        OK(df_bitmap_reclaim(disk, "p", one, &unit_err));
    ck_assert(bits_of("p") & 1 << 2);
    check_lost("p");
    if (clean)
        ck_assert_uint_eq(bits_of("other"), UINT64_C(1) << 60 | 1 << 1 | 1 << 2);
}
END_TEST

/* Without a restart: remove does not open the map. */
START_TEST(test_remove_without_map)
{
    char path[600];
    add("p", DF_BITMAP_PERSISTENT);
    map_path(path, record_of("p").map);
    ck_assert_int_eq(truncate(path, 100), 0);
    ck_assert(is_lost("p"));
    OK(df_disk_flush(disk, &unit_err));
    OK(df_bitmap_remove(disk, "p", &unit_err));
    ck_assert_int_ne(access(path, F_OK), 0);
    OK(df_disk_flush(disk, &unit_err));
}
END_TEST

/* The host crashes again in the judgement: the next one is the same. */
START_TEST(test_crash_again)
{
    bool clean = _i & 1;
    unsigned at = (unsigned)_i / 2 + 1;
    struct df_disk *none = NULL;
    add("p", DF_BITMAP_PERSISTENT);
    add("plain", 0);
    add("damaged", DF_BITMAP_PERSISTENT);
    mark(1);
    char path[600];
    map_path(path, record_of("damaged").map);
    if (clean)
        OK(df_disk_flush(disk, &unit_err));
    restart_host();
    ck_assert_int_eq(truncate(path, 100), 0);
    syncs_reset(at, EIO);
    FAILS(-EIO, df_disk_open(unit_dir, "vda", &none, &unit_err));
    FAILS(-EPROTO, map_open(AT_FDCWD, path, 2048, NULL, &unit_err));    /* not before the verdict is safe */
    unit_boot++;
    reopen();
    ck_assert(is_lost("p") == !clean && is_lost("plain") && is_lost("damaged"));
    ck_assert_uint_eq(bits_of("p"), 1 << 1);
    check_lost("damaged");
}
END_TEST

/* ----------------------------------------------------------------- give up */

static void bring_to(enum record_state state)
{
    OK(df_bitmap_add_frozen(disk, "p", 512, DF_BITMAP_PERSISTENT, one, &unit_err));
    mark(1);                                /* the copy of the disk: not recorded */
    if (state != RECORD_LOCKED)
        OK(df_bitmap_unlock(disk, "p", one, &unit_err));
    mark(2);
    if (state == RECORD_RECLAIMING)
        set_state("p", state);
}

START_TEST(test_give_up)
{
    static const enum record_state states[] = { RECORD_LOCKED, RECORD_FROZEN, RECORD_RECLAIMING };
    enum record_state state = states[_i % 3];
    bool all_dirty = _i / 3 % 2, crashed = _i >= 6;
    bring_to(state);
    if (crashed) {
        restart_host();
        reopen();
        ck_assert(is_lost("p"));
    }
    uint64_t child = record_of("p").child;
    char path[600];
    map_path(path, child);
    uint64_t before = bits_of("p");
    FAILS(-EBUSY, df_bitmap_give_up(disk, "p", two, all_dirty, &unit_err));
    ck_assert_uint_eq(bits_of("p"), before);
    for (unsigned i = 0; i < 2; i++) {
        OK(df_bitmap_give_up(disk, "p", one, all_dirty, &unit_err));
        struct df_bitmap_info info = info_of("p");
        ck_assert(!info.busy && info.recording && info.persistent && info.inconsistent == !all_dirty);
    }
    ck_assert_int_ne(access(path, F_OK), 0);
    if (all_dirty) {
        ck_assert_uint_eq(count_of("p"), MiB);
        OK(df_bitmap_clear(disk, "p", &unit_err));
    } else {
        ck_assert_uint_eq(bits_of("p"), state == RECORD_LOCKED ? 0 : 1 << 2);
        check_lost("p");
    }
    mark(5);
    ck_assert_uint_eq(count_of("p"), 512);
}
END_TEST

START_TEST(test_give_up_refused)
{
    OK(df_bitmap_give_up(disk, "nix", one, _i, &unit_err));
    add("idle", 0);
    mark(1);
    OK(df_bitmap_give_up(disk, "idle", one, _i, &unit_err));
    ck_assert(!is_lost("idle"));
    ck_assert_uint_eq(count_of("idle"), 512);
    OK(df_bitmap_take(disk, "idle", one, &unit_err));
    FAILS(-EBUSY, df_bitmap_give_up(disk, "idle", one, _i, &unit_err));
    ck_assert_uint_eq(record_of("idle").state, RECORD_TAKEN);
    ck_assert_uint_eq(bits_of("idle"), 1 << 1);
}
END_TEST

/* A number of bits that is no whole byte: none beyond the end. */
START_TEST(test_give_up_odd)
{
    static const uint64_t bits[] = { 1, 7, 8, 63, 65, MAP_BLOCK_BITS - 1, MAP_BLOCK_BITS, MAP_BLOCK_BITS + 1, 3 * MAP_BLOCK_BITS + 13 };
    struct df_disk *odd = NULL;
    struct df_bitmap *bitmap = NULL;
    OK(df_disk_create(unit_dir, "odd", bits[_i] * 512, &unit_err));
    OK(df_disk_open(unit_dir, "odd", &odd, &unit_err));
    OK(df_bitmap_add_frozen(odd, "p", 512, 0, one, &unit_err));
    OK(df_bitmap_give_up(odd, "p", one, true, &unit_err));
    OK(df_bitmap_open(odd, "p", &bitmap, &unit_err));
    ck_assert_uint_eq(df_bitmap_count(bitmap), bits[_i] * 512);
    df_bitmap_close(&bitmap);
    df_disk_close(&odd);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "damage");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_torn_table, 0, 3);
    tcase_add_loop_test(tc, test_torn_epoch, 0, 3);
    tcase_add_loop_test(tc, test_lost_disk, 0, 4);
    tcase_add_test(tc, test_lost_disk_in_use);
    tcase_add_loop_test(tc, test_lost_map, 0, 8);
    tcase_add_test(tc, test_remove_without_map);
    tcase_add_loop_test(tc, test_crash_again, 0, 4);
    tc = unit_case(suite, "give-up");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_give_up, 0, 12);
    tcase_add_loop_test(tc, test_give_up_refused, 0, 2);
    tcase_add_loop_test(tc, test_give_up_odd, 0, 9);
}

UNIT_MAIN("damage", add_cases)
