// SPDX-License-Identifier: BSD-3-Clause
/*
 * The states of a bitmap in a hand-over: each state against each verb, repeats,
 * other sessions, where writes go meanwhile, the fence, what is inconsistent.
 */
#include "unit.h"

#include "bitmap/disk.h"

static const uint8_t one[DF_SESSION_BYTES] = "session one", two[DF_SESSION_BYTES] = "session two", none[DF_SESSION_BYTES];
static struct df_disk *disk;

static void setup(void)
{
    OK(df_disk_create(unit_dir, "vda", MiB, &unit_err));
    OK(df_disk_open(unit_dir, "vda", &disk, &unit_err));
}

static void teardown(void)
{
    df_disk_close(&disk);
}

static struct df_bitmap_info info_of(const char *name)
{
    struct df_bitmap_info info;
    OK(df_bitmap_get_info(disk, name, &info, &unit_err));
    return info;
}

/* The dirty granules of 512 bytes below 64, as bits: what a test wants to read at a glance. */
static uint64_t bits_of_map(const struct map *map)
{
    uint64_t bits = 0;
    for (unsigned i = 0; i < 64; i++)
        bits |= (uint64_t)map_test(map, i) << i;
    return bits;
}

static uint64_t bits_of(const char *name)
{
    struct df_bitmap *bitmap = NULL;
    uint64_t bits = 0;
    OK(df_bitmap_open(disk, name, &bitmap, &unit_err));
    for (unsigned i = 0; i < 64; i++)
        bits |= (uint64_t)df_bitmap_test(bitmap, i * 512) << i;
    df_bitmap_close(&bitmap);
    return bits;
}

static uint64_t parent_bits(const char *name, const uint8_t *session)
{
    struct map_ref *ref = NULL;
    OK(disk_get_map(disk, name, session, &ref, &unit_err));
    uint64_t bits = bits_of_map(ref->map);
    disk_put_map(disk, &ref);
    return bits;
}

/* A write of granule i. */
static void mark(unsigned i)
{
    OK(df_disk_mark(disk, i * 512, 512, &unit_err));
}

static void add(const char *name, unsigned flags)
{
    OK(df_bitmap_add(disk, name, 512, flags, &unit_err));
}

/* ------------------------------------------------------- states and verbs */

enum start { IDLE, TAKEN, LOCKED, FROZEN, RECLAIMING, NSTARTS };

static void bring_to(enum start state)
{
    add("a", 0);
    if (state == TAKEN)
        OK(df_bitmap_take(disk, "a", one, &unit_err));
    if (state == LOCKED || state == FROZEN)
        OK(df_bitmap_freeze(disk, "a", one, state == LOCKED, &unit_err));
    if (state == RECLAIMING) {      /* as a process leaves it that dies within reclaim */
        struct txn txn;
        OK(df_bitmap_freeze(disk, "a", one, false, &unit_err));
        OK(txn_begin(disk, &txn, &unit_err));
        txn_find(&txn, "a")->state = RECORD_RECLAIMING;
        txn.changed = true;
        OK(txn_commit(&txn, &unit_err));
    }
}

/* Only IDLE lets a bitmap be used; every state lets it record, LOCKED not yet. */
START_TEST(test_use_by_state)
{
    struct df_bitmap *bitmap = NULL;
    int busy = _i == IDLE ? 0 : -EBUSY;
    bring_to((enum start)_i);
    struct df_bitmap_info info = info_of("a");
    ck_assert_int_eq(info.busy, _i != IDLE);
    ck_assert_int_eq(info.frozen, _i == LOCKED || _i == FROZEN);
    ck_assert_int_eq(info.recording, _i != LOCKED);
    ck_assert_mem_eq(info.session, _i == IDLE ? none : one, DF_SESSION_BYTES);
    add("b", 0);
    int (*const verbs[])(struct df_disk *, const char *, struct df_error *) = { df_bitmap_enable, df_bitmap_disable, df_bitmap_clear };
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(verbs[i](disk, "a", NULL), busy);
    ck_assert_int_eq(df_bitmap_merge(disk, "b", disk, "a", NULL), busy);
    ck_assert_int_eq(df_bitmap_merge(disk, "a", disk, "b", NULL), busy);
    ck_assert_int_eq(df_bitmap_open(disk, "a", &bitmap, NULL), busy);
    df_bitmap_close(&bitmap);
    ck_assert_int_eq(df_bitmap_remove(disk, "a", NULL), busy);
    OK(df_bitmap_clear(disk, "b", &unit_err));
}
END_TEST

/* result[state]: 0 or the error of the session that owns the bitmap. */
typedef int verb(struct df_disk *, const char *, const uint8_t *, struct df_error *);

static int freeze_locked(struct df_disk *d, const char *name, const uint8_t *session, struct df_error *err)
{
    return df_bitmap_freeze(d, name, session, true, err);
}

static int freeze_open(struct df_disk *d, const char *name, const uint8_t *session, struct df_error *err)
{
    return df_bitmap_freeze(d, name, session, false, err);
}

static const struct {
    verb *call;
    int result[NSTARTS];        /* IDLE TAKEN LOCKED FROZEN RECLAIMING */
} verbs_by_state[] = {
    { df_bitmap_take,      { 0, 0, -EBUSY, -EBUSY, -EBUSY } },
    { df_bitmap_give_back, { 0, 0, -EBUSY, -EBUSY, -EBUSY } },
    { freeze_locked,       { 0, -EBUSY, 0, -EBUSY, -EBUSY } },
    { freeze_open,         { 0, -EBUSY, -EBUSY, 0, -EBUSY } },
    { df_bitmap_unlock,    { -EBUSY, -EBUSY, 0, 0, -EBUSY } },
    { df_bitmap_abdicate,  { 0, -EBUSY, 0, 0, -EBUSY } },
    { df_bitmap_reclaim,   { 0, -EBUSY, 0, 0, 0 } },
    { df_bitmap_discard,   { 0, 0, 0, 0, 0 } },
};
#define NVERBS (sizeof verbs_by_state / sizeof *verbs_by_state)

START_TEST(test_verbs_by_state)
{
    unsigned state = (unsigned)_i % NSTARTS, v = (unsigned)_i / NSTARTS;
    int expected = verbs_by_state[v].result[state];
    bring_to((enum start)state);
    struct df_bitmap_info before = info_of("a"), after;
    memset(&unit_err, 0, sizeof unit_err);
    int r = verbs_by_state[v].call(disk, "a", one, &unit_err);
    ck_assert_msg(r == expected, "verb %u in state %u: %d %s", v, state, r, unit_err.message);
    ck_assert_int_eq(unit_err.code, expected);
    if (r < 0) {    /* a refusal changes nothing */
        after = info_of("a");
        ck_assert_mem_eq(&before, &after, sizeof before);
    } else {        /* a repeat is the same again */
        OK(verbs_by_state[v].call(disk, "a", one, &unit_err));
    }
}
END_TEST

/* Another session is refused by all, and changes nothing; discard says yes and does nothing. */
START_TEST(test_other_session)
{
    bring_to((enum start)_i);
    struct df_bitmap_info before = info_of("a"), after;
    for (unsigned v = 0; v < NVERBS; v++) {
        if (verbs_by_state[v].call == df_bitmap_discard)
            OK(df_bitmap_discard(disk, "a", two, &unit_err));
        else
            FAILS(-EBUSY, verbs_by_state[v].call(disk, "a", two, &unit_err));
    }
    struct map_ref *ref = NULL;
    FAILS(-EBUSY, disk_get_map(disk, "a", two, &ref, &unit_err));
    int r = df_bitmap_add_frozen(disk, "a", 512, 0, two, NULL);
    ck_assert(r == -EEXIST || r == -EBUSY);
    after = info_of("a");
    ck_assert_mem_eq(&before, &after, sizeof before);
}
END_TEST

START_TEST(test_unknown_bitmap)
{
    for (unsigned v = 0; v < NVERBS; v++) {
        if (verbs_by_state[v].call == df_bitmap_discard)
            OK(df_bitmap_discard(disk, "nix", one, &unit_err));
        else
            FAILS(-ENOENT, verbs_by_state[v].call(disk, "nix", one, &unit_err));
    }
}
END_TEST

/* ------------------------------------------------------- where writes go */

START_TEST(test_take)
{
    add("a", DF_BITMAP_PERSISTENT);
    mark(0);
    OK(df_bitmap_take(disk, "a", one, &unit_err));
    mark(1);
    ck_assert_uint_eq(parent_bits("a", one), 3);
    OK(df_bitmap_give_back(disk, "a", one, &unit_err));
    mark(2);
    ck_assert_uint_eq(bits_of("a"), 7);
    ck_assert(info_of("a").persistent);
    FAILS(-EBUSY, disk_get_map(disk, "a", one, NULL, &unit_err));
}
END_TEST

/* The whole way on the target; a write while locked belongs to the copy of the disk and is not recorded. */
START_TEST(test_target)
{
    OK(df_bitmap_add_frozen(disk, "a", 512, 0, one, &unit_err));
    OK(df_bitmap_add_frozen(disk, "a", 512, 0, one, &unit_err));
    mark(0);
    OK(df_bitmap_unlock(disk, "a", one, &unit_err));
    OK(df_bitmap_unlock(disk, "a", one, &unit_err));
    mark(1);
    struct map_ref *ref = NULL;
    OK(disk_get_map(disk, "a", one, &ref, &unit_err));
    ck_assert_uint_eq(bits_of_map(ref->map), 0);
    OK(map_set_alone(ref->map, 5, 1));          /* what the stream brings */
    disk_put_map(disk, &ref);
    OK(df_bitmap_reclaim(disk, "a", one, &unit_err));
    OK(df_bitmap_reclaim(disk, "a", one, &unit_err));
    ck_assert_uint_eq(bits_of("a"), 1 << 5 | 1 << 1);
    mark(2);
    ck_assert_uint_eq(bits_of("a"), 1 << 5 | 1 << 1 | 1 << 2);
}
END_TEST

START_TEST(test_freeze_reclaim)
{
    add("a", 0);
    mark(0);
    OK(df_bitmap_freeze(disk, "a", one, _i, &unit_err));
    mark(1);
    ck_assert_uint_eq(parent_bits("a", one), 1);
    OK(df_bitmap_reclaim(disk, "a", one, &unit_err));
    ck_assert_uint_eq(bits_of("a"), _i ? 1 : 3);
    ck_assert(!info_of("a").busy && info_of("a").recording);
    OK(df_bitmap_freeze(disk, "a", two, false, &unit_err));     /* and anew */
    mark(2);
    OK(df_bitmap_reclaim(disk, "a", two, &unit_err));
    ck_assert_uint_eq(bits_of("a"), _i ? 5 : 7);
}
END_TEST

START_TEST(test_abdicate)
{
    add("a", 0);
    mark(0);
    OK(df_bitmap_freeze(disk, "a", one, _i, &unit_err));
    mark(1);
    OK(df_bitmap_abdicate(disk, "a", one, &unit_err));
    ck_assert_uint_eq(bits_of("a"), _i ? 0 : 2);
    mark(2);
    ck_assert_uint_eq(bits_of("a"), _i ? 4 : 6);
    ck_assert(!info_of("a").busy && info_of("a").recording);
}
END_TEST

/* A reclaim that died half way: the parent records, the next one completes it. */
START_TEST(test_reclaim_resumes)
{
    bring_to(FROZEN);
    mark(1);
    struct txn txn;
    OK(txn_begin(disk, &txn, &unit_err));
    txn_find(&txn, "a")->state = RECORD_RECLAIMING;
    txn.changed = true;
    OK(txn_commit(&txn, &unit_err));
    mark(2);
    ck_assert_uint_eq(parent_bits("a", one), 4);
    OK(df_bitmap_reclaim(disk, "a", one, &unit_err));
    ck_assert_uint_eq(bits_of("a"), 6);
}
END_TEST

START_TEST(test_discard)
{
    struct df_bitmap_info info;
    bring_to(TAKEN + _i);
    OK(df_bitmap_discard(disk, "a", one, &unit_err));
    FAILS(-ENOENT, df_bitmap_get_info(disk, "a", &info, &unit_err));
    OK(df_bitmap_discard(disk, "a", one, &unit_err));
    mark(0);
    OK(df_bitmap_add_frozen(disk, "a", 512, 0, two, &unit_err));
}
END_TEST

/* A disabled bitmap is moved like any other, and records at no moment of it. */
START_TEST(test_disabled)
{
    OK(df_bitmap_add_frozen(disk, "a", 512, DF_BITMAP_DISABLED | DF_BITMAP_PERSISTENT, one, &unit_err));
    add("b", DF_BITMAP_DISABLED);
    mark(0);
    OK(df_bitmap_unlock(disk, "a", one, &unit_err));
    OK(df_bitmap_take(disk, "b", one, &unit_err));
    mark(1);
    ck_assert(!info_of("a").recording && !info_of("b").recording);
    OK(df_bitmap_reclaim(disk, "a", one, &unit_err));
    OK(df_bitmap_give_back(disk, "b", one, &unit_err));
    mark(2);
    ck_assert_uint_eq(bits_of("a"), 0);
    ck_assert_uint_eq(bits_of("b"), 0);
    ck_assert(!info_of("a").enabled && info_of("a").persistent);
    OK(df_bitmap_freeze(disk, "b", one, false, &unit_err));
    mark(3);
    OK(df_bitmap_abdicate(disk, "b", one, &unit_err));
    mark(4);
    ck_assert_uint_eq(bits_of("b"), 0);
    OK(df_bitmap_enable(disk, "b", &unit_err));
    mark(5);
    ck_assert_uint_eq(bits_of("b"), 1 << 5);
}
END_TEST

START_TEST(test_add_frozen_refuses)
{
    struct df_bitmap_info info;
    add("a", 0);
    FAILS(-EEXIST, df_bitmap_add_frozen(disk, "a", 512, 0, one, &unit_err));
    FAILS(-EINVAL, df_bitmap_add_frozen(disk, "b", 513, 0, one, &unit_err));
    FAILS(-EINVAL, df_bitmap_add_frozen(disk, "", 512, 0, one, &unit_err));
    OK(df_disk_fence(disk, &unit_err));
    FAILS(-EROFS, df_bitmap_add_frozen(disk, "b", 512, 0, one, &unit_err));
    FAILS(-ENOENT, df_bitmap_get_info(disk, "b", &info, &unit_err));
}
END_TEST

/* ------------------------------------------------------------------- fence */

START_TEST(test_fence)
{
    add("a", 0);
    add("b", 0);
    mark(0);
    OK(df_bitmap_take(disk, "b", one, &unit_err));
    OK(df_disk_fence(disk, &unit_err));
    OK(df_disk_fence(disk, &unit_err));
    ck_assert(df_disk_is_readonly(disk));
    ck_assert(info_of("a").readonly && !info_of("a").recording && info_of("a").enabled);
    FAILS(-EROFS, df_disk_mark(disk, 512, 1, &unit_err));
    FAILS(-EROFS, df_bitmap_clear(disk, "a", &unit_err));
    FAILS(-EROFS, df_bitmap_enable(disk, "a", &unit_err));
    FAILS(-EROFS, df_bitmap_disable(disk, "a", &unit_err));
    FAILS(-EROFS, df_bitmap_merge(disk, "a", disk, "a", &unit_err));
    FAILS(-EROFS, df_bitmap_take(disk, "a", one, &unit_err));
    FAILS(-EROFS, df_bitmap_freeze(disk, "a", one, true, &unit_err));
    OK(df_bitmap_take(disk, "b", one, &unit_err));      /* a repeat */
    ck_assert_uint_eq(parent_bits("b", one), 1);
    ck_assert_uint_eq(bits_of("a"), 1);                 /* reading is allowed */
    OK(df_disk_unfence(disk, &unit_err));
    OK(df_disk_unfence(disk, &unit_err));
    mark(1);
    ck_assert(!df_disk_is_readonly(disk) && info_of("a").recording);
    ck_assert_uint_eq(bits_of("a"), 3);
    ck_assert_uint_eq(parent_bits("b", one), 3);
    OK(df_disk_fence(disk, &unit_err));
    OK(df_bitmap_remove(disk, "a", &unit_err));         /* remove is allowed */
    OK(df_bitmap_discard(disk, "b", one, &unit_err));
}
END_TEST

/* ------------------------------------------------------------ inconsistent */

START_TEST(test_inconsistent)
{
    struct df_bitmap *bitmap = NULL;
    add("a", 0);
    add("b", 0);
    OK(df_bitmap_set_inconsistent(disk, "a", &unit_err));
    OK(df_bitmap_set_inconsistent(disk, "a", &unit_err));
    ck_assert(info_of("a").inconsistent && info_of("a").recording && !info_of("b").inconsistent);
    FAILS(-EINVAL, df_bitmap_clear(disk, "a", &unit_err));
    FAILS(-EINVAL, df_bitmap_enable(disk, "a", &unit_err));
    FAILS(-EINVAL, df_bitmap_disable(disk, "a", &unit_err));
    FAILS(-EINVAL, df_bitmap_open(disk, "a", &bitmap, &unit_err));
    FAILS(-EINVAL, df_bitmap_merge(disk, "b", disk, "a", &unit_err));
    FAILS(-EINVAL, df_bitmap_merge(disk, "a", disk, "b", &unit_err));
    FAILS(-EINVAL, df_bitmap_take(disk, "a", one, &unit_err));
    FAILS(-EINVAL, df_bitmap_freeze(disk, "a", one, false, &unit_err));
    OK(df_bitmap_remove(disk, "a", &unit_err));
    add("a", 0);
    ck_assert(!info_of("a").inconsistent);
}
END_TEST

/* A child that could not store a bit makes the bitmap inconsistent, and reclaim does not wash that off. */
START_TEST(test_damaged_child)
{
    char path[400];
    bring_to(FROZEN);
    struct txn txn;
    OK(txn_begin(disk, &txn, &unit_err));
    const struct record *record = txn_find(&txn, "a");
    uint64_t id = _i ? record->child : record->map;
    txn_abort(&txn);
    snprintf(path, sizeof path, "%s/disks/vda/map-%016" PRIx64, unit_dir, id);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    uint32_t flag = 1;
    ck_assert_int_eq(pwrite(fd, &flag, sizeof flag, offsetof(struct map_header, damaged)), sizeof flag);
    close(fd);
    ck_assert(info_of("a").inconsistent);
    OK(df_bitmap_reclaim(disk, "a", one, &unit_err));
    ck_assert(info_of("a").inconsistent && !info_of("a").busy);
    OK(df_bitmap_remove(disk, "a", &unit_err));
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "states");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_use_by_state, 0, NSTARTS);
    tcase_add_loop_test(tc, test_verbs_by_state, 0, NVERBS * NSTARTS);
    tcase_add_loop_test(tc, test_other_session, TAKEN, NSTARTS);
    tcase_add_test(tc, test_unknown_bitmap);
    tc = unit_case(suite, "writes");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_take);
    tcase_add_test(tc, test_target);
    tcase_add_loop_test(tc, test_freeze_reclaim, 0, 2);
    tcase_add_loop_test(tc, test_abdicate, 0, 2);
    tcase_add_test(tc, test_reclaim_resumes);
    tcase_add_loop_test(tc, test_discard, 0, 3);
    tcase_add_test(tc, test_disabled);
    tcase_add_test(tc, test_add_frozen_refuses);
    tc = unit_case(suite, "refusals");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_fence);
    tcase_add_test(tc, test_inconsistent);
    tcase_add_loop_test(tc, test_damaged_child, 0, 2);
}

UNIT_MAIN("handover", add_cases)
