// SPDX-License-Identifier: BSD-3-Clause
/*
 * What becomes of the allow directory itself: it goes, comes back, is replaced or
 * opened to others, its events are lost; and many threads that ask meanwhile.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "unit-allow.h"

/* ------------------------------------------------- the directory itself */

static void vanished(unsigned n)
{
    ck_assert(readable());
    ck_assert(refresh());
    ck_assert_uint_eq(ngone, n);
    ck_assert_int_eq(allow_fd(allow), -1);
    may(1, 0, "");
    for (unsigned i = 0; i < 3; i++)
        unchanged();
}

static void came_back(void)
{
    ck_assert(refresh());
    ck_assert_uint_eq(ngone, 0);
    ck_assert(!readable());
}

START_TEST(directory_is_removed)
{
    open_two();
    unit_remove_tree(dir);
    vanished(2);
    ck_assert_uint_eq(logged("nobody is let in any more"), 1);
    ck_assert_int_eq(mkdir(dir, 0755), 0);
    put("a", 1, "peer");
    came_back();
    ck_assert_uint_eq(logged("can be read again"), 1);
    may(1, KEY_PEER, "a");
    may(2, 0, "");
    put("b", 2, "monitor");
    changed(0);
    may(2, KEY_MONITOR, "b");
}
END_TEST

/* The new one may have the inode's number of the old one. */
START_TEST(directory_is_removed_and_made_again)
{
    open_two();
    for (unsigned i = 0; i < 5; i++) {
        unit_remove_tree(dir);
        ck_assert_int_eq(mkdir(dir, 0755), 0);
        put("b", 2, "monitor");
        if (i == 0)
            changed(1);
        else
            unchanged();    /* it has what the one before had */
        may(1, 0, "");
        may(2, KEY_MONITOR, "b");
        put("a", 1, "peer");
        changed(0);
        may(1, KEY_PEER, "a");
        take_away("a");
        changed(1);
    }
}
END_TEST

START_TEST(directory_is_replaced)
{
    open_two();
    ck_assert_int_eq(rename(dir, in_dir("old")), 0);
    ck_assert_int_eq(mkdir(dir, 0755), 0);
    put("c", 3, "peer");
    changed(2);
    may(1, 0, "");
    may(3, KEY_PEER, "c");
    put_text(in_dir("old/d"), text_of(4, "peer"), 0644);
    ck_assert(!readable());
    put("d", 4, "monitor");
    changed(0);
    may(4, KEY_MONITOR, "d");
    ck_assert_int_eq(rename(dir, in_dir("new")), 0);
    vanished(2);
}
END_TEST

/* Of which inotify says nothing. */
START_TEST(link_to_the_directory_is_replaced)
{
    open_two();
    allow_close(&allow);
    ck_assert_int_eq(mkdir(in_dir("other"), 0755), 0);
    put_text(in_dir("other/c"), text_of(3, "peer"), 0644);
    ck_assert_int_eq(symlink("allow", in_dir("link")), 0);
    OK(allow_open(in_dir("link"), &allow, &unit_err));
    ck_assert_int_eq(symlink("other", in_dir("link2")), 0);
    ck_assert_int_eq(rename(in_dir("link2"), in_dir("link")), 0);
    ck_assert(refresh());
    ck_assert_uint_eq(ngone, 2);
    may(3, KEY_PEER, "c");
    put_text(in_dir("other/d"), text_of(4, "peer"), 0644);
    changed(0);
    may(4, KEY_PEER, "d");
}
END_TEST

START_TEST(directory_that_others_may_write)
{
    open_two();
    ck_assert_int_eq(chmod(dir, 0777), 0);
    vanished(2);
    ck_assert_uint_eq(logged("nobody is let in any more"), 1);
    ck_assert_int_eq(chmod(dir, 0755), 0);
    came_back();
    may(1, KEY_PEER, "a");
    if (give_away(dir)) {
        vanished(2);
        ck_assert_uint_eq(logged("belongs to user 65534"), 1);
    }
}
END_TEST

/* More than the kernel keeps: what came later is lost, and with it that the directory is another. */
START_TEST(events_are_lost)
{
    unsigned most = 0;
    FILE *f = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
    if (!f || fscanf(f, "%u", &most) != 1 || most > 100000) {
        printf("not tried: the kernel keeps %u events, or does not say how many\n", most);
        return;
    }
    fclose(f);
    open_two();
    for (unsigned i = 0; i <= most / 2; i++) {
        chmod(in_allow("a"), 0644);
        chmod(in_allow("b"), 0644);
    }
    unit_remove_tree(dir);
    ck_assert_int_eq(mkdir(dir, 0755), 0);
    put("a", 1, "peer");
    changed(1);
    may(1, KEY_PEER, "a");
    put("c", 3, "peer");
    changed(0);
    may(3, KEY_PEER, "c");
}
END_TEST

/* ------------------------------------------------------------- threads */

static atomic_bool over;

/* Key 1 is always a peer; key 2 is a monitor by one name or an orchestrator by another, or not there, and never mixed. */
static void *ask(void *opaque)
{
    const char *first = ((const char **)opaque)[0], *second = ((const char **)opaque)[1];
    char name[ALLOW_NAME_BYTES];
    uintptr_t wrong = 0;
    /* relaxed: it says nothing about other memory */
    while (!atomic_load_explicit(&over, memory_order_relaxed)) {
        wrong += allow_roles(allow, first, name) != KEY_PEER || strcmp(name, "a");
        unsigned roles = allow_roles(allow, second, name);
        wrong += strcmp(name, roles == KEY_MONITOR ? "b" : roles == KEY_ORCHESTRATOR ? "c" : roles ? "?" : "") != 0;
    }
    return (void *)wrong;
}

START_TEST(many_threads_ask)
{
    pthread_t threads[4];
    char first[KEY_TEXT_BYTES], second[KEY_TEXT_BYTES];
    const char *keys[] = { first, second };
    strcpy(first, key(1));
    strcpy(second, key(2));
    open_two();
    for (unsigned i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, ask, keys), 0);
    for (unsigned i = 0; i < 100; i++) {
        take_away("b");
        changed(1);
        put("c", 2, "orchestrator");
        changed(0);
        take_away("c");
        changed(1);
        put("b", 2, "monitor");
        changed(0);
    }
    atomic_store_explicit(&over, true, memory_order_relaxed);
    for (unsigned i = 0; i < 4; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        ck_assert_uint_eq((uintptr_t)wrong, 0);
    }
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = quiet_case(suite, "directory");
    tcase_add_test(tc, directory_is_removed);
    tcase_add_test(tc, directory_is_removed_and_made_again);
    tcase_add_test(tc, directory_is_replaced);
    tcase_add_test(tc, link_to_the_directory_is_replaced);
    tcase_add_test(tc, directory_that_others_may_write);
    tcase_add_test(tc, events_are_lost);
    tc = quiet_case(suite, "threads");
    tcase_add_test(tc, many_threads_ask);
}

UNIT_MAIN("allow-directory", add_cases)
