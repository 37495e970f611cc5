// SPDX-License-Identifier: BSD-3-Clause
/*
 * A carrier: a qcow2 image without data, of the node's size, in which one bitmap
 * has the bits.  QEMU opens it from STATE/qemu for as long as it merges.
 *
 *   in   we write it, QEMU opens it read-only and merges it into a bitmap
 *   out  QEMU opens an empty one, merges a bitmap into it, stores that when it
 *        closes the image, and we read it
 */
#include "qemu/qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "image/qcow2.h"

static void file_name(const struct remote_job *job, char name[QEMU_ID_BYTES + 8])
{
    char id[QEMU_ID_BYTES];
    qemu_id(job, id);
    snprintf(name, QEMU_ID_BYTES + 8, "%s.qcow2", id);
}

static void path_of(const struct remote_job *job, char path[4096])
{
    char name[QEMU_ID_BYTES + 8];
    file_name(job, name);
    snprintf(path, 4096, "%s/qemu/%s", qemu_of(job)->state_dir, name);
}

/* The directory's group is QEMU's where it runs as another user.  map: NULL for an image without a bitmap. */
static int write_file(const struct remote_job *job, const struct map *map, struct df_error *err)
{
    CLEANUP(cleanup_fd) int dirfd = -1;
    CLEANUP(cleanup_fd) int fd = -1;
    char name[QEMU_ID_BYTES + 8];
    const struct qcow2_source bits = { .name = CARRIER_BITMAP, .granularity = job->info.granularity, .recording = false, .map = map };
    int r = qemu_open_directory(qemu_of(job), &dirfd, err);
    if (r < 0)
        return r;
    file_name(job, name);
    fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || fchmod(fd, map ? 0640 : 0660) < 0)
        return error_errno(err, -errno, "cannot make '%s/qemu/%s'", qemu_of(job)->state_dir, name);
    return qcow2_write(fd, name, job->backend->ops->size(job->backend), &bits, map ? 1 : 0, err);
}

static int add_node(struct visit *v, const struct remote_job *job, bool read_only, struct df_error *err)
{
    char id[QEMU_ID_BYTES], path[4096];
    qemu_id(job, id);
    path_of(job, path);
    return qmp_call(v->qmp, "blockdev-add",
                    json_pack("{s:s, s:s, s:b, s:{s:s, s:s, s:b}}", "driver", "qcow2", "node-name", id, "read-only", read_only,
                              "file", "driver", "file", "filename", path, "read-only", read_only), NULL, QEMU_TIMEOUT_MS, err);
}

bool carrier_takes(uint64_t nbits)
{
    return nbits <= QCOW2_BITMAP_BYTES * 8;
}

int carrier_add(struct visit *v, const struct remote_job *job, const struct map *map, struct df_error *err)
{
    carrier_remove(v, job);
    int r = write_file(job, map, err);
    return r < 0 ? r : add_node(v, job, true, err);
}

/* -------------------------------------------------------------------- out */

static int fill_by_qemu(struct visit *v, const struct remote_job *job, const char *bitmap, struct df_error *err)
{
    char id[QEMU_ID_BYTES];
    json_t *actions = json_array();
    qemu_id(job, id);
    qmp_action(actions, "block-dirty-bitmap-add", json_pack("{s:s, s:s, s:I, s:b, s:b}", "node", id, "name", CARRIER_BITMAP,
               "granularity", (json_int_t)job->info.granularity, "disabled", 1, "persistent", 1));
    qmp_action(actions, "block-dirty-bitmap-merge", json_pack("{s:s, s:s, s:[o]}", "node", id, "target", CARRIER_BITMAP,
               "bitmaps", act_source(qemu_of(job)->at.node, bitmap)));
    int r = qmp_transaction(v->qmp, actions, QEMU_MERGE_MS, err);
    if (!r)
        r = qmp_call(v->qmp, "blockdev-del", json_pack("{s:s}", "node-name", id), NULL, QEMU_MERGE_MS, err);
    return r;
}

/* It is QEMU's file now: whatever it says is checked. */
static int read_file(const struct remote_job *job, struct map *into, struct df_error *err)
{
    CLEANUP(qcow2_close) struct qcow2 *image = NULL;
    CLEANUP(map_close) struct map *bits = NULL;
    const struct qcow2_bitmap *list;
    char path[4096];
    path_of(job, path);
    int r = qcow2_open(path, &image, err);
    if (r < 0)
        return r;
    if (qcow2_bitmaps(image, &list) != 1 || list->in_use || list->nbits != into->nbits)
        return error_set(err, -EPROTO, "the QEMU at '%s' has not stored bitmap '%s' in '%s' as it should have", qemu_of(job)->at.socket, job->bitmap, path);
    r = map_create_anonymous(into->nbits, &bits, err);
    if (!r)
        r = qcow2_read(image, 0, bits, err);
    if (!r && map_merge(into, bits) < 0)
        r = error_errno(err, -ENOSPC, "cannot store the bits of bitmap '%s'", job->bitmap);
    return r;
}

int carrier_read(struct visit *v, const struct remote_job *job, const char *bitmap, struct map *into, struct df_error *err)
{
    carrier_remove(v, job);
    int r = write_file(job, NULL, err);
    if (!r)
        r = add_node(v, job, false, err);
    if (!r)
        r = fill_by_qemu(v, job, bitmap, err);
    if (!r)
        r = read_file(job, into, err);
    carrier_remove(v, job);
    return r;
}

/* Where there is none, QEMU says so, and that is as good. */
void carrier_remove(struct visit *v, const struct remote_job *job)
{
    CLEANUP(cleanup_fd) int dirfd = -1;
    char id[QEMU_ID_BYTES], name[QEMU_ID_BYTES + 8];
    qemu_id(job, id);
    qmp_call(v->qmp, "blockdev-del", json_pack("{s:s}", "node-name", id), NULL, QEMU_TIMEOUT_MS, NULL);
    file_name(job, name);
    if (qemu_open_directory(qemu_of(job), &dirfd, NULL) == 0)
        unlinkat(dirfd, name, 0);
}
