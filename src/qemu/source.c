// SPDX-License-Identifier: BSD-3-Clause
/*
 * QEMU as the source.
 *
 *   look    may the bitmap be moved?  Staged in our disk, without bits
 *   freeze  one transaction: "late" records, then the bitmap is disabled.  In
 *           that order no write is in neither.  Both take O(1) in QEMU; a copy
 *           of the bitmap would take O(n), while the guest stands still, and is
 *           made only where it must: a QEMU that hands its guest over by a
 *           migration lets go of persistent bitmaps, with all their bits, and
 *           aborts if one of them is exported then.
 *   read    the copy or the bitmap, and "late" if anything is in it
 *   thaw    one transaction: the bitmap is enabled, then takes what "late" has
 *   drop    one transaction: all go
 *
 * "late" is there from freeze until thaw or drop: it says how far we are.  It is
 * never persistent, so it is not there in a QEMU that was started anew.
 */
#include "qemu/qemu.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/uuid.h"

static const json_t *late_of(const struct visit *v, const struct remote_job *job, char name[QEMU_NAME_BYTES])
{
    return qemu_noted(v, job, "late", name);
}

/* The "late" of another session: it has the bitmap still, or will give it back.  NULL: there is none. */
static const char *others_late(const struct visit *v, const struct remote_job *job)
{
    const json_t *list = json_object_get(view_node(v->view, qemu_of(job)->at.node), "dirty-bitmaps"), *item;
    const size_t session_end = strlen(QEMU_RESERVED) + UUID_TEXT_BYTES - 1;
    char own[QEMU_NAME_BYTES];
    size_t i;
    qemu_name(job, "late", own);
    json_array_foreach(list, i, item) {
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name && strlen(name) == strlen(own) && !strcmp(name + session_end, own + session_end) && strcmp(name, own) && qemu_is_reserved(name))
            return name;
    }
    return NULL;
}

static const json_t *copy_of(const struct visit *v, const struct remote_job *job, char name[QEMU_NAME_BYTES])
{
    return qemu_noted(v, job, "copy", name);
}

int qemu_check_bitmap(const struct visit *v, const struct remote_job *job, struct df_error *err)
{
    const struct qemu_remote *qemu = qemu_of(job);
    const json_t *bitmap = qemu_bitmap_of(v, job);
    if (!bitmap)
        return error_set(err, -ENOENT, "there is no bitmap '%s' on node '%s' of the QEMU at '%s'", job->bitmap, qemu->at.node, qemu->at.socket);
    if (view_flag(bitmap, "inconsistent"))
        return error_set(err, -EINVAL, "bitmap '%s' of node '%s' is inconsistent: QEMU did not close it cleanly, it can only be removed; one that is added in its place can be filled by 'dirtyferry bitmap diff'", job->bitmap, qemu->at.node);
    if (view_flag(bitmap, "busy"))
        return error_set(err, -EBUSY, "bitmap '%s' of node '%s' is in use by a job or an export of QEMU: wait until that has ended", job->bitmap, qemu->at.node);
    if (others_late(v, job))
        return error_set(err, -EBUSY, "bitmap '%s' of node '%s' is held still by another session, and '%s' notes its writes: wait until that session has given it back; "
                         "if nobody knows it any more, enable the bitmap, merge that one into it and remove it", job->bitmap, qemu->at.node, others_late(v, job));
    return 0;
}

/* A storage daemon has no guest to hand over. */
static bool can_migrate(struct visit *v)
{
    if (!v->asked)
        v->migrates = qmp_call(v->qmp, "query-migrate", NULL, NULL, QEMU_TIMEOUT_MS, NULL) != -ENOTSUP;
    v->asked = true;
    return v->migrates;
}

/* ------------------------------------------------------------------- look */

/* Of a daemon that was killed before the session took it. */
int qemu_drop_staged(struct df_disk *disk, const char *bitmap, struct df_error *err)
{
    int r = df_bitmap_remove(disk, bitmap, err);
    return r == -ENOENT ? 0 : r;
}

static int stage(const struct visit *v, const struct remote_job *job, struct df_error *err)
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    const struct qemu_remote *qemu = qemu_of(job);
    const json_t *bitmap = qemu_bitmap_of(v, job);
    unsigned flags = (view_flag(bitmap, "recording") ? 0 : DF_BITMAP_DISABLED) | (view_flag(bitmap, "persistent") ? DF_BITMAP_PERSISTENT : 0);
    int r = df_disk_open(qemu->state_dir, qemu->disk, &disk, err);
    if (!r)
        r = qemu_drop_staged(disk, job->bitmap, err);
    if (!r)
        r = df_bitmap_add(disk, job->bitmap, view_number(bitmap, "granularity"), flags, err);
    return r < 0 ? r : df_bitmap_take(disk, job->bitmap, job->session, err);     /* so it goes with the session */
}

/* What no image takes must be able to leave by NBD: told now, not after the pivot. */
static int check_way_out(struct visit *v, const struct remote_job *job, struct df_error *err)
{
    uint64_t granularity = view_number(qemu_bitmap_of(v, job), "granularity");
    if (granularity && carrier_takes(map_round_up(job->backend->ops->size(job->backend), granularity)))
        return 0;
    return export_check(v, job, err);
}

int step_look(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err)
{
    int r = 0;
    for (size_t i = 0; !r && i < n; i++) {
        r = qemu_check_node(v, jobs[i], err);
        if (!r)
            r = qemu_check_bitmap(v, jobs[i], err);
        if (!r)
            r = check_way_out(v, jobs[i], err);
        if (!r)
            r = stage(v, jobs[i], err);
    }
    return r;
}

/* ------------------------------------------------------------------ pivot */

static int plan_freeze(struct visit *v, const struct remote_job *job, json_t *actions, int *timeout_ms, struct df_error *err)
{
    char late[QEMU_NAME_BYTES], copy[QEMU_NAME_BYTES];
    const json_t *bitmap = qemu_bitmap_of(v, job);
    if (late_of(v, job, late))
        return 0;       /* by an earlier try */
    int r = qemu_check_node(v, job, err);
    if (!r)
        r = qemu_check_bitmap(v, job, err);
    if (!r && (view_flag(bitmap, "recording") != job->info.enabled || view_number(bitmap, "granularity") != job->info.granularity))
        r = error_set(err, -ESTALE, "bitmap '%s' of node '%s' is not as it was at the prepare: cancel the session and prepare it anew", job->bitmap, qemu_of(job)->at.node);
    if (r < 0)
        return r;
    act_add(actions, job, late, !job->info.enabled, false);
    if (job->info.enabled)
        act(actions, "disable", job, job->bitmap);
    if (!view_flag(bitmap, "persistent") || !can_migrate(v))
        return 0;
    qemu_name(job, "copy", copy);
    act_add(actions, job, copy, true, false);
    act_merge(actions, job, copy, json_pack("[s]", job->bitmap));
    *timeout_ms = QEMU_MERGE_MS;
    return 0;
}

int step_freeze(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err)
{
    json_t *actions = json_array();
    int r = 0, timeout_ms = QEMU_TIMEOUT_MS;
    for (size_t i = 0; !r && i < n; i++)
        r = plan_freeze(v, jobs[i], actions, &timeout_ms, err);
    return act_all(v, actions, r, timeout_ms, err);
}

/*
 * NBD tells extents, 16 bytes for a dirty one and the clean one behind it; an
 * image has a bit for each granule.  Whichever is shorter, if all of them lie
 * apart; and the image where NBD is not possible (the server is somebody else's,
 * a socket's path too long), or where the node may have been handed over to
 * another host by now: to export it QEMU would take it back, and write to it.
 */
static int read_bits(struct visit *v, const struct remote_job *job, const char *bitmap, uint64_t count, struct map *map, struct df_error *err)
{
    bool takes = carrier_takes(map->nbits), dense = count / job->info.granularity > map->nbits / 128;
    int r = takes && (dense || can_migrate(v)) ? -EADDRINUSE : export_read(v, job, bitmap, map, err);
    return takes && (r == -EADDRINUSE || r == -ENAMETOOLONG) ? carrier_read(v, job, bitmap, map, err) : r;
}

static int read_bitmap(struct visit *v, struct remote_job *job, struct df_error *err)
{
    struct backend *b = job->backend;
    struct backend_map map = { 0 };
    char name[QEMU_NAME_BYTES], copy[QEMU_NAME_BYTES];
    const json_t *late = late_of(v, job, name);
    const char *still = copy_of(v, job, copy) ? copy : job->bitmap;
    if (!late || !view_bitmap(v->view, qemu_of(job)->at.node, still))
        return error_set(err, -ENODATA, "bitmap '%s' of node '%s' was lost with its QEMU before its bits were read: abandon the session on the target with --all-dirty",
                         job->bitmap, qemu_of(job)->at.node);
    int r = b->ops->get_map(b, job->bitmap, job->session, &map, err);
    if (r < 0)
        return r;
    job->late_bytes = view_number(late, "count");
    r = read_bits(v, job, still, view_number(view_bitmap(v->view, qemu_of(job)->at.node, still), "count"), map.map, err);
    if (!r && job->late_bytes)
        r = read_bits(v, job, name, job->late_bytes, map.map, err);
    b->ops->put_map(b, &map);
    return r;
}

int step_read(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err)
{
    int r = 0;
    for (size_t i = 0; !r && i < n; i++)
        r = read_bitmap(v, jobs[i], err);
    return r;
}

/* -------------------------------------------------------------- ways back */

/* A disabled bitmap without "late": whatever was written since QEMU was started anew is in neither. */
static int check_lost(const struct visit *v, const struct remote_job *job, struct df_error *err)
{
    const json_t *bitmap = qemu_bitmap_of(v, job);
    if (!bitmap || !job->info.enabled || view_flag(bitmap, "recording"))
        return 0;
    return error_set(err, -ENODATA, "bitmap '%s' of node '%s' stays disabled: its QEMU was started anew since the pivot, and what was written there since is not in it; remove it and make a full backup",
                     job->bitmap, qemu_of(job)->at.node);
}

/* What a QEMU that has handed its guest over stores comes back when the guest runs here again. */
static int check_stored(const struct visit *v, const struct remote_job *job, const char *late, struct df_error *err)
{
    if (qemu_bitmap_of(v, job) || !job->info.enabled || !job->info.persistent)
        return 0;
    return error_set(err, -EAGAIN, "bitmap '%s' cannot be given back: node '%s' of the QEMU at '%s' does not have it, as after a migration of its guest; let the guest run there, "
                     "or, if the bitmap is not to come back, remove '%s'", job->bitmap, qemu_of(job)->at.node, qemu_of(job)->at.socket, late);
}

static void act_remove_noted(json_t *actions, const struct visit *v, const struct remote_job *job)
{
    char name[QEMU_NAME_BYTES];
    if (late_of(v, job, name))
        act(actions, "remove", job, name);
    if (copy_of(v, job, name))
        act(actions, "remove", job, name);
}

int step_thaw(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err)
{
    json_t *actions = json_array();
    int r = 0, lost = 0;
    for (size_t i = 0; !r && i < n; i++) {
        const struct remote_job *job = jobs[i];
        char late[QEMU_NAME_BYTES];
        int stored;
        carrier_remove(v, job);
        r = export_remove(v, job, err);
        if (r < 0)
            break;
        if (!late_of(v, job, late)) {
            act_remove_noted(actions, v, job);
            lost = lost ? lost : check_lost(v, job, err);
            continue;
        }
        stored = check_stored(v, job, late, err);
        if (stored < 0) {
            lost = stored;      /* asked again, after the others */
            continue;
        }
        if (qemu_bitmap_of(v, job) && job->info.enabled) {
            act(actions, "enable", job, job->bitmap);
            act_merge(actions, job, job->bitmap, json_pack("[s]", late));
        }
        act_remove_noted(actions, v, job);
    }
    r = act_all(v, actions, r, QEMU_MERGE_MS, err);
    return r < 0 ? r : lost;
}

/*
 * Only if it stands as we left it: one that records is somebody's who has made
 * it since.  Without "late" it is ours if it was stored by a QEMU that has been
 * started anew; a step whose answer was lost may also have removed ours.
 */
static bool is_left_by_us(const struct remote_job *job, const json_t *bitmap, const json_t *late)
{
    bool stored = job->info.enabled && job->info.persistent && view_flag(bitmap, "persistent");
    return !view_flag(bitmap, "recording") && (late || stored);
}

int step_drop(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err)
{
    json_t *actions = json_array();
    int r = 0;
    for (size_t i = 0; !r && i < n; i++) {
        struct remote_job *job = jobs[i];
        char name[QEMU_NAME_BYTES];
        const json_t *late = late_of(v, job, name), *bitmap = qemu_bitmap_of(v, job);
        carrier_remove(v, job);
        r = export_remove(v, job, err);
        if (bitmap && is_left_by_us(job, bitmap, late))
            act(actions, "remove", job, job->bitmap);
        act_remove_noted(actions, v, job);
        if (!late)
            continue;
        uint64_t written = view_number(late, "count");
        job->late_bytes = written > job->late_bytes ? written - job->late_bytes : 0;
    }
    return act_all(v, actions, r, QEMU_TIMEOUT_MS, err);
}
