// SPDX-License-Identifier: BSD-3-Clause
/* The table of states: what every session can and cannot do. */
#include "session/state.h"
#include "unit.h"

static const enum session_role roles[] = { ROLE_SOURCE, ROLE_TARGET };

/* All states that can be reached from none. */
static uint64_t reached(enum session_role role)
{
    uint64_t seen = 1 << STATE_NONE, old = 0;
    while (seen != old) {
        old = seen;
        for (unsigned s = 0; s < STATES; s++)
            for (unsigned e = 0; seen >> s & 1 && e < EVENTS; e++)
                seen |= UINT64_C(1) << state_next(role, s, e);
    }
    return seen;
}

/* Can `to` be reached from `from`? */
static bool leads(enum session_role role, enum session_state from, enum session_state to)
{
    uint64_t seen = UINT64_C(1) << from, old = 0;
    while (seen != old) {
        old = seen;
        for (unsigned s = 1; s < STATES; s++)
            for (unsigned e = 0; seen >> s & 1 && e < EVENTS; e++)
                if (state_next(role, s, e))
                    seen |= UINT64_C(1) << state_next(role, s, e);
    }
    return seen >> to & 1;
}

START_TEST(every_state_is_of_one_role)
{
    ck_assert_uint_eq(reached(ROLE_SOURCE) & reached(ROLE_TARGET), 1 << STATE_NONE);
    ck_assert_uint_eq(reached(ROLE_SOURCE) | reached(ROLE_TARGET), (UINT64_C(1) << STATES) - 1);
}
END_TEST

START_TEST(nothing_leaves_an_end)
{
    for (unsigned r = 0; r < 2; r++)
        for (unsigned s = 1; s < STATES; s++) {
            unsigned ways = 0;
            for (unsigned e = 0; e < EVENTS; e++)
                ways += state_next(roles[r], s, e) != STATE_NONE;
            if (state_is_end(s) || !(reached(roles[r]) >> s & 1))
                ck_assert_uint_eq(ways, 0);
            else
                ck_assert_uint_ge(ways, 1);
        }
}
END_TEST

/* From everywhere there is a way to the good end or to a bad one: nothing gets stuck. */
START_TEST(every_way_ends)
{
    for (unsigned r = 0; r < 2; r++)
        for (unsigned s = 1; s < STATES; s++) {
            bool ends = false;
            for (unsigned end = 1; end < STATES; end++)
                ends |= state_is_end(end) && leads(roles[r], s, end);
            ck_assert(ends || !(reached(roles[r]) >> s & 1));
        }
}
END_TEST

/* Names go there and back; a name means one state a role. */
START_TEST(names)
{
    for (unsigned r = 0; r < 2; r++)
        for (unsigned s = 1; s < STATES; s++) {
            bool own = reached(roles[r]) >> s & 1;
            enum session_state found = state_find(roles[r], state_name(s));
            ck_assert(own ? found == s : found != s);
        }
    ck_assert_int_eq(state_find(ROLE_SOURCE, "none"), STATE_NONE);
    ck_assert_int_eq(state_find(ROLE_SOURCE, "operative"), STATE_NONE);
    ck_assert_int_eq(state_find(ROLE_TARGET, "streaming"), STATE_NONE);
    ck_assert_int_eq(state_find(ROLE_SOURCE, "abandoning"), STATE_NONE);
    ck_assert(state_find(ROLE_SOURCE, "abandoned") == SOURCE_ABANDONED && state_find(ROLE_TARGET, "abandoned") == TARGET_ABANDONED);
    ck_assert_int_eq(state_find(ROLE_TARGET, ""), STATE_NONE);
    for (unsigned e = 0; e < EVENTS; e++)
        ck_assert_ptr_nonnull(event_name(e));
    ck_assert_str_eq(role_name(ROLE_SOURCE), "source");
    ck_assert_str_eq(role_name(ROLE_TARGET), "target");
}
END_TEST

/* Invariant 3: once the target has pivoted nothing makes it cancelled; before, always, unless the host crashed. */
START_TEST(cancel_ends_at_the_pivot)
{
    for (unsigned s = 1; s < STATES; s++) {
        if (!(reached(ROLE_TARGET) >> s & 1) || state_is_end(s))
            continue;
        bool pivoted = s == TARGET_RECEIVING || s == TARGET_MERGING || s == TARGET_ABANDONING;
        ck_assert(pivoted == !leads(ROLE_TARGET, s, TARGET_CANCELLED));
        ck_assert(pivoted == !state_next(ROLE_TARGET, s, EVENT_CANCEL));
    }
    for (unsigned s = 1; s < STATES; s++)
        if (state_next(ROLE_SOURCE, s, EVENT_CANCEL))
            ck_assert_uint_eq(s, SOURCE_PREPARED);
}
END_TEST

/* Only the pivot makes the child record, and only a side that is prepared pivots. */
START_TEST(pivot_only_when_prepared)
{
    for (unsigned s = 0; s < STATES; s++) {
        if (state_next(ROLE_SOURCE, s, EVENT_PIVOT))
            ck_assert_uint_eq(s, SOURCE_PREPARED);
        if (state_next(ROLE_TARGET, s, EVENT_PIVOT))
            ck_assert(s == TARGET_PREPARED || s == TARGET_FILLED);
        for (unsigned e = 0; e < EVENTS; e++)
            if (state_next(ROLE_TARGET, s, e) == TARGET_RECEIVING)
                ck_assert(s == TARGET_PREPARED && e == EVENT_PIVOT);
    }
}
END_TEST

/* Invariant 4: only an exact parent is merged; invariant 6: only an operative target lets the source go. */
START_TEST(exact_before_the_merge)
{
    for (unsigned s = 0; s < STATES; s++)
        for (unsigned e = 0; e < EVENTS; e++) {
            if (state_next(ROLE_TARGET, s, e) == TARGET_MERGING)
                ck_assert(e == EVENT_EXACT || s == TARGET_FILLED);
            if (state_next(ROLE_TARGET, s, e) == TARGET_FILLED)
                ck_assert(e == EVENT_EXACT);
            if (state_next(ROLE_TARGET, s, e) == TARGET_OPERATIVE)
                ck_assert(s == TARGET_MERGING && e == EVENT_OPERATIVE);
            if (state_next(ROLE_SOURCE, s, e) == SOURCE_RELEASED)
                ck_assert((s == SOURCE_SEALED || s == SOURCE_INTERRUPTED) && e == EVENT_OPERATIVE);
            if (state_next(ROLE_SOURCE, s, e) == SOURCE_STREAMING)
                ck_assert(e == EVENT_DRAINED || e == EVENT_INEXACT || e == EVENT_RESUMED);
            if (state_next(ROLE_SOURCE, s, e) == SOURCE_SEALED)
                ck_assert(s == SOURCE_SEALING && e == EVENT_EXACT);
        }
}
END_TEST

/* Whatever is lost while something is sent, there is one state for it, and from there a way to every good and bad end. */
START_TEST(a_lost_link_interrupts)
{
    for (unsigned s = 0; s < STATES; s++) {
        enum session_state next = state_next(ROLE_SOURCE, s, EVENT_LOST);
        ck_assert(!next || next == SOURCE_INTERRUPTED);
        ck_assert(!state_next(ROLE_TARGET, s, EVENT_LOST));
        if (s == SOURCE_STREAMING || s == SOURCE_SEALING)
            ck_assert_int_eq(next, SOURCE_INTERRUPTED);
        if (state_next(ROLE_SOURCE, s, EVENT_RESUMED))
            ck_assert_uint_eq(s, SOURCE_INTERRUPTED);
    }
    ck_assert_int_eq(state_next(ROLE_SOURCE, SOURCE_INTERRUPTED, EVENT_RESUMED), SOURCE_STREAMING);
    ck_assert_int_eq(state_next(ROLE_SOURCE, SOURCE_INTERRUPTED, EVENT_ROLLBACK), SOURCE_ROLLED_BACK);
    ck_assert_int_eq(state_next(ROLE_SOURCE, SOURCE_INTERRUPTED, EVENT_OPERATIVE), SOURCE_RELEASED);
    ck_assert_int_eq(state_next(ROLE_SOURCE, SOURCE_INTERRUPTED, EVENT_ABANDONED), SOURCE_ABANDONED);
}
END_TEST

/* A source whose disk is fenced can always be rolled back, and never cancelled: the target decides. */
START_TEST(rollback_as_long_as_it_is_fenced)
{
    for (unsigned s = 0; s < STATES; s++) {
        bool fenced = s == SOURCE_STREAMING || s == SOURCE_SEALING || s == SOURCE_SEALED || s == SOURCE_INTERRUPTED;
        ck_assert(fenced == (state_next(ROLE_SOURCE, s, EVENT_ROLLBACK) == SOURCE_ROLLED_BACK));
        ck_assert(!state_next(ROLE_TARGET, s, EVENT_ROLLBACK));
    }
}
END_TEST

/* A host crash: a source never sends its bits or lives again by itself; a target's bits are given up, and never cancelled. */
START_TEST(after_a_crash)
{
    for (unsigned s = 1; s < STATES; s++) {
        enum session_state next = state_next(ROLE_SOURCE, s, EVENT_CRASHED);
        bool over = state_is_end(s) || s == SOURCE_INTERRUPTED || s == SOURCE_SEALED;
        if (!(reached(ROLE_SOURCE) >> s & 1))
            continue;
        ck_assert(next == STATE_NONE ? over : next == SOURCE_INTERRUPTED);
    }
    for (unsigned s = 1; s < STATES; s++)
        if (reached(ROLE_TARGET) >> s & 1 && !state_is_end(s) && s != TARGET_ABANDONING)
            ck_assert_int_eq(state_next(ROLE_TARGET, s, EVENT_ABANDON), TARGET_ABANDONING);
}
END_TEST

/* What is abandoned on the target is not made good by anything. */
START_TEST(abandoned_for_ever)
{
    for (unsigned s = 1; s < STATES; s++)
        for (unsigned e = 0; e < EVENTS; e++) {
            if (state_next(ROLE_TARGET, s, e) == TARGET_ABANDONED)
                ck_assert(s == TARGET_ABANDONING && e == EVENT_ABANDONED);
            if (s == TARGET_ABANDONING && state_next(ROLE_TARGET, s, e))
                ck_assert_uint_eq(e, EVENT_ABANDONED);
            if (state_next(ROLE_SOURCE, s, e) == SOURCE_ABANDONED)
                ck_assert(e == EVENT_ABANDONED);
        }
    ck_assert(!leads(ROLE_TARGET, TARGET_ABANDONING, TARGET_OPERATIVE));
    ck_assert(!leads(ROLE_TARGET, TARGET_ABANDONING, TARGET_CANCELLED));
}
END_TEST

START_TEST(courses)
{
    static const enum session_event source[] = { EVENT_START, EVENT_ACCEPTED, EVENT_PIVOT, EVENT_STUCK, EVENT_PIVOT, EVENT_DRAINED, EVENT_SENT, EVENT_INEXACT, EVENT_SENT, EVENT_EXACT, EVENT_OPERATIVE };
    static const enum session_event interrupted[] = { EVENT_START, EVENT_ACCEPTED, EVENT_PIVOT, EVENT_DRAINED, EVENT_LOST, EVENT_RESUMED, EVENT_SENT, EVENT_LOST, EVENT_RESUMED, EVENT_LOST, EVENT_OPERATIVE };
    static const enum session_event abandoned[] = { EVENT_START, EVENT_PIVOT, EVENT_ABANDON, EVENT_ABANDONED };
    static const enum session_event late[] = { EVENT_START, EVENT_PIVOT, EVENT_EXACT, EVENT_OPERATIVE }, early[] = { EVENT_START, EVENT_EXACT, EVENT_PIVOT, EVENT_OPERATIVE };
    enum session_state s = STATE_NONE, a = STATE_NONE, b = STATE_NONE;
    for (unsigned i = 0; i < sizeof source / sizeof *source; i++)
        ck_assert_int_ne(s = state_next(ROLE_SOURCE, s, source[i]), STATE_NONE);
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_int_ne(a = state_next(ROLE_TARGET, a, late[i]), STATE_NONE);
        ck_assert_int_ne(b = state_next(ROLE_TARGET, b, early[i]), STATE_NONE);
    }
    ck_assert(s == SOURCE_RELEASED && a == TARGET_OPERATIVE && b == TARGET_OPERATIVE);
    s = a = STATE_NONE;
    for (unsigned i = 0; i < sizeof interrupted / sizeof *interrupted; i++)
        ck_assert_int_ne(s = state_next(ROLE_SOURCE, s, interrupted[i]), STATE_NONE);
    for (unsigned i = 0; i < 4; i++)
        ck_assert_int_ne(a = state_next(ROLE_TARGET, a, abandoned[i]), STATE_NONE);
    ck_assert(s == SOURCE_RELEASED && a == TARGET_ABANDONED);
}
END_TEST

START_TEST(print_has_every_transition)
{
    char *text = NULL;
    size_t n = 0, lines = 0, cells = 0;
    FILE *to = open_memstream(&text, &n);
    state_print(to);
    fclose(to);
    for (const char *at = text; (at = strchr(at, '\n')); at++)
        lines++;
    for (unsigned r = 0; r < 2; r++)
        for (unsigned s = 0; s < STATES; s++)
            for (unsigned e = 0; e < EVENTS; e++)
                cells += state_next(roles[r], s, e) != STATE_NONE;
    ck_assert_uint_eq(lines, cells);
    ck_assert_ptr_nonnull(strstr(text, "target  merging      operative  operative (end)\n"));
    free(text);
}
END_TEST

static void add_cases(Suite *suite)
{
    (void)unit_err;     /* nothing here reports one */
    TCase *tc = unit_case(suite, "state");
    tcase_add_test(tc, every_state_is_of_one_role);
    tcase_add_test(tc, nothing_leaves_an_end);
    tcase_add_test(tc, every_way_ends);
    tcase_add_test(tc, names);
    tcase_add_test(tc, cancel_ends_at_the_pivot);
    tcase_add_test(tc, pivot_only_when_prepared);
    tcase_add_test(tc, exact_before_the_merge);
    tcase_add_test(tc, a_lost_link_interrupts);
    tcase_add_test(tc, rollback_as_long_as_it_is_fenced);
    tcase_add_test(tc, after_a_crash);
    tcase_add_test(tc, abandoned_for_ever);
    tcase_add_test(tc, courses);
    tcase_add_test(tc, print_has_every_transition);
}

UNIT_MAIN("state", add_cases)
