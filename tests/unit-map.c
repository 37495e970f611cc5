// SPDX-License-Identifier: BSD-3-Clause
/*
 * The map: every call against a model of one byte a bit, with random ranges
 * around the borders of words, blocks and summary words.
 */
#include "unit.h"

#include <nettle/sha2.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "bitmap/map.h"

#define SUMMARY_WORD_BITS (64 * MAP_BLOCK_BITS)

/* Each is run with an anonymous map and with a file. */
static const uint64_t sizes[] = {
    1, 7, 63, 64, 65, 1000, MAP_BLOCK_BITS - 65, MAP_BLOCK_BITS - 1, MAP_BLOCK_BITS, MAP_BLOCK_BITS + 1, 3 * MAP_BLOCK_BITS + 77,
    SUMMARY_WORD_BITS - 1, SUMMARY_WORD_BITS, SUMMARY_WORD_BITS + 1, SUMMARY_WORD_BITS + MAP_BLOCK_BITS + 12345,
};
#define NSIZES (sizeof sizes / sizeof *sizes)

/* The model is slow and has no threads: TSan need not watch it. */
#define NAIVE __attribute__((no_sanitize_thread))

struct model {
    uint64_t nbits;
    uint8_t *bit;           /* 0 or 1 each */
    struct map *map;
};

static int open_dir(void)
{
    int fd = open(unit_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return fd;
}

static void model_open(struct model *m, uint64_t nbits, const char *file)
{
    m->nbits = nbits;
    m->bit = calloc(nbits, 1);
    if (file) {
        int dirfd = open_dir();
        OK(map_create(dirfd, file, nbits, &m->map, &unit_err));
        close(dirfd);
    } else {
        OK(map_create_anonymous(nbits, &m->map, &unit_err));
    }
}

static void model_close(struct model *m)
{
    map_close(&m->map);
    ck_assert_ptr_null(m->map);
    map_close(&m->map);     /* a no-op */
    free(m->bit);
}

/* Half the positions lie next to a border, where masks and loops go wrong. */
static uint64_t some_bit(uint64_t nbits)
{
    static const uint64_t borders[] = { 8, 64, MAP_BLOCK_BITS, SUMMARY_WORD_BITS };
    uint64_t bit = unit_below(nbits), unit = borders[unit_below(4)];
    if (unit_below(2))
        bit = bit / unit * unit + unit_below(3) - 1;
    return bit < nbits ? bit : nbits - 1;
}

static uint64_t some_length(uint64_t left)
{
    uint64_t n = UINT64_C(1) << unit_below(22);
    n += unit_below(n + 1);
    return unit_below(8) == 0 || n > left ? left : n;
}

NAIVE static void pack(const struct model *m, uint8_t *bytes)
{
    for (uint64_t i = 0; i < m->nbits; i++)
        bytes[i / 8] |= (uint8_t)(m->bit[i] << (i % 8));
}

/* ------------------------------------------------------------- comparisons */

NAIVE static void check_positions(const struct model *m)
{
    for (unsigned i = 0; i < 40; i++) {
        uint64_t from = some_bit(m->nbits), set = from, clear = from;
        while (set < m->nbits && !m->bit[set])
            set++;
        while (clear < m->nbits && m->bit[clear])
            clear++;
        ck_assert_uint_eq(map_next_set(m->map, from), set);
        ck_assert_uint_eq(map_next_clear(m->map, from), clear);
        ck_assert_int_eq(map_test(m->map, from), m->bit[from]);
    }
    ck_assert_uint_eq(map_next_set(m->map, m->nbits), m->nbits);
    ck_assert_uint_eq(map_next_clear(m->map, m->nbits), m->nbits);
}

/* A block with a set bit is found by the summary; one that was never touched is not. */
NAIVE static void check_blocks(const struct model *m, const uint8_t *bytes)
{
    uint64_t found = map_next_block(m->map, 0), digest = 0;
    for (uint64_t b = 0; b < m->map->nblocks; b++) {
        bool dirty = false;
        for (unsigned i = 0; i < MAP_BLOCK_BYTES && !dirty; i++)
            dirty = bytes[b * MAP_BLOCK_BYTES + i];
        ck_assert_uint_ge(found, b);
        if (dirty) {
            ck_assert_uint_eq(found, b);
            uint64_t one = XXH3_64bits_withSeed(bytes + b * MAP_BLOCK_BYTES, MAP_BLOCK_BYTES, b);
            ck_assert_uint_eq(map_digest(m->map, b, 1), one);
            digest += one;
        } else {
            ck_assert_uint_eq(map_digest(m->map, b, 1), 0);
        }
        if (found == b)
            found = map_next_block(m->map, b + 1);
    }
    ck_assert_uint_eq(found, m->map->nblocks);
    ck_assert_uint_eq(map_next_block(m->map, m->map->nblocks + 1), m->map->nblocks);
    ck_assert_uint_eq(map_digest(m->map, 0, m->map->nblocks), digest);
    ck_assert_uint_eq(map_digest(m->map, 0, UINT64_MAX / 2), digest);
}

static void check_sha256(const struct model *m, const uint8_t *bytes)
{
    struct sha256_ctx ctx;
    uint8_t digest[SHA256_DIGEST_SIZE];
    char hex[65], expected[65];
    sha256_init(&ctx);
    sha256_update(&ctx, map_round_up(m->nbits, 64) * 8, bytes);
    sha256_digest(&ctx, sizeof digest, digest);
    for (unsigned i = 0; i < sizeof digest; i++)
        snprintf(expected + 2 * i, 3, "%02x", digest[i]);
    map_sha256(m->map, hex);
    ck_assert_str_eq(hex, expected);
}

NAIVE static void check_all(const struct model *m)
{
    const struct map *map = m->map;
    uint64_t count = 0;
    uint8_t *bytes = calloc(map->nblocks, MAP_BLOCK_BYTES);
    pack(m, bytes);
    for (uint64_t i = 0; i < m->nbits; i++)
        count += m->bit[i];
    ck_assert_uint_eq(map_count(map), count);
    /* The leaf is these bytes: so nothing lies at or beyond nbits either. */
    for (uint64_t b = map_next_block(map, 0); b < map->nblocks; b = map_next_block(map, b + 1))
        ck_assert_msg(!memcmp((const uint8_t *)(const void *)map->leaf + b * MAP_BLOCK_BYTES, bytes + b * MAP_BLOCK_BYTES, MAP_BLOCK_BYTES),
                      "block %" PRIu64 " of %" PRIu64 " bits differs", b, m->nbits);
    check_blocks(m, bytes);
    check_sha256(m, bytes);
    check_positions(m);
    ck_assert(!map_is_damaged(map));
    free(bytes);
}

/* ------------------------------------------------------- random operations */

/* Bytes of leaf become others: what the receiver does, on maps that have a file. */
NAIVE static void do_write(struct model *m, bool zeroes)
{
    uint64_t total = map_round_up(m->nbits, 8), offset = some_bit(m->nbits) / 64 * 8;
    uint64_t n = some_length(m->nbits) / 8 + 1;
    if (n > total - offset)
        n = total - offset;
    uint8_t *bytes = calloc(1, n);
    for (uint64_t i = 0; i < n && !zeroes; i++)
        if (unit_below(3))      /* long clean stretches too */
            bytes[i] = (uint8_t)(unit_random() & unit_random() & unit_random());
        else
            i += unit_below(3 * MAP_BLOCK_BYTES);
    if (offset + n == total && m->nbits % 8)      /* the caller keeps to nbits */
        bytes[n - 1] &= (uint8_t)((1u << m->nbits % 8) - 1);
    if (zeroes)
        OK(map_write_zeroes(m->map, offset, n));
    else
        OK(map_write(m->map, offset, bytes, n));
    for (uint64_t i = 0; i < n * 8 && offset * 8 + i < m->nbits; i++)
        m->bit[offset * 8 + i] = bytes[i / 8] >> (i % 8) & 1;
    free(bytes);
}

/* Bytes of a sparse or a dense pattern, some of them behind the end of the map. */
static void do_bytes(struct model *m)
{
    uint64_t total = (m->nbits + 7) / 8, offset = some_bit(m->nbits) / 64 * 8, n = 1 + unit_below(3 * MAP_BLOCK_BYTES);
    uint8_t *bytes = calloc(n, 1);
    for (uint64_t i = 0, step = 1 + unit_below(5000); i < n && offset + i < total + 100; i += step)
        bytes[i] = (uint8_t)unit_random();
    OK(map_set_bytes_alone(m->map, offset, bytes, n));
    ck_assert_uint_eq(map_word(m->map, m->map->nwords - 1) & ~m->map->last_mask, 0);
    for (uint64_t i = 0; i < n * 8 && offset * 8 + i < m->nbits; i++)
        m->bit[offset * 8 + i] |= bytes[i / 8] >> (i % 8) & 1;
    free(bytes);
}

static void do_random(struct model *m)
{
    uint64_t first = some_bit(m->nbits), n = some_length(m->nbits - first);
    switch (m->map->fd < 0 ? 2 + unit_below(5) : unit_below(7)) {
    case 0:
        do_write(m, false);
        break;
    case 1:
        do_write(m, true);
        break;
    case 2:
        OK(map_set_alone(m->map, first, n));
        memset(m->bit + first, 1, n);
        break;
    case 3:
        do_bytes(m);
        break;
    case 4:
        n = n > 3 ? 1 + n % 3 : n;
        /* fall through */
    default:
        OK(map_set(m->map, first, n));
        memset(m->bit + first, 1, n);
    }
}

START_TEST(test_model)
{
    struct model m;
    model_open(&m, sizes[_i / 2], _i % 2 ? "map-test" : NULL);
    check_all(&m);
    for (unsigned i = 0; i < 30; i++) {
        for (uint64_t k = unit_below(4); k < 4; k++)
            do_random(&m);
        check_all(&m);
    }
    OK(map_set(m.map, 0, m.nbits));
    memset(m.bit, 1, m.nbits);
    check_all(&m);
    model_close(&m);
}
END_TEST

/* Two single bits anywhere: what is between is clear, and map_set never touches a neighbour. */
START_TEST(test_single_bits)
{
    for (unsigned i = 0; i < 300; i++) {
        struct map *map = NULL;
        uint64_t nbits = sizes[unit_below(NSIZES)], a = some_bit(nbits), b = some_bit(nbits);
        OK(map_create_anonymous(nbits, &map, &unit_err));
        OK(map_set(map, a, 1));
        OK(map_set(map, b, 1));
        uint64_t low = a < b ? a : b, high = a < b ? b : a;
        ck_assert_uint_eq(map_next_set(map, 0), low);
        ck_assert_uint_eq(map_next_set(map, low + 1), high > low ? high : nbits);
        ck_assert_uint_eq(map_next_set(map, high + 1), nbits);
        ck_assert_uint_eq(map_count(map), 1 + (high > low));
        map_close(&map);
    }
}
END_TEST

START_TEST(test_merge)
{
    struct model a, b;
    model_open(&a, sizes[_i], NULL);
    model_open(&b, sizes[_i], "map-b");
    for (unsigned round = 0; round < 8; round++) {
        do_random(&a);
        do_random(&b);
        do_random(&b);
        OK(map_merge(a.map, b.map));
        for (uint64_t i = 0; i < a.nbits; i++)
            a.bit[i] |= b.bit[i];
        check_all(&a);
        check_all(&b);
    }
    /* A summary bit whose block was emptied brings no storage and no bit over. */
    struct map *empty = NULL;
    OK(map_create_anonymous(a.nbits, &empty, &unit_err));
    for (uint64_t k = map_next_block(b.map, 0); k < b.map->nblocks; k = map_next_block(b.map, k + 1))
        memset((void *)(uintptr_t)&b.map->leaf[k * MAP_BLOCK_WORDS], 0, MAP_BLOCK_BYTES);
    OK(map_merge(empty, b.map));
    ck_assert_uint_eq(map_next_block(empty, 0), empty->nblocks);
    map_close(&empty);
    model_close(&a);
    model_close(&b);
}
END_TEST

/* Outwards: a bit of the target is set when any byte of its range is set in the source, and only then. */
START_TEST(test_merge_scaled)
{
    for (unsigned round = 0; round < 60; round++) {
        unsigned from = 9 + (unsigned)unit_below(8), to = 9 + (unsigned)unit_below(8);
        uint64_t size = 1 + unit_below(UINT64_C(1) << (12 + unit_below(12)));
        struct model src, dst;
        model_open(&src, ((size - 1) >> from) + 1, NULL);
        model_open(&dst, ((size - 1) >> to) + 1, NULL);
        for (unsigned i = 0; i < 3; i++)
            do_random(&src);
        do_random(&dst);
        OK(map_merge_scaled(dst.map, to, src.map, from));
        for (uint64_t i = 0; i < src.nbits; i++) {
            uint64_t first = i << from >> to, last = (((i + 1) << from) - 1) >> to;
            for (uint64_t k = first; src.bit[i] && k <= last && k < dst.nbits; k++)
                dst.bit[k] = 1;
        }
        check_all(&dst);
        check_all(&src);
        model_close(&src);
        model_close(&dst);
    }
}
END_TEST

/* --------------------------------------------------------- known values */

/* 1 GiB at 64 KiB, clean: SHA-256 of 2048 zero bytes. */
START_TEST(test_sha256_known)
{
    struct map *map = NULL;
    char hex[65];
    OK(map_create_anonymous(16384, &map, &unit_err));
    map_sha256(map, hex);
    ck_assert_str_eq(hex, "e5a00aa9991ac8a5ee3109844d84a55583bd20572ad3ffcd42792f3c36b183ad");
    map_close(&map);
    OK(map_create_anonymous(1, &map, &unit_err));      /* padded to eight bytes */
    map_sha256(map, hex);
    ck_assert_str_eq(hex, "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc");
    OK(map_set(map, 0, 1));                            /* 01 00 00 00 00 00 00 00 */
    map_sha256(map, hex);
    ck_assert_str_eq(hex, "7c9fa136d4413fa6173637e883b6998d32e1d675f88cddff9dcbcf331820f4b8");
    map_close(&map);
}
END_TEST

START_TEST(test_segments)
{
    static const uint64_t blocks[] = { 1, 2, 1023, 1024, 1025, 2048, 2049, 4097, UINT64_C(1) << 26 };
    for (unsigned i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        uint64_t n = map_segment_blocks(blocks[i]);
        ck_assert_uint_eq(n & (n - 1), 0);
        ck_assert_uint_le(map_round_up(blocks[i], n), MAP_SEGMENTS);
        if (n > 1)
            ck_assert_uint_gt(map_round_up(blocks[i], n / 2), MAP_SEGMENTS);
    }
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "model");
    tcase_add_loop_test(tc, test_model, 0, 2 * NSIZES);
    tcase_add_test(tc, test_single_bits);
    tcase_add_loop_test(tc, test_merge, 0, NSIZES);
    tcase_add_test(tc, test_merge_scaled);
    tc = unit_case(suite, "digest");
    tcase_add_test(tc, test_sha256_known);
    tcase_add_test(tc, test_segments);
}

UNIT_MAIN("map", add_cases)
