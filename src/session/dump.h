// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a dump is made of, and its blocks in order.  Everything here takes time
 * in proportion to the bitmaps: for the keeper's thread.
 */
#ifndef SESSION_DUMP_H
#define SESSION_DUMP_H

#include "session/session.h"
#include "wire/dump.h"

/* Maps that nobody writes while they are dumped. */
struct still {
    struct dump_header header;
    const struct map *maps[WIRE_SESSION_BITMAPS];
};

/* Where a block begins: block `index`, chunk `first` of bitmap `handle` (from 1; one more than there are: the end block). */
struct dump_cursor {
    uint64_t index;
    unsigned handle;
    uint64_t first;
};

/* Make the block at the cursor and move the cursor on. */
int still_block(const struct still *still, struct dump_cursor *at, struct dump_block *block, bool *last, struct df_error *err);
/* The whole dump as a durable file. */
int still_write(const struct still *still, int dirfd, const char *name, struct df_error *err);
/* Of each segment, as `seal` has them. */
void still_digests(const struct map *map, uint64_t *digests, size_t n);

/* STATE/dumps, made if it is not there. */
int dump_open_dir(const char *state_dir, int *dirfd, struct df_error *err);
void dump_describe(const struct session *session, struct still *still);
/* Of engine->dumps, when the keeper has stopped. */
void dump_close_all(struct engine *engine);

#endif
