// SPDX-License-Identifier: BSD-3-Clause
/*
 * qcow2 images that are broken: every field of one, structures over each other, a
 * file that is cut anywhere or is no image.
 */
#include <endian.h>

#include "unit-qcow2.h"

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
    TCase *tc = unit_case(suite, "hostile");
    tcase_add_test(tc, test_wrong_fields);
    tcase_add_test(tc, test_overlaps);
    tcase_add_test(tc, test_wrong_files);
    tcase_add_test(tc, test_no_image);
}

UNIT_MAIN("qcow2-hostile", add_cases)
