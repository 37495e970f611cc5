// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a dump is made of, and its blocks in order.  Everything here takes time
 * in proportion to the bitmaps: for the keeper's thread.
 */
#ifndef SESSION_DUMP_H
#define SESSION_DUMP_H

#include "session/feed.h"
#include "session/session.h"

/* Maps that nobody writes while they are dumped. */
struct still {
    struct dump_header header;
    const struct map *maps[WIRE_SESSION_BITMAPS];
};

/* Make the block at the cursor and move the cursor on. */
int still_block(const struct still *still, struct dump_cursor *at, struct dump_block *block, bool *last, struct df_error *err);
/* The whole dump as a durable file. */
int still_write(const struct still *still, int dirfd, const char *name, struct df_error *err);

/* STATE/dumps, made if it is not there. */
int dump_open_dir(const char *state_dir, int *dirfd, struct df_error *err);
void dump_describe(const struct session *session, struct still *still);
/* Of engine->dumps, when the keeper has stopped. */
void dump_close_all(struct engine *engine);

#endif
