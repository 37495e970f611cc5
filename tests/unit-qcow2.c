// SPDX-License-Identifier: BSD-3-Clause
/*
 * qcow2 images: what is written against a naive reader of the format and against
 * qcow2_read().
 */
#include "unit-qcow2.h"

/* The model is slow and has no threads: TSan need not watch it. */
#define NAIVE __attribute__((no_sanitize_thread))

/* ------------------------------------------------------------ naive reader */

static uint8_t *uses;       /* of each cluster */

static void use(uint64_t offset, uint64_t nbytes)
{
    ck_assert_uint_eq(offset % CLUSTER, 0);
    for (uint64_t c = offset / CLUSTER; c < (offset + nbytes + CLUSTER - 1) / CLUSTER; c++) {
        ck_assert_uint_lt(c, file_length / CLUSTER);
        ck_assert_msg(!uses[c]++, "cluster %" PRIu64 " is used twice", c);
    }
}

/* Each cluster of the file is used once and has refcount 1; nothing behind the end has one. */
static void check_refcounts(void)
{
    uint64_t table = be(48, 8), nbytes = be(56, 4) * CLUSTER, clusters = file_length / CLUSTER;
    use(table, nbytes);
    for (uint64_t i = 0, c = 0; i < nbytes / 8; i++, c += CLUSTER / 2) {
        uint64_t block = be(table + i * 8, 8);
        if (!block) {
            ck_assert_uint_ge(c, clusters);
            continue;
        }
        use(block, CLUSTER);
        for (uint64_t j = 0; j < CLUSTER / 2; j++)
            if (be(block + j * 2, 2) != (c + j < clusters))
                ck_abort_msg("cluster %" PRIu64 " of %" PRIu64 " has refcount %" PRIu64, c + j, clusters, be(block + j * 2, 2));
    }
    for (uint64_t c = 0; c < clusters; c++)
        ck_assert_msg(uses[c] == 1, "cluster %" PRIu64 " is not used", c);
}

NAIVE static void check_bitmap(uint64_t entry, const struct qcow2_source *s)
{
    uint64_t table = be(entry, 8), n = be(entry + 8, 4);
    ck_assert_uint_eq(n, ((s->map->nbits + 7) / 8 + CLUSTER - 1) / CLUSTER);
    ck_assert_uint_eq(be(entry + 12, 4), s->recording ? 2 : 0);
    ck_assert_uint_eq(be(entry + 16, 1), 1);
    ck_assert_uint_eq(UINT64_C(1) << be(entry + 17, 1), s->granularity);
    ck_assert_uint_eq(be(entry + 18, 2), strlen(s->name));
    ck_assert_uint_eq(be(entry + 20, 4), 0);
    ck_assert_int_eq(memcmp(file_bytes + entry + 24, s->name, strlen(s->name)), 0);
    use(table, n * 8);
    for (uint64_t k = 0; k < n; k++) {
        uint64_t at = be(table + k * 8, 8), set = 0;
        if (at > 1)
            use(at, CLUSTER);
        for (uint64_t i = 0; i < CLUSTER_BITS; i++) {
            uint64_t bit = k * CLUSTER_BITS + i;
            unsigned is = at > 1 ? file_bytes[at + i / 8] >> (i % 8) & 1 : at == 1;
            if (is != (bit < s->map->nbits && map_test(s->map, bit)))       /* an all-ones entry reaches to the end of its cluster */
                ck_abort_msg("bit %" PRIu64 " of %" PRIu64 " is %u", bit, s->map->nbits, is);
            set += is;
        }
        ck_assert_msg(at <= 1 || (set && set < CLUSTER_BITS), "a cluster of zeroes or ones is written out");
    }
}

static void check_image(uint64_t size, const struct qcow2_source *sources, size_t n)
{
    load();
    uses = calloc(file_length / CLUSTER + 1, 1);
    ck_assert_uint_eq(file_length % CLUSTER, 0);
    ck_assert_uint_eq(be(0, 4), 0x514649fb);
    ck_assert_uint_eq(be(4, 4), 3);
    ck_assert_uint_eq(be(20, 4), 16);
    ck_assert_uint_eq(be(24, 8), (size + 511) / 512 * 512);
    ck_assert_uint_eq(be(36, 4), (size + 512 * MiB - 1) / (512 * MiB));
    ck_assert_uint_eq(be(72, 8), 0);
    ck_assert_uint_eq(be(88, 8), n ? 1 : 0);
    ck_assert_uint_eq(be(96, 4), 4);
    ck_assert_uint_eq(be(100, 4), 104);
    use(0, CLUSTER);
    use(be(40, 8), be(36, 4) * 8);
    for (uint64_t i = 0; i < be(36, 4); i++)
        ck_assert_uint_eq(be(be(40, 8) + i * 8, 8), 0);
    if (n) {
        ck_assert_uint_eq(be(104, 4), 0x23852875);
        ck_assert_uint_eq(be(108, 4), 24);
        ck_assert_uint_eq(be(112, 4), n);
        ck_assert_uint_eq(be(136, 8), 0);
        uint64_t entry = be(128, 8), end = entry + be(120, 8);
        use(entry, end - entry);
        for (size_t i = 0; i < n; i++, entry += (24 + strlen(sources[i - 1].name) + 7) / 8 * 8)
            check_bitmap(entry, &sources[i]);
        ck_assert_uint_eq(entry, end);
    } else {
        ck_assert_uint_eq(be(104, 8), 0);
    }
    check_refcounts();
    free(uses);
    unload();
}

/* ----------------------------------------------------------------- written */

/* Clean, sparse, whole clusters, or all of it. */
static void scribble(struct map *map)
{
    for (uint64_t n = unit_below(40); n; n--)
        OK(map_set(map, unit_below(map->nbits), 1));
    for (uint64_t n = unit_below(3); n; n--) {
        uint64_t first = unit_below(map->nbits) / CLUSTER_BITS * CLUSTER_BITS, left = map->nbits - first, length = unit_below(2 * CLUSTER_BITS + 3);
        OK(map_set(map, first, length && length < left ? length : left));
    }
    if (unit_below(8) == 0)
        OK(map_set(map, 0, map->nbits));
}

START_TEST(test_random)
{
    for (unsigned round = 0; round < 30; round++) {
        struct qcow2_source sources[4];
        char names[4][1024];
        size_t n = unit_below(5);
        /* Around the borders of words, blocks, clusters. */
        static const uint64_t units[] = { 64, MAP_BLOCK_BITS, CLUSTER_BITS };
        uint64_t nbits = (1 + unit_below(3)) * units[unit_below(3)] + unit_below(5) - 2, shift = 9 + unit_below(4), size = (nbits << shift) - unit_below(600);
        for (size_t i = 0; i < n; i++) {
            uint64_t granularity = UINT64_C(1) << (shift + (i ? unit_below(10) : 0));
            size_t length = i ? 1 + unit_below(i == 1 ? 12 : 1023) : 1023;
            memset(names[i], 'a' + (int)i, length);
            names[i][length] = 0;
            sources[i] = (struct qcow2_source){ names[i], granularity, unit_below(2), new_map(size, granularity) };
            scribble((struct map *)(uintptr_t)sources[i].map);
        }
        image_write(size, sources, n);
        check_image(size, sources, n);
        check_read(size, sources, n);
        for (size_t i = 0; i < n; i++)
            map_close((struct map **)(uintptr_t)&sources[i].map);
    }
}
END_TEST

/* Bits that come in order, in pieces, make the same image. */
START_TEST(test_stream)
{
    for (unsigned round = 0; round < 40; round++) {
        uint64_t shift = 9 + unit_below(4), nbits = (1 + unit_below(3)) * CLUSTER_BITS + unit_below(200) - 100, size = (nbits << shift) - unit_below(600);
        struct map *map = new_map(size, UINT64_C(1) << shift);
        const struct qcow2_source source = { "daily", UINT64_C(1) << shift, unit_below(2), map };
        struct qcow2_stream *stream = NULL;
        scribble(map);
        int fd = create();
        OK(qcow2_stream_open(fd, path, size, &source, &stream, &unit_err));
        for (uint64_t bit = map_next_set(map, 0), n; bit < map->nbits; bit = map_next_set(map, bit + n)) {
            n = map_next_clear(map, bit) - bit;
            if (unit_below(2))
                n = 1 + unit_below(n);
            OK(qcow2_stream_set(stream, bit, n, &unit_err));
        }
        OK(qcow2_stream_end(stream, &unit_err));
        qcow2_stream_close(&stream);
        ck_assert_ptr_null(stream);
        ck_assert_int_eq(close(fd), 0);
        check_image(size, &source, 1);
        check_read(size, &source, 1);
        map_close(&map);
    }
}
END_TEST

/* Bytes that are all the same, and neither 0 nor 255. */
START_TEST(test_uniform)
{
    struct map *map = new_map(CLUSTER_BITS * UINT64_C(512), 512);
    const struct qcow2_source source = { "b", 512, true, map };
    for (uint64_t bit = 3; bit < map->nbits; bit += 8)
        if (map_set(map, bit, 1) < 0)
            ck_abort();
    image_write(CLUSTER_BITS * UINT64_C(512), &source, 1);
    check_image(CLUSTER_BITS * UINT64_C(512), &source, 1);
    map_close(&map);
}
END_TEST

#define ODD (1607 * 64 * KiB)   /* the last word of its bits is not full */

/* Bits behind the end, which another process may have set, are not written; a cut map is not handed on. */
START_TEST(test_other_processes)
{
    struct map *map = new_map(ODD, 64 * KiB);
    const struct qcow2_source source = { "b", 64 * KiB, true, map };
    OK(map_set(map, 0, map->nbits));
    memset((void *)map->leaf, 0xff, MAP_BLOCK_BYTES);
    image_write(ODD, &source, 1);
    check_image(ODD, &source, 1);
    check_read(ODD, &source, 1);
    atomic_store(&map->broken, true);
    int fd = create();
    FAILS(-EPROTO, qcow2_write(fd, path, ODD, &source, 1, &unit_err));
    ck_assert_ptr_nonnull(strstr(unit_err.message, "cut"));
    close(fd);
    struct qcow2 *image = NULL;
    FAILS(-EINVAL, qcow2_open(path, &image, &unit_err));    /* what was written before is no image */
    atomic_store(&map->broken, false);
    map_close(&map);
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "written");
    tcase_add_test(tc, test_random);
    tcase_add_test(tc, test_stream);
    tcase_add_test(tc, test_uniform);
    tcase_add_test(tc, test_other_processes);
}

UNIT_MAIN("qcow2", add_cases)
