// SPDX-License-Identifier: BSD-3-Clause
/* Small parents to fill, as a target has them. */
#ifndef FUZZ_INTAKES_H
#define FUZZ_INTAKES_H

#include <fcntl.h>

#include "fuzz.h"
#include "session/fill.h"

#define INTAKE_BITS (UINT64_C(1) << 20)     /* at most: two windows of fill.c */

static inline void intake_close(struct intake *in)
{
    map_close(&in->map);
    map_close(&in->received);
    free(in->digests);
    *in = (struct intake){ 0 };
}

/* Storage that is gone with the mapping. */
static inline void intake_open(struct intake *in, const struct chunking *c)
{
    static int dirfd = -1;
    struct df_error err;
    if (dirfd < 0)
        dirfd = open(fuzz_dir_make(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *in = (struct intake){ .chunking = *c };
    CHECK(map_create(dirfd, "parent", c->nbits, &in->map, &err) == 0);
    CHECK(unlinkat(dirfd, "parent", 0) == 0);
    CHECK(map_create_anonymous(chunk_count(c), &in->received, &err) == 0);
    CHECK((in->digests = calloc(in->map->nblocks, sizeof *in->digests)));
}

/* As when the daemon starts. */
static inline struct fill *intake_fill(void)
{
    static struct fill fill;
    fill.clock = 0;
    for (unsigned i = 0; i < FILL_BATCHES; i++) {
        fill.batches[i].intake = NULL;
        fill.batches[i].used = 0;
    }
    return &fill;
}

#endif
