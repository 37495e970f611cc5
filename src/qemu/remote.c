// SPDX-License-Identifier: BSD-3-Clause
/*
 * A step goes to each QEMU that has disks of the session, over a connection of
 * its own: a monitor serves one client at a time, so whoever else talks to it
 * (another session, an operator's command) has its turn between two steps.
 */
#include "qemu/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/uuid.h"
#include "qemu/qemu.h"

/* ------------------------------------------------------------------ names */

void qemu_name(const struct remote_job *job, const char *what, char name[QEMU_NAME_BYTES])
{
    char session[UUID_TEXT_BYTES];
    snprintf(name, QEMU_NAME_BYTES, QEMU_RESERVED "%s-%016" PRIx64 "-%s", uuid_format(job->session, session),
             (uint64_t)XXH3_64bits(job->bitmap, strlen(job->bitmap)), what);
}

const json_t *qemu_bitmap_of(const struct visit *v, const struct remote_job *job)
{
    return view_bitmap(v->view, qemu_of(job)->at.node, job->bitmap);
}

const json_t *qemu_noted(const struct visit *v, const struct remote_job *job, const char *what, char name[QEMU_NAME_BYTES])
{
    qemu_name(job, what, name);
    return view_bitmap(v->view, qemu_of(job)->at.node, name);
}

/* A node's name has 31 bytes at most. */
void qemu_id(const struct remote_job *job, char id[QEMU_ID_BYTES])
{
    const struct qemu_remote *qemu = qemu_of(job);
    uint64_t hash = XXH3_64bits(job->session, DF_SESSION_BYTES);
    hash = XXH3_64bits_withSeed(qemu->at.node, strlen(qemu->at.node), hash);
    hash = XXH3_64bits_withSeed(job->bitmap, strlen(job->bitmap), hash);
    snprintf(id, QEMU_ID_BYTES, QEMU_RESERVED "%016" PRIx64, hash);
}

int qemu_open_directory(const struct qemu_remote *qemu, int *dirfd, struct df_error *err)
{
    char path[sizeof qemu->state_dir + 8];
    snprintf(path, sizeof path, "%s/qemu", qemu->state_dir);
    *dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return *dirfd < 0 ? error_errno(err, -errno, "cannot open '%s'", path) : 0;
}

/* ---------------------------------------------------------------- actions */

void act(json_t *actions, const char *verb, const struct remote_job *job, const char *bitmap)
{
    char type[64];
    snprintf(type, sizeof type, "block-dirty-bitmap-%s", verb);
    qmp_action(actions, type, json_pack("{s:s, s:s}", "node", qemu_of(job)->at.node, "name", bitmap));
}

void act_add(json_t *actions, const struct remote_job *job, const char *bitmap, bool disabled, bool persistent)
{
    qmp_action(actions, "block-dirty-bitmap-add",
               json_pack("{s:s, s:s, s:I, s:b, s:b}", "node", qemu_of(job)->at.node, "name", bitmap,
                         "granularity", (json_int_t)job->info.granularity, "disabled", disabled, "persistent", persistent));
}

void act_merge(json_t *actions, const struct remote_job *job, const char *target, json_t *sources)
{
    qmp_action(actions, "block-dirty-bitmap-merge", json_pack("{s:s, s:s, s:o}", "node", qemu_of(job)->at.node, "target", target, "bitmaps", sources));
}

json_t *act_source(const char *node, const char *bitmap)
{
    return json_pack("{s:s, s:s}", "node", node, "name", bitmap);
}

int act_all(struct visit *v, json_t *actions, int r, int timeout_ms, struct df_error *err)
{
    if (!r && json_array_size(actions))
        return qmp_transaction(v->qmp, actions, timeout_ms, err);
    json_decref(actions);
    return r;
}

/* ------------------------------------------------------------------ steps */

int qemu_check_node(const struct visit *v, const struct remote_job *job, struct df_error *err)
{
    const struct qemu_remote *qemu = qemu_of(job);
    const json_t *node = view_node(v->view, qemu->at.node);
    uint64_t size = job->backend->ops->size(job->backend);
    if (qemu_is_reserved(job->bitmap))
        return error_set(err, -EINVAL, "bitmap '%s' cannot be moved or compared: names that begin with '%s' are kept for sessions in QEMU", job->bitmap, QEMU_RESERVED);
    if (!node)
        return error_set(err, -ENOENT, "the QEMU at '%s' has no node '%s', which disk '%s' is: start it with that node, or remove the disk",
                         qemu->at.socket, qemu->at.node, qemu->disk);
    if (view_size(node) != size)
        return error_set(err, -EINVAL, "node '%s' has %" PRIu64 " bytes now and disk '%s' was added with %" PRIu64 ": remove the disk and add it anew",
                         qemu->at.node, view_size(node), qemu->disk, size);
    return 0;
}

typedef int step(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err);

static step *const steps[] = {
    [REMOTE_LOOK] = step_look,     [REMOTE_FREEZE] = step_freeze, [REMOTE_READ] = step_read,         [REMOTE_THAW] = step_thaw,
    [REMOTE_DROP] = step_drop,     [REMOTE_ADD] = step_add,       [REMOTE_RECORD] = step_record,     [REMOTE_MERGE] = step_merge,
    [REMOTE_WITHDRAW] = step_withdraw, [REMOTE_GIVE_UP] = step_give_up,
    [REMOTE_COMPARE] = step_compare, [REMOTE_WATCH] = step_watch, [REMOTE_FILL] = step_fill,
};

static int visit(step *run, struct remote_job **jobs, size_t n, struct df_error *err)
{
    const char *socket = qemu_of(jobs[0])->at.socket;
    struct visit v = { 0 };
    int r = qmp_open(socket, QEMU_GREETING_MS, &v.qmp, err);
    if (r == -ECONNREFUSED)
        return error_set(err, -ENOTCONN, "no QEMU answers at '%s': start it, or give its disks up", socket);
    if (!r)
        r = view_take(v.qmp, QEMU_VIEW_MS, &v.view, err);
    if (!r)
        r = run(&v, jobs, n, err);
    json_decref(v.view);
    qmp_close(&v.qmp);
    return r;
}

/* What may pass counts more than what is lost, and that more than a QEMU that is gone: one that hangs is asked again. */
static unsigned weight(int r)
{
    return !r ? 0 : r == -ENOTCONN ? 1 : r == -ENODATA ? 2 : 3;
}

/* All are visited, whatever happens at one: tidying must not stop at a QEMU that is gone.  Of failures that count the same, the first. */
static int run_step(enum remote_step which, struct remote_job *jobs, size_t n, struct df_error *err)
{
    bool seen[REMOTE_JOBS] = { 0 };
    int result = 0;
    for (size_t i = 0; i < n; i++) {
        struct remote_job *group[REMOTE_JOBS];
        struct df_error why;
        size_t ngroup = 0;
        for (size_t k = i; k < n; k++)
            if (!seen[k] && !strcmp(qemu_of(&jobs[k])->at.socket, qemu_of(&jobs[i])->at.socket)) {
                group[ngroup++] = &jobs[k];
                seen[k] = true;
            }
        int r = ngroup ? visit(steps[which], group, ngroup, &why) : 0;
        if (weight(r) > weight(result)) {
            result = r;
            *err = why;
        }
    }
    return result;
}

/* ------------------------------------------------------------------ disks */

static void close_remote(struct remote *remote)
{
    free(remote);
}

static const struct remote_ops qemu_ops = { .run = run_step, .close = close_remote };

int qemu_remote_open(const char *state_dir, const char *disk, struct remote **remote, struct df_error *err)
{
    struct qemu_attachment at;
    int r = qemu_attachment(state_dir, disk, &at, err);
    if (r <= 0)
        return r;
    struct qemu_remote *qemu = calloc(1, sizeof *qemu);
    if (!qemu)
        return error_errno(err, -ENOMEM, "cannot open disk '%s'", disk);
    qemu->base.ops = &qemu_ops;
    qemu->at = at;
    snprintf(qemu->disk, sizeof qemu->disk, "%s", disk);
    if (snprintf(qemu->state_dir, sizeof qemu->state_dir, "%s", state_dir) >= (int)sizeof qemu->state_dir) {
        free(qemu);
        return error_set(err, -EINVAL, "the path of the state directory '%s' is too long", state_dir);
    }
    *remote = &qemu->base;
    return 0;
}
