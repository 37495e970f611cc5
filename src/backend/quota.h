// SPDX-License-Identifier: BSD-3-Clause
/*
 * A limit on what all bitmaps of a state directory may take
 * (--max-bitmap-bytes): the lengths of their map files, which is what they take
 * when every bit is set.  Bitmaps, the children of sessions and the maps of what
 * sessions have received count; what lives for the time of a request does not.
 *
 * Whoever makes maps for a request holds the quota from the look to the last
 * map, so that two threads cannot pass with the same room.  Other programs that
 * use libdirtyferry do not ask.
 */
#ifndef BACKEND_QUOTA_H
#define BACKEND_QUOTA_H

#include <stdint.h>

#include <dirtyferry/error.h>

#include "bitmap/map.h"

/* 0: no limit, and nothing is computed.  Set once, before threads start. */
void quota_set_limit(uint64_t nbytes);

/* Of the map of a bitmap.  Arguments out of range are another's to refuse: some number comes back. */
uint64_t quota_bitmap_bytes(uint64_t disk_size, uint64_t granularity);
/* Of all that a target session has for it: parent, child, received; and staging, where its own geometry is not the source's. */
uint64_t quota_intake_bytes(const struct geometry *own, const struct geometry *source, uint32_t chunk_bytes);

/* Is there room for that many bytes more?  0: the quota is held until quota_leave().  -ENOSPC; `what` begins the sentence. */
int quota_enter(const char *state_dir, const char *what, uint64_t nbytes, struct df_error *err);
void quota_leave(void);

#endif
