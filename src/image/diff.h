// SPDX-License-Identifier: BSD-3-Clause
/*
 * Which parts of two images differ.
 *
 *     planner   goes along both by their extents; what both have as zeroes, or
 *               in the same place, is equal without being read; the rest is cut
 *               into items
 *     readers   one thread a lane: read an item, note which clusters differ
 *     caller    is told the verdicts in the order of the disk
 *
 * Memory: two pieces for each lane, mapped or copied, and a ring of items,
 * whatever the size.
 */
#ifndef IMAGE_DIFF_H
#define IMAGE_DIFF_H

#include "image/image.h"

enum diff_verdict { DIFF_EQUAL, DIFF_DIFFERENT };

struct diff {
    struct image *old, *new;
    uint64_t granularity;           /* bytes of a cluster, a power of two from 512 on */
    uint64_t start;                 /* what lies before is not looked at; a multiple of the granularity */
    bool errors_differ;             /* what cannot be read counts as different; else it ends the run */
    unsigned lanes;                 /* readers; the images were opened with as many */
    const _Atomic bool *stop;       /* once true, the run ends with -ECANCELED; or NULL */
    /*
     * On the thread that called diff_run(): whole clusters, in order, without a
     * gap from `start` to the size of the new image; neighbours may have the
     * same verdict.  An error ends the run.
     */
    int (*tell)(void *opaque, uint64_t offset, uint64_t length, enum diff_verdict verdict, struct df_error *err);
    void *opaque;
};

/* In bytes. */
struct diff_counts {
    uint64_t different;             /* whole clusters, the last one up to the end of the new image */
    uint64_t read;                  /* of both images together */
    uint64_t zero, shared;          /* of the new image: not read, because both have zeroes there, or one place */
    uint64_t unread;                /* could not be read: counted by clusters, and different */
    struct df_error first_unread;   /* the first of them, if any */
};

/* How many lanes are worth while on this machine for two images, before they are opened. */
unsigned diff_lanes(void);

/*
 * A cluster differs if a byte does, or if only one image has it: that is what
 * lies behind the end of the old one, and the last cluster when the old one goes
 * on within it.
 */
int diff_run(const struct diff *diff, struct diff_counts *counts, struct df_error *err);

#endif
