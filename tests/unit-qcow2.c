// SPDX-License-Identifier: BSD-3-Clause
/*
 * qcow2 images: what is written against a naive reader of the format and against
 * qcow2_read(); every limit of the writer; every field of an image broken.
 */
#include "unit.h"

#include <endian.h>

#include "image/qcow2.h"

#define CLUSTER      65536u
#define CLUSTER_BITS (CLUSTER * 8u)
#define EiB          (TiB * 1024 * 1024)

/* The model is slow and has no threads: TSan need not watch it. */
#define NAIVE __attribute__((no_sanitize_thread))

static char path[400];

/* Where only the shape of a large image matters: short writes, such as tables, are left out. */
static bool drops;
int __real_files_pwrite(int fd, const void *bytes, size_t nbytes, off_t offset);
int __wrap_files_pwrite(int fd, const void *bytes, size_t nbytes, off_t offset);

int __wrap_files_pwrite(int fd, const void *bytes, size_t nbytes, off_t offset)
{
    return drops && nbytes == 8 ? 0 : __real_files_pwrite(fd, bytes, nbytes, offset);
}

static int create(void)
{
    snprintf(path, sizeof path, "%s/image.qcow2", unit_dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    return fd;
}

static struct map *new_map(uint64_t size, uint64_t granularity)
{
    struct map *map = NULL;
    OK(map_create_anonymous((size + granularity - 1) / granularity, &map, &unit_err));
    return map;
}

static bool same_bits(const struct map *a, const struct map *b)
{
    char x[65], y[65];
    map_sha256(a, x);
    map_sha256(b, y);
    return !strcmp(x, y);
}

static void image_write(uint64_t size, const struct qcow2_source *sources, size_t n)
{
    int fd = create();
    OK(qcow2_write(fd, path, size, sources, n, &unit_err));
    ck_assert_int_eq(close(fd), 0);
}

/* ------------------------------------------------------------ naive reader */

static uint8_t *file_bytes;
static uint64_t file_length;

static uint64_t be(uint64_t offset, unsigned n)
{
    uint64_t v = 0;
    if (offset + n > file_length)
        ck_abort_msg("byte %" PRIu64 " is behind the end", offset);
    for (unsigned i = 0; i < n; i++)
        v = v << 8 | file_bytes[offset + i];
    return v;
}

static void load(void)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    file_length = (uint64_t)lseek(fd, 0, SEEK_END);
    file_bytes = malloc(file_length);
    ck_assert_int_eq(pread(fd, file_bytes, file_length, 0), (ssize_t)file_length);
    close(fd);
}

static void unload(void)
{
    free(file_bytes);
    file_bytes = NULL;
}

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

static void check_read(uint64_t size, const struct qcow2_source *sources, size_t n)
{
    struct qcow2 *image = NULL;
    const struct qcow2_bitmap *list;
    ck_assert(qcow2_detect(path));
    OK(qcow2_open(path, &image, &unit_err));
    ck_assert_uint_eq(qcow2_size(image), (size + 511) / 512 * 512);
    ck_assert_uint_eq(qcow2_bitmaps(image, &list), n);
    for (size_t i = 0; i < n; i++) {
        struct map *map = NULL;
        ck_assert_str_eq(list[i].name, sources[i].name);
        ck_assert_uint_eq(list[i].granularity, sources[i].granularity);
        ck_assert_uint_eq(list[i].nbits, sources[i].map->nbits);
        ck_assert_int_eq(list[i].recording, sources[i].recording);
        ck_assert_int_eq(list[i].in_use, false);
        OK(map_create_anonymous(list[i].nbits, &map, &unit_err));
        OK(qcow2_read(image, i, map, &unit_err));
        ck_assert(same_bits(map, sources[i].map));
        map_close(&map);
    }
    qcow2_close(&image);
    ck_assert_ptr_null(image);
    qcow2_close(&image);        /* a no-op */
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

/* Sizes that change the geometry: clusters grow where the L1 table would be over 32 MiB. */
START_TEST(test_large)
{
    static const struct {
        uint64_t size, granularity;
        unsigned cluster_bits;
    } cases[] = {
        { 16 * TiB, 64 * KiB, 16 }, { 16 * TiB, 4 * KiB, 16 }, { 256 * GiB, 512, 16 }, { 2 * TiB, 512, 16 }, { 2048 * TiB, MiB, 16 },
        { 2048 * TiB + 512, MiB, 17 }, { 3072 * TiB, 4 * MiB, 17 }, { EiB, 2 * GiB, 21 }, { 2 * EiB, 2 * GiB, 21 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct map *map = new_map(cases[i].size, cases[i].granularity);
        const struct qcow2_source source = { "b", cases[i].granularity, true, map };
        struct stat st;
        for (unsigned bits = 0; bits < 5; bits++)
            OK(map_set(map, unit_below(map->nbits), 1));
        OK(map_set(map, map->nbits - 1, 1));
        image_write(cases[i].size, &source, 1);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        uint8_t header[64];
        ck_assert_int_eq(pread(fd, header, sizeof header, 0), sizeof header);
        ck_assert_uint_eq(header[23], cases[i].cluster_bits);
        uint64_t l1 = (uint64_t)header[36] << 24 | (uint64_t)header[37] << 16 | (uint64_t)header[38] << 8 | header[39];
        ck_assert_uint_le(l1 * 8, 32 * MiB);
        ck_assert_uint_ge(l1 << (2 * cases[i].cluster_bits - 3), cases[i].size);
        ck_assert_int_eq(fstat(fd, &st), 0);
        ck_assert_uint_le((uint64_t)st.st_blocks * 512, (6 + 5) * (UINT64_C(1) << cases[i].cluster_bits));
        close(fd);
        check_read(cases[i].size, &source, 1);
        map_close(&map);
    }
}
END_TEST

static void refused(int code, const char *pattern, uint64_t size, const struct qcow2_source *sources, size_t n)
{
    int fd = create();
    FAILS(code, qcow2_write(fd, path, size, sources, n, &unit_err));
    ck_assert_msg(strstr(unit_err.message, pattern), "'%s' is not in '%s'", pattern, unit_err.message);
    ck_assert_int_eq(lseek(fd, 0, SEEK_END), 0);
    close(fd);
}

/* 4 GiB of clusters: their refcounts need more than one block. */
static void check_refcount_blocks(void)
{
    uint64_t table, blocks[3];
    uint16_t counts[CLUSTER / 2];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint64_t clusters = (uint64_t)lseek(fd, 0, SEEK_END) / CLUSTER, seen = 0;
    ck_assert_int_eq(pread(fd, &table, sizeof table, 48), sizeof table);
    ck_assert_int_eq(pread(fd, blocks, sizeof blocks, (off_t)be64toh(table)), sizeof blocks);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(pread(fd, counts, sizeof counts, (off_t)be64toh(blocks[i])), sizeof counts);
        for (unsigned c = 0; c < CLUSTER / 2; c++) {
            if (be16toh(counts[c]) != (seen < clusters))
                ck_abort_msg("cluster %" PRIu64 " of %" PRIu64 " has refcount %u", seen, clusters, be16toh(counts[c]));
            seen++;
        }
    }
    ck_assert_uint_gt(clusters, 65535);
    ck_assert_uint_ge(seen, clusters);
    close(fd);
}

START_TEST(test_limits)
{
    struct map *map = new_map(GiB, 64 * KiB), *large = new_map(2 * TiB + 512, 512);
    char name[1025];
    memset(name, 'n', 1024);
    name[1024] = 0;
    struct qcow2_source s[2] = { { "b", 64 * KiB, true, map }, { "b", 64 * KiB, false, map } };
    refused(-EFBIG, "size of 0 bytes", 0, s, 1);
    refused(-EFBIG, "size of", QCOW2_SIZE_MAX + 1, s, 1);
    refused(-EEXIST, "'b' is there twice", GiB, s, 2);
    refused(-EFBIG, "65536 bitmaps", GiB, s, 65536);
    refused(-EINVAL, "16384 bits and the image 16385", GiB + 1, s, 1);
    s[0].name = name;
    refused(-EINVAL, "1024 bytes", GiB, s, 1);
    s[0].name = "";
    refused(-EINVAL, "0 bytes", GiB, s, 1);
    s[0].name = "c";
    static const uint64_t bad[] = { 0, 1, 256, 513, 3 * 512, UINT64_C(1) << 32 };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        s[0].granularity = bad[i];
        refused(-EINVAL, "powers of two", GiB, s, 1);
    }
    s[0] = (struct qcow2_source){ "c", 512, false, large };
    refused(-EFBIG, "512 MiB", 2 * TiB + 512, s, 1);
    map_close(&large);

    /* As many as there may be, with names that are as long as there is room for, and one byte over that. */
    struct qcow2_source *many = calloc(65535, sizeof *many);
    char (*names)[1024] = calloc(65535, sizeof *names);
    for (size_t i = 0; i < 65535; i++) {
        snprintf(names[i], sizeof *names, "%0*zu", 1000, i);
        many[i] = (struct qcow2_source){ names[i], 64 * KiB, false, map };
    }
    drops = true;
    image_write(GiB, many, 65535);
    drops = false;
    check_refcount_blocks();
    struct qcow2 *image = NULL;
    const struct qcow2_bitmap *list;
    OK(qcow2_open(path, &image, &unit_err));
    ck_assert_uint_eq(qcow2_bitmaps(image, &list), 65535);
    ck_assert_str_eq(list[65534].name, names[65534]);
    qcow2_close(&image);
    strcat(names[7], "x");
    refused(-EFBIG, "their names", GiB, many, 65535);
    free(names);
    free(many);

    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    s[0] = (struct qcow2_source){ "c", 64 * KiB, false, map };
    FAILS(-EBADF, qcow2_write(fd, "here", GiB, s, 1, &unit_err));
    ck_assert_ptr_nonnull(strstr(unit_err.message, "'here'"));
    close(fd);
    map_close(&map);
}
END_TEST

/* ----------------------------------------------------------------- hostile */

/* An image with two bitmaps of three clusters each, the third short; they have two clusters of data each. */
#define BITS (2 * CLUSTER_BITS + 1000)
#define SIZE (BITS * UINT64_C(512))

static uint64_t directory, tables[2];

static void good_image(void)
{
    struct qcow2_source s[2] = { { "one", 512, true, new_map(SIZE, 512) }, { "second-one", 512, false, new_map(SIZE, 512) } };
    for (size_t i = 0; i < 2; i++) {
        OK(map_set((struct map *)(uintptr_t)s[i].map, 5, 1));
        OK(map_set((struct map *)(uintptr_t)s[i].map, BITS - 1, 1));
    }
    image_write(SIZE, s, 2);
    load();
    directory = be(128, 8);
    tables[0] = be(directory, 8);
    tables[1] = be(directory + 32, 8);
    for (size_t i = 0; i < 2; i++)
        map_close((struct map **)(uintptr_t)&s[i].map);
}

static void store(const uint8_t *bytes, uint64_t nbytes)
{
    int fd = create();
    ck_assert_int_eq(pwrite(fd, bytes, nbytes, 0), (ssize_t)nbytes);
    close(fd);
}

/* Open it and read both bitmaps: 0, or the first error. */
static int read_all(void)
{
    struct qcow2 *image = NULL;
    const struct qcow2_bitmap *list;
    int r = qcow2_open(path, &image, &unit_err);
    if (r < 0)
        ck_assert_ptr_null(image);
    size_t n = r < 0 ? 0 : qcow2_bitmaps(image, &list);
    for (size_t i = 0; !r && i < n; i++) {
        struct map *map = NULL;
        r = map_create_anonymous(list[i].nbits, &map, &unit_err);
        if (!r)
            r = qcow2_read(image, i, map, &unit_err);
        map_close(&map);
    }
    qcow2_close(&image);
    return r;
}

enum { H, D, T };       /* header, directory, table of the first bitmap */

static const struct {
    int where;
    uint64_t offset;
    unsigned nbytes;
    uint64_t value;
    const char *pattern;        /* NULL: it is read all the same */
} wrongs[] = {
    { H, 0, 4, 0x514649fa, "not a qcow2 image" },
    { H, 4, 4, 2, "version 2 has none" }, { H, 4, 4, 0, "version 0" }, { H, 4, 4, 4, "version 4 is not known" }, { H, 4, 4, UINT32_MAX, "is not known" },
    { H, 8, 8, 144, NULL }, { H, 8, 8, 103, "backing file" }, { H, 8, 8, CLUSTER, NULL }, { H, 8, 8, CLUSTER + 1, "backing file" }, { H, 8, 8, UINT64_MAX, "backing file" },
    { H, 8, 8, 120, "longer than the header" },
    { H, 20, 4, 8, "2^8 bytes" }, { H, 20, 4, 22, "2^22 bytes" }, { H, 20, 4, UINT32_MAX, "a cluster" }, { H, 20, 4, 15, "does not fit" }, { H, 20, 4, 17, "does not fit" },
    { H, 24, 8, 0, "virtual size of 0" }, { H, 24, 8, QCOW2_SIZE_MAX + 1, "virtual size" }, { H, 24, 8, UINT64_MAX, "virtual size" },
    { H, 24, 8, SIZE + CLUSTER_BITS * UINT64_C(512), "does not fit" }, { H, 24, 8, QCOW2_SIZE_MAX, "does not fit" }, { H, 24, 8, 512, "does not fit" },
    { H, 32, 4, 1, NULL }, { H, 32, 4, 2, NULL },       /* encrypted: the bitmaps are not */
    { H, 72, 8, 1, NULL }, { H, 72, 8, 2, "marked as corrupt" }, { H, 72, 8, 4, NULL }, { H, 72, 8, 8, NULL }, { H, 72, 8, 16, NULL },
    { H, 72, 8, 32, "features that are not known (bits 0x20)" }, { H, 72, 8, UINT64_C(1) << 63, "not known" },
    { H, 80, 8, UINT64_MAX, NULL },                     /* compatible features */
    { H, 88, 8, 0, "out of date" }, { H, 88, 8, 2, "out of date" }, { H, 88, 8, 3, NULL },
    { H, 100, 4, 0, "header of 0" }, { H, 100, 4, 96, "header of 96" }, { H, 100, 4, 108, "header of 108" }, { H, 100, 4, CLUSTER + 8, "header of" },
    { H, 100, 4, CLUSTER, NULL },                       /* no extensions: no bitmaps */
    { H, 104, 4, 0, NULL }, { H, 104, 4, 0x6803f857, NULL },    /* another extension in its place: no bitmaps */
    { H, 108, 4, 0, "has 0 bytes" }, { H, 108, 4, 23, "has 23 bytes" }, { H, 108, 4, 32, "has 32 bytes" }, { H, 108, 4, CLUSTER, "longer than the header" },
    { H, 108, 4, UINT32_MAX, "longer than the header" },
    { H, 112, 4, 0, "0 bitmaps" }, { H, 112, 4, 65536, "65536 bitmaps" }, { H, 112, 4, 1, "behind the last entry" }, { H, 112, 4, 3, "behind the end" }, { H, 112, 4, 4, "out of range" },
    { H, 112, 4, UINT32_MAX, "bitmaps" }, { H, 116, 4, 1, "is broken" },
    { H, 120, 8, 0, "out of range" }, { H, 120, 8, 64, "goes beyond the directory" }, { H, 120, 8, 80, "behind the last entry" }, { H, 120, 8, QCOW2_DIRECTORY_BYTES + 8, "out of range" },
    { H, 120, 8, UINT64_MAX, "out of range" },
    { H, 128, 8, 0, "out of range" }, { H, 128, 8, 512, "out of range" }, { H, 128, 8, UINT64_MAX - 65535, "out of range" }, { H, 128, 8, 100 * CLUSTER, "out of range" },
    { H, 136, 4, 0x23852875, "has 0 bytes" },           /* twice */
    { D, 0, 8, 0, "table that is out of range" }, { D, 0, 8, 1, "table that is out of range" }, { D, 0, 8, 100 * CLUSTER, "out of range" }, { D, 0, 8, UINT64_MAX - 65535, "out of range" },
    { D, 8, 4, 0, "does not fit" }, { D, 8, 4, 2, "does not fit" }, { D, 8, 4, 4, "does not fit" }, { D, 8, 4, UINT32_MAX, "does not fit" },
    { D, 12, 4, 0, NULL }, { D, 12, 4, 1, NULL }, { D, 12, 4, 4, "not known" }, { D, 12, 4, UINT32_C(1) << 31, "not known" },
    { D, 16, 1, 0, "not known" }, { D, 16, 1, 2, "not known" },
    { D, 17, 1, 8, "granularity" }, { D, 17, 1, 32, "granularity" }, { D, 17, 1, 255, "granularity" }, { D, 17, 1, 10, "does not fit" },
    { D, 18, 2, 0, "no or too many bytes" }, { D, 18, 2, 1024, "goes beyond" }, { D, 18, 2, 65535, "goes beyond" }, { D, 18, 2, 4, "control character" },
    { D, 20, 4, 8, "extra data" }, { D, 20, 4, UINT32_MAX, "extra data" },
    { D, 24, 1, 0, "control character" }, { D, 25, 1, '\n', "control character" }, { D, 25, 1, 0x7f, "control character" }, { D, 25, 1, 0xc3, NULL },
    { D, 32 + 18, 2, 3, "behind the last entry" },
    { T, 0, 8, 0, NULL }, { T, 0, 8, 1, NULL }, { T, 16, 8, 1, NULL },
    { T, 0, 8, 2, "entry 0 in the table of bitmap 'one'" }, { T, 0, 8, 512, "entry 0" }, { T, 0, 8, 3 * CLUSTER + 1, "entry 0" }, { T, 0, 8, UINT64_C(1) << 56, "entry 0" },
    { T, 0, 8, UINT64_C(1) << 63, "entry 0" }, { T, 8, 8, 100 * CLUSTER, "entry 1" }, { T, 0, 8, UINT64_MAX, "entry 0" }, { T, 16, 8, UINT64_C(1) << 55, "entry 2" },
};

START_TEST(test_wrong_fields)
{
    good_image();
    OK(read_all());
    for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs; i++) {
        uint8_t *copy = malloc(file_length);
        uint64_t at = wrongs[i].offset + (wrongs[i].where == H ? 0 : wrongs[i].where == D ? directory : tables[0]);
        memcpy(copy, file_bytes, file_length);
        for (unsigned b = 0; b < wrongs[i].nbytes; b++)
            copy[at + b] = (uint8_t)(wrongs[i].value >> 8 * (wrongs[i].nbytes - 1 - b));
        store(copy, file_length);
        free(copy);
        memset(&unit_err, 0, sizeof unit_err);
        int r = read_all();
        if (!wrongs[i].pattern)
            ck_assert_msg(r == 0, "wrong field %zu: %s", i, unit_err.message);
        else
            ck_assert_msg(r == -EINVAL && strstr(unit_err.message, wrongs[i].pattern) && strstr(unit_err.message, path),
                          "wrong field %zu: '%s' is not in '%s'", i, wrongs[i].pattern, unit_err.message);
    }
    unload();
}
END_TEST

/* Structures in each other's clusters. */
START_TEST(test_overlaps)
{
    good_image();
    uint64_t data = be(tables[0], 8);
    const uint64_t cases[][2] = {       /* a pointer, and where it shall not point */
        { 128, tables[0] }, { directory, directory }, { directory, tables[1] }, { directory + 32, tables[0] },
        { tables[0], directory }, { tables[0], tables[0] }, { tables[0], tables[1] }, { tables[0] + 16, data },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t *copy = malloc(file_length);
        uint64_t v = htobe64(cases[i][1]);
        memcpy(copy, file_bytes, file_length);
        if (cases[i][0] == 128)     /* the directory goes along */
            memcpy(copy + tables[0], file_bytes + directory, 72);
        memcpy(copy + cases[i][0], &v, sizeof v);
        store(copy, file_length);
        free(copy);
        FAILS(-EINVAL, read_all());
        ck_assert_msg(strstr(unit_err.message, "over each other"), "overlap %zu: %s", i, unit_err.message);
    }
    unload();
}
END_TEST

/* A name twice; a last cluster that has bits behind the end; a file that is cut anywhere. */
START_TEST(test_wrong_files)
{
    good_image();
    uint64_t data = be(tables[0] + 16, 8);
    memset(file_bytes + data, 0xff, CLUSTER);
    store(file_bytes, file_length);
    struct qcow2 *image = NULL;
    struct map *map = NULL;
    OK(qcow2_open(path, &image, &unit_err));
    OK(map_create_anonymous(BITS, &map, &unit_err));
    OK(qcow2_read(image, 0, map, &unit_err));
    ck_assert_uint_eq(map_count(map), 1 + 1000);
    ck_assert_uint_eq(map_next_set(map, CLUSTER_BITS), 2 * CLUSTER_BITS);
    map_close(&map);
    OK(map_create_anonymous(BITS + 1, &map, &unit_err));
    FAILS(-EINVAL, qcow2_read(image, 0, map, &unit_err));
    map_close(&map);
    qcow2_close(&image);

    uint64_t needed = directory + 72;
    for (unsigned i = 0; i < 300; i++) {
        uint64_t n = i < 150 ? i : unit_below(needed);
        store(file_bytes, n);
        FAILS(-EINVAL, read_all());
    }
    store(file_bytes, needed);
    OK(read_all());
    memcpy(file_bytes + directory + 24, "same", 4);
    file_bytes[directory + 19] = 4;
    memcpy(file_bytes + directory + 32 + 24, "same", 4);
    file_bytes[directory + 32 + 19] = 4;
    memset(file_bytes + 120, 0, 8);
    file_bytes[127] = 64;
    store(file_bytes, file_length);
    FAILS(-EINVAL, read_all());
    ck_assert_ptr_nonnull(strstr(unit_err.message, "'same' is there twice"));
    unload();
}
END_TEST

START_TEST(test_no_image)
{
    struct qcow2 *image = NULL;
    char other[420];
    int fd = create();
    FAILS(-EINVAL, qcow2_open(path, &image, &unit_err));
    ck_assert(!qcow2_detect(path));
    close(fd);
    snprintf(other, sizeof other, "%s/none", unit_dir);
    FAILS(-ENOENT, qcow2_open(other, &image, &unit_err));
    FAILS(-EINVAL, qcow2_open(unit_dir, &image, &unit_err));
    ck_assert_int_eq(mkfifo(other, 0600), 0);
    FAILS(-EINVAL, qcow2_open(other, &image, &unit_err));
    ck_assert(!qcow2_detect(other));
}
END_TEST

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "written");
    tcase_add_test(tc, test_random);
    tcase_add_test(tc, test_uniform);
    tcase_add_test(tc, test_other_processes);
    tcase_add_test(tc, test_large);
    tcase_add_test(tc, test_limits);
    tc = unit_case(suite, "hostile");
    tcase_add_test(tc, test_wrong_fields);
    tcase_add_test(tc, test_overlaps);
    tcase_add_test(tc, test_wrong_files);
    tcase_add_test(tc, test_no_image);
}

UNIT_MAIN("qcow2", add_cases)
