// SPDX-License-Identifier: BSD-3-Clause
/*
 * Looking into the file of an image, and the bits of its bitmaps.  What is in
 * its header and its directory is read by qcow2open.c, and was checked there.
 */
#include "image/qcow2image.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"

/* -------------------------------------------------------------------- file */

int qcow2_broken(const struct qcow2 *image, struct df_error *err, const char *format, ...)
{
    char why[1280];
    va_list ap;
    va_start(ap, format);
    vsnprintf(why, sizeof why, format, ap);
    va_end(ap);
    return error_set(err, -EINVAL, "cannot read bitmaps of '%.1024s': %s", image->path, why);
}

int qcow2_no_memory(const struct qcow2 *image, struct df_error *err)
{
    return error_errno(err, -ENOMEM, "cannot read bitmaps of '%.1024s'", image->path);
}

int qcow2_fetch(const struct qcow2 *image, uint64_t offset, void *to, uint64_t nbytes, struct df_error *err)
{
    for (uint64_t done = 0; done < nbytes;) {
        ssize_t n = pread(image->fd, (char *)to + done, nbytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, -errno, "cannot read '%.1024s'", image->path);
        if (n == 0)
            return qcow2_broken(image, err, "it ends before byte %" PRIu64 "; is it copied in full?", offset + nbytes);
        done += (uint64_t)n;
    }
    return 0;
}

bool qcow2_is_inside(const struct qcow2 *image, uint64_t offset, uint64_t nbytes)
{
    return offset && offset % image->cluster_bytes == 0 && nbytes <= image->file_bytes && offset <= image->file_bytes - nbytes;
}

static int by_offset(const void *a, const void *b)
{
    const struct qcow2_place *x = a, *y = b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

bool qcow2_overlap(struct qcow2_place *places, size_t n)
{
    qsort(places, n, sizeof *places, by_offset);
    for (size_t i = 1; i < n; i++)
        if (places[i].offset - places[i - 1].offset < places[i - 1].nbytes)
            return true;
    return false;
}

/* -------------------------------------------------------------------- bits */

/* Bytes of bits in data cluster k: fewer in the last one. */
static uint64_t data_bytes(const struct qcow2 *image, const struct qcow2_bitmap *b, uint64_t k)
{
    uint64_t left = map_round_up(b->nbits, 8) - k * image->cluster_bytes;
    return left < image->cluster_bytes ? left : image->cluster_bytes;
}

/* Nothing is read before all of it is known to be in its place. */
static int check_table(const struct qcow2 *image, size_t index, const uint64_t *table, uint64_t n, struct df_error *err)
{
    const struct qcow2_bitmap *b = &image->bitmaps[index];
    size_t used = image->n + 2;
    CLEANUP(cleanup_free) struct qcow2_place *places = calloc(used + n, sizeof *places);
    if (!places)
        return qcow2_no_memory(image, err);
    memcpy(places, image->places, used * sizeof *places);
    for (uint64_t k = 0; k < n; k++) {
        uint64_t entry = be64toh(table[k]);
        if (entry == QCOW2_ALL_ZEROES || entry == QCOW2_ALL_ONES)
            continue;
        if (!qcow2_is_inside(image, entry, data_bytes(image, b, k)))
            return qcow2_broken(image, err, "entry %" PRIu64 " in the table of bitmap '%.1023s' is out of range: %#" PRIx64, k, b->name, entry);
        places[used++] = (struct qcow2_place){ entry, image->cluster_bytes };
    }
    return qcow2_overlap(places, used) ? qcow2_broken(image, err, "the clusters of bitmap '%.1023s' lie over each other or over others", b->name) : 0;
}

static int read_clusters(const struct qcow2 *image, const struct qcow2_bitmap *b, const uint64_t *table, uint64_t n, struct map *into, struct df_error *err)
{
    CLEANUP(cleanup_free) uint8_t *cluster = malloc(image->cluster_bytes);
    int r = 0;
    if (!cluster)
        return qcow2_no_memory(image, err);
    for (uint64_t k = 0; k < n; k++) {
        uint64_t entry = be64toh(table[k]), offset = k * image->cluster_bytes, nbytes = data_bytes(image, b, k), bit = offset * 8;
        if (entry == QCOW2_ALL_ZEROES)
            continue;
        if (entry == QCOW2_ALL_ONES) {
            r = map_set_alone(into, bit, b->nbits - bit < nbytes * 8 ? b->nbits - bit : nbytes * 8);
        } else {
            r = qcow2_fetch(image, entry, cluster, nbytes, err);
            if (r < 0)
                return r;
            r = map_set_bytes_alone(into, offset, cluster, nbytes);
        }
        if (r < 0)
            return error_errno(err, r, "cannot hold bitmap '%.1023s' of '%.1024s'", b->name, image->path);
    }
    return 0;
}

int qcow2_read(const struct qcow2 *image, size_t index, struct map *into, struct df_error *err)
{
    const struct qcow2_bitmap *b = &image->bitmaps[index];
    uint64_t n = qcow2_table_entries(image, b);
    if (into->nbits != b->nbits)
        return qcow2_broken(image, err, "bitmap '%.1023s' has %" PRIu64 " bits, and there is room for %" PRIu64, b->name, b->nbits, into->nbits);
    CLEANUP(cleanup_free) uint64_t *table = malloc(n * sizeof *table);
    if (!table)
        return qcow2_no_memory(image, err);
    int r = qcow2_fetch(image, image->places[index].offset, table, n * sizeof *table, err);
    if (!r)
        r = check_table(image, index, table, n, err);
    return r < 0 ? r : read_clusters(image, b, table, n, into, err);
}
