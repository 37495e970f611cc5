// SPDX-License-Identifier: BSD-3-Clause
/*
 * From verdicts on any stretches to verdicts on whole clusters, in order: a
 * cluster is different if a part of it is.
 */
#ifndef IMAGE_CLUSTERS_H
#define IMAGE_CLUSTERS_H

#include "image/diff.h"

struct clusters {
    const struct diff *diff;
    uint64_t at;                /* all before has its verdict; begin of a cluster, or the end */
    bool different;             /* a part of the cluster at `at` is */
    uint64_t run_offset;        /* whole clusters that are not told yet: up to `at` */
    enum diff_verdict run;
    uint64_t different_bytes;   /* of clusters that were told */
};

void clusters_begin(struct clusters *clusters, const struct diff *diff);
/* The next stretch; it begins where the one before ended. */
int clusters_add(struct clusters *clusters, uint64_t offset, uint64_t length, enum diff_verdict verdict, struct df_error *err);
/* Tell what is not told yet. */
int clusters_flush(struct clusters *clusters, struct df_error *err);

#endif
