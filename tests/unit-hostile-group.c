// SPDX-License-Identifier: BSD-3-Clause
/*
 * A group of writers: the modes of what is made and of what was there, and what
 * a process of another user in that group can do, and what not.  As root only.
 */
#include "unit-crash.h"

#include <grp.h>

#define GROUP  64321
#define USER   65534

static bool as_root(void)
{
    return geteuid() == 0;
}

/* As root, and in a place that every user can come to. */
static bool can_be_writer(void)
{
    if (!as_root())
        return false;
    ck_assert(chmod(unit_base, 0711) == 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(setgroups(0, NULL) || setgid(USER) || setuid(USER) || access(unit_base, X_OK));
    int status = 0;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    if (status)
        fprintf(stderr, "hostile-group: skipped: other users cannot come to %s\n", unit_base);
    return status == 0;
}

static void path_of(char path[600], const char *file)
{
    snprintf(path, 600, "%s/%s", unit_dir, file);
}

static void check_mode(const char *file, mode_t mode, gid_t group)
{
    char path[600];
    struct stat st;
    path_of(path, file);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_msg((st.st_mode & 07777) == mode && st.st_gid == group, "%s: mode %o, group %u", file, st.st_mode & 07777, st.st_gid);
}

/* What `dirtyferryd --writer-group` does to the two directories. */
static void open_directories(void)
{
    char path[600];
    path_of(path, "disks");
    ck_assert(chown(unit_dir, 0, GROUP) == 0 && chmod(unit_dir, 0750) == 0);
    ck_assert(chown(path, 0, GROUP) == 0 && chmod(path, 02750) == 0);
}

/* Run as somebody else who is in the group; he says by his exit status that all was as it should be. */
static void as_writer(void (*run)(void))
{
    gid_t group = GROUP;
    pid_t pid = fork();
    if (pid == 0) {
        if (setgroups(1, &group) < 0 || setgid(USER) < 0 || setuid(USER) < 0)
            _exit(3);
        run();
        _exit(0);
    }
    unit_reap(pid, 0);
}

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, unit_err.message);  \
            _exit(4);                                                                              \
        }                                                                                          \
    } while (0)

/* -------------------------------------------------------------------- modes */

START_TEST(test_modes)
{
    mode_t old = umask(_i ? 0 : 077);
    add("old", 0);
    check_mode("disks/vda", 0700, 0);
    check_mode("disks/vda/map-0000000000000001", 0600, 0);
    if (!as_root())
        return;
    open_directories();
    OK(disk_share_all(unit_dir, true, &unit_err));
    check_mode("disks/vda", 02750, GROUP);
    check_mode("disks/vda/disk", 0660, GROUP);
    check_mode("disks/vda/map-0000000000000001", 0660, GROUP);
    OK(df_disk_create(unit_dir, "vdb", MiB, &unit_err));
    check_mode("disks/vdb", 02750, GROUP);
    check_mode("disks/vdb/disk", 0660, GROUP);
    df_disk_close(&disk);
    reopen();
    add("new", 0);
    OK(df_bitmap_freeze(disk, "new", one, false, &unit_err));
    check_mode("disks/vda/map-0000000000000002", 0660, GROUP);
    check_mode("disks/vda/map-0000000000000003", 0660, GROUP);
    OK(disk_share_all(unit_dir, false, &unit_err));
    check_mode("disks/vda", 0700, GROUP);
    check_mode("disks/vda/disk", 0600, GROUP);
    check_mode("disks/vdb/disk", 0600, GROUP);
    umask(old);
}
END_TEST

/* What is not ours in there does not get a mode by us. */
START_TEST(test_modes_of_others)
{
    char path[600], target[600];
    if (!as_root())
        return;
    open_directories();
    path_of(target, "target");
    int fd = open(target, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    close(fd);
    path_of(path, "disks/vda/map-00000000000000ff");
    ck_assert_int_eq(symlink(target, path), 0);
    path_of(path, "disks/vda/map-00000000000000fe");
    ck_assert_int_eq(link(target, path), 0);
    OK(disk_share_all(unit_dir, true, &unit_err));
    check_mode("target", 0600, 0);
}
END_TEST

START_TEST(test_no_disks)
{
    char path[600];
    path_of(path, "empty");
    ck_assert_int_eq(mkdir(path, 0700), 0);
    OK(disk_share_all(path, true, &unit_err));
}
END_TEST

/* ----------------------------------------------------------------- a writer */

static void record_and_close(void)
{
    struct df_writer *writer = NULL;
    MUST(df_disk_open(unit_dir, "vda", &disk, &unit_err) == 0);
    MUST(df_writer_new(disk, &writer, &unit_err) == 0);
    MUST(df_write_begin(writer, 512, 512) == 0);
    df_write_end(writer);
    df_writer_free(&writer);
    MUST(df_disk_flush(disk, &unit_err) == 0);
    df_disk_close(&disk);
}

/* Each fails with a sentence, and nothing has changed. */
static void manage(void)
{
    struct df_bitmap_info *infos = NULL;
    size_t n = 0;
    MUST(df_disk_open(unit_dir, "vda", &disk, &unit_err) == 0);
    MUST(df_bitmap_add(disk, "x", 512, 0, &unit_err) == -EACCES && *unit_err.message);
    MUST(df_bitmap_clear(disk, "p", &unit_err) == -EACCES);
    MUST(df_bitmap_remove(disk, "p", &unit_err) == -EACCES && strstr(unit_err.message, "ask the daemon"));
    MUST(df_bitmap_abdicate(disk, "q", one, &unit_err) == -EACCES);
    MUST(df_disk_create(unit_dir, "vdx", MiB, &unit_err) == -EACCES);
    MUST(df_disk_remove(unit_dir, "vdb", &unit_err) == -EACCES);
    MUST(df_bitmap_list(disk, &infos, &n, &unit_err) == 0 && n == 2);
    MUST(!infos[0].inconsistent && infos[1].busy && infos[1].frozen);
    free(infos);
    df_disk_close(&disk);
}

static void shared_disk(void)
{
    open_directories();
    OK(disk_share_all(unit_dir, true, &unit_err));
    OK(df_disk_create(unit_dir, "vdb", MiB, &unit_err));
    reopen();
    add("p", DF_BITMAP_PERSISTENT);
    add("q", DF_BITMAP_PERSISTENT);
    OK(df_bitmap_freeze(disk, "q", one, false, &unit_err));
}

START_TEST(test_writer)
{
    if (!can_be_writer())
        return;
    df_disk_close(&disk);
    shared_disk();
    OK(df_disk_flush(disk, &unit_err));
    as_writer(record_and_close);
    ck_assert_uint_eq(closed_now(), DISK_CLOSED);
    ck_assert_uint_eq(bits_of("p"), 1 << 1);
    as_writer(manage);
    restart_host();
    as_writer(record_and_close);        /* the first who opens it: judges, and records */
    reopen();
    ck_assert(!is_lost("p") && !is_lost("q"));
    ck_assert_uint_eq(bits_of("p"), 1 << 1);
}
END_TEST

static void open_damaged(void)
{
    MUST(df_disk_open(unit_dir, "vda", &disk, &unit_err) == -EACCES && strstr(unit_err.message, "start the daemon first"));
}

/* A map that is lost must be replaced: that is for the daemon, and until then nothing is said of the rest. */
START_TEST(test_writer_after_crash)
{
    char path[600];
    if (!can_be_writer())
        return;
    df_disk_close(&disk);
    shared_disk();
    mark(1);
    OK(df_disk_flush(disk, &unit_err));
    map_path(path, record_of("q").child);
    restart_host();
    ck_assert_int_eq(truncate(path, 100), 0);
    as_writer(open_damaged);
    as_writer(open_damaged);
    reopen();
    ck_assert(!is_lost("p") && is_lost("q"));
    ck_assert_uint_eq(bits_of("p"), 1 << 1);
    check_mode("disks/vda/map-0000000000000003", 0660, GROUP);
    as_writer(record_and_close);
}
END_TEST

static void be_refused(void)
{
    MUST(df_disk_open(unit_dir, "vda", &disk, &unit_err) == -EACCES);
}

START_TEST(test_not_shared)
{
    if (!can_be_writer())
        return;
    ck_assert(chown(unit_dir, 0, GROUP) == 0 && chmod(unit_dir, 0750) == 0);
    as_writer(be_refused);
}
END_TEST

static void add_cases(Suite *suite)
{
    if (!as_root())
        fprintf(stderr, "hostile-group: most is skipped: it takes root to become another user\n");
    TCase *tc = unit_case(suite, "group");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_modes, 0, 2);
    tcase_add_test(tc, test_modes_of_others);
    tcase_add_test(tc, test_no_disks);
    tcase_add_test(tc, test_writer);
    tcase_add_test(tc, test_writer_after_crash);
    tcase_add_test(tc, test_not_shared);
}

UNIT_MAIN("hostile-group", add_cases)
