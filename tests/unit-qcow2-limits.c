// SPDX-License-Identifier: BSD-3-Clause
/*
 * qcow2 images that are large: the geometry of every size, every limit of the
 * writer, as many bitmaps as there may be.
 */
#include <endian.h>

#include "unit-qcow2.h"

#define EiB (TiB * 1024 * 1024)

/* Where only the shape of a large image matters: short writes, such as tables, are left out. */
static bool drops;
int __real_files_pwrite(int fd, const void *bytes, size_t nbytes, off_t offset);
int __wrap_files_pwrite(int fd, const void *bytes, size_t nbytes, off_t offset);

int __wrap_files_pwrite(int fd, const void *bytes, size_t nbytes, off_t offset)
{
    return drops && nbytes == 8 ? 0 : __real_files_pwrite(fd, bytes, nbytes, offset);
}

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

static void add_cases(Suite *suite)
{
    TCase *tc = unit_case(suite, "written");
    tcase_add_test(tc, test_large);
    tcase_add_test(tc, test_limits);
}

UNIT_MAIN("qcow2-limits", add_cases)
