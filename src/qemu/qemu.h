// SPDX-License-Identifier: BSD-3-Clause
/*
 * Disks whose bitmaps live in QEMU or in its storage daemon.
 *
 *   qmp.h      the monitor's protocol
 *   view.h     what is there now
 *   attach.h   which of our disks is which node of whom
 *   qemu.h     the steps of a session there (backend/backend.h, enum remote_step):
 *              remote.c dispatches, source.c and target.c do them; compare.c: those of comparisons
 *   export.c   bits out of QEMU: by NBD
 *   carrier.c  bits into QEMU, or many of them out of it: by an image that carries a bitmap
 *
 * What a session or a comparison has in QEMU, under names that begin with "dirtyferry-":
 *
 *   SESSION-BITMAP-late    source: records from the pivot on.  It says that the
 *                          bitmap was disabled by us, and nothing that is
 *                          written late is lost: a roll-back merges it.
 *   SESSION-BITMAP-copy    source: of a bitmap that QEMU may let go of before it
 *                          is read
 *   SESSION-BITMAP-child   target: records the guest's writes from the pivot on;
 *                          of a comparison: from its begin on
 *   a node, an export      while bits go in or out
 *
 * The bitmap itself is made on the target by the transaction that gives it its
 * bits.  A parent that were there before would look to any backup program like a
 * bitmap without dirty blocks, and a persistent one would be stored as such when
 * QEMU quits in the middle.
 */
#ifndef QEMU_QEMU_H
#define QEMU_QEMU_H

#include "backend/backend.h"
#include "qemu/attach.h"
#include "qemu/qmp.h"
#include "qemu/view.h"

#define QEMU_VIEW_MS    1500        /* for the view: see QEMU_GREETING_MS */
#define QEMU_MERGE_MS   60000       /* for the answer where QEMU copies bits; else QEMU_TIMEOUT_MS */
#define QEMU_NAME_BYTES 96          /* of a reserved name */
#define QEMU_ID_BYTES   32          /* of a node or an export */

/* One disk. */
struct qemu_remote {
    struct remote base;
    struct qemu_attachment at;
    char state_dir[3072];
    char disk[DF_DISK_NAME_MAX + 1];
};

/* One visit: a connection, and how things were when it began. */
struct visit {
    struct qmp *qmp;
    json_t *view;
    bool asked, migrates;       /* whether this QEMU has a guest that it could hand over: known once asked */
};

static inline const struct qemu_remote *qemu_of(const struct remote_job *job)
{
    return (const struct qemu_remote *)job->backend->remote;
}

/* remote.c */
/* "SESSION-BITMAP-what" */
void qemu_name(const struct remote_job *job, const char *what, char name[QEMU_NAME_BYTES]);
/* The job's bitmap, and what a session has beside it under that name; NULL: not there.  `name` is filled either way. */
const json_t *qemu_bitmap_of(const struct visit *v, const struct remote_job *job);
const json_t *qemu_noted(const struct visit *v, const struct remote_job *job, const char *what, char name[QEMU_NAME_BYTES]);
static inline const json_t *qemu_child_of(const struct visit *v, const struct remote_job *job, char name[QEMU_NAME_BYTES])
{
    return qemu_noted(v, job, "child", name);
}
/* Of the job's node and export. */
void qemu_id(const struct remote_job *job, char id[QEMU_ID_BYTES]);
/* The node, of the size that our disk has; and the bitmap's name is one that users may have. */
int qemu_check_node(const struct visit *v, const struct remote_job *job, struct df_error *err);
/* STATE/qemu (daemon/statedir.c), where QEMU finds what is for it. */
int qemu_open_directory(const struct qemu_remote *qemu, int *dirfd, struct df_error *err);

/* source.c */
/* The bitmap is there, whole, and nobody uses it. */
int qemu_check_bitmap(const struct visit *v, const struct remote_job *job, struct df_error *err);
/* What is in our disk under that name, and nobody's: left by a daemon that was killed. */
int qemu_drop_staged(struct df_disk *disk, const char *bitmap, struct df_error *err);
/* Each for all jobs of one QEMU: */
int step_look(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err);
int step_freeze(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err);
int step_read(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err);
int step_thaw(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err);
int step_drop(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err);

/* target.c */
int step_add(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err);
int step_record(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err);
int step_merge(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err);
int step_withdraw(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err);
int step_give_up(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err);

/* compare.c */
int step_compare(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err);
int step_watch(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err);
int step_fill(struct visit *v, struct remote_job **jobs, size_t n, struct df_error *err);

/* export.c: can bits be read from here, as far as that can be seen before? */
int export_check(struct visit *v, const struct remote_job *job, struct df_error *err);
/* The bits of that bitmap of the job's node are ORed into `map` */
int export_read(struct visit *v, const struct remote_job *job, const char *bitmap, struct map *map, struct df_error *err);
/* What an earlier try may have left. */
int export_remove(struct visit *v, const struct remote_job *job, struct df_error *err);

/* carrier.c: a node that carries the bits of `map` in the bitmap CARRIER_BITMAP */
#define CARRIER_BITMAP "bits"
bool carrier_takes(uint64_t nbits);
int carrier_add(struct visit *v, const struct remote_job *job, const struct map *map, struct df_error *err);
void carrier_remove(struct visit *v, const struct remote_job *job);
/* As export_read(), by an image. */
int carrier_read(struct visit *v, const struct remote_job *job, const char *bitmap, struct map *into, struct df_error *err);

/* Shorthands for the actions of a transaction on a bitmap of the job's node. */
void act(json_t *actions, const char *verb, const struct remote_job *job, const char *bitmap);
void act_add(json_t *actions, const struct remote_job *job, const char *bitmap, bool disabled, bool persistent);
void act_merge(json_t *actions, const struct remote_job *job, const char *target, json_t *sources);
json_t *act_source(const char *node, const char *bitmap);
/* Carry them out, if there are any and planning them went well (r); they are taken. */
int act_all(struct visit *v, json_t *actions, int r, int timeout_ms, struct df_error *err);

#endif
