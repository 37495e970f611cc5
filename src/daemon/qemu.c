// SPDX-License-Identifier: BSD-3-Clause
/*
 * Bitmaps of a node of QEMU.  What sessions and comparisons do with one is known in the disk of
 * the same name in the state directory, and shown with what QEMU says.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "daemon/stores.h"

#define LISTED_MAX 256u     /* as many as a reply of bitmap-list may have */

static const char *disk_name(const struct ask *ask)
{
    return node_text(ask->root, "disk");
}

static const char *bitmap_name(const struct ask *ask)
{
    return node_text(ask->root, "bitmap");
}

int qemu_disk_add(const struct ask *ask, struct out *out, struct df_error *err)
{
    struct qemu_attachment a = { 0 };
    (void)out;
    if (node_has(ask->root, "size") || !node_has(ask->root, "node"))
        return error_set(err, -EINVAL, "disk '%s' cannot be added: a disk of QEMU is named by its node, and QEMU says its size", disk_name(ask));
    snprintf(a.socket, sizeof a.socket, "%s", node_text(ask->root, "qemu"));
    snprintf(a.node, sizeof a.node, "%s", node_text(ask->root, "node"));
    snprintf(a.nbd, sizeof a.nbd, "%s", node_has(ask->root, "nbd") ? node_text(ask->root, "nbd") : "");
    return qemu_attach(ask->state_dir, disk_name(ask), &a, node_text(ask->root, "data"), err);
}

static int check_name(const char *bitmap, struct df_error *err)
{
    return qemu_is_reserved(bitmap)
               ? error_set(err, -EINVAL, "bitmap names that begin with '%s', as '%s', are kept for sessions: choose another", QEMU_RESERVED, bitmap) : 0;
}

/* -------------------------------------------------------------- sessions */

struct staged {
    struct df_bitmap_info *infos;
    size_t n;
};

static void staged_free(struct staged *staged)
{
    free(staged->infos);
}

/* What sessions and comparisons have under way with bitmaps of this disk. */
static int look_at_sessions(const struct ask *ask, const char *name, struct staged *staged, struct df_error *err)
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    int r = df_disk_open(ask->state_dir, name, &disk, err);
    return r < 0 ? r : df_bitmap_list(disk, &staged->infos, &staged->n, err);
}

static const struct df_bitmap_info *find_staged(const struct staged *staged, const char *bitmap)
{
    for (size_t i = 0; i < staged->n; i++)
        if (staged->infos[i].busy && !strcmp(staged->infos[i].name, bitmap))
            return &staged->infos[i];
    return NULL;
}

/* QEMU does not know that a bitmap is a session's, nor that there will be one of that name. */
static int check_free(const struct ask *ask, const char *disk, const char *bitmap, struct df_error *err)
{
    CLEANUP(staged_free) struct staged staged = { 0 };
    int r = look_at_sessions(ask, disk, &staged, err);
    const struct df_bitmap_info *known = r < 0 ? NULL : find_staged(&staged, bitmap);
    if (known && known->compared)
        return error_set(err, -EBUSY, "bitmap '%s' of disk '%s' is busy: a comparison fills it; let 'dirtyferry bitmap diff' come to its end, or cancel it by 'dirtyferry bitmap diff --cancel'",
                         bitmap, disk);
    if (known)
        r = error_set(err, -EBUSY, "bitmap '%s' of disk '%s' is busy: a session is moving it; wait for it or cancel it", bitmap, disk);
    return r;
}

/* --------------------------------------------------------------- changes */

/* Connected, and the name of the request is one that users may have. */
static int connect_for_bitmap(const struct ask *ask, struct qmp **qmp, struct df_error *err)
{
    int r = check_name(bitmap_name(ask), err);
    return r < 0 ? r : qmp_open(ask->qemu.socket, QEMU_GREETING_MS, qmp, err);
}

/* The same for a change. */
static int connect_for_change(const struct ask *ask, struct qmp **qmp, struct df_error *err)
{
    int r = check_free(ask, disk_name(ask), bitmap_name(ask), err);
    return r < 0 ? r : connect_for_bitmap(ask, qmp, err);
}

int qemu_add(const struct ask *ask, struct out *out, struct df_error *err)
{
    CLEANUP(qmp_close) struct qmp *qmp = NULL;
    unsigned flags = (node_bool(ask->root, "disabled") ? DF_BITMAP_DISABLED : 0) | (node_bool(ask->root, "persistent") ? DF_BITMAP_PERSISTENT : 0);
    (void)out;
    int r = connect_for_change(ask, &qmp, err);
    return r < 0 ? r : qemu_bitmap_add(qmp, ask->qemu.node, bitmap_name(ask), node_u64(ask->root, "granularity", DF_GRANULARITY_DEFAULT), flags, err);
}

static int on_bitmap(const struct ask *ask, struct df_error *err,
                     int (*operation)(struct qmp *qmp, const char *node, const char *bitmap, struct df_error *err))
{
    CLEANUP(qmp_close) struct qmp *qmp = NULL;
    int r = connect_for_change(ask, &qmp, err);
    return r < 0 ? r : operation(qmp, ask->qemu.node, bitmap_name(ask), err);
}

int qemu_remove(const struct ask *ask, struct out *out, struct df_error *err)
{
    (void)out;
    return on_bitmap(ask, err, qemu_bitmap_remove);
}

int qemu_clear(const struct ask *ask, struct out *out, struct df_error *err)
{
    (void)out;
    return on_bitmap(ask, err, qemu_bitmap_clear);
}

int qemu_enable(const struct ask *ask, struct out *out, struct df_error *err)
{
    (void)out;
    return on_bitmap(ask, err, qemu_bitmap_enable);
}

int qemu_disable(const struct ask *ask, struct out *out, struct df_error *err)
{
    (void)out;
    return on_bitmap(ask, err, qemu_bitmap_disable);
}

/* Of a source of a merge: where it is, in the same QEMU. */
static int find_source(const struct ask *ask, const node *source, struct qemu_attachment *a, struct df_error *err)
{
    const char *name = node_text(source, "disk");
    *a = ask->qemu;
    int r = check_name(node_text(source, "bitmap"), err);
    if (!r)
        r = check_free(ask, name ? name : disk_name(ask), node_text(source, "bitmap"), err);
    if (r < 0 || !name)
        return r;
    r = qemu_attachment(ask->state_dir, name, a, err);
    if (r < 0)
        return r;
    if (!r || strcmp(a->socket, ask->qemu.socket))
        return error_set(err, -ENOTSUP, "disk '%s' is not in the QEMU of disk '%s': only bitmaps of one QEMU can be merged, move it there first", name, disk_name(ask));
    return 0;
}

int qemu_merge(const struct ask *ask, struct out *out, struct df_error *err)
{
    CLEANUP(qmp_close) struct qmp *qmp = NULL;
    size_t n;
    const node *items = node_list(ask->root, "sources", &n);
    CLEANUP(cleanup_free) struct qemu_attachment *nodes = calloc(n, sizeof *nodes);
    CLEANUP(cleanup_free) struct qemu_source *sources = calloc(n, sizeof *sources);
    int r = nodes && sources ? 0 : error_errno(err, -ENOMEM, "cannot merge bitmaps");
    (void)out;
    for (size_t i = 0; !r && i < n; i++) {
        r = find_source(ask, &items[i], &nodes[i], err);
        sources[i] = (struct qemu_source){ nodes[i].node, node_text(&items[i], "bitmap") };
    }
    if (!r)
        r = connect_for_change(ask, &qmp, err);
    return r < 0 ? r : qemu_bitmap_merge(qmp, ask->qemu.node, bitmap_name(ask), sources, n, err);
}

/* ----------------------------------------------------------------- looks */

static void add_session(struct df_bitmap_info *info, const struct staged *staged)
{
    const struct df_bitmap_info *known = find_staged(staged, info->name);
    if (!known)
        return;
    info->busy = true;
    info->frozen = known->frozen;
    info->compared = known->compared;
    memcpy(info->session, known->session, sizeof info->session);
}

/* The frozen parent of a target: QEMU gets it when it is whole. */
static bool is_coming(const struct df_bitmap_info *known, const struct df_bitmap_info *infos, size_t n)
{
    bool is_there = false;
    for (size_t i = 0; i < n; i++)
        is_there = is_there || !strcmp(infos[i].name, known->name);
    return known->busy && known->frozen && !is_there;
}

static void put_coming(struct out *out, const struct staged *staged, const struct df_bitmap_info *infos, size_t n)
{
    for (size_t i = 0; i < staged->n; i++) {
        if (!is_coming(&staged->infos[i], infos, n))
            continue;
        out_map(out, NULL);
        put_bitmap(out, &staged->infos[i], 0, NULL);
        out_close(out);
    }
}

int qemu_list(const struct ask *ask, struct out *out, struct df_error *err)
{
    CLEANUP(qmp_close) struct qmp *qmp = NULL;
    CLEANUP(cleanup_free) struct df_bitmap_info *infos = NULL;
    CLEANUP(cleanup_free) uint64_t *counts = NULL;
    CLEANUP(staged_free) struct staged staged = { 0 };
    size_t n = 0, listed = 0;
    int r = look_at_sessions(ask, disk_name(ask), &staged, err);
    if (!r)
        r = qmp_open(ask->qemu.socket, QEMU_GREETING_MS, &qmp, err);
    if (!r)
        r = qemu_bitmaps(qmp, ask->qemu.node, &infos, &counts, &n, err);
    if (r < 0)
        return r;
    out_list(out, "bitmaps");
    for (size_t i = 0; i < n; i++) {
        if (qemu_is_reserved(infos[i].name))
            continue;
        if (listed++ == LISTED_MAX)
            return error_set(err, -EFBIG, "QEMU has more than %u bitmaps of disk '%s': that many can be listed, look at query-named-block-nodes", LISTED_MAX, disk_name(ask));
        add_session(&infos[i], &staged);
        out_map(out, NULL);
        put_bitmap(out, &infos[i], counts[i], NULL);
        out_close(out);
    }
    put_coming(out, &staged, infos, n);
    out_close(out);
    return 0;
}

static int show_coming(const struct ask *ask, const struct staged *staged, struct out *out)
{
    const struct df_bitmap_info *known = find_staged(staged, bitmap_name(ask));
    if (!known || !known->frozen)
        return -ENOENT;
    out_map(out, "bitmap");
    put_bitmap(out, known, 0, NULL);
    out_close(out);
    return 0;
}

int qemu_show(const struct ask *ask, struct out *out, struct df_error *err)
{
    CLEANUP(qmp_close) struct qmp *qmp = NULL;
    CLEANUP(staged_free) struct staged staged = { 0 };
    struct df_bitmap_info info;
    char hex[DF_SHA256_HEX_BYTES];
    uint64_t count;
    int r = look_at_sessions(ask, disk_name(ask), &staged, err);
    if (!r)
        r = connect_for_bitmap(ask, &qmp, err);
    if (!r)
        r = qemu_bitmap_find(qmp, ask->qemu.node, bitmap_name(ask), &info, &count, err);
    if (r == -ENOENT && show_coming(ask, &staged, out) == 0)
        return 0;
    if (r < 0)
        return r;
    r = qemu_bitmap_sha256(qmp, ask->qemu.node, bitmap_name(ask), hex, err);
    if (r < 0 && r != -ENOTSUP)
        return r;
    add_session(&info, &staged);
    out_map(out, "bitmap");
    put_bitmap(out, &info, count, r == 0 ? hex : NULL);
    out_close(out);
    return 0;
}

/* ---------------------------------------------------- what QEMU does itself */

int qemu_mark(const struct ask *ask, struct out *out, struct df_error *err)
{
    (void)out;
    return error_set(err, -ENOTSUP, "nothing can be marked in disk '%s': QEMU records its writes itself, write through QEMU", disk_name(ask));
}

int qemu_extents(const struct ask *ask, struct out *out, struct df_error *err)
{
    (void)out;
    return error_set(err, -ENOTSUP, "bitmap '%s' of disk '%s' cannot be exported from here: let QEMU export the node by NBD with its bitmap (block-export-add), "
                     "and read it by nbdinfo --map=qemu:dirty-bitmap:BITMAP", bitmap_name(ask), disk_name(ask));
}
