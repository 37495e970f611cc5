// SPDX-License-Identifier: BSD-3-Clause
/*
 * QEMU as the target.
 *
 *   add       may the bitmap be made there?  Its child is made, disabled
 *   record    one transaction: the children are enabled
 *   merge     one transaction: the bitmap is made with the flags that it had,
 *             then takes the bits of the carrier and of the child, which goes.
 *             It records before the child is merged: a write is in one of them.
 *   withdraw  the child goes
 *   give up   the same; or with all bits dirty the bitmap is made, as by merge
 *
 * The child is there from add until merge or withdraw: it says how far we are.
 * It is made anew only while it has not recorded.
 */
#include "qemu/qemu.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"

/* -------------------------------------------------------------------- add */

/* QEMU says whether it could make the bitmap, and does not: the last action of the transaction always fails. */
static int try_to_make(struct visit *v, const struct remote_job *job, struct df_error *err)
{
    static const char as_wanted[] = "using Abort action";
    struct df_error why;
    json_t *actions = json_array();
    act_add(actions, job, job->bitmap, true, job->info.persistent);
    qmp_action(actions, "abort", json_object());
    int r = qmp_transaction(v->qmp, actions, QEMU_TIMEOUT_MS, &why);
    if (r == -EREMOTEIO && strstr(why.message, as_wanted))
        return 0;
    if (r >= 0)
        r = error_set(&why, -EPROTO, "QEMU carried out what it should have refused");
    return error_set(err, r, "bitmap '%.600s' cannot be made on node '%s': %.1200s%s", job->bitmap, qemu_of(job)->at.node, why.message,
                     r == -EREMOTEIO && job->info.persistent ? ": move it with '--transient' if it need not be persistent there" : "");
}

static int plan_add(struct visit *v, const struct remote_job *job, json_t *actions, struct df_error *err)
{
    char child[QEMU_NAME_BYTES];
    int r = qemu_check_node(v, job, err);
    if (!r && qemu_bitmap_of(v, job))
        r = error_set(err, -EEXIST, "node '%s' of the QEMU at '%s' has a bitmap '%s' already: remove it, or move under another name",
                      qemu_of(job)->at.node, qemu_of(job)->at.socket, job->bitmap);
    if (!r && !carrier_takes(job->info.nbits))
        r = error_set(err, -EFBIG, "bitmap '%s' has %" PRIu64 " bits, more than the 2^32 that QEMU takes from outside: move it with a coarser --granularity", job->bitmap, job->info.nbits);
    if (r < 0 || qemu_child_of(v, job, child))
        return r;
    r = try_to_make(v, job, err);
    if (!r)
        act_add(actions, job, child, true, false);
    return r;
}

int step_add(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err)
{
    json_t *actions = json_array();
    int r = 0;
    for (size_t i = 0; !r && i < n; i++)
        r = plan_add(v, jobs[i], actions, err);
    return act_all(v, actions, r, QEMU_TIMEOUT_MS, err);
}

/* ----------------------------------------------------------------- record */

static int lost(const struct remote_job *job, struct df_error *err)
{
    return error_set(err, -ENODATA, "what was written to node '%s' since the pivot is lost: the QEMU at '%s' was started anew before bitmap '%s' was complete; "
                     "'dirtyferry abandon' the session, with --all-dirty to get a bitmap that has every bit set",
                     qemu_of(job)->at.node, qemu_of(job)->at.socket, job->bitmap);
}

int step_record(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err)
{
    json_t *actions = json_array();
    int r = 0;
    for (size_t i = 0; !r && i < n; i++) {
        const struct remote_job *job = jobs[i];
        char name[QEMU_NAME_BYTES];
        const json_t *child = qemu_child_of(v, job, name);
        if (!child && job->recorded)
            r = qemu_bitmap_of(v, job) ? 0 : lost(job, err);
        else if (!child)
            act_add(actions, job, name, !job->info.enabled, false);
        else if (job->info.enabled && !view_flag(child, "recording"))
            act(actions, "enable", job, name);
    }
    return act_all(v, actions, r, QEMU_TIMEOUT_MS, err);
}

/* ------------------------------------------------------------------ merge */

/* In one transaction; `map` may be NULL for a bitmap without bits of its own, `child` if there is none. */
static int make_bitmap(struct visit *v, const struct remote_job *job, const struct map *map, const char *child, struct df_error *err)
{
    char id[QEMU_ID_BYTES];
    json_t *actions = json_array(), *sources = json_array();
    bool carried = map && map_next_set(map, 0) < map->nbits;
    qemu_id(job, id);
    act_add(actions, job, job->bitmap, !job->info.enabled, job->info.persistent);
    if (carried)
        json_array_append_new(sources, act_source(id, CARRIER_BITMAP));
    if (child)
        json_array_append_new(sources, json_string(child));
    act_merge(actions, job, job->bitmap, sources);
    if (child)
        act(actions, "remove", job, child);
    int r = carried ? carrier_add(v, job, map, err) : 0;
    if (!r)
        r = qmp_transaction(v->qmp, steal(&actions), QEMU_MERGE_MS, err);
    json_decref(actions);
    carrier_remove(v, job);
    return r;
}

/* Under the name that the session's own shall have, which is not there while its child is. */
static int refuse_foreign(const struct remote_job *job, struct df_error *err)
{
    return error_set(err, -EEXIST, "somebody has made a bitmap '%s' on node '%s' since the session was prepared: remove it, then the session's own takes its place",
                     job->bitmap, qemu_of(job)->at.node);
}

/* By an earlier try, whose answer may have been lost. */
static int is_made(struct visit *v, const struct remote_job *job)
{
    carrier_remove(v, job);
    return 0;
}

static int merge(struct visit *v, const struct remote_job *job, struct df_error *err)
{
    struct backend *b = job->backend;
    struct backend_map map = { 0 };
    char child[QEMU_NAME_BYTES];
    bool has_child = qemu_child_of(v, job, child), has_bitmap = qemu_bitmap_of(v, job);
    if (has_bitmap)
        return has_child ? refuse_foreign(job, err) : is_made(v, job);
    if (!has_child)
        return lost(job, err);
    int r = b->ops->get_map(b, job->bitmap, job->session, &map, err);
    if (r < 0)
        return r;
    r = make_bitmap(v, job, map.map, child, err);
    b->ops->put_map(b, &map);
    return r;
}

int step_merge(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err)
{
    int r = 0;
    for (size_t i = 0; !r && i < n; i++)
        r = merge(v, jobs[i], err);
    return r;
}

/* -------------------------------------------------------------- ways back */

int step_withdraw(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err)
{
    json_t *actions = json_array();
    for (size_t i = 0; i < n; i++) {
        char child[QEMU_NAME_BYTES];
        carrier_remove(v, jobs[i]);
        if (qemu_child_of(v, jobs[i], child))
            act(actions, "remove", jobs[i], child);
    }
    return act_all(v, actions, 0, QEMU_TIMEOUT_MS, err);
}

static int all_dirty(struct visit *v, const struct remote_job *job, struct df_error *err)
{
    CLEANUP(map_close) struct map *ones = NULL;
    char child[QEMU_NAME_BYTES];
    bool has_child = qemu_child_of(v, job, child);
    if (qemu_bitmap_of(v, job))
        return has_child ? refuse_foreign(job, err) : is_made(v, job);
    int r = map_create_anonymous(job->info.nbits, &ones, err);
    if (!r && map_set_alone(ones, 0, job->info.nbits) < 0)
        r = error_errno(err, -ENOMEM, "cannot make a bitmap with all bits set");
    return r < 0 ? r : make_bitmap(v, job, ones, has_child ? child : NULL, err);
}

int step_give_up(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err)
{
    int r = 0;
    for (size_t i = 0; !r && i < n && jobs[i]->all_dirty; i++)
        r = all_dirty(v, jobs[i], err);
    return r < 0 || jobs[0]->all_dirty ? r : step_withdraw(v, jobs, n, err);
}
