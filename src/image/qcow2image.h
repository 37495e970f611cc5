// SPDX-License-Identifier: BSD-3-Clause
/* What qcow2open.c and qcow2read.c share: an image that is open, and looking into its file. */
#ifndef IMAGE_QCOW2IMAGE_H
#define IMAGE_QCOW2IMAGE_H

#include "image/qcow2.h"
#include "image/qcow2format.h"

struct qcow2_place {
    uint64_t offset, nbytes;
};

struct qcow2 {
    int fd;
    char *path;
    uint64_t file_bytes;
    uint64_t size, cluster_bytes;
    size_t n;
    struct qcow2_bitmap *bitmaps;
    struct qcow2_place *places;           /* of the bitmaps' tables, then of the header and the directory: n + 2 */
    char *names;                    /* what the list's names point into */
};

/* "cannot read bitmaps of FILE: ...", -EINVAL. */
__attribute__((format(printf, 3, 4)))
int qcow2_broken(const struct qcow2 *image, struct df_error *err, const char *format, ...);
int qcow2_no_memory(const struct qcow2 *image, struct df_error *err);

/* All nbytes from `offset` on. */
int qcow2_fetch(const struct qcow2 *image, uint64_t offset, void *to, uint64_t nbytes, struct df_error *err);
/* Is it in a cluster of its own, and in the file? */
bool qcow2_is_inside(const struct qcow2 *image, uint64_t offset, uint64_t nbytes);
/* Do two of them lie over each other?  Sorts them. */
bool qcow2_overlap(struct qcow2_place *places, size_t n);

static inline uint64_t qcow2_table_entries(const struct qcow2 *image, const struct qcow2_bitmap *b)
{
    return map_round_up(map_round_up(b->nbits, 8), image->cluster_bytes);
}

#endif
