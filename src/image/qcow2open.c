// SPDX-License-Identifier: BSD-3-Clause
/*
 * Opening an image that anybody may have made: header and directory.
 *
 * Every number is checked against its limit and against the length of the file
 * before it is an offset, a length or a count, and memory is reserved for what
 * is in the file only.  Nothing lies over something else: header, directory,
 * tables and data are in clusters of their own.
 *
 * Guest data is not looked at, so backing files, external data files, compression
 * and encryption do not matter here.
 */
#include "image/qcow2image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"

void qcow2_close(struct qcow2 **imagep)
{
    struct qcow2 *image = steal(imagep);
    if (!image)
        return;
    cleanup_fd(&image->fd);
    free(image->path);
    free(image->bitmaps);
    free(image->places);
    free(image->names);
    free(image);
}

uint64_t qcow2_size(const struct qcow2 *image)
{
    return image->size;
}

size_t qcow2_bitmaps(const struct qcow2 *image, const struct qcow2_bitmap **list)
{
    *list = image->bitmaps;
    return image->n;
}

/* ------------------------------------------------------------------ header */

static int check_header(struct qcow2 *image, const uint8_t *h, struct df_error *err)
{
    uint32_t version = qcow2_get32(h + QCOW2_AT_VERSION), bits = qcow2_get32(h + QCOW2_AT_CLUSTER_BITS), length = qcow2_get32(h + QCOW2_AT_HEADER_BYTES);
    uint64_t incompatible = qcow2_get64(h + QCOW2_AT_INCOMPATIBLE), backing = qcow2_get64(h + QCOW2_AT_BACKING);
    if (qcow2_get32(h) != QCOW2_MAGIC)
        return qcow2_broken(image, err, "it is not a qcow2 image");
    if (version < 3)
        return qcow2_broken(image, err, "an image of qcow2 version %" PRIu32 " has none; 'qemu-img amend -o compat=1.1' makes it one that can have them", version);
    if (version > 3)
        return qcow2_broken(image, err, "qcow2 version %" PRIu32 " is not known, 3 is", version);
    if (bits < QCOW2_CLUSTER_BITS_MIN || bits > QCOW2_CLUSTER_BITS_MAX)
        return qcow2_broken(image, err, "2^%" PRIu32 " bytes a cluster are out of range", bits);
    image->cluster_bytes = UINT64_C(1) << bits;
    image->size = qcow2_get64(h + QCOW2_AT_SIZE);
    if (!image->size || image->size > QCOW2_SIZE_MAX)
        return qcow2_broken(image, err, "a virtual size of %" PRIu64 " bytes is out of range", image->size);
    if (incompatible & ~QCOW2_KNOWN)
        return qcow2_broken(image, err, "it has features that are not known (bits %#" PRIx64 "); read it with the program that wrote it", incompatible & ~QCOW2_KNOWN);
    if (incompatible & QCOW2_CORRUPT)
        return qcow2_broken(image, err, "it is marked as corrupt; 'qemu-img check -r all' repairs it");
    if (length < QCOW2_HEADER_BYTES || length % 8 || length > image->cluster_bytes)
        return qcow2_broken(image, err, "a header of %" PRIu32 " bytes is out of range", length);
    if (backing && (backing < length || backing > image->cluster_bytes))
        return qcow2_broken(image, err, "the name of its backing file is at byte %" PRIu64 ", outside of the header's cluster", backing);
    return 0;
}

/* 1: *extension has the bitmaps' one, 0: there is none. */
static int find_extension(const struct qcow2 *image, const uint8_t *h, uint64_t end, const uint8_t **extension, struct df_error *err)
{
    uint64_t at = qcow2_get32(h + QCOW2_AT_HEADER_BYTES);
    while (end >= 8 && at <= end - 8) {
        uint32_t type = qcow2_get32(h + at), nbytes = qcow2_get32(h + at + 4);
        at += 8;
        if (!type)
            break;
        if (nbytes > end - at)
            return qcow2_broken(image, err, "a header extension of %" PRIu32 " bytes is longer than the header's cluster", nbytes);
        if (type == QCOW2_EXTENSION) {
            if (nbytes != QCOW2_EXTENSION_BYTES || *extension)
                return qcow2_broken(image, err, "the header extension for bitmaps is there twice or has %" PRIu32 " bytes, not %u", nbytes, QCOW2_EXTENSION_BYTES);
            *extension = h + at;
        }
        at += ((uint64_t)nbytes + 7) / 8 * 8;
    }
    return *extension != NULL;
}

static int check_extension(struct qcow2 *image, const uint8_t *extension, struct qcow2_place *directory, struct df_error *err)
{
    uint32_t n = qcow2_get32(extension);
    *directory = (struct qcow2_place){ qcow2_get64(extension + 16), qcow2_get64(extension + 8) };
    if (!n || n > QCOW2_BITMAPS || qcow2_get32(extension + 4))
        return qcow2_broken(image, err, "the header extension for bitmaps is broken: %" PRIu32 " bitmaps", n);
    if (directory->nbytes > QCOW2_DIRECTORY_BYTES || directory->nbytes < (uint64_t)n * QCOW2_ENTRY_BYTES || !qcow2_is_inside(image, directory->offset, directory->nbytes))
        return qcow2_broken(image, err, "the directory of bitmaps, %" PRIu64 " bytes at byte %" PRIu64 ", is out of range", directory->nbytes, directory->offset);
    image->n = n;
    return 0;
}

/* 1: there are bitmaps, in *directory. */
static int read_header(struct qcow2 *image, struct qcow2_place *directory, struct df_error *err)
{
    uint8_t h[QCOW2_HEADER_BYTES] = { 0 };
    const uint8_t *extension = NULL;
    int r = qcow2_fetch(image, 0, h, image->file_bytes < sizeof h ? image->file_bytes : sizeof h, err);
    if (!r)
        r = check_header(image, h, err);
    if (r < 0)
        return r;
    uint64_t end = qcow2_get64(h + QCOW2_AT_BACKING);
    end = end ? end : image->cluster_bytes;
    if (image->file_bytes < image->cluster_bytes)
        return qcow2_broken(image, err, "it ends within its first cluster; is it copied in full?");
    CLEANUP(cleanup_free) uint8_t *whole = malloc(end);
    if (!whole)
        return qcow2_no_memory(image, err);
    r = qcow2_fetch(image, 0, whole, end, err);
    if (!r)
        r = find_extension(image, whole, end, &extension, err);
    if (r <= 0)
        return r;
    if (!(qcow2_get64(h + QCOW2_AT_AUTOCLEAR) & QCOW2_CURRENT))
        return qcow2_broken(image, err, "they are out of date, a program that does not know of them has written to the image since; take a full backup");
    r = check_extension(image, extension, directory, err);
    return r < 0 ? r : 1;
}

/* --------------------------------------------------------------- directory */

static const char *check_name(const uint8_t *name, size_t n)
{
    if (!n || n > QCOW2_NAME_BYTES)
        return "has a name of no or too many bytes";
    for (size_t i = 0; i < n; i++)
        if (name[i] < 0x20 || name[i] == 0x7f)
            return "has a control character in its name";
    return NULL;
}

/* One entry; *entry_bytes with its padding.  NULL, or what is wrong. */
static const char *read_entry(const struct qcow2 *image, const uint8_t *at, uint64_t left, struct qcow2_bitmap *b, struct qcow2_place *table, uint64_t *entry_bytes)
{
    if (left < QCOW2_ENTRY_BYTES)
        return "is behind the end of the directory";
    uint32_t entries = qcow2_get32(at + 8), flags = qcow2_get32(at + 12), extra = qcow2_get32(at + 20);
    size_t length = qcow2_get16(at + 18);
    unsigned shift = at[17];
    *entry_bytes = map_round_up(QCOW2_ENTRY_BYTES + length, 8) * 8;
    if (extra)
        return "has extra data, which are not known";
    if (*entry_bytes > left)
        return "has a name that goes beyond the directory";
    const char *wrong = check_name(at + QCOW2_ENTRY_BYTES, length);
    if (wrong)
        return wrong;
    if (at[16] != QCOW2_TYPE_DIRTY || flags & ~(uint32_t)(QCOW2_IN_USE | QCOW2_AUTO))
        return "is of a type or has flags that are not known";
    if (shift < QCOW2_GRANULARITY_BITS_MIN || shift > QCOW2_GRANULARITY_BITS_MAX)
        return "has a granularity that is out of range";
    b->granularity = UINT64_C(1) << shift;
    b->nbits = map_round_up(image->size, b->granularity);
    b->in_use = flags & QCOW2_IN_USE;
    b->recording = flags & QCOW2_AUTO;
    *table = (struct qcow2_place){ qcow2_get64(at), (uint64_t)entries * 8 };
    if (b->nbits > QCOW2_BITMAP_BYTES * 8 || entries != qcow2_table_entries(image, b))
        return "has a table that does not fit to the size of the image";
    return qcow2_is_inside(image, table->offset, table->nbytes) ? NULL : "has a table that is out of range";
}

static int read_entries(struct qcow2 *image, const uint8_t *directory, uint64_t nbytes, struct df_error *err)
{
    char *name = image->names;
    uint64_t at = 0, entry_bytes = 0;
    for (size_t i = 0; i < image->n; i++, at += entry_bytes) {
        struct qcow2_bitmap *b = &image->bitmaps[i];
        const char *wrong = read_entry(image, directory + at, nbytes - at, b, &image->places[i], &entry_bytes);
        if (wrong)
            return qcow2_broken(image, err, "bitmap %zu of %zu %s", i + 1, image->n, wrong);
        size_t length = qcow2_get16(directory + at + 18);
        b->name = memcpy(name, directory + at + QCOW2_ENTRY_BYTES, length);
        name[length] = 0;
        name += length + 1;
    }
    return at == nbytes ? 0 : qcow2_broken(image, err, "there are %" PRIu64 " bytes behind the last entry of the directory", nbytes - at);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Two of one name: which one is meant? */
static int check_names(const struct qcow2 *image, struct df_error *err)
{
    CLEANUP(cleanup_free) const char **names = calloc(image->n, sizeof *names);
    if (!names)
        return qcow2_no_memory(image, err);
    for (size_t i = 0; i < image->n; i++)
        names[i] = image->bitmaps[i].name;
    qsort(names, image->n, sizeof *names, by_name);
    for (size_t i = 1; i < image->n; i++)
        if (!strcmp(names[i - 1], names[i]))
            return qcow2_broken(image, err, "'%.1023s' is there twice", names[i]);
    return 0;
}

static int read_directory(struct qcow2 *image, const struct qcow2_place *directory, struct df_error *err)
{
    CLEANUP(cleanup_free) uint8_t *bytes = malloc(directory->nbytes);
    CLEANUP(cleanup_free) struct qcow2_place *sorted = calloc(image->n + 2, sizeof *sorted);
    image->bitmaps = calloc(image->n, sizeof *image->bitmaps);
    image->places = calloc(image->n + 2, sizeof *image->places);
    image->names = malloc(directory->nbytes);       /* a name and its end are shorter than its entry */
    if (!bytes || !sorted || !image->bitmaps || !image->places || !image->names)
        return qcow2_no_memory(image, err);
    int r = qcow2_fetch(image, directory->offset, bytes, directory->nbytes, err);
    if (!r)
        r = read_entries(image, bytes, directory->nbytes, err);
    if (!r)
        r = check_names(image, err);
    if (r < 0)
        return r;
    image->places[image->n] = (struct qcow2_place){ 0, image->cluster_bytes };
    image->places[image->n + 1] = *directory;
    memcpy(sorted, image->places, (image->n + 2) * sizeof *sorted);
    return qcow2_overlap(sorted, image->n + 2) ? qcow2_broken(image, err, "header, directory and tables lie over each other") : 0;
}

static int open_file(struct qcow2 *image, struct df_error *err)
{
    struct stat st;
    image->fd = open(image->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (image->fd < 0 || fstat(image->fd, &st) < 0)
        return error_errno(err, -errno, "cannot read '%.1024s'", image->path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return error_set(err, -EINVAL, "cannot read '%.1024s': it is neither a regular file nor a block device", image->path);
    off_t end = lseek(image->fd, 0, SEEK_END);
    if (end < 0)
        return error_errno(err, -errno, "cannot read '%.1024s'", image->path);
    image->file_bytes = (uint64_t)end;
    return 0;
}

int qcow2_open(const char *path, struct qcow2 **out, struct df_error *err)
{
    CLEANUP(qcow2_close) struct qcow2 *image = calloc(1, sizeof *image);
    struct qcow2_place directory;
    if (!image || !(image->path = strdup(path)))
        return error_errno(err, -ENOMEM, "cannot read '%.1024s'", path);
    image->fd = -1;
    int r = open_file(image, err);
    if (!r)
        r = read_header(image, &directory, err);
    if (r > 0)
        r = read_directory(image, &directory, err);
    if (!r)
        *out = steal(&image);
    return r;
}

bool qcow2_detect(const char *path)
{
    uint8_t magic[4];
    CLEANUP(cleanup_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return fd >= 0 && pread(fd, magic, sizeof magic, 0) == sizeof magic && qcow2_get32(magic) == QCOW2_MAGIC;
}
