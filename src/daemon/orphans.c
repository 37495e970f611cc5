// SPDX-License-Identifier: BSD-3-Clause
#include "daemon/orphans.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "bitmap/disk.h"

static int settle(struct df_disk *disk, const struct df_bitmap_info *info, struct df_error *err)
{
    int r;
    if (!info->frozen && info->recording == (info->enabled && !info->readonly) &&
        df_bitmap_give_back(disk, info->name, info->session, err) == 0)
        return 0;       /* a source: its bits are all here */
    if (!info->frozen)
        return df_bitmap_reclaim(disk, info->name, info->session, err);     /* a target that was merging: its parent was exact */
    if (!info->recording && !info->inconsistent)
        return df_bitmap_discard(disk, info->name, info->session, err);     /* a target that has recorded nothing */
    r = df_bitmap_set_inconsistent(disk, info->name, err);
    return r < 0 ? r : df_bitmap_reclaim(disk, info->name, info->session, err);
}

struct settling {
    struct engine *engine;
    const struct comparisons *comparisons;
};

static int settle_one(const struct settling *s, struct df_disk *disk, const struct df_bitmap_info *info, struct df_error *err)
{
    if (!info->busy || (info->compared ? comparisons_know(s->comparisons, info->session) : recover_knows(s->engine, info->session)))
        return 0;
    log_warning("bitmap '%s' of disk '%s' was in a %s knows", info->name, df_disk_name(disk), info->compared ? "comparison that no file" : "session that no journal");
    return info->compared ? disk_compare_cancel(disk, info->name, info->session, err) : settle(disk, info, err);
}

static int each_disk(void *opaque, const char *name)
{
    const struct settling *s = opaque;
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    CLEANUP(cleanup_free) struct df_bitmap_info *infos = NULL;
    struct df_error err;
    size_t n = 0;
    if (df_disk_open(s->engine->state_dir, name, &disk, &err) < 0 || df_bitmap_list(disk, &infos, &n, &err) < 0) {
        log_error("%s", err.message);
        return 0;
    }
    for (size_t i = 0; i < n; i++)
        if (settle_one(s, disk, &infos[i], &err) < 0)
            log_error("%s", err.message);
    return 0;
}

int orphans_settle(struct engine *engine, const struct comparisons *comparisons, struct df_error *err)
{
    return df_disk_list(engine->state_dir, each_disk, &(struct settling){ engine, comparisons }, err);
}
