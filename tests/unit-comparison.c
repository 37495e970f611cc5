// SPDX-License-Identifier: BSD-3-Clause
/* The file of a comparison: what is written is read, and nothing else is; torn, forged, of another name, not ours. */
#include "daemon/comparison.h"
#include "unit.h"

#include <stddef.h>

#include <xxhash.h>

#include "base/files.h"

static int dirfd;

static void setup(void)
{
    OK(files_open_directory(unit_dir, "comparisons", 0700, &dirfd, &unit_err));
}

static void teardown(void)
{
    close(dirfd);
}

static struct comparison example(void)
{
    struct comparison c = { .state = COMPARISON_COMPARING, .disk = "vda", .bitmap = "früh", .against = "/b/full.raw", .stamp = "7:8", .size = 10 * MiB + 1,
                            .granularity = 64 * KiB, .position = MiB, .different = 64 * KiB, .unread = 512, .qemu = true };
    memcpy(c.uuid, "sixteen bytes..!", UUID_BYTES);
    return c;
}

static size_t read_file(const struct comparison *c, uint8_t bytes[16384])
{
    char name[UUID_TEXT_BYTES];
    int fd = openat(dirfd, uuid_format(c->uuid, name), O_RDONLY);
    ssize_t n = read(fd, bytes, 16384);
    ck_assert_int_gt(n, 24);
    close(fd);
    return (size_t)n;
}

static void write_file(const char *name, const void *bytes, size_t nbytes)
{
    int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_eq(write(fd, bytes, nbytes), (ssize_t)nbytes);
    close(fd);
}

static void same(const struct comparison *a, const struct comparison *b)
{
    ck_assert_mem_eq(a->uuid, b->uuid, UUID_BYTES);
    ck_assert_str_eq(a->disk, b->disk);
    ck_assert_str_eq(a->bitmap, b->bitmap);
    ck_assert_str_eq(a->against, b->against);
    ck_assert_str_eq(a->stamp, b->stamp);
    ck_assert(a->state == b->state && a->size == b->size && a->granularity == b->granularity && a->position == b->position && a->different == b->different &&
              a->unread == b->unread && a->qemu == b->qemu && a->filled == b->filled && a->inconsistent == b->inconsistent);
}

/* Every position and state that can be; the longest names; an older file is replaced. */
START_TEST(test_round)
{
    struct comparison c = example(), read;
    uint8_t bytes[16384];
    if (_i) {
        memset(c.disk, 'd', sizeof c.disk - 1);
        memset(c.bitmap, 'b', sizeof c.bitmap - 1);
        memset(c.against, 'a', sizeof c.against - 1);
        memset(c.stamp, 's', sizeof c.stamp - 1);
    }
    for (c.state = COMPARISON_COMPARING; c.state <= COMPARISON_CANCELLED; c.state++)
        for (c.position = c.state == COMPARISON_COMPLETE ? c.size : 0;; c.position = c.position ? c.size : MiB) {
            c.inconsistent = c.state == COMPARISON_COMPLETE && _i;
            c.filled = _i;
            OK(comparison_write(dirfd, &c, &unit_err));
            OK(comparison_decode(bytes, read_file(&c, bytes), &read, &unit_err));
            same(&c, &read);
            if (c.position == c.size)
                break;
        }
    comparison_remove(dirfd, &c);
    comparison_remove(dirfd, &c);
}
END_TEST

/* Cut anywhere, longer, any bit another one. */
START_TEST(test_torn)
{
    struct comparison c = example(), read;
    uint8_t bytes[16384];
    OK(comparison_write(dirfd, &c, &unit_err));
    size_t n = read_file(&c, bytes);
    for (size_t i = 0; i < n; i++)
        FAILS(-EPROTO, comparison_decode(bytes, i, &read, &unit_err));
    FAILS(-EPROTO, comparison_decode(bytes, n + 1, &read, &unit_err));
    for (size_t bit = 0; bit < n * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        FAILS(-EPROTO, comparison_decode(bytes, n, &read, &unit_err));
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    OK(comparison_decode(bytes, n, &read, &unit_err));
}
END_TEST

static void position_behind(struct comparison *c) { c->position = c->size + 1; }
static void position_within(struct comparison *c) { c->position = 512; }
static void complete_early(struct comparison *c) { c->state = COMPARISON_COMPLETE; }
static void granularity_odd(struct comparison *c) { c->granularity = 65537; c->position = 0; }
static void granularity_small(struct comparison *c) { c->granularity = 256; }
static void granularity_none(struct comparison *c) { c->granularity = 0; }
static void size_none(struct comparison *c) { c->size = c->position = 0; }
static void size_huge(struct comparison *c) { c->size = DF_DISK_SIZE_MAX + 1; }
static void disk_none(struct comparison *c) { c->disk[0] = 0; }
static void against_none(struct comparison *c) { c->against[0] = 0; }

/* Whole, and senseless. */
static void (*const edits[])(struct comparison *) = { position_behind, position_within, complete_early, granularity_odd, granularity_small, granularity_none,
                                                      size_none, size_huge, disk_none, against_none };

START_TEST(test_forged)
{
    struct comparison c = example(), read;
    uint8_t bytes[16384];
    edits[_i](&c);
    OK(comparison_write(dirfd, &c, &unit_err));
    memset(&unit_err, 0, sizeof unit_err);
    ck_assert_int_eq(comparison_decode(bytes, read_file(&c, bytes), &read, &unit_err), -EPROTO);
}
END_TEST

START_TEST(test_state_unknown)
{
    struct comparison c = example(), read;
    uint8_t bytes[16384];
    OK(comparison_write(dirfd, &c, &unit_err));
    size_t n = read_file(&c, bytes);
    uint8_t *state = memmem(bytes, n, "comparing", 9);
    memcpy(state, "composing", 9);
    uint64_t sum = XXH3_64bits(bytes + 24, n - 24);
    memcpy(bytes + 16, &sum, sizeof sum);
    FAILS(-EPROTO, comparison_decode(bytes, n, &read, &unit_err));
    ck_assert_ptr_nonnull(strstr(unit_err.message, "'composing' is not known"));
}
END_TEST

/* -------------------------------------------------------------- directory */

struct seen {
    unsigned n;
    struct comparison last;
};

static int see(void *opaque, const struct comparison *c)
{
    struct seen *seen = opaque;
    seen->n++;
    seen->last = *c;
    return 0;
}

START_TEST(test_directory)
{
    struct comparison c = example();
    struct seen seen = { 0 };
    uint8_t bytes[16384];
    char name[UUID_TEXT_BYTES];
    static const char other[] = "6fa2c1d0-0f3e-4b52-9c7b-2d1e8a90b344", link[] = "6fa2c1d0-0f3e-4b52-9c7b-2d1e8a90b345";
    OK(comparison_each(dirfd, see, &seen, &unit_err));
    ck_assert_uint_eq(seen.n, 0);
    OK(comparison_write(dirfd, &c, &unit_err));
    size_t n = read_file(&c, bytes);
    write_file(".new", bytes, n / 2);
    write_file("notes", bytes, n);
    write_file(other, bytes, n);                            /* whole, and of another name */
    ck_assert_int_eq(symlinkat("notes", dirfd, link), 0);
    OK(comparison_each(dirfd, see, &seen, &unit_err));
    ck_assert_uint_eq(seen.n, 1);
    same(&c, &seen.last);
    ck_assert_int_eq(faccessat(dirfd, other, F_OK, 0), -1);
    ck_assert_int_eq(faccessat(dirfd, "notes", F_OK, 0), 0);
    write_file(uuid_format(c.uuid, name), bytes, n - 1);
    OK(comparison_each(dirfd, see, &seen, &unit_err));
    ck_assert_uint_eq(seen.n, 1);
    ck_assert_int_eq(faccessat(dirfd, name, F_OK, 0), -1);
    OK(comparison_write(dirfd, &c, &unit_err));             /* .new is no hindrance */
    ck_assert_int_eq(fchmodat(dirfd, name, 0622, 0), 0);
    FAILS(-EPERM, comparison_each(dirfd, see, &seen, &unit_err));
    ck_assert_int_eq(faccessat(dirfd, name, F_OK, 0), 0);
}
END_TEST

START_TEST(test_cannot_write)
{
    struct comparison c = example();
    ck_assert_int_eq(mkdirat(dirfd, ".new", 0700), 0);
    FAILS(-EEXIST, comparison_write(dirfd, &c, &unit_err));
    ck_assert_ptr_nonnull(strstr(unit_err.message, "cannot write down how far comparison"));
    unlinkat(dirfd, ".new", AT_REMOVEDIR);
    OK(comparison_write(dirfd, &c, &unit_err));
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "comparison");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_round, 0, 2);
    tcase_add_test(tc, test_torn);
    tcase_add_loop_test(tc, test_forged, 0, sizeof edits / sizeof *edits);
    tcase_add_test(tc, test_state_unknown);
    tcase_add_test(tc, test_directory);
    tcase_add_test(tc, test_cannot_write);
}

UNIT_MAIN("comparison", add_cases)
