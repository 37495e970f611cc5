// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a comparison does with reports: those that it refuses, those that come
 * twice, a run of random ones with restarts against a naive model.
 */
#include "daemon/comparison.h"
#include "unit.h"

#include "base/cleanup.h"
#include "base/files.h"
#include "bitmap/disk.h"

#define SIZE        (100 * 512 + 100)
#define GRANULES    101

static struct engine engine;
static struct comparison c;
static int dirfd;

static void setup(void)
{
    struct df_disk *disk = NULL;
    engine = (struct engine){ .state_dir = unit_dir };
    c = (struct comparison){ .disk = "vda", .bitmap = "b", .against = "/old", .stamp = "1" };
    OK(files_open_directory(unit_dir, "comparisons", 0700, &dirfd, &unit_err));
    OK(df_disk_create(unit_dir, "vda", SIZE, &unit_err));
    OK(df_disk_open(unit_dir, "vda", &disk, &unit_err));
    OK(df_bitmap_add(disk, "b", 512, 0, &unit_err));
    df_disk_close(&disk);
    OK(work_begin(&engine, dirfd, false, &c, &unit_err));
}

static void teardown(void)
{
    close(dirfd);
}

/* As it comes from the wire. */
static int report(uint64_t offset, uint64_t length, const uint64_t *numbers, size_t n, uint64_t unread, struct df_error *err)
{
    CLEANUP(message_free) struct message *m = NULL;
    struct out out;
    const uint8_t *bytes;
    size_t nbytes;
    uint64_t id;
    message_begin(&out, "diff-report", 1);
    out_text(&out, "diff", "6fa2c1d0-0f3e-4b52-9c7b-2d1e8a90b344");
    out_u64(&out, "offset", offset);
    out_u64(&out, "length", length);
    out_list(&out, "extents");
    for (size_t i = 0; i < n; i++)
        out_u64(&out, NULL, numbers[i]);
    out_close(&out);
    out_u64(&out, "unread", unread);
    ck_assert(out_finish(&out, &bytes, &nbytes));
    ck_assert_int_eq(message_decode(bytes, nbytes, MESSAGE_REQUEST, &m, &id, NULL), 0);
    out_destroy(&out);
    return work_report(&engine, dirfd, m->root, &c, err);
}

static struct df_bitmap_info info(void)
{
    struct df_disk *disk = NULL;
    struct df_bitmap_info i;
    OK(df_disk_open(unit_dir, "vda", &disk, &unit_err));
    OK(df_bitmap_get_info(disk, "b", &i, &unit_err));
    df_disk_close(&disk);
    return i;
}

static void check_bits(const bool *model)
{
    struct df_disk *disk = NULL;
    struct df_bitmap *bitmap = NULL;
    OK(df_disk_open(unit_dir, "vda", &disk, &unit_err));
    OK(df_bitmap_open(disk, "b", &bitmap, &unit_err));
    for (unsigned i = 0; i < GRANULES; i++)
        ck_assert_msg(df_bitmap_test(bitmap, i * 512) == model[i], "granule %u", i);
    df_bitmap_close(&bitmap);
    df_disk_close(&disk);
}

/* Each: offset, length, numbers; a whole granule was reported before. */
static const struct {
    uint64_t offset, length, numbers[6];
    size_t n;
} wrong[] = {
    { 1024, 512, { 0 }, 0 },                    /* a gap */
    { 512, 100, { 0 }, 0 },                     /* ends within a granule */
    { 512, SIZE, { 0 }, 0 },                    /* behind the disk */
    { 0, UINT64_MAX, { 0 }, 0 },
    { 512, UINT64_MAX - 511, { 0 }, 0 },        /* wraps to 0 */
    { UINT64_MAX, 1, { 0 }, 0 },
    { 512, 1024, { 512 }, 1 },                  /* no length */
    { 512, 1024, { 512, 0 }, 2 },
    { 512, 1024, { 0, 512 }, 2 },               /* before it */
    { 512, 1024, { 1024, 1024 }, 2 },           /* behind it */
    { 512, 1024, { 1536, 512 }, 2 },
    { 512, 1024, { 512, UINT64_MAX }, 2 },
    { 512, 1024, { 1024, 512, 512, 512 }, 4 },  /* not in order */
    { 512, 1024, { 512, 1024, 1024, 512 }, 4 }, /* twice */
};
#define NWRONG (int)(sizeof wrong / sizeof *wrong)

START_TEST(test_wrong)
{
    const bool none[GRANULES] = { false };
    bool inconsistent;
    OK(report(0, 512, NULL, 0, 0, &unit_err));
    struct comparison before = c;
    FAILS(-EINVAL, report(wrong[_i].offset, wrong[_i].length, wrong[_i].numbers, wrong[_i].n, 0, &unit_err));
    ck_assert_mem_eq(&before, &c, sizeof c);
    struct df_disk *disk = NULL;
    OK(df_disk_open(unit_dir, "vda", &disk, &unit_err));
    OK(disk_compare_complete(disk, "b", c.uuid, &inconsistent, &unit_err));
    df_disk_close(&disk);
    check_bits(none);
}
END_TEST

/* Once more is the same again, and counts nothing twice; so is the last one. */
START_TEST(test_twice)
{
    const uint64_t first[] = { 0, 1024, 2048, 512 }, rest[] = { 1024, 1024, 5120, SIZE - 5120 };
    bool model[GRANULES] = { true, true, true, true, true };
    for (unsigned i = 0; i < 2; i++) {
        OK(report(0, 4096, first, 4, 512, &unit_err));
        ck_assert(c.position == 4096 && c.different == 1536 && c.unread == 512 && c.state == COMPARISON_COMPARING);
    }
    OK(report(512, 1024, NULL, 0, 0, &unit_err));
    ck_assert(c.position == 4096 && c.different == 1536 && c.unread == 512);
    for (unsigned i = 0; i < 2; i++) {
        OK(report(1024, SIZE - 1024, rest, 4, 512, &unit_err));     /* what lies before the position is not counted again */
        ck_assert(c.position == SIZE && c.different == 1536 + SIZE - 5120 && c.state == COMPARISON_COMPLETE && !c.inconsistent);
        ck_assert(!info().busy);
    }
    for (unsigned i = 10; i < GRANULES; i++)
        model[i] = true;
    check_bits(model);
    FAILS(-EPERM, work_cancel(&engine, dirfd, &c, &unit_err));
}
END_TEST

START_TEST(test_cancelled)
{
    OK(report(0, 512, NULL, 0, 0, &unit_err));
    OK(work_cancel(&engine, dirfd, &c, &unit_err));
    OK(work_cancel(&engine, dirfd, &c, &unit_err));
    FAILS(-ECANCELED, report(512, 512, NULL, 0, 0, &unit_err));
    ck_assert(!info().busy);
    /* Its disk may be gone. */
    OK(work_begin(&engine, dirfd, false, &c, &unit_err));
    ck_assert(c.state == COMPARISON_COMPARING && !c.position && info().busy);
    struct comparison other = c;
    other.uuid[0] ^= 1;
    snprintf(other.disk, sizeof other.disk, "gone");
    OK(work_cancel(&engine, dirfd, &other, &unit_err));
}
END_TEST

/* One that goes on stays what it is; if the bitmap is in other hands a new one is begun. */
START_TEST(test_goes_on)
{
    struct df_disk *disk = NULL;
    OK(report(0, 5120, NULL, 0, 0, &unit_err));
    struct comparison before = c;
    OK(work_begin(&engine, dirfd, true, &c, &unit_err));
    ck_assert_mem_eq(&before, &c, sizeof c);
    OK(df_disk_open(unit_dir, "vda", &disk, &unit_err));
    OK(disk_compare_cancel(disk, "b", c.uuid, &unit_err));
    df_disk_close(&disk);
    OK(work_begin(&engine, dirfd, true, &c, &unit_err));
    ck_assert(c.position == 0 && memcmp(before.uuid, c.uuid, UUID_BYTES));
}
END_TEST

static int keep(void *opaque, const struct comparison *found)
{
    *(struct comparison *)opaque = *found;
    return 0;
}

/* As a daemon that is killed and started. */
static void restart(void)
{
    struct comparison found = { .size = 0 };
    OK(comparison_each(dirfd, keep, &found, &unit_err));
    ck_assert_mem_eq(found.uuid, c.uuid, UUID_BYTES);
    ck_assert(found.position == c.position && found.different == c.different && found.state == c.state);
    ck_assert(work_recover(&engine, dirfd, &found));
    ck_assert(found.position == c.position && found.state == c.state);
    c = found;
}

START_TEST(test_random)
{
    bool model[GRANULES] = { false };
    unit_state += (uint64_t)_i;
    while (c.state == COMPARISON_COMPARING) {
        uint64_t numbers[2 * GRANULES], n = 0, from = unit_below(c.position / 512 + 1), upto = from + unit_below(12);
        if (upto > GRANULES)
            upto = GRANULES;
        for (uint64_t i = from; i < upto; i++) {
            if (unit_below(3))
                continue;
            numbers[n++] = i * 512 + unit_below(2) * 99;
            numbers[n++] = 1;
            model[i] = true;
        }
        uint64_t end = upto == GRANULES ? SIZE : upto * 512;
        uint64_t position = end > c.position ? end : c.position;
        OK(report(from * 512, end - from * 512, numbers, n, 0, &unit_err));
        ck_assert_uint_eq(c.position, position);
        if (unit_below(4) == 0)
            restart();
    }
    ck_assert_uint_eq(c.position, SIZE);
    check_bits(model);
    restart();
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "comparison-work");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_wrong, 0, NWRONG);
    tcase_add_test(tc, test_twice);
    tcase_add_test(tc, test_cancelled);
    tcase_add_test(tc, test_goes_on);
    tcase_add_loop_test(tc, test_random, 0, 20);
}

UNIT_MAIN("comparison-work", add_cases)
