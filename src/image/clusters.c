// SPDX-License-Identifier: BSD-3-Clause
#include "image/clusters.h"

void clusters_begin(struct clusters *c, const struct diff *diff)
{
    *c = (struct clusters){ .diff = diff, .at = diff->start, .run_offset = diff->start };
}

int clusters_flush(struct clusters *c, struct df_error *err)
{
    uint64_t offset = c->run_offset, length = c->at - offset;
    if (!length)
        return 0;
    c->run_offset = c->at;
    if (c->run == DIFF_DIFFERENT)
        c->different_bytes += length;
    return c->diff->tell(c->diff->opaque, offset, length, c->run, err);
}

/* Whole clusters from c->at on. */
static int add_run(struct clusters *c, uint64_t end, enum diff_verdict verdict, struct df_error *err)
{
    int r = c->run != verdict ? clusters_flush(c, err) : 0;
    c->run = verdict;
    c->at = end;
    c->different = false;
    return r;
}

int clusters_add(struct clusters *c, uint64_t offset, uint64_t length, enum diff_verdict verdict, struct df_error *err)
{
    uint64_t granularity = c->diff->granularity, size = c->diff->new->size, end = offset + length;
    int r = 0;
    if (offset > c->at) {       /* the rest of a cluster, or a part of the rest */
        uint64_t left = size - c->at, cluster_end = left < granularity ? size : c->at + granularity;
        c->different |= verdict == DIFF_DIFFERENT;
        if (end < cluster_end)
            return 0;
        r = add_run(c, cluster_end, c->different ? DIFF_DIFFERENT : DIFF_EQUAL, err);
    }
    uint64_t whole_end = end == size ? end : end - end % granularity;
    if (!r && whole_end > c->at)
        r = add_run(c, whole_end, verdict, err);
    if (end > c->at)
        c->different = verdict == DIFF_DIFFERENT;
    return r;
}
