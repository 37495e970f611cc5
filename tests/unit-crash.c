// SPDX-License-Identifier: BSD-3-Clause
/*
 * A disk and a restart of the host: what a clean close keeps, what a crash
 * leaves, in which order things reach the storage, and bitmaps of sessions.
 * Damaged files are in unit-damage.c.
 */
#include "unit-crash.h"

/* ---------------------------------------------------------- clean, unclean */

START_TEST(test_clean)
{
    add("p", DF_BITMAP_PERSISTENT);
    add("off", DF_BITMAP_PERSISTENT | DF_BITMAP_DISABLED);
    add("plain", 0);
    mark(3);
    mark(63);
    OK(df_disk_flush(disk, &unit_err));
    for (unsigned i = 0; i < 3; i++) {      /* as often as the host is restarted and nobody writes */
        restart_host();
        reopen();
        ck_assert_uint_eq(bits_of("p"), UINT64_C(1) << 63 | 1 << 3);
        ck_assert_uint_eq(count_of("p"), 1024);
        ck_assert_uint_eq(count_of("off"), 0);
        ck_assert(!is_lost("p") && info_of("p").recording && !is_lost("off") && !info_of("off").recording);
        ck_assert(is_lost("plain") && !df_disk_is_readonly(disk));
    }
    mark(5);
    ck_assert_uint_eq(count_of("p"), 1536);
    check_lost("plain");
}
END_TEST

START_TEST(test_unclean)
{
    add("p", DF_BITMAP_PERSISTENT);
    add("plain", 0);
    mark(3);
    restart_host();
    reopen();
    ck_assert(is_lost("p") && is_lost("plain") && !df_disk_is_readonly(disk));
    check_lost("p");
    check_lost("plain");
    df_disk_close(&disk);
    reopen();                               /* the judgement is made once */
    ck_assert(!is_lost("p") && !is_lost("plain"));
    OK(df_disk_flush(disk, &unit_err));     /* and all is well again */
    restart_host();
    reopen();
    ck_assert(!is_lost("p") && !is_lost("plain"));
}
END_TEST

/* Nothing is judged; the lock is not even taken (this would wait for ever). */
START_TEST(test_same_boot)
{
    struct df_disk *other = NULL;
    struct txn txn;
    add("p", 0);
    mark(3);
    OK(df_bitmap_take(disk, "p", one, &unit_err));
    other = steal(&disk);
    syncs_reset(0, 0);
    OK(txn_begin(other, &txn, &unit_err));
    reopen();
    txn_abort(&txn);
    df_disk_close(&other);
    ck_assert_uint_eq(syncs.n, 0);
    ck_assert(!is_lost("p") && !df_disk_is_readonly(disk));
    ck_assert_uint_eq(bits_of("p"), 1 << 3);
}
END_TEST

/* Sections of processes that are gone with the host; none of a living one may count for them. */
START_TEST(test_sections_dropped)
{
    struct section *section = &disk->shared->sections[7];
    add("p", DF_BITMAP_PERSISTENT);
    atomic_store(&section->offset, 512);
    atomic_store(&section->length, 512);
    atomic_store(&section->open, 1);
    atomic_store(&disk->shared->nsections, 8);
    restart_host();
    reopen();
    ck_assert_uint_eq(atomic_load(&disk->shared->sections[7].open), 0);
    ck_assert_uint_eq(df_disk_open_sections(disk), 0);
    ck_assert_uint_eq(bits_of("p"), 0);
}
END_TEST

/* ------------------------------------------------------ closed, then changed */

static struct df_writer *writer;

static void change_mark(void) { mark(9); }
static void change_add(void) { add("new", 0); }
static void change_remove(void) { OK(df_bitmap_remove(disk, "full", &unit_err)); }
static void change_clear(void) { OK(df_bitmap_clear(disk, "p", &unit_err)); }
static void change_disable(void) { OK(df_bitmap_disable(disk, "p", &unit_err)); }
static void change_merge(void) { OK(df_bitmap_merge(disk, "p", disk, "full", &unit_err)); }
static void change_take(void) { OK(df_bitmap_take(disk, "p", one, &unit_err)); }
static void change_fence(void) { OK(df_disk_fence(disk, &unit_err)); }
static void change_inconsistent(void) { OK(df_bitmap_set_inconsistent(disk, "full", &unit_err)); }
static void change_writer(void) { OK(df_writer_new(disk, &writer, &unit_err)); }

static void (*const changes[])(void) = { change_mark, change_add, change_remove, change_clear, change_disable, change_merge,
                                         change_take, change_fence, change_inconsistent, change_writer };

/* One sync, of the table, that says UNSURE; none for the changes that follow; the clean close is void. */
START_TEST(test_change_after_close)
{
    add("full", DF_BITMAP_PERSISTENT);
    mark(1);
    add("p", DF_BITMAP_PERSISTENT);
    OK(df_disk_flush(disk, &unit_err));
    ck_assert_uint_eq(closed_now(), DISK_CLOSED);
    syncs_reset(0, 0);
    changes[_i]();
    ck_assert_str_eq(syncs.log, "U");
    ck_assert_uint_eq(closed_now(), DISK_OPEN);
    df_writer_free(&writer);
    if (!df_disk_is_readonly(disk))
        mark(10);
    OK(df_bitmap_add(disk, "another", 512, 0, &unit_err));
    ck_assert_uint_eq(syncs.n, 1);
    restart_host();
    reopen();
    ck_assert(is_lost("p"));
}
END_TEST

/* The storage cannot be told: no change, and the next one tries again. */
START_TEST(test_change_refused)
{
    add("full", DF_BITMAP_PERSISTENT);
    mark(1);
    add("p", DF_BITMAP_PERSISTENT);
    OK(df_disk_flush(disk, &unit_err));
    struct df_bitmap_info before = info_of("p"), after, none;
    syncs_reset(1, EIO);
    FAILS(-EIO, df_writer_new(disk, &writer, &unit_err));
    ck_assert(!section_in_use(disk));
    ck_assert_uint_eq(closed_now(), DISK_UNSURE);
    syncs_reset(1, EIO);
    FAILS(-EIO, df_bitmap_add(disk, "new", 512, 0, &unit_err));
    FAILS(-ENOENT, df_bitmap_get_info(disk, "new", &none, &unit_err));
    syncs_reset(1, EIO);
    FAILS(-EIO, df_bitmap_merge(disk, "p", disk, "full", &unit_err));
    ck_assert_uint_eq(bits_of("p"), 0);
    syncs_reset(1, EIO);
    FAILS(-EIO, df_bitmap_take(disk, "p", one, &unit_err));
    syncs_reset(1, EIO);
    FAILS(-EIO, df_disk_fence(disk, &unit_err));
    ck_assert(!df_disk_is_readonly(disk));
    after = info_of("p");
    ck_assert_mem_eq(&before, &after, sizeof before);
    syncs_reset(1, EINVAL);     /* a file system that has no such storage */
    change_mark();
    ck_assert_uint_eq(closed_now(), DISK_OPEN);
}
END_TEST

/* ------------------------------------------------------------------- close */

/* Maps and directories, then the table, then the note on its own; only what can be good is written. */
START_TEST(test_close_order)
{
    add("p", DF_BITMAP_PERSISTENT);
    add("plain", 0);
    add("lost", DF_BITMAP_PERSISTENT);
    add("moved", 0);
    OK(df_bitmap_set_inconsistent(disk, "lost", &unit_err));
    OK(df_bitmap_freeze(disk, "moved", one, false, &unit_err));
    syncs_reset(0, 0);
    OK(df_disk_flush(disk, &unit_err));
    ck_assert_str_eq(syncs.log, "mmmUDDDC");
    OK(df_disk_flush(disk, &unit_err));     /* nothing to do */
    ck_assert_uint_eq(syncs.n, 8);
}
END_TEST

/* Whichever sync fails: not closed, and no later crash may find it closed. */
START_TEST(test_close_fails)
{
    add("p", DF_BITMAP_PERSISTENT);
    mark(1);
    syncs_reset((unsigned)_i, EIO);
    FAILS(-EIO, df_disk_flush(disk, &unit_err));
    ck_assert_uint_eq(syncs.n, (unsigned)_i);
    ck_assert_uint_eq(closed_now(), syncs.log[_i - 1] == 'C' ? DISK_UNSURE : DISK_OPEN);
    ck_assert_int_eq(is_lost("p"), syncs.log[_i - 1] == 'm');   /* the kernel may forget what it could not write */
    uint32_t closed = closed_now();
    syncs_reset(1, EIO);        /* once more: what storage may say is not forgotten */
    FAILS(-EIO, df_disk_flush(disk, &unit_err));
    ck_assert_uint_eq(closed_now(), closed);
    syncs_reset(0, 0);
    if (closed_now() == DISK_UNSURE) {
        mark(2);
        ck_assert_str_eq(syncs.log, "U");
    }
    OK(df_disk_flush(disk, &unit_err));
    restart_host();
    reopen();
    ck_assert(is_lost("p"));    /* its map could not be written once */
}
END_TEST

START_TEST(test_close_cannot_sync)
{
    add("p", DF_BITMAP_PERSISTENT);
    for (unsigned i = 1; i <= 6; i++) {
        syncs_reset(i, EINVAL);
        mark(i);
        OK(df_disk_flush(disk, &unit_err));
    }
    syncs_reset(1, EROFS);
    FAILS(-EROFS, df_disk_mark(disk, 0, 1, &unit_err));
}
END_TEST

/* A living writer of this handle, of another one, of another process. */
START_TEST(test_close_in_use)
{
    struct df_disk *other = NULL;
    int ready[2], go[2];
    char c = 0;
    add("p", DF_BITMAP_PERSISTENT);
    OK(df_writer_new(disk, &writer, &unit_err));
    FAILS(-EBUSY, df_disk_flush(disk, &unit_err));
    df_writer_free(&writer);
    OK(df_disk_open(unit_dir, "vda", &other, &unit_err));
    struct df_writer *first = NULL;
    OK(df_writer_new(other, &first, &unit_err));
    OK(df_writer_new(other, &writer, &unit_err));
    df_writer_free(&first);
    FAILS(-EBUSY, df_disk_flush(disk, &unit_err));
    ck_assert_uint_eq(closed_now(), DISK_OPEN);
    df_writer_free(&writer);
    OK(df_disk_flush(other, &unit_err));
    df_disk_close(&other);
    ck_assert_int_eq(pipe(ready) | pipe(go), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct df_disk *mine = NULL;
        if (df_disk_open(unit_dir, "vda", &mine, NULL) < 0 || df_writer_new(mine, &writer, NULL) < 0 || write(ready[1], "r", 1) != 1)
            _exit(1);
        _exit(read(go[0], &c, 1) != 1 || df_write_begin(writer, 512, 512) < 0 || kill(getpid(), SIGKILL) < 0);
    }
    ck_assert_int_eq(read(ready[0], &c, 1), 1);
    FAILS(-EBUSY, df_disk_flush(disk, &unit_err));
    ck_assert_uint_eq(closed_now(), DISK_OPEN);
    ck_assert_int_eq(write(go[1], "g", 1), 1);
    unit_reap(pid, SIGKILL);
    /* It died in a write, behind a clear: that is part of what is closed. */
    OK(df_bitmap_clear(disk, "p", &unit_err));
    OK(df_disk_flush(disk, &unit_err));
    restart_host();
    reopen();
    ck_assert(!is_lost("p"));
    ck_assert_uint_eq(bits_of("p"), 1 << 1);
}
END_TEST

/* At the lock of a slot: somebody else closes, just before it (1) or just behind it (2). */
static unsigned close_at_lock;
static struct df_disk *closer;
static int close_result;

int __real_fcntl(int fd, int cmd, struct flock *lock);
int __wrap_fcntl(int fd, int cmd, struct flock *lock);
int __wrap_fcntl(int fd, int cmd, struct flock *lock)
{
    bool slot = close_at_lock && cmd == F_OFD_SETLK && lock->l_type == F_WRLCK && lock->l_start;
    unsigned at = slot ? steal(&close_at_lock) : 0;
    if (at == 1)
        close_result = df_disk_flush(closer, NULL);
    int r = __real_fcntl(fd, cmd, lock);
    if (at == 2)
        close_result = df_disk_flush(closer, NULL);
    return r;
}

START_TEST(test_close_in_claim)
{
    add("p", DF_BITMAP_PERSISTENT);
    OK(df_disk_open(unit_dir, "vda", &closer, &unit_err));
    ck_assert_uint_eq(closed_now(), DISK_OPEN);
    close_at_lock = (unsigned)_i;
    OK(df_writer_new(disk, &writer, &unit_err));
    ck_assert_uint_eq(close_at_lock, 0);
    ck_assert_int_eq(close_result, _i == 1 ? 0 : -EBUSY);
    ck_assert_uint_eq(closed_now(), DISK_OPEN);
    df_writer_free(&writer);
    df_disk_close(&closer);
}
END_TEST

/* Who closes and who claims see each other: while a slot is held the disk is never closed. */
START_TEST(test_close_race)
{
    int stop[2];
    add("p", DF_BITMAP_PERSISTENT);
    ck_assert_int_eq(pipe(stop), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct df_disk *mine = NULL;
        char c;
        close(stop[1]);
        fcntl(stop[0], F_SETFL, O_NONBLOCK);
        int r = df_disk_open(unit_dir, "vda", &mine, NULL);
        for (unsigned i = 0; !r && read(stop[0], &c, 1) < 0; i++) {
            struct df_writer *w = NULL;
            r = df_writer_new(mine, &w, NULL);
            for (unsigned j = 0; !r && j < i % 5000; j++)
                r = atomic_load(&mine->shared->closed) == DISK_CLOSED;
            df_writer_free(&w);
        }
        _exit(r != 0);
    }
    /* As often as it takes for some of both, whoever has the processor. */
    for (unsigned closed = 0, busy = 0, tries = 0; closed < 20 || busy < 20 || tries < 2000; tries++) {
        int r = df_disk_flush(disk, NULL);
        ck_assert(r == 0 || r == -EBUSY);
        closed += r == 0;
        busy += r == -EBUSY;
    }
    close(stop[0]);
    close(stop[1]);
    unit_reap(pid, 0);
}
END_TEST

START_TEST(test_sync_calls)
{
    add("plain", 0);
    add("moved", 0);
    OK(df_bitmap_freeze(disk, "moved", one, true, &unit_err));
    syncs_reset(0, 0);
    OK(disk_sync(disk, &unit_err));
    ck_assert_str_eq(syncs.log, "ODDD");
    /* Both tables are the one in force: no older one can come back. */
    const struct table *tables = disk->shared->tables;
    static struct table copy;
    ck_assert(tables[0].number == tables[1].number && !table_take(disk, &tables[0], &copy) && !table_take(disk, &tables[1], &copy));
    ck_assert_uint_eq(tables[0].number, atomic_load(&disk->shared->epoch) >> 1);
    syncs_reset(0, 0);
    OK(disk_sync_map(disk, "plain", &unit_err));
    ck_assert_str_eq(syncs.log, "m");
    OK(disk_sync_map(disk, "moved", &unit_err));
    ck_assert_str_eq(syncs.log, "mmm");
    FAILS(-ENOENT, disk_sync_map(disk, "nix", &unit_err));
    syncs_reset(1, EIO);
    FAILS(-EIO, disk_sync(disk, &unit_err));
    syncs_reset(1, ENOSPC);
    FAILS(-ENOSPC, disk_sync_map(disk, "plain", &unit_err));
    ck_assert(is_lost("plain") && !is_lost("moved"));
}
END_TEST

/* ---------------------------------------------------------------- sessions */

/* A source: with a crash the fence of a pivot may be gone. */
START_TEST(test_taken)
{
    add("p", 0);
    mark(1);
    OK(df_bitmap_take(disk, "p", one, &unit_err));
    if (_i)
        OK(df_disk_flush(disk, &unit_err));
    restart_host();
    reopen();
    ck_assert_int_eq(df_disk_is_readonly(disk), !_i);
    ck_assert_int_eq(is_lost("p"), !_i);
    ck_assert_uint_eq(record_of("p").state, RECORD_TAKEN);
    ck_assert_uint_eq(bits_of("p"), 1 << 1);
    if (_i) {
        OK(df_disk_fence(disk, &unit_err));
        OK(df_disk_flush(disk, &unit_err));
        restart_host();
        reopen();
        ck_assert(df_disk_is_readonly(disk) && !is_lost("p"));
    }
    OK(df_disk_unfence(disk, &unit_err));
    OK(df_bitmap_give_back(disk, "p", one, &unit_err));
    mark(2);
    ck_assert(bits_of("p") & 1 << 2);
}
END_TEST

/* A target: the session may go on, with the verdict. */
START_TEST(test_target)
{
    static const enum record_state states[] = { RECORD_LOCKED, RECORD_FROZEN, RECORD_RECLAIMING };
    enum record_state state = states[_i % 3];
    bool clean = _i >= 3;
    add("p", 0);
    mark(1);
    OK(df_bitmap_freeze(disk, "p", one, state == RECORD_LOCKED, &unit_err));
    mark(2);
    set_state("p", state);
    if (clean)
        OK(df_disk_flush(disk, &unit_err));
    restart_host();
    reopen();
    ck_assert_uint_eq(record_of("p").state, state);
    ck_assert_mem_eq(record_of("p").session, one, sizeof one);
    ck_assert(is_lost("p") == !clean && !df_disk_is_readonly(disk));
    mark(3);
    OK(df_bitmap_reclaim(disk, "p", one, &unit_err));
    ck_assert_int_eq(is_lost("p"), !clean);
    ck_assert_uint_eq(bits_of("p"), state == RECORD_LOCKED ? 1 << 1 : 1 << 1 | 1 << 2 | 1 << 3);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "restart");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_clean);
    tcase_add_test(tc, test_unclean);
    tcase_add_test(tc, test_same_boot);
    tcase_add_test(tc, test_sections_dropped);
    tc = unit_case(suite, "closed");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_change_after_close, 0, sizeof changes / sizeof *changes);
    tcase_add_test(tc, test_change_refused);
    tcase_add_test(tc, test_close_order);
    tcase_add_loop_test(tc, test_close_fails, 1, 7);
    tcase_add_test(tc, test_close_cannot_sync);
    tcase_add_test(tc, test_close_in_use);
    tcase_add_loop_test(tc, test_close_in_claim, 1, 3);
    tcase_add_test(tc, test_close_race);
    tcase_add_test(tc, test_sync_calls);
    tc = unit_case(suite, "sessions");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_taken, 0, 2);
    tcase_add_loop_test(tc, test_target, 0, 6);
}

UNIT_MAIN("crash", add_cases)
