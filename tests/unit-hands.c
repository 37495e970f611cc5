// SPDX-License-Identifier: BSD-3-Clause
/* Threads for other processes: what is handed over comes back once, on the thread that asks for it. */
#include "unit.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#include "session/hands.h"

#define CHORES 200

struct work {
    struct chore chore;         /* first */
    unsigned number, worked;
};

static pthread_t control;
static unsigned finished;
static _Atomic unsigned started;
static _Atomic bool go_on;

static void work(struct chore *chore)
{
    struct work *w = (struct work *)chore;
    ck_assert(!pthread_equal(pthread_self(), control));
    w->worked = w->number + 1;
    chore->r = -(int)w->number;
}

static void done(struct chore *chore)
{
    struct work *w = (struct work *)chore;
    ck_assert(pthread_equal(pthread_self(), control));
    ck_assert_uint_eq(w->worked, w->number + 1);
    ck_assert_int_eq(chore->r, -(int)w->number);
    finished++;
    free(w);
}

static void waiting(struct chore *chore)
{
    struct work *w = (struct work *)chore;
    atomic_fetch_add(&started, 1);
    while (!atomic_load(&go_on))
        sched_yield();
    w->worked = w->number + 1;
    chore->r = -(int)w->number;
}

static void send_one(struct hands *hands, unsigned number, void (*how)(struct chore *chore))
{
    struct work *w = calloc(1, sizeof *w);
    w->number = number;
    w->chore.work = how;
    w->chore.done = done;
    hands_send(hands, &w->chore);
}

static void receive_all(struct hands *hands, unsigned n)
{
    while (finished < n) {
        struct pollfd item = { hands_fd(hands), POLLIN, 0 };
        ck_assert_int_eq(poll(&item, 1, -1), 1);
        hands_receive(hands);
    }
}

START_TEST(test_all_come_back)
{
    struct hands *hands = NULL;
    struct df_error err;
    control = pthread_self();
    finished = 0;
    ck_assert_int_eq(hands_start(&hands, &err), 0);
    for (unsigned i = 0; i < CHORES; i++)
        send_one(hands, i, work);
    receive_all(hands, CHORES);
    hands_receive(hands);       /* nothing is left */
    ck_assert_uint_eq(finished, CHORES);
    hands_stop(&hands);
    ck_assert_ptr_null(hands);
}
END_TEST

/* One that hangs holds up nobody else. */
START_TEST(test_one_hangs)
{
    struct hands *hands = NULL;
    struct df_error err;
    control = pthread_self();
    finished = 0;
    atomic_store(&started, 0);
    atomic_store(&go_on, false);
    ck_assert_int_eq(hands_start(&hands, &err), 0);
    send_one(hands, 0, waiting);
    while (!atomic_load(&started))
        sched_yield();
    for (unsigned i = 1; i <= 10; i++)
        send_one(hands, i, work);
    receive_all(hands, 10);
    atomic_store(&go_on, true);
    receive_all(hands, 11);
    hands_stop(&hands);
}
END_TEST

static void *let_go(void *opaque)
{
    (void)opaque;
    atomic_store(&go_on, true);
    return NULL;
}

/* Stopped with chores under way: they end first, and nobody hears of them. */
START_TEST(test_stop)
{
    struct hands *hands = NULL;
    struct df_error err;
    pthread_t other;
    control = pthread_self();
    finished = 0;
    atomic_store(&started, 0);
    atomic_store(&go_on, false);
    ck_assert_int_eq(hands_start(&hands, &err), 0);
    for (unsigned i = 0; i < 10; i++)
        send_one(hands, i, waiting);
    while (atomic_load(&started) < 10)
        sched_yield();
    ck_assert_int_eq(pthread_create(&other, NULL, let_go, NULL), 0);
    hands_stop(&hands);
    pthread_join(other, NULL);
    ck_assert_uint_eq(finished, 0);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "hands");
    tcase_add_test(tc, test_all_come_back);
    tcase_add_test(tc, test_one_hangs);
    tcase_add_test(tc, test_stop);
}

UNIT_MAIN("hands", add_cases)
