// SPDX-License-Identifier: BSD-3-Clause
/* A parent that is filled from a map of another geometry, against a model that knows no bits but sectors of 512 bytes. */
#include "unit.h"

#include "bitmap/map.h"

#define SECTOR UINT64_C(512)

/* The model is slow and has no threads: TSan need not watch it. */
#define NAIVE __attribute__((no_sanitize_thread))

static int writes_left = -1;    /* until a write fails; below 0: none does */

int __real_map_write(struct map *map, uint64_t offset, const uint8_t *bytes, uint64_t nbytes);
int __wrap_map_write(struct map *map, uint64_t offset, const uint8_t *bytes, uint64_t nbytes);

int __wrap_map_write(struct map *map, uint64_t offset, const uint8_t *bytes, uint64_t nbytes)
{
    if (writes_left >= 0 && writes_left-- == 0)
        return -ENOSPC;
    return __real_map_write(map, offset, bytes, nbytes);
}

static struct map *make_map(const char *file, const struct geometry *g)
{
    struct map *map = NULL;
    int dirfd = open(unit_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    unlinkat(dirfd, file, 0);
    OK(map_create(dirfd, file, geometry_bits(g), &map, &unit_err));
    close(dirfd);
    return map;
}

/* A sector is dirty when its bit is, or behind the source's end; the last one of the source may be cut. */
NAIVE static void model(uint8_t *dirty, const struct geometry *to, const struct map *src, const struct geometry *from)
{
    uint64_t end = (to->size - 1) / SECTOR + 1;
    for (uint64_t s = 0; s < end; s++)
        dirty[s] = (s + 1) * SECTOR > from->size;
    for (uint64_t s = 0; s * SECTOR < from->size; s++)
        dirty[s] |= map_test(src, s * SECTOR / from->granularity);
    if (to->size == from->size && from->size % SECTOR)
        dirty[end - 1] = map_test(src, (from->size - 1) / from->granularity);
}

NAIVE static void check(const struct map *dst, const struct geometry *to, const uint8_t *dirty)
{
    uint64_t end = (to->size - 1) / SECTOR + 1, per_bit = to->granularity / SECTOR, count = 0;
    for (uint64_t bit = 0; bit < dst->nbits; bit++) {
        bool any = false;
        for (uint64_t s = bit * per_bit; s < (bit + 1) * per_bit && s < end; s++)
            any = any || dirty[s];
        ck_assert_msg(map_test(dst, bit) == any, "bit %" PRIu64 " of %" PRIu64 " is %d, disk of %" PRIu64 " by %" PRIu64, bit, dst->nbits, !any, to->size, to->granularity);
        count += any;
    }
    ck_assert_uint_eq(map_count(dst), count);       /* none beyond nbits either */
}

static void set_some(struct map *map)
{
    for (unsigned i = 0, n = (unsigned)unit_below(6); i < n; i++) {
        uint64_t first = unit_below(map->nbits), length = 1 + unit_below(UINT64_C(1) << unit_below(18));
        OK(map_set(map, first, length < map->nbits - first ? length : map->nbits - first));
    }
    for (unsigned i = 0, n = (unsigned)unit_below(300); i < n; i++)
        OK(map_set(map, unit_below(map->nbits), 1));
    if (unit_below(4) == 0)
        OK(map_set(map, map->nbits - 1, 1));
}

static uint64_t some_granularity(void)
{
    return SECTOR << unit_below(unit_below(8) ? 8 : 23);
}

/* Up to 8 MiB more, often a little, often nothing. */
static uint64_t some_growth(void)
{
    static const uint64_t most[] = { 1, 2, 600, 65536, 8 * MiB };
    return unit_below(most[unit_below(5)]);
}

START_TEST(test_model)
{
    for (unsigned round = 0; round < 300; round++) {
        struct geometry from = { 1 + unit_below(UINT64_C(1) << (10 + unit_below(17))), some_granularity() };
        struct geometry to = { from.size + some_growth(), unit_below(4) ? some_granularity() : from.granularity };
        uint8_t *dirty = calloc((to.size - 1) / SECTOR + 1, 1);
        struct map *src = make_map("src", &from), *dst = make_map("dst", &to);
        set_some(src);
        model(dirty, &to, src, &from);
        OK(map_write_scaled(dst, &to, src, &from));
        check(dst, &to, dirty);
        OK(map_write_scaled(dst, &to, src, &from));
        check(dst, &to, dirty);
        map_close(&src);
        map_close(&dst);
        free(dirty);
    }
}
END_TEST

/* A bit that was set beyond the end, by another program, stands for nothing. */
START_TEST(test_behind_the_end)
{
    for (uint64_t coarser = 1; coarser <= 2; coarser++) {
        struct geometry from = { 65 * SECTOR, SECTOR }, to = { 65 * SECTOR, coarser * SECTOR };
        struct map *src = make_map("src", &from), *dst = make_map("dst", &to);
        OK(map_set(src, 64, 1));
        src->leaf[1] |= htole64(UINT64_C(1) << 9);
        OK(map_write_scaled(dst, &to, src, &from));
        ck_assert(map_test(dst, 64 / coarser));
        for (uint64_t w = 0; w < MAP_BLOCK_WORDS; w++)
            ck_assert_uint_eq(map_word(dst, w), w == 64 / coarser / 64 ? UINT64_C(1) << 64 / coarser % 64 : 0);
        map_close(&src);
        map_close(&dst);
    }
}
END_TEST

/* No space: an error that leaves the map as good as before, and the next try completes it. */
START_TEST(test_no_space)
{
    struct geometry from = { 64 * MiB, SECTOR }, to = { 80 * MiB, SECTOR };
    uint8_t *dirty = calloc(to.size / SECTOR, 1);
    struct map *src = make_map("src", &from), *dst = make_map("dst", &to);
    for (unsigned i = 0; i < 1000; i++)
        OK(map_set(src, unit_below(src->nbits), 1));
    model(dirty, &to, src, &from);
    for (int n = 0; n < 5; n++) {
        writes_left = n;
        ck_assert_int_eq(map_write_scaled(dst, &to, src, &from), -ENOSPC);
        ck_assert(!map_is_damaged(dst));
    }
    writes_left = 5;
    OK(map_write_scaled(dst, &to, src, &from));
    writes_left = -1;
    check(dst, &to, dirty);
    map_close(&src);
    map_close(&dst);
    free(dirty);
}
END_TEST

/* The largest disk there can be: one bit of 2 GiB at its very end, into one of 512 KiB. */
START_TEST(test_largest)
{
    struct geometry from = { DF_DISK_SIZE_MAX, DF_GRANULARITY_MAX }, to = { DF_DISK_SIZE_MAX, 512 * KiB };
    struct map *src = make_map("src", &from), *dst = make_map("dst", &to);
    OK(map_set(src, src->nbits - 1, 1));
    OK(map_write_scaled(dst, &to, src, &from));
    ck_assert_uint_eq(map_count(dst), 4096);
    ck_assert_uint_eq(map_next_set(dst, 0), dst->nbits - 4096);
    map_close(&src);
    map_close(&dst);
}
END_TEST

START_TEST(test_granularities)
{
    static const uint64_t wrong[] = { 0, 1, 256, 511, 513, 1000, 65535, (UINT64_C(2) << 30) + 1, UINT64_C(4) << 30, UINT64_MAX };
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++)
        FAILS(-EINVAL, granularity_check(wrong[i], &unit_err));
    for (uint64_t g = 512; g <= UINT64_C(2) << 30; g *= 2)
        OK(granularity_check(g, &unit_err));
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "scale");
    tcase_add_test(tc, test_model);
    tcase_add_test(tc, test_behind_the_end);
    tcase_add_test(tc, test_no_space);
    tcase_add_test(tc, test_largest);
    tcase_add_test(tc, test_granularities);
}

UNIT_MAIN("scale", add_cases)
