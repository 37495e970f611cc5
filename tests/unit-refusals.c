// SPDX-License-Identifier: BSD-3-Clause
/*
 * What is refused, in the log: one line for each pair of who and what, a count of
 * those passed over, a bound on all.  The clock stands still but for the test.
 */
#include "net/refusals.h"
#include "unit.h"

static struct refusals refusals = REFUSALS_INIT;
static int64_t now_ms;
static int log_fd;

/* Of base/clock.h, in place of the C library's (-Wl,--wrap). */
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
    (void)clock;
    *ts = (struct timespec){ .tv_sec = now_ms / 1000, .tv_nsec = now_ms % 1000 * 1000000 };
    return 0;
}

/* stderr is a pipe from here on. */
static void setup(void)
{
    int fds[2];
    unit_setup();
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    dup2(fds[1], STDERR_FILENO);
    close(fds[1]);
    log_fd = fds[0];
    now_ms = 1000000;
}

/* What was written since the last call. */
static const char *logged(void)
{
    static char text[65536];
    ssize_t n = read(log_fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    return text;
}

static unsigned lines(const char *text)
{
    unsigned n = 0;
    while ((text = strchr(text, '\n'))) {
        text++;
        n++;
    }
    return n;
}

static void note(unsigned who, const char *what)
{
    char name[20];
    snprintf(name, sizeof name, "10.0.0.%u", who);
    refusals_note(&refusals, name, what);
}

START_TEST(one_line_for_each_pair)
{
    note(1, "control: hello");
    ck_assert_ptr_nonnull(strstr(logged(), "refused: 10.0.0.1: control: hello\n"));
    note(1, "control: hello");
    ck_assert_str_eq(logged(), "");
    note(2, "control: hello");
    ck_assert_ptr_nonnull(strstr(logged(), "refused: 10.0.0.2: control: hello\n"));
    note(1, "data: hello");
    ck_assert_ptr_nonnull(strstr(logged(), "refused: 10.0.0.1: data: hello\n"));
}
END_TEST

START_TEST(passed_over_are_counted)
{
    note(1, "x");
    logged();
    for (unsigned i = 0; i < 7; i++)
        note(1, "x");
    now_ms += REFUSALS_MS - 1;
    note(1, "x");
    ck_assert_str_eq(logged(), "");
    now_ms++;
    note(1, "x");
    ck_assert_ptr_nonnull(strstr(logged(), "refused: 10.0.0.1: x (and 8 times more before)\n"));
    now_ms += REFUSALS_MS;
    note(1, "x");
    ck_assert_ptr_nonnull(strstr(logged(), "refused: 10.0.0.1: x\n"));      /* the count began anew */
}
END_TEST

/* Of all pairs together, whoever they are; afterwards it is said how many were not logged. */
START_TEST(all_are_bounded)
{
    for (unsigned i = 0; i < 3 * REFUSALS_KNOWN; i++)
        note(i, "x");
    ck_assert_uint_eq(lines(logged()), REFUSALS_LINES);
    now_ms += REFUSALS_MS - 1;
    note(1000, "x");
    ck_assert_str_eq(logged(), "");
    now_ms++;
    note(1001, "x");
    const char *text = logged();
    char sentence[100];
    snprintf(sentence, sizeof sentence, "%u refusals of many kinds were not logged\n", 3 * REFUSALS_KNOWN - REFUSALS_LINES + 1);
    ck_assert_msg(strstr(text, sentence) && strstr(text, "refused: 10.0.0.1001: x\n"), "%s", text);
    ck_assert_uint_eq(lines(text), 2);
}
END_TEST

/* One that was logged is still known, and counted, when many others came that were not. */
START_TEST(known_ones_stay_quiet)
{
    for (unsigned i = 0; i < 6; i++)
        note(1, "x");
    logged();
    for (unsigned i = 2; i < REFUSALS_LINES; i++)
        note(i, "x");
    for (unsigned i = 100; i < 100 + 10 * REFUSALS_KNOWN; i++)
        note(i, "x");
    now_ms += REFUSALS_MS - 1;
    logged();
    note(1, "x");
    ck_assert_str_eq(logged(), "");
    now_ms++;
    note(1, "x");
    ck_assert_ptr_nonnull(strstr(logged(), "refused: 10.0.0.1: x (and 6 times more before)\n"));
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case_with(suite, "refusals", setup, unit_teardown);
    tcase_add_test(tc, one_line_for_each_pair);
    tcase_add_test(tc, passed_over_are_counted);
    tcase_add_test(tc, all_are_bounded);
    tcase_add_test(tc, known_ones_stay_quiet);
}

UNIT_MAIN("refusals", add_cases)
