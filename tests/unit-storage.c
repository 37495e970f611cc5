// SPDX-License-Identifier: BSD-3-Clause
/*
 * The files of a disk when something goes wrong: removed while in use, a
 * process that dies in a transaction, a full file system, no descriptors left.
 */
#include "unit.h"

#include <sys/mount.h>
#include <sys/resource.h>

#include "bitmap/disk.h"

static struct df_disk *disk;

static void make_disk(const char *name, uint64_t size)
{
    OK(df_disk_create(unit_dir, name, size, &unit_err));
    OK(df_disk_open(unit_dir, name, &disk, &unit_err));
}

static struct df_bitmap_info info_of(const char *name)
{
    struct df_bitmap_info info;
    OK(df_bitmap_get_info(disk, name, &info, &unit_err));
    ck_assert_str_eq(info.name, name);
    return info;
}

/* Bytes of the disk that are dirty in whole bits. */
static uint64_t count_of(const char *name)
{
    struct df_bitmap *bitmap = NULL;
    OK(df_bitmap_open(disk, name, &bitmap, &unit_err));
    uint64_t count = df_bitmap_count(bitmap);
    df_bitmap_close(&bitmap);
    return count;
}

static void mark(uint64_t offset, uint64_t length)
{
    OK(df_disk_mark(disk, offset, length, &unit_err));
}

/* ---------------------------------------------------------- in whose hands */

START_TEST(test_remove_in_use)
{
    static const uint8_t session[DF_SESSION_BYTES] = "one";
    struct df_disk *other = NULL;
    struct df_writer *w = NULL;
    make_disk("vda", MiB);
    OK(df_disk_open(unit_dir, "vda", &other, &unit_err));
    OK(df_bitmap_add(disk, "a", 512, 0, &unit_err));
    OK(df_writer_new(other, &w, &unit_err));
    FAILS(-EBUSY, df_disk_remove(unit_dir, "vda", &unit_err));
    df_writer_free(&w);
    OK(df_bitmap_take(disk, "a", session, &unit_err));
    FAILS(-EBUSY, df_disk_remove(unit_dir, "vda", &unit_err));
    OK(df_bitmap_give_back(disk, "a", session, &unit_err));
    OK(df_bitmap_freeze(disk, "a", session, true, &unit_err));
    FAILS(-EBUSY, df_disk_remove(unit_dir, "vda", &unit_err));
    OK(df_bitmap_reclaim(disk, "a", session, &unit_err));
    OK(df_disk_remove(unit_dir, "vda", &unit_err));
    FAILS(-ENOENT, df_disk_open(unit_dir, "vda", NULL, &unit_err));
    OK(df_disk_create(unit_dir, "vda", 7, &unit_err));
    ck_assert_uint_eq(df_disk_size(disk), MiB);     /* the old one, until it is closed */
    df_disk_close(&other);
    df_disk_close(&disk);
}
END_TEST

/* Edits of a transaction whose process dies: nothing of it is seen, and nothing of it is in the way. */
static void die_in_transaction(bool create)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct df_disk *mine = NULL;
        struct txn txn;
        struct record *record;
        if (df_disk_open(unit_dir, "vda", &mine, NULL) < 0 || txn_begin(mine, &txn, NULL) < 0)
            _exit(1);
        if (create && record_add(&txn, "new", 512, 0, &record, NULL) < 0)
            _exit(2);
        record = txn_find(&txn, "a");
        record->flags = 0;
        record->state = RECORD_FROZEN;
        record->map = 4711;
        record_remove(&txn, txn_find(&txn, "b"));
        txn.fence = DISK_EPOCH_FENCED;
        txn.changed = true;
        kill(getpid(), SIGKILL);
        _exit(3);
    }
    unit_reap(pid, SIGKILL);
}

START_TEST(test_killed_transaction)
{
    static const uint8_t session[DF_SESSION_BYTES] = "one";
    make_disk("vda", MiB);
    OK(df_bitmap_add(disk, "a", 512, 0, &unit_err));
    OK(df_bitmap_add(disk, "b", 512, 0, &unit_err));
    mark(0, 1);
    die_in_transaction(_i);
    ck_assert(!df_disk_is_readonly(disk));
    struct df_bitmap_info a = info_of("a"), b = info_of("b"), none;
    ck_assert(a.recording && !a.busy && b.recording);
    FAILS(-ENOENT, df_bitmap_get_info(disk, "new", &none, &unit_err));
    mark(512, 1);
    ck_assert_uint_eq(count_of("a"), 1024);
    ck_assert_uint_eq(count_of("b"), 1024);
    /* The map file that the dead one left behind must not stop those that come after it. */
    OK(df_bitmap_add(disk, "new", 512, 0, &unit_err));
    ck_assert_uint_eq(count_of("new"), 0);
    OK(df_bitmap_clear(disk, "a", &unit_err));
    OK(df_bitmap_freeze(disk, "b", session, false, &unit_err));
    mark(1024, 1);
    OK(df_bitmap_reclaim(disk, "b", session, &unit_err));
    ck_assert_uint_eq(count_of("a"), 512);
    ck_assert_uint_eq(count_of("b"), 1536);
    df_disk_close(&disk);
}
END_TEST

/* A refused change leaves no map file behind. */
START_TEST(test_abort_leaves_nothing)
{
    struct txn txn;
    struct record *record;
    char path[400];
    make_disk("vda", MiB);
    OK(txn_begin(disk, &txn, &unit_err));
    OK(record_add(&txn, "a", 512, 0, &record, &unit_err));
    snprintf(path, sizeof path, "%s/disks/vda/map-%016" PRIx64, unit_dir, record->map);
    ck_assert_int_eq(access(path, F_OK), 0);
    txn_abort(&txn);
    ck_assert_int_ne(access(path, F_OK), 0);
    OK(df_bitmap_add(disk, "a", 512, 0, &unit_err));
    ck_assert_int_eq(access(path, F_OK), 0);
    OK(df_bitmap_clear(disk, "a", &unit_err));
    ck_assert_int_ne(access(path, F_OK), 0);
    df_disk_close(&disk);
}
END_TEST

/* -------------------------------------------------------------- no storage */

/* Write until the file system takes no more. */
static void fill_up(void)
{
    static char bytes[4096];
    char path[400];
    snprintf(path, sizeof path, "%s/fill", unit_dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    while (write(fd, bytes, sizeof bytes) > 0)
        ;
    close(fd);
}

/* In a child: the mount must go away again, whatever the asserts say. */
static void run_full(void)
{
    static const uint8_t session[DF_SESSION_BYTES] = "one";
    struct df_bitmap *bitmap = NULL;
    make_disk("vda", GiB);
    OK(df_bitmap_add(disk, "a", 512, 0, &unit_err));
    OK(df_bitmap_add_frozen(disk, "moved", 512, 0, session, &unit_err));
    OK(df_bitmap_add(disk, "off", 512, DF_BITMAP_DISABLED, &unit_err));
    mark(0, 1);
    fill_up();
    mark(1, 1);             /* has its storage */
    ck_assert(!info_of("a").inconsistent);
    ck_assert_uint_eq(count_of("a"), 512);
    mark(GiB / 2, GiB / 4); /* has none: passes, no SIGBUS */
    ck_assert(info_of("a").inconsistent);
    ck_assert(info_of("a").recording);
    ck_assert(!info_of("off").inconsistent);
    FAILS(-EINVAL, df_bitmap_open(disk, "a", &bitmap, &unit_err));
    FAILS(-EINVAL, df_bitmap_clear(disk, "a", &unit_err));
    FAILS(-ENOSPC, df_bitmap_add(disk, "b", 512, 0, &unit_err));
    FAILS(-ENOSPC, df_bitmap_give_up(disk, "moved", session, true, &unit_err));
    ck_assert(info_of("moved").busy && !info_of("moved").inconsistent);
    OK(df_bitmap_remove(disk, "a", &unit_err));
    FAILS(-ENOSPC, df_disk_create(unit_dir, "vdb", GiB, &unit_err));
    char path[400];
    snprintf(path, sizeof path, "%s/fill", unit_dir);
    ck_assert_int_eq(unlink(path), 0);
    OK(df_bitmap_give_up(disk, "moved", session, true, &unit_err));
    ck_assert_uint_eq(count_of("moved"), GiB);
    OK(df_bitmap_add(disk, "a", 512, 0, &unit_err));
    mark(GiB / 2, GiB / 4);
    ck_assert_uint_eq(count_of("a"), GiB / 4);
    df_disk_close(&disk);
}

START_TEST(test_full_file_system)
{
    if (mount("df-unit", unit_dir, "tmpfs", 0, "size=8m,mode=0700") < 0) {
        printf("full file system: skipped, no tmpfs can be mounted (%s)\n", strerror(errno));
        return;
    }
    pid_t pid = check_fork();
    if (pid == 0) {
        run_full();
        exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    umount2(unit_dir, MNT_DETACH);
    ck_assert_msg(!WIFSIGNALED(status) || WTERMSIG(status) != SIGBUS, "SIGBUS");
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", (unsigned)status);
}
END_TEST

/* A writer that cannot map a bitmap (no file descriptors left) lets the write pass and says so. */
START_TEST(test_cannot_map)
{
    struct df_writer *w = NULL;
    struct df_disk *other = NULL;
    struct rlimit full, none;
    make_disk("vda", MiB);
    OK(df_bitmap_add(disk, "a", 512, 0, &unit_err));
    OK(df_bitmap_add(disk, "off", 512, DF_BITMAP_DISABLED, &unit_err));
    OK(df_disk_open(unit_dir, "vda", &other, &unit_err));
    OK(df_writer_new(other, &w, &unit_err));
    getrlimit(RLIMIT_NOFILE, &full);
    none = full;
    none.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &none);
    int r = df_write_begin(w, 0, 1);
    df_write_end(w);
    setrlimit(RLIMIT_NOFILE, &full);
    ck_assert_int_eq(r, 0);
    ck_assert(info_of("a").inconsistent);
    ck_assert(!info_of("off").inconsistent);
    df_writer_free(&w);
    df_disk_close(&other);
    df_disk_close(&disk);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "hands");
    tcase_add_test(tc, test_remove_in_use);
    tcase_add_loop_test(tc, test_killed_transaction, 0, 2);
    tcase_add_test(tc, test_abort_leaves_nothing);
    tc = unit_case(suite, "storage");
    tcase_add_test(tc, test_full_file_system);
    tcase_add_test(tc, test_cannot_map);
}

UNIT_MAIN("storage", add_cases)
