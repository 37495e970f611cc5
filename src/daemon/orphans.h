// SPDX-License-Identifier: BSD-3-Clause
/*
 * Bitmaps that are in a session of which there is no journal: it was damaged, or
 * the daemon was killed between the bitmap and the journal's first entry.
 * Nothing is claimed that is not so:
 *
 *   source             not busy any more, all bits kept; a fenced disk stays fenced
 *   target, locked     removed: the source still has all of it; so is a disabled
 *                      bitmap after the pivot, which records nothing either.
 *                      After a host crash it may have recorded: as the next
 *   target, recording  keeps its own writes and says inconsistent, for the
 *                      source's bits did not all arrive
 *   target, merging    is merged to the end: the source's bits were all there
 *
 * And those that a comparison filled of which there is no file: not busy any
 * more; one that was inconsistent is so again.
 */
#ifndef DAEMON_ORPHANS_H
#define DAEMON_ORPHANS_H

#include "daemon/comparison.h"

int orphans_settle(struct engine *engine, const struct comparisons *comparisons, struct df_error *err);

#endif
