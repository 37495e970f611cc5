// SPDX-License-Identifier: BSD-3-Clause
/*
 * No acknowledged write is lost: many threads of many processes write random
 * ranges and log what was acknowledged, while the main process freezes,
 * reclaims, abdicates, clears, unlocks and fences; some writers are killed.
 *
 * The oracle is a clock that all share.  A writer takes a stamp while its
 * section is open.  A bitmap that began to record (was cleared, frozen,
 * unlocked) before the clock stood at c must hold every write with a stamp of c
 * or more.  All loops are bounded by counts of operations; nothing sleeps.
 */
#include "unit.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include "bitmap/disk.h"

#define NPROCESSES 4
#define NTHREADS 3
#define NWRITERS (NPROCESSES * NTHREADS)
#define NOPS 2500
#define SIZE GiB
#define GRANULARITY 512

struct entry {
    uint64_t offset, length, stamp;
};

struct log {
    alignas(64) _Atomic uint64_t n;
    struct entry entries[NOPS];
};

/* In a mapping that all processes share. */
static struct shared {
    alignas(64) _Atomic uint64_t clock;
    alignas(64) _Atomic unsigned begun;     /* threads that are at work */
    bool insist;                            /* a write that the fence refuses is tried again */
    alignas(64) struct log logs[NWRITERS];
} *shared;

static const uint8_t one[DF_SESSION_BYTES] = "session one";
static struct df_disk *disk;
static pid_t pids[NPROCESSES];
static uint64_t seen[NWRITERS];             /* entries below were checked by check_since() */

/* ----------------------------------------------------------------- writers */

/* Half of the writes meet in a hot part, where writers skip what others have set. */
static void some_range(struct entry *e)
{
    e->offset = unit_below(unit_below(2) ? SIZE - 8192 : MiB);
    e->length = 1 + unit_below(8192);
}

struct worker {
    pthread_t thread;
    struct df_disk *disk;
    unsigned number;
};

static void *work(void *opaque)
{
    struct worker *me = opaque;
    struct log *log = &shared->logs[me->number];
    struct df_writer *w = NULL;
    unit_state = unit_seed + me->number;
    if (df_writer_new(me->disk, &w, NULL) < 0)
        _exit(3);
    atomic_fetch_add(&shared->begun, 1);
    for (unsigned i = 0; i < NOPS; i++) {
        struct entry e;
        some_range(&e);
        int r = df_write_begin(w, e.offset, e.length);
        while (r == -EROFS && shared->insist) {
            sched_yield();
            r = df_write_begin(w, e.offset, e.length);
        }
        if (r == -EROFS)
            break;
        if (r < 0)
            _exit(4);
        e.stamp = atomic_fetch_add(&shared->clock, 1);
        if (i % 4 == 0)
            sched_yield();      /* the I/O: others get on */
        df_write_end(w);
        log->entries[i] = e;
        atomic_store_explicit(&log->n, i + 1, memory_order_release);
    }
    df_writer_free(&w);
    return NULL;
}

static void writer_process(unsigned number)
{
    struct df_disk *mine = NULL;
    struct worker workers[NTHREADS];
    if (df_disk_open(unit_dir, "vda", &mine, NULL) < 0)
        _exit(1);
    for (unsigned i = 0; i < NTHREADS; i++) {
        workers[i] = (struct worker){ .disk = mine, .number = number * NTHREADS + i };
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
            _exit(2);
    }
    for (unsigned i = 0; i < NTHREADS; i++)
        pthread_join(workers[i].thread, NULL);
    df_disk_close(&mine);
    _exit(0);
}

static void start_writers(void)
{
    for (unsigned i = 0; i < NPROCESSES; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            writer_process(i);
        ck_assert_int_gt(pids[i], 0);
    }
}

/* Is any writer left?  One that ended by itself must have done so in peace. */
static bool writers_run(void)
{
    bool any = false;
    for (unsigned i = 0; i < NPROCESSES; i++) {
        int status;
        if (!pids[i])
            continue;
        pid_t r = waitpid(pids[i], &status, WNOHANG);
        if (r == pids[i]) {
            ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "writer ended with status %#x", (unsigned)status);
            pids[i] = 0;
        } else {
            any = true;
        }
    }
    return any;
}

/* ------------------------------------------------------------------ oracle */

static bool covers(const struct df_bitmap *bitmap, const struct entry *e)
{
    for (uint64_t at = e->offset / GRANULARITY * GRANULARITY; at < e->offset + e->length; at += GRANULARITY)
        if (!df_bitmap_test(bitmap, at))
            return false;
    return true;
}

/* Every write that was acknowledged by now and had its stamp at `since` or later is in the bitmap. */
static void check_since(const char *name, uint64_t since, uint64_t from[NWRITERS])
{
    struct df_bitmap *bitmap = NULL;
    uint64_t upto[NWRITERS];
    for (unsigned i = 0; i < NWRITERS; i++)
        upto[i] = atomic_load_explicit(&shared->logs[i].n, memory_order_acquire);
    OK(df_bitmap_open(disk, name, &bitmap, &unit_err));
    for (unsigned i = 0; i < NWRITERS; i++)
        for (; from[i] < upto[i]; from[i]++) {
            const struct entry *e = &shared->logs[i].entries[from[i]];
            ck_assert_msg(e->stamp < since || covers(bitmap, e),
                          "lost in '%s': write %" PRIu64 " of writer %u, %" PRIu64 "+%" PRIu64 ", stamp %" PRIu64 " (since %" PRIu64 ")",
                          name, from[i], i, e->offset, e->length, e->stamp, since);
        }
    df_bitmap_close(&bitmap);
}

static void check_everything(const char *name)
{
    uint64_t zero[NWRITERS] = { 0 };
    struct df_bitmap_info info;
    OK(df_bitmap_get_info(disk, name, &info, &unit_err));
    ck_assert(!info.inconsistent);
    check_since(name, 0, zero);
}

static void drain(void)
{
    OK(df_disk_fence(disk, &unit_err));
    while (df_disk_open_sections(disk))
        sched_yield();
}

static uint64_t now(void)
{
    return atomic_fetch_add(&shared->clock, 1) + 1;
}

static void setup(void)
{
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(shared, MAP_FAILED);
    OK(df_disk_create(unit_dir, "vda", SIZE, &unit_err));
    OK(df_disk_open(unit_dir, "vda", &disk, &unit_err));
    OK(df_bitmap_add(disk, "a", GRANULARITY, 0, &unit_err));
}

static void teardown(void)
{
    df_disk_close(&disk);
    munmap(shared, sizeof *shared);
}

/* ------------------------------------------------------------------- cycles */

static void cycle_reclaim(void)
{
    OK(df_bitmap_freeze(disk, "a", one, false, &unit_err));
    OK(df_bitmap_reclaim(disk, "a", one, &unit_err));
}

START_TEST(test_freeze_reclaim)
{
    start_writers();
    for (unsigned i = 0; writers_run(); i++) {
        cycle_reclaim();
        if (i % 8 == 0)     /* what was acknowledged is there at any time, not only in the end */
            check_since("a", 0, seen);
    }
    drain();
    check_everything("a");
}
END_TEST

/* Abdication keeps what came since the freeze, a clear what came since the clear. */
static uint64_t cycle_clear(void)
{
    OK(df_bitmap_clear(disk, "a", &unit_err));
    return now();
}

static uint64_t cycle_abdicate(void)
{
    OK(df_bitmap_freeze(disk, "a", one, false, &unit_err));
    uint64_t since = now();
    OK(df_bitmap_abdicate(disk, "a", one, &unit_err));
    return since;
}

/* "a" becomes the last of many bitmaps: it takes a commit long to get to it, and writers long to map all. */
static void behind_many(void)
{
    OK(df_bitmap_remove(disk, "a", &unit_err));
    for (unsigned i = 0; i < DF_DISK_BITMAPS - 1; i++) {
        char name[16];
        snprintf(name, sizeof name, "b%u", i);
        OK(df_bitmap_add(disk, name, DF_GRANULARITY_MAX, i % 64 ? DF_BITMAP_DISABLED : 0, &unit_err));
    }
    OK(df_bitmap_add(disk, "a", GRANULARITY, 0, &unit_err));
}

START_TEST(test_clear)
{
    uint64_t (*const cycle)(void) = _i % 2 ? cycle_abdicate : cycle_clear;
    uint64_t since = 0;
    if (_i >= 2)
        behind_many();
    start_writers();
    while (writers_run()) {
        since = cycle();
        for (unsigned i = 0; i < 3; i++) {
            sched_yield();
            check_since("a", since, seen);
        }
    }
    drain();
    uint64_t zero[NWRITERS] = { 0 };
    check_since("a", since, zero);
}
END_TEST

/* The target's way, again and again; "a" records all the time beside it. */
START_TEST(test_target)
{
    start_writers();
    while (writers_run()) {
        uint64_t from[NWRITERS];
        for (unsigned i = 0; i < NWRITERS; i++)
            from[i] = atomic_load(&shared->logs[i].n);
        OK(df_bitmap_add_frozen(disk, "t", GRANULARITY, 0, one, &unit_err));
        OK(df_bitmap_unlock(disk, "t", one, &unit_err));
        uint64_t since = now();
        sched_yield();
        OK(df_bitmap_reclaim(disk, "t", one, &unit_err));
        check_since("t", since, from);
        OK(df_bitmap_remove(disk, "t", &unit_err));
    }
    drain();
    check_everything("a");
}
END_TEST

/* ------------------------------------------------------------------- killed */

/* Two of the processes are killed when they are well at work. */
START_TEST(test_killed)
{
    start_writers();
    unsigned killed = 0;
    while (writers_run()) {
        cycle_reclaim();
        /* One may be so quick that it has ended (pids[] is 0), or ends right now. */
        if (killed < 2 && pids[killed] && atomic_load(&shared->logs[killed * NTHREADS].n) > NOPS / 16) {
            kill(pids[killed], SIGKILL);
            waitpid(pids[killed], NULL, 0);
            pids[killed++] = 0;
        }
    }
    drain();
    ck_assert_uint_eq(df_disk_open_sections(disk), 0);
    check_everything("a");
}
END_TEST

/* -------------------------------------------------------------------- fence */

static uint64_t count_of(const char *name)
{
    struct df_bitmap *bitmap = NULL;
    OK(df_bitmap_open(disk, name, &bitmap, &unit_err));
    uint64_t count = df_bitmap_count(bitmap);
    df_bitmap_close(&bitmap);
    return count;
}

/* A fence in full flight: once it is drained no bit moves, and nothing that was acknowledged is missing. */
START_TEST(test_fence)
{
    start_writers();
    while (atomic_load(&shared->begun) < NWRITERS || atomic_load(&shared->logs[0].n) < NOPS / 16)
        cycle_reclaim();
    drain();
    uint64_t count = count_of("a");
    check_since("a", 0, seen);
    while (writers_run())
        sched_yield();
    ck_assert_uint_eq(count_of("a"), count);
    check_everything("a");
}
END_TEST

/*
 * Fence after fence, and writers that try again.  From the drain to unfence no
 * section is open, so no stamp of a write lies in between: neither side may
 * look before it has said what it does.
 */
#define NFENCES 20000

START_TEST(test_many_fences)
{
    static uint64_t from[NFENCES], to[NFENCES];
    unsigned n = 0;
    shared->insist = true;
    start_writers();
    for (; writers_run() && n < NFENCES; n++) {
        drain();
        from[n] = now();
        sched_yield();
        to[n] = now();
        OK(df_disk_unfence(disk, &unit_err));
        for (uint64_t i = unit_below(4); i; i--)
            sched_yield();
    }
    while (writers_run())
        sched_yield();
    for (unsigned i = 0; i < NWRITERS; i++) {
        const struct log *log = &shared->logs[i];
        unsigned f = 0;
        ck_assert_uint_eq(log->n, NOPS);
        for (unsigned k = 0; k < NOPS; k++) {
            while (f < n && to[f] <= log->entries[k].stamp)
                f++;
            ck_assert_msg(f == n || log->entries[k].stamp < from[f], "write %u of writer %u passed fence %u", k, i, f);
        }
    }
    drain();
    check_everything("a");
}
END_TEST

/* A merge counts as a change of bits too: none goes on behind the fence. */
START_TEST(test_fence_and_merge)
{
    OK(df_bitmap_add(disk, "full", GRANULARITY, 0, &unit_err));
    OK(df_disk_mark(disk, 0, SIZE, &unit_err));
    for (unsigned round = 0; round < 30; round++) {
        pid_t pid = fork();
        if (pid == 0) {
            struct df_disk *mine = NULL;
            if (df_disk_open(unit_dir, "vda", &mine, NULL) < 0)
                _exit(1);
            while (df_bitmap_clear(mine, "a", NULL) == 0 && df_bitmap_merge(mine, "a", mine, "full", NULL) == 0)
                atomic_fetch_add(&shared->begun, 1);
            _exit(0);
        }
        unsigned begun = atomic_load(&shared->begun), yields = (unsigned)unit_below(200);
        while (atomic_load(&shared->begun) == begun)
            sched_yield();
        while (yields--)
            sched_yield();
        drain();
        uint64_t count = count_of("a");
        unit_reap(pid, 0);
        ck_assert_uint_eq(count_of("a"), count);
        OK(df_disk_unfence(disk, &unit_err));
    }
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "recording");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_freeze_reclaim);
    tcase_add_loop_test(tc, test_clear, 0, 4);
    tcase_add_test(tc, test_target);
    tcase_add_test(tc, test_killed);
    tcase_add_test(tc, test_fence);
    tcase_add_test(tc, test_many_fences);
    tcase_add_test(tc, test_fence_and_merge);
}

UNIT_MAIN("stress-recording", add_cases)
