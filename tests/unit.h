// SPDX-License-Identifier: BSD-3-Clause
/*
 * What the unit tests share: a state directory for each test, a seeded PRNG,
 * checks of a call's result together with its struct df_error, and main().
 *
 * The random tests print their seed when a program fails; DF_SEED=<number>
 * repeats the run.  Each test starts from the seed anew, so that one that runs
 * alone (CK_RUN_CASE) sees the numbers that it saw among the others.
 */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <check.h>

#include <dirtyferry/bitmap.h>

#define KiB UINT64_C(1024)
#define MiB (KiB * 1024)
#define GiB (MiB * 1024)
#define TiB (GiB * 1024)

/* ------------------------------------------------------------------ random */

static uint64_t unit_seed;
static _Thread_local uint64_t unit_state;    /* a thread that shall differ adds its number */

/* splitmix64: one word of state, no bad seeds. */
static inline uint64_t unit_random(void)
{
    uint64_t z = unit_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* 0 to n - 1. */
static inline uint64_t unit_below(uint64_t n)
{
    return unit_random() % n;
}

/* ------------------------------------------------------- results and errors */

static struct df_error unit_err __attribute__((unused));

/* The call succeeds and leaves the error alone. */
#define OK(call)                                                                          \
    do {                                                                                  \
        memset(&unit_err, 0, sizeof unit_err);                                            \
        int r_ = (call);                                                                  \
        ck_assert_msg(r_ == 0, "%s: %d %s", #call, r_, unit_err.message);                 \
        ck_assert_msg(!unit_err.code && !*unit_err.message, "%s fills its error: %s",     \
                      #call, unit_err.message);                                           \
    } while (0)

/* The call fails with `code`, and says so in one sentence on one line. */
#define FAILS(expected, call)                                                             \
    do {                                                                                  \
        memset(&unit_err, 0, sizeof unit_err);                                            \
        int r_ = (call);                                                                  \
        ck_assert_msg(r_ == (expected), "%s: %d, not %d (%s)", #call, r_, (expected),     \
                      unit_err.message);                                                  \
        ck_assert_int_eq(unit_err.code, (expected));                                      \
        ck_assert_uint_gt(strlen(unit_err.message), 8);                                   \
        ck_assert_msg(!strpbrk(unit_err.message, "\n\r"), "%s: line break in '%s'",       \
                      #call, unit_err.message);                                           \
    } while (0)

/* ---------------------------------------------------------- state directory */

static char unit_base[256];         /* of the program, removed by main() */
static char unit_dir[300];          /* of the running test */

static int unit_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline void unit_remove_tree(const char *path)
{
    nftw(path, unit_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void unit_setup(void)
{
    unit_state = unit_seed;
    snprintf(unit_dir, sizeof unit_dir, "%s/state-XXXXXX", unit_base);
    ck_assert_ptr_nonnull(mkdtemp(unit_dir));
}

/* Not reached by a test that fails; main() removes what is left. */
static inline void unit_teardown(void)
{
    unit_remove_tree(unit_dir);
}

/* ---------------------------------------------------------------- processes */

/* Wait for a child, which ended by this signal, or with status 0.  Children leave by _exit: no exit handlers twice. */
static inline void unit_reap(pid_t pid, int signal_expected)
{
    int status = 0;
    pid_t r;
    while ((r = waitpid(pid, &status, 0)) < 0 && errno == EINTR)
        ;
    ck_assert_int_eq(r, pid);
    if (signal_expected)
        ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == signal_expected, "child ended with status %#x", (unsigned)status);
    else
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child ended with status %#x", (unsigned)status);
}

/* --------------------------------------------------------------------- main */

static inline TCase *unit_case_with(Suite *suite, const char *name, void (*setup)(void), void (*teardown)(void))
{
    TCase *tc = tcase_create(name);
    /* Sanitizers and valgrind are slow; a hang is still found. */
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, teardown);
    suite_add_tcase(suite, tc);
    return tc;
}

static inline TCase *unit_case(Suite *suite, const char *name)
{
    return unit_case_with(suite, name, unit_setup, unit_teardown);
}

static inline int unit_run(const char *name, void (*add_cases)(Suite *suite))
{
    const char *seed = getenv("DF_SEED"), *tmp = getenv("TMPDIR");
    unit_seed = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();
    snprintf(unit_base, sizeof unit_base, "%.200s/df-unit-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(unit_base)) {
        perror(unit_base);
        return 99;
    }
    Suite *suite = suite_create(name);
    add_cases(suite);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    unit_remove_tree(unit_base);
    if (failed)
        fprintf(stderr, "%s: repeat with DF_SEED=%" PRIu64 "\n", name, unit_seed);
    return failed ? 1 : 0;
}

#define UNIT_MAIN(name, add_cases)          \
    int main(void)                          \
    {                                       \
        return unit_run(name, add_cases);   \
    }

#endif
