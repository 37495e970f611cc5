// SPDX-License-Identifier: BSD-3-Clause
/* Who may send what: against section 13.2 of proto/dirtyferry.md, written here a second time. */
#include "net/access.h"
#include "unit.h"
#include "wire/schema.h"

enum { O = KEY_ORCHESTRATOR, P = KEY_PEER, M = KEY_MONITOR, SELF = KEY_SELF | KEY_PEER };

/* The roles that a key has, and what those may send; in the order of the schema. */
static const struct {
    const char *type;
    bool orchestrator, peer, monitor, self;
} expected[] = {
    { "hello",          1, 1, 1, 1 },
    { "disk-add",       1, 0, 0, 0 },
    { "disk-list",      1, 0, 1, 0 },
    { "disk-remove",    1, 0, 0, 0 },
    { "disk-writable",  1, 0, 0, 0 },
    { "bitmap-add",     1, 0, 0, 0 },
    { "bitmap-remove",  1, 0, 0, 0 },
    { "bitmap-clear",   1, 0, 0, 0 },
    { "bitmap-enable",  1, 0, 0, 0 },
    { "bitmap-disable", 1, 0, 0, 0 },
    { "bitmap-merge",   1, 0, 0, 0 },
    { "bitmap-list",    1, 0, 1, 0 },
    { "bitmap-show",    1, 0, 1, 0 },
    { "bitmap-mark",    1, 0, 0, 0 },
    { "bitmap-extents", 1, 0, 1, 0 },
    { "diff",           1, 0, 0, 0 },
    { "diff-report",    1, 0, 0, 0 },
    { "diff-cancel",    1, 0, 0, 0 },
    { "prepare",        1, 0, 0, 0 },
    { "pivot",          1, 0, 0, 0 },
    { "cancel",         1, 1, 0, 1 },
    { "rollback",       1, 0, 0, 0 },
    { "resume",         1, 0, 0, 0 },
    { "abandon",        1, 0, 0, 0 },
    { "dump",           1, 0, 0, 0 },
    { "load",           1, 0, 0, 0 },
    { "status",         1, 0, 1, 0 },
    { "wait",           1, 1, 1, 1 },
    { "offer",          0, 1, 0, 1 },
    { "attempt",        0, 1, 0, 1 },
    { "heartbeat",      0, 1, 0, 1 },
    { "seal",           0, 1, 0, 1 },
    { "lease",          1, 0, 0, 1 },
};

#define NTYPES (sizeof expected / sizeof *expected)

static bool may(unsigned roles, const char *type)
{
    struct caller caller = { .name = "host7", .key = "K", .roles = roles };
    memset(&unit_err, 0, sizeof unit_err);
    int r = access_check(&caller, type, &unit_err);
    ck_assert(r == 0 || r == -EACCES);
    if (r)
        ck_assert_msg(strstr(unit_err.message, type) && strstr(unit_err.message, "host7"), "%s", unit_err.message);
    return !r;
}

/* Every request that there is, and nothing else. */
START_TEST(table_is_complete)
{
    size_t n = 0;
    for (const struct message_type *t = message_types; t->name; t++) {
        if (!t->reply) {
            ck_assert_msg(!may(KEY_ALL & ~KEY_SELF, t->name), "the event '%s' may be sent", t->name);
            continue;
        }
        ck_assert_uint_lt(n, NTYPES);
        ck_assert_str_eq(t->name, expected[n++].type);
    }
    ck_assert_uint_eq(n, NTYPES);
    for (size_t i = 0; access_type(i); i++) {
        const struct message_type *t = message_type_find(access_type(i));
        ck_assert_msg(t && t->reply, "'%s' has roles and is no request", access_type(i));
        for (size_t j = 0; j < i; j++)
            ck_assert_str_ne(access_type(i), access_type(j));
        n--;
    }
    ck_assert_uint_eq(n, 0);
}
END_TEST

START_TEST(each_role_and_type)
{
    for (size_t i = 0; i < NTYPES; i++) {
        const char *type = expected[i].type;
        ck_assert_msg(may(O, type) == expected[i].orchestrator, "orchestrator: %s", type);
        ck_assert_msg(may(P, type) == expected[i].peer, "peer: %s", type);
        ck_assert_msg(may(M, type) == expected[i].monitor, "monitor: %s", type);
        ck_assert_msg(may(SELF, type) == expected[i].self, "the daemon's own key: %s", type);
        ck_assert_msg(may(P | M, type) == (expected[i].peer || expected[i].monitor), "peer monitor: %s", type);
        ck_assert_msg(may(O | P, type) == (expected[i].orchestrator || expected[i].peer), "orchestrator peer: %s", type);
        ck_assert_msg(!may(0, type), "no role: %s", type);
        ck_assert_msg(may(KEY_ALL, type), "no keys: %s", type);
    }
}
END_TEST

START_TEST(unknown_types_are_refused)
{
    static const char *const types[] = { "", "no-such-type", "disk-lis", "disk-list ", "DISK-LIST" };
    for (unsigned i = 0; i < sizeof types / sizeof *types; i++)
        ck_assert(!may(O | P | M, types[i]) && !may(SELF, types[i]));
}
END_TEST

static int owner_check(unsigned roles, const char *type, const char *key, const char *owner)
{
    struct caller caller = { .name = "host7", .roles = roles };
    snprintf(caller.key, sizeof caller.key, "%s", key);
    memset(&unit_err, 0, sizeof unit_err);
    return access_check_owner(&caller, type, owner, "S", &unit_err);
}

START_TEST(sessions_have_an_owner)
{
    ck_assert_int_eq(owner_check(P, "cancel", "mine", "mine"), 0);
    ck_assert_int_eq(owner_check(P, "cancel", "mine", "another"), -EACCES);
    ck_assert_ptr_nonnull(strstr(unit_err.message, "session S"));
    ck_assert_int_eq(owner_check(P, "wait", "mine", ""), -EACCES);      /* opened without keys */
    ck_assert_int_eq(owner_check(P, "wait", "", ""), -EACCES);
    ck_assert_int_eq(owner_check(0, "wait", "mine", "another"), -EACCES);
    ck_assert_int_eq(owner_check(O, "cancel", "mine", "another"), 0);
    ck_assert_int_eq(owner_check(M, "wait", "mine", "another"), 0);
    ck_assert_int_eq(owner_check(SELF, "lease", "mine", "another"), 0);
    ck_assert_int_eq(owner_check(KEY_ALL, "seal", "", ""), 0);          /* no keys, or a thread of this process */
    /* A role that does not allow the request does not help a peer. */
    ck_assert_int_eq(owner_check(P | M, "cancel", "mine", "another"), -EACCES);
    ck_assert_int_eq(owner_check(P | M, "wait", "mine", "another"), 0);
    ck_assert_int_eq(owner_check(P | O, "seal", "mine", "another"), -EACCES);
    ck_assert_int_eq(owner_check(P | O, "seal", "mine", "mine"), 0);
    ck_assert_int_eq(owner_check(SELF, "attempt", "mine", "another"), -EACCES);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "access");
    tcase_add_test(tc, table_is_complete);
    tcase_add_test(tc, each_role_and_type);
    tcase_add_test(tc, unknown_types_are_refused);
    tcase_add_test(tc, sessions_have_an_owner);
}

UNIT_MAIN("access", add_cases)
