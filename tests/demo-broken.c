// SPDX-License-Identifier: BSD-3-Clause
/*
 * Breaks an engine on purpose, so that tests/demo-fails.sh sees the demo fail.
 * Linked with --wrap into tests/dirtyferryd-broken, which is otherwise the
 * daemon.  DF_FAULT names the fault:
 *
 *     merge   the child is dropped before it is merged: writes on the target are lost
 *     lock    the child records from the beginning: copy writes show up
 */
#include <stdlib.h>
#include <string.h>

#include "bitmap/disk.h"

#define SESSION const uint8_t session[DF_SESSION_BYTES]

int __real_map_merge(struct map *dst, const struct map *src);
int __wrap_map_merge(struct map *dst, const struct map *src);
int __real_df_bitmap_add_frozen(struct df_disk *disk, const char *name, uint32_t granularity, unsigned flags, SESSION, struct df_error *err);
int __wrap_df_bitmap_add_frozen(struct df_disk *disk, const char *name, uint32_t granularity, unsigned flags, SESSION, struct df_error *err);

static bool fault_is(const char *name)
{
    const char *fault = getenv("DF_FAULT");
    return fault && !strcmp(fault, name);
}

int __wrap_map_merge(struct map *dst, const struct map *src)
{
    return fault_is("merge") ? 0 : __real_map_merge(dst, src);
}

int __wrap_df_bitmap_add_frozen(struct df_disk *disk, const char *name, uint32_t granularity, unsigned flags, SESSION, struct df_error *err)
{
    int r = __real_df_bitmap_add_frozen(disk, name, granularity, flags, session, err);
    return !r && fault_is("lock") ? df_bitmap_unlock(disk, name, session, err) : r;
}
