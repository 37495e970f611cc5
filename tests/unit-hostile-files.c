// SPDX-License-Identifier: BSD-3-Clause
/*
 * Files that are cut under a process that has them mapped, and files that are
 * exchanged: links, pipes, directories, devices, somebody else's.
 */
#include "unit-hostile.h"

#include <sys/sysmacros.h>

static void cut(const char *path, off_t nbytes)
{
    ck_assert_int_eq(truncate(path, nbytes), 0);
}

/* Shorter, and long again: what was there is zeroes. */
static void cut_and_grow(const char *path, off_t nbytes)
{
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    cut(path, nbytes);
    cut(path, st.st_size);
}

/* ------------------------------------------------------------ cut: the disk */

static const off_t lengths[] = { 0, 100, 4096, 8192, 300000 };
#define NLENGTHS 5

START_TEST(test_cut_disk)
{
    char path[600];
    struct df_writer *writer = NULL;
    struct df_disk *again = NULL;
    disk_path(path, "disk");
    OK(df_writer_new(disk, &writer, &unit_err));
    ck_assert_int_eq(df_write_begin(writer, 0, 4096), 0);
    cut(path, lengths[_i % NLENGTHS]);
    df_write_end(writer);
    FAILS(-EPROTO, df_disk_open(unit_dir, "vda", &again, &unit_err));
    /* Not all of it may be gone: then what is left is as good as ever, until somebody comes to the rest. */
    struct df_bitmap_info info;
    int r = df_bitmap_get_info(disk, "a", &info, &unit_err);
    ck_assert(r == 0 || r == -EPROTO);
    for (uint64_t i = 0; i < sizeof *disk->shared; i += 4096)
        atomic_load((_Atomic char *)disk->shared + i);
    ck_assert(fault_is_broken(&disk->broken));
    check_damaged();
    ck_assert_uint_eq(df_disk_open_sections(disk), 1);      /* nobody knows: not 0 while a writer is there */
    FAILS(-EPROTO, df_disk_mark(disk, 0, 512, &unit_err));
    FAILS(-EBUSY, df_disk_remove(unit_dir, "vda", &unit_err));
    df_writer_free(&writer);
    ck_assert_uint_eq(df_disk_open_sections(disk), 0);
    check_removable();
}
END_TEST

/* In the middle of a transaction: nothing is said to be done. */
START_TEST(test_cut_in_transaction)
{
    char path[600];
    struct txn txn;
    disk_path(path, "disk");
    OK(txn_begin(disk, &txn, &unit_err));
    txn.changed = true;
    cut(path, lengths[_i % NLENGTHS]);
    if (_i % NLENGTHS == 4) {       /* both tables begin before that: what is copied fits */
        txn_abort(&txn);
        return;
    }
    FAILS(-EPROTO, txn_commit(&txn, &unit_err));
    check_damaged();
    check_removable();
}
END_TEST

/* The whole mapping is replaced at the first fault; a second one of the same disk has a fault of its own. */
START_TEST(test_cut_disk_twice)
{
    char path[600];
    struct df_disk *other = NULL;
    disk_path(path, "disk");
    OK(df_disk_open(unit_dir, "vda", &other, &unit_err));
    cut(path, 0);
    ck_assert(!df_disk_is_readonly(disk));
    ck_assert(disk->broken && !other->broken);
    struct df_bitmap_info info;
    FAILS(-EPROTO, df_bitmap_get_info(other, "a", &info, &unit_err));
    ck_assert(other->broken);
    df_disk_close(&other);
}
END_TEST

/* ------------------------------------------------------------ cut: the maps */

/* Whatever is done with it, the bitmap becomes inconsistent, and the other bitmaps stay good. */
static void check_map_lost(const char *name)
{
    struct df_bitmap *bitmap = NULL;
    struct df_bitmap_info info;
    OK(df_bitmap_get_info(disk, name, &info, &unit_err));
    ck_assert(info.inconsistent);
    if (!info.busy)
        FAILS(-EINVAL, df_bitmap_open(disk, name, &bitmap, &unit_err));
    OK(df_bitmap_add(disk, "good", 512, 0, &unit_err));
    OK(df_bitmap_get_info(disk, "good", &info, &unit_err));
    ck_assert(!info.inconsistent);
}

START_TEST(test_cut_map_of_reader)
{
    char path[600], hex[DF_SHA256_HEX_BYTES];
    bool grown = _i / NLENGTHS;
    struct df_bitmap *bitmap = NULL;
    uint64_t start, length;
    OK(df_disk_mark(disk, 512 * 1000, 512 * 3, &unit_err));
    OK(df_bitmap_open(disk, "a", &bitmap, &unit_err));
    map_path(path, 1);
    cut(path, lengths[_i % 3]);
    df_bitmap_next_dirty(bitmap, 0, &start, &length);
    df_bitmap_next_clean(bitmap, 0, &start, &length);
    ck_assert_uint_le(df_bitmap_count(bitmap), MiB);
    df_bitmap_test(bitmap, MiB - 1);
    df_bitmap_sha256(bitmap, hex);
    if (grown)      /* the file is as long as it was, but it has been noted */
        cut(path, 3 * 4096);
    check_map_lost("a");
    df_bitmap_close(&bitmap);
    struct df_bitmap_info info;
    OK(df_bitmap_get_info(disk, "a", &info, &unit_err));
    ck_assert(info.inconsistent);
}
END_TEST

START_TEST(test_cut_map_of_writer)
{
    char path[600];
    struct df_writer *writer = NULL;
    struct df_bitmap_info info;
    OK(df_writer_new(disk, &writer, &unit_err));
    ck_assert_int_eq(df_write_begin(writer, 0, 512), 0);
    map_path(path, 1);
    cut(path, lengths[_i]);
    df_write_end(writer);
    ck_assert_int_eq(df_write_begin(writer, 0, MiB), 0);
    df_write_end(writer);
    check_map_lost("a");
    df_writer_free(&writer);
    OK(df_bitmap_remove(disk, "a", &unit_err));
    OK(df_bitmap_add(disk, "a", 512, 0, &unit_err));
    OK(df_bitmap_get_info(disk, "a", &info, &unit_err));
    ck_assert(!info.inconsistent);
}
END_TEST

/* Parent or child, before or while it is reclaimed: never a bitmap that seems to be whole. */
START_TEST(test_cut_map_of_session)
{
    char path[600];
    struct map_ref *ref = NULL;
    struct df_bitmap_info info;
    uint64_t id = _i & 1 ? 3 : 2;
    OK(disk_get_map(disk, "b", one, &ref, &unit_err));
    OK(map_set(ref->map, 5, 1));
    map_path(path, id);
    if (_i & 2)
        cut_and_grow(path, 0);
    else
        cut(path, lengths[_i % 3]);
    map_test(ref->map, 5);
    map_digest(ref->map, 0, ref->map->nblocks);
    int r = map_write(ref->map, 0, (const uint8_t *)"12345678", 8);
    ck_assert(r <= 0);
    r = df_bitmap_reclaim(disk, "b", one, &unit_err);
    ck_assert(r == 0 || r == -EPROTO);
    disk_put_map(disk, &ref);
    OK(df_bitmap_get_info(disk, "b", &info, &unit_err));
    ck_assert(info.inconsistent);
    OK(df_bitmap_discard(disk, "b", one, &unit_err));
}
END_TEST

START_TEST(test_cut_in_flush)
{
    char path[600];
    map_path(path, 1);
    cut(path, lengths[_i]);
    OK(df_disk_flush(disk, &unit_err));
    check_map_lost("a");
}
END_TEST

/* What is not registered is none of our business: it ends as without fault_start(). */
START_TEST(test_other_mapping)
{
    char path[600];
    int status = 0;
    snprintf(path, sizeof path, "%s/other", unit_dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ck_assert(fd >= 0 && ftruncate(fd, 4096) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        volatile char *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        freopen("/dev/null", "w", stderr);      /* what a sanitizer says about it */
        if (ftruncate(fd, 0) < 0)
            _exit(0);
        (void)at[0];
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_ne(status, 0);
    close(fd);
}
END_TEST

/* Slots are used again; of a mapping that is gone no fault is caught. */
START_TEST(test_many_slots)
{
    enum { MAPS = 700 };
    static struct map *maps[MAPS];
    char path[600];
    int dirfd = open(unit_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < MAPS; i++) {
            snprintf(path, sizeof path, "caught-%u-%u", round, i);
            OK(map_create(dirfd, path, 100, &maps[i], &unit_err));
        }
        for (unsigned i = round; i < MAPS; i += 7) {
            ck_assert_int_eq(ftruncate(maps[i]->fd, 0), 0);
            ck_assert_int_eq(map_set(maps[i], 1, 1) <= 0, 1);
            map_test(maps[i], 1);
        }
        for (unsigned i = 0; i < MAPS; i++) {
            ck_assert_int_eq(map_is_broken(maps[i]), i % 7 == round);
            map_close(&maps[i]);
        }
    }
    close(dirfd);
}
END_TEST

/* ------------------------------------------------------------- exchanged */

enum swap { SYMLINK, FIFO, DIRECTORY, DEVICE, HARDLINK, FOREIGN, OPEN_TO_ALL, SWAPS };
static const char *const reasons[] = {
    "is a symbolic link", "is not a regular file", "is not a regular file", "is not a regular file",
    "has a second name", "belongs to another user", "can be written by every user",
};

/* False: it takes root, and we are not. */
static bool swap(const char *path, enum swap what)
{
    char saved[700];
    snprintf(saved, sizeof saved, "%s/saved", unit_dir);
    switch (what) {
    case SYMLINK:
        ck_assert(rename(path, saved) == 0 && symlink(saved, path) == 0);
        break;
    case FIFO:
        ck_assert(unlink(path) == 0 && mkfifo(path, 0600) == 0);
        break;
    case DIRECTORY:
        ck_assert(unlink(path) == 0 && mkdir(path, 0700) == 0);
        break;
    case DEVICE:
        if (geteuid() || unlink(path) || mknod(path, S_IFCHR | 0600, makedev(1, 5)) < 0)
            return false;
        break;
    case HARDLINK:
        ck_assert_int_eq(link(path, saved), 0);
        break;
    case FOREIGN:
        return chown(path, 65534, (gid_t)-1) == 0;
    case OPEN_TO_ALL:
        ck_assert_int_eq(chmod(path, 0666), 0);
        break;
    case SWAPS:
        break;
    }
    return true;
}

START_TEST(test_swap_map)
{
    char path[600], saved[700];
    struct map *map = NULL;
    struct df_bitmap_info info;
    map_path(path, 1);
    if (!swap(path, (enum swap)_i))
        return;
    FAILS(-EPROTO, map_open(AT_FDCWD, path, 2048, &map, &unit_err));
    ck_assert_ptr_nonnull(strstr(unit_err.message, reasons[_i]));
    OK(df_bitmap_get_info(disk, "a", &info, &unit_err));
    ck_assert(info.inconsistent);
    OK(df_disk_mark(disk, 0, 512, &unit_err));      /* is let pass; not into that file */
    OK(df_disk_flush(disk, &unit_err));
    OK(df_bitmap_remove(disk, "a", &unit_err));
    snprintf(saved, sizeof saved, "%s/saved", unit_dir);
    struct stat st;
    if (_i == SYMLINK)
        ck_assert(stat(saved, &st) == 0 && st.st_size == 3 * 4096);
}
END_TEST

START_TEST(test_swap_disk)
{
    char path[600];
    struct df_disk *again = NULL;
    disk_path(path, "disk");
    if (!swap(path, (enum swap)_i))
        return;
    FAILS(-EPROTO, df_disk_open(unit_dir, "vda", &again, &unit_err));
    ck_assert_ptr_nonnull(strstr(unit_err.message, reasons[_i]));
    ck_assert_ptr_nonnull(strstr(unit_err.message, "remove the disk"));
    check_removable();
}
END_TEST

START_TEST(test_swap_directory)
{
    char path[600], saved[700];
    struct df_disk *again = NULL;
    disk_path(path, "");
    snprintf(saved, sizeof saved, "%s/saved", unit_dir);
    if (_i == SYMLINK || _i == FIFO)
        ck_assert_int_eq(rename(path, saved), 0);
    if (_i == SYMLINK)
        ck_assert_int_eq(symlink(saved, path), 0);
    else if (_i == FIFO)
        ck_assert_int_eq(mkfifo(path, 0600), 0);
    else if (_i == FOREIGN && chown(path, 65534, (gid_t)-1) < 0)
        return;
    else if (_i == OPEN_TO_ALL)
        ck_assert_int_eq(chmod(path, 0777), 0);
    else if (_i != FOREIGN)
        return;
    FAILS(-EPROTO, df_disk_open(unit_dir, "vda", &again, &unit_err));
    check_removable();
    if (_i == SYMLINK)      /* what it pointed to is not ours to remove */
        ck_assert_int_eq(access(saved, F_OK), 0);
}
END_TEST

START_TEST(test_swap_disks)
{
    char path[600];
    struct df_disk *again = NULL;
    snprintf(path, sizeof path, "%s/disks", unit_dir);
    if (_i == 0 ? chmod(path, 0777) : chown(path, 65534, (gid_t)-1))
        return;
    FAILS(-EPERM, df_disk_open(unit_dir, "vda", &again, &unit_err));
    FAILS(-EPERM, df_disk_create(unit_dir, "vdb", MiB, &unit_err));
    FAILS(-EPERM, df_disk_remove(unit_dir, "vda", &unit_err));
    if (_i == 1) {          /* its owner owns the state directory too */
        ck_assert_int_eq(chown(unit_dir, 65534, (gid_t)-1), 0);
        OK(df_disk_open(unit_dir, "vda", &again, &unit_err));
        df_disk_close(&again);
    }
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "cut");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_cut_disk, 0, NLENGTHS);
    tcase_add_loop_test(tc, test_cut_in_transaction, 0, NLENGTHS);
    tcase_add_test(tc, test_cut_disk_twice);
    tcase_add_loop_test(tc, test_cut_map_of_reader, 0, 2 * NLENGTHS);
    tcase_add_loop_test(tc, test_cut_map_of_writer, 0, 3);
    tcase_add_loop_test(tc, test_cut_map_of_session, 0, 6);
    tcase_add_loop_test(tc, test_cut_in_flush, 0, 3);
    tcase_add_test(tc, test_other_mapping);
    tcase_add_test(tc, test_many_slots);
    tc = unit_case(suite, "exchanged");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_swap_map, 0, SWAPS);
    tcase_add_loop_test(tc, test_swap_disk, 0, SWAPS);
    tcase_add_loop_test(tc, test_swap_directory, 0, SWAPS);
    tcase_add_loop_test(tc, test_swap_disks, 0, 2);
}

UNIT_MAIN("hostile-files", add_cases)
