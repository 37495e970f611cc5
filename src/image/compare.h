// SPDX-License-Identifier: BSD-3-Clause
/* Read one stretch of two images, and note which of its clusters differ. */
#ifndef IMAGE_COMPARE_H
#define IMAGE_COMPARE_H

#include "image/plan.h"

/* A stretch that is read is at most so long; so it has at most COMPARE_CLUSTERS clusters, or parts of clusters. */
#define COMPARE_BYTES       IMAGE_VIEW_MAX
#define GRANULARITY_MIN     512
#define COMPARE_CLUSTERS    (COMPARE_BYTES / GRANULARITY_MIN)

struct lane {
    const struct diff *diff;
    unsigned index;
    uint8_t *buffers[2];                    /* a piece of each image */
    const uint8_t *old, *new;               /* what is compared: there, or in a view */
};

struct compared {
    bool different[COMPARE_CLUSTERS];       /* by cluster, from the one of the stretch's offset on */
    uint64_t read, unread;                  /* bytes */
    struct df_error why;                    /* of what could not be read first */
};

int lane_init(struct lane *lane, const struct diff *diff, unsigned index, struct df_error *err);
void lane_destroy(struct lane *lane);

/* < 0: something could not be read, and errors end the run; `why` has the sentence. */
int compare_stretch(struct lane *lane, const struct stretch *stretch, struct compared *compared);

#endif
