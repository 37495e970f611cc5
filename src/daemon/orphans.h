// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a daemon that was stopped in the middle of sessions does with their
 * bitmaps when it starts again.  Nothing is claimed that is not so:
 *
 *   source             not busy any more, all bits kept; a fenced disk stays fenced
 *   target, locked     removed: the source still has all of it; so is a disabled
 *                      bitmap after the pivot, which records nothing either
 *   target, recording  keeps its own writes and says inconsistent, for the
 *                      source's bits did not all arrive
 *   target, merging    is merged to the end: the source's bits were all there
 */
#ifndef DAEMON_ORPHANS_H
#define DAEMON_ORPHANS_H

#include <dirtyferry/bitmap.h>

int orphans_settle(const char *state_dir, struct df_error *err);

#endif
