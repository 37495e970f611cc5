// SPDX-License-Identifier: BSD-3-Clause
/*
 * A bitmap of QEMU that a comparison fills (daemon/comparison.h).
 *
 *   compare   may it be filled?  Staged in our disk, where the bits are gathered
 *   watch     its child is made and records
 *   fill      one transaction: the bitmap takes the bits of a carrier and of the child
 *
 * and withdraw (target.c) at the end, when it is written down that it was filled.
 *
 * QEMU has no flag by which we could keep others from using the bitmap.  Nor need
 * we: the child has every write since the comparison began.  Whether the bitmap
 * was cleared, disabled, removed and added anew meanwhile, after fill it has all
 * that differs and all that was written, and it records.  A child that is not
 * there any more tells that writes were lost: QEMU was started anew.  It is
 * persistent if the bitmap is, and so outlives a clean restart with it.
 */
#include "qemu/qemu.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "bitmap/disk.h"

static int check(const struct visit *v, const struct remote_job *job, struct df_error *err)
{
    int r = qemu_check_node(v, job, err);
    if (!r)
        r = qemu_check_bitmap(v, job, err);
    if (!r && !view_flag(qemu_bitmap_of(v, job), "recording"))
        r = error_set(err, -EINVAL, "bitmap '%s' of node '%s' does not record and cannot be compared: enable it first", job->bitmap, qemu_of(job)->at.node);
    return r;
}

/* ---------------------------------------------------------------- compare */

static int stage(const struct visit *v, const struct remote_job *job, struct df_error *err)
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    const json_t *bitmap = qemu_bitmap_of(v, job);
    uint64_t granularity = view_number(bitmap, "granularity");
    int r = granularity_check(granularity, err);
    if (!r && !carrier_takes(map_round_up(job->backend->ops->size(job->backend), granularity)))
        r = error_set(err, -EFBIG, "bitmap '%s' has %" PRIu64 " bits, more than the 2^32 that QEMU takes from outside: add one with a coarser --granularity",
                      job->bitmap, map_round_up(job->backend->ops->size(job->backend), granularity));
    if (!r)
        r = df_disk_open(qemu_of(job)->state_dir, job->backend->disk, &disk, err);
    if (!r)
        r = qemu_drop_staged(disk, job->bitmap, err);
    return r < 0 ? r : df_bitmap_add(disk, job->bitmap, granularity, view_flag(bitmap, "persistent") ? DF_BITMAP_PERSISTENT : 0, err);
}

int step_compare(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err)
{
    int r = 0;
    for (size_t i = 0; !r && i < n; i++) {
        r = check(v, jobs[i], err);
        if (!r)
            r = stage(v, jobs[i], err);
    }
    return r;
}

/* ------------------------------------------------------------------ watch */

static int lost(const struct remote_job *job, struct df_error *err)
{
    return error_set(err, -ENODATA, "the QEMU at '%s' was started anew since the comparison of bitmap '%s' of node '%s' began, and writes may be in no bitmap: compare from the start",
                     qemu_of(job)->at.socket, job->bitmap, qemu_of(job)->at.node);
}

int step_watch(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err)
{
    json_t *actions = json_array();
    int r = 0;
    for (size_t i = 0; !r && i < n; i++) {
        char name[QEMU_NAME_BYTES];
        const json_t *child;
        r = qemu_check_node(v, jobs[i], err);
        child = qemu_child_of(v, jobs[i], name);
        if (!r && jobs[i]->recorded && (!child || view_flag(child, "inconsistent")))
            r = lost(jobs[i], err);
        else if (!r && !child)
            act_add(actions, jobs[i], name, false, jobs[i]->info.persistent);
    }
    return act_all(v, actions, r, QEMU_TIMEOUT_MS, err);
}

/* ------------------------------------------------------------------- fill */

static int merge(struct visit *v, const struct remote_job *job, const struct map *map, const char *child, struct df_error *err)
{
    char id[QEMU_ID_BYTES];
    json_t *actions = json_array(), *sources = json_array();
    bool carried = map_next_set(map, 0) < map->nbits;
    qemu_id(job, id);
    if (carried)
        json_array_append_new(sources, act_source(id, CARRIER_BITMAP));
    json_array_append_new(sources, json_string(child));
    act_merge(actions, job, job->bitmap, sources);
    int r = carried ? carrier_add(v, job, map, err) : 0;
    if (!r && map_is_broken(map))
        r = error_set(err, -EPROTO, "bitmap '%s' of disk '%s' cannot be filled: the file with what differs was cut; cancel the comparison and begin again",
                      job->bitmap, job->backend->disk);
    r = act_all(v, actions, r, QEMU_MERGE_MS, err);
    carrier_remove(v, job);
    return r;
}

static int fill(struct visit *v, const struct remote_job *job, struct df_error *err)
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    struct map_ref *ref = NULL;
    char name[QEMU_NAME_BYTES];
    int r = qemu_check_node(v, job, err);
    const json_t *child = qemu_child_of(v, job, name);
    if (!r && (!child || view_flag(child, "inconsistent")))
        r = lost(job, err);
    if (!r)
        r = check(v, job, err);
    if (!r)
        r = df_disk_open(qemu_of(job)->state_dir, job->backend->disk, &disk, err);
    if (!r)
        r = disk_compare_get_map(disk, job->bitmap, job->session, &ref, err);
    if (r < 0)
        return r;
    r = merge(v, job, ref->map, name, err);
    disk_put_map(disk, &ref);
    return r;
}

int step_fill(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err)
{
    int r = 0;
    for (size_t i = 0; !r && i < n; i++)
        r = fill(v, jobs[i], err);
    return r;
}
