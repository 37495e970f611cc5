// SPDX-License-Identifier: BSD-3-Clause
/*
 * A node of QEMU's block layer and its dirty bitmaps, by QMP.
 *
 * Errors: those of qmp_call(), where a refusal of QEMU becomes -ENOENT (no such
 * node or bitmap), -EEXIST, -EBUSY or -EINVAL (inconsistent) if a look at the
 * bitmap afterwards says so; the sentence is QEMU's own.
 */
#ifndef QEMU_NODE_H
#define QEMU_NODE_H

#include <dirtyferry/bitmap.h>

#include "qemu/qmp.h"

#define QEMU_TIMEOUT_MS 5000        /* of each call here */
/*
 * To connect, also to a monitor that another program has just now.  A QEMU that
 * hangs is found out by it before a client or a source's daemon gives up ours
 * (CLIENT_TRIES, PEER_TRIES), and the reason with it.
 */
#define QEMU_GREETING_MS 3000
#define QEMU_NODE_NAME_MAX 255u     /* bytes: QEMU's own names are shorter */

/* Bitmaps with such names are those of sessions: users neither see nor make them. */
#define QEMU_RESERVED "dirtyferry-"
bool qemu_is_reserved(const char *bitmap);

struct qemu_node_info {
    uint64_t size;              /* bytes */
    char driver[32];
    bool read_only;
};

int qemu_node_info(struct qmp *qmp, const char *node, struct qemu_node_info *info, struct df_error *err);

/*
 * The bitmaps of a node that have a name, without those whose name has a control
 * character.  Two malloc()ed arrays of *n: counts are bytes, as QEMU has them.
 * `enabled` is the same as `recording`; frozen, readonly and session are not QEMU's.
 */
int qemu_bitmaps(struct qmp *qmp, const char *node, struct df_bitmap_info **infos, uint64_t **counts, size_t *n, struct df_error *err);
/* One of them; `count` may be NULL.  -ENOENT. */
int qemu_bitmap_find(struct qmp *qmp, const char *node, const char *bitmap, struct df_bitmap_info *info, uint64_t *count, struct df_error *err);

/* `flags`: enum df_bitmap_flags. */
int qemu_bitmap_add(struct qmp *qmp, const char *node, const char *bitmap, uint64_t granularity, unsigned flags, struct df_error *err);
int qemu_bitmap_remove(struct qmp *qmp, const char *node, const char *bitmap, struct df_error *err);
int qemu_bitmap_clear(struct qmp *qmp, const char *node, const char *bitmap, struct df_error *err);
int qemu_bitmap_enable(struct qmp *qmp, const char *node, const char *bitmap, struct df_error *err);
int qemu_bitmap_disable(struct qmp *qmp, const char *node, const char *bitmap, struct df_error *err);

/* target |= each source, all or nothing.  At least one source: QEMU 7.2 crashes on none. */
struct qemu_source {
    const char *node, *bitmap;
};
int qemu_bitmap_merge(struct qmp *qmp, const char *node, const char *bitmap, const struct qemu_source *sources, size_t n, struct df_error *err);

/* -ENOTSUP: this QEMU does not tell, its command is for debugging. */
int qemu_bitmap_sha256(struct qmp *qmp, const char *node, const char *bitmap, char hex[DF_SHA256_HEX_BYTES], struct df_error *err);

#endif
