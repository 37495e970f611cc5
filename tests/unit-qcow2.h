// SPDX-License-Identifier: BSD-3-Clause
/* An image in the test's own directory: written, its bytes for a naive reader of the format, read by qcow2_read(). */
#ifndef TESTS_UNIT_QCOW2_H
#define TESTS_UNIT_QCOW2_H

#include "image/qcow2.h"
#include "unit.h"

#define CLUSTER      65536u
#define CLUSTER_BITS (CLUSTER * 8u)

static char path[400];

static inline int create(void)
{
    snprintf(path, sizeof path, "%s/image.qcow2", unit_dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    return fd;
}

static inline struct map *new_map(uint64_t size, uint64_t granularity)
{
    struct map *map = NULL;
    OK(map_create_anonymous((size + granularity - 1) / granularity, &map, &unit_err));
    return map;
}

static inline bool same_bits(const struct map *a, const struct map *b)
{
    char x[65], y[65];
    map_sha256(a, x);
    map_sha256(b, y);
    return !strcmp(x, y);
}

static inline void image_write(uint64_t size, const struct qcow2_source *sources, size_t n)
{
    int fd = create();
    OK(qcow2_write(fd, path, size, sources, n, &unit_err));
    ck_assert_int_eq(close(fd), 0);
}

/* --------------------------------------------------------------- its bytes */

static uint8_t *file_bytes;
static uint64_t file_length;

static inline uint64_t be(uint64_t offset, unsigned n)
{
    uint64_t v = 0;
    if (offset + n > file_length)
        ck_abort_msg("byte %" PRIu64 " is behind the end", offset);
    for (unsigned i = 0; i < n; i++)
        v = v << 8 | file_bytes[offset + i];
    return v;
}

static inline void load(void)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    file_length = (uint64_t)lseek(fd, 0, SEEK_END);
    file_bytes = malloc(file_length);
    ck_assert_int_eq(pread(fd, file_bytes, file_length, 0), (ssize_t)file_length);
    close(fd);
}

static inline void unload(void)
{
    free(file_bytes);
    file_bytes = NULL;
}

/* ------------------------------------------------------------- what is read */

static inline void check_read(uint64_t size, const struct qcow2_source *sources, size_t n)
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

#endif
