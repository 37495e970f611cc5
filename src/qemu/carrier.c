// SPDX-License-Identifier: BSD-3-Clause
/*
 * A carrier: a qcow2 image without data, of the node's size, in which one bitmap
 * has the bits.  QEMU opens it from STATE/qemu, read-only, for as long as a
 * transaction takes that merges it.
 */
#include "qemu/qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
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

/* Readable for the group of the directory, which is QEMU's where it runs as another user. */
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
    unlinkat(dirfd, name, 0);
    fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || fchmod(fd, 0640) < 0)
        return error_errno(err, -errno, "cannot make '%s/qemu/%s'", qemu_of(job)->state_dir, name);
    return qcow2_write(fd, name, job->backend->ops->size(job->backend), &bits, 1, err);
}

int carrier_add(struct visit *v, const struct remote_job *job, const struct map *map, struct df_error *err)
{
    char id[QEMU_ID_BYTES], path[4096], name[QEMU_ID_BYTES + 8];
    carrier_remove(v, job);
    int r = write_file(job, map, err);
    if (r < 0)
        return r;
    qemu_id(job, id);
    file_name(job, name);
    snprintf(path, sizeof path, "%s/qemu/%s", qemu_of(job)->state_dir, name);
    return qmp_call(v->qmp, "blockdev-add",
                    json_pack("{s:s, s:s, s:b, s:{s:s, s:s, s:b}}", "driver", "qcow2", "node-name", id, "read-only", 1,
                              "file", "driver", "file", "filename", path, "read-only", 1), NULL, QEMU_TIMEOUT_MS, err);
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
