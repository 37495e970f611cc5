// SPDX-License-Identifier: BSD-3-Clause
/*
 * What has to be read to compare two images, stretch by stretch: the extents of
 * both laid over each other.
 */
#ifndef IMAGE_PLAN_H
#define IMAGE_PLAN_H

#include "image/diff.h"

enum plan_action {
    PLAN_ZERO,          /* equal: both read as zeroes */
    PLAN_SHARED,        /* equal: both have the same place */
    PLAN_COMPARE,       /* both are read */
    PLAN_OLD_ALONE,     /* the new one reads as zeroes: the old one is read */
    PLAN_NEW_ALONE,
    PLAN_DIFFERENT,     /* only one has it */
};

struct stretch {
    uint64_t offset, length;
    enum plan_action action;
};

struct plan {
    const struct diff *diff;
    uint64_t at;                /* up to here all is planned */
    uint64_t end;               /* up to here both have bytes to compare */
    struct side {
        struct image *image;
        uint64_t from, to;      /* what `extent` is of */
        struct extent extent;
    } old, new;
};

static inline uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void plan_begin(struct plan *plan, const struct diff *diff);

/*
 * 1: the next stretch, in order and without a gap; 0: the new image is at its
 * end.  What is to be read is at most `most` bytes long.
 */
int plan_next(struct plan *plan, uint64_t most, struct stretch *stretch, struct df_error *err);

#endif
