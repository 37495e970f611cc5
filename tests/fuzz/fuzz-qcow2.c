// SPDX-License-Identifier: BSD-3-Clause
/*
 * Input: a qcow2 image.  What is read from it is what stands in the bytes, found
 * here in the simplest way; written and read again it is the same.
 */
#include "fuzz.h"

#include <sys/mman.h>

#include "image/qcow2.h"

#define BITS_MAX (UINT64_C(1) << 20)    /* larger bitmaps are listed only: a few bytes can say that all of 512 MiB is set */

static int make_file(const uint8_t *bytes, size_t nbytes, char path[64])
{
    int fd = memfd_create("image", MFD_CLOEXEC);
    CHECK(fd >= 0);
    CHECK(!nbytes || pwrite(fd, bytes, nbytes, 0) == (ssize_t)nbytes);
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

static uint64_t be(const uint8_t *bytes, size_t nbytes, uint64_t at, unsigned n)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++)
        v = v << 8 | (at + i < nbytes ? bytes[at + i] : 0);
    return v;
}

/* Where entry `index` of the directory begins. */
static uint64_t entry_of(const uint8_t *b, size_t n, size_t index)
{
    uint64_t at = be(b, n, 100, 4);
    while (be(b, n, at, 4) != 0x23852875)
        at += 8 + (be(b, n, at + 4, 4) + 7) / 8 * 8;
    at = be(b, n, at + 24, 8);
    while (index--)
        at += (24 + be(b, n, at + 18, 2) + 7) / 8 * 8;
    return at;
}

static void check_bits(const uint8_t *b, size_t n, size_t index, const struct map *map)
{
    uint64_t table = be(b, n, entry_of(b, n, index), 8), cluster = UINT64_C(1) << be(b, n, 20, 4);
    for (uint64_t bit = 0; bit < map->nbits; bit++) {
        uint64_t at = be(b, n, table + bit / 8 / cluster * 8, 8);
        CHECK(map_test(map, bit) == (at == 1 || (at && be(b, n, at + bit / 8 % cluster, 1) >> (bit % 8) & 1)));
    }
}

/* Through a file of ours. */
static void check_again(const struct qcow2 *image, const struct qcow2_bitmap *b, const struct map *map)
{
    const struct qcow2_source source = { b->name, b->granularity, b->recording, map };
    const struct qcow2_bitmap *list;
    struct qcow2 *copy = NULL;
    struct map *again = NULL;
    struct df_error err;
    char path[64], one[65], other[65];
    int fd = make_file(NULL, 0, path);
    CHECK(!qcow2_write(fd, path, qcow2_size(image), &source, 1, &err));
    CHECK(!qcow2_open(path, &copy, &err));
    CHECK(qcow2_bitmaps(copy, &list) == 1 && !strcmp(list->name, b->name) && list->nbits == b->nbits && list->granularity == b->granularity);
    CHECK(list->recording == b->recording && !list->in_use);
    CHECK(!map_create_anonymous(list->nbits, &again, &err) && !qcow2_read(copy, 0, again, &err));
    map_sha256(map, one);
    map_sha256(again, other);
    CHECK(!strcmp(one, other));
    map_close(&again);
    qcow2_close(&copy);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nbytes)
{
    struct qcow2 *image = NULL;
    const struct qcow2_bitmap *list;
    struct df_error err;
    char path[64];
    int fd = make_file(bytes, nbytes, path);
    size_t n = qcow2_open(path, &image, &err) < 0 ? 0 : qcow2_bitmaps(image, &list);
    for (size_t i = 0; i < n; i++) {
        struct map *map = NULL;
        input_read(list[i].name, strlen(list[i].name));
        if (list[i].nbits > BITS_MAX)
            continue;
        CHECK(!map_create_anonymous(list[i].nbits, &map, &err));
        if (!qcow2_read(image, i, map, &err)) {
            check_bits(bytes, nbytes, i, map);
            if (i < 2)
                check_again(image, &list[i], map);
        }
        map_close(&map);
    }
    qcow2_close(&image);
    close(fd);
    return 0;
}
