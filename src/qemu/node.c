// SPDX-License-Identifier: BSD-3-Clause
/*
 * What QEMU answers is checked before it is used: whoever serves the socket may
 * say anything.
 */
#include "qemu/node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "bitmap/disk.h"
#include "qemu/view.h"

bool qemu_is_reserved(const char *bitmap)
{
    return !strncmp(bitmap, QEMU_RESERVED, strlen(QEMU_RESERVED));
}

/* ------------------------------------------------------------------- looks */

static int wrong_answer(const struct qmp *qmp, const char *node, struct df_error *err)
{
    return error_set(err, -EPROTO, "QEMU at '%s' describes node '%s' in a way that is not understood: see whether its version is supported", qmp_socket(qmp), node);
}

static bool get_u64(const json_t *object, const char *key, uint64_t *value)
{
    const json_t *number = json_object_get(object, key);
    if (!json_is_integer(number) || json_integer_value(number) < 0)
        return false;
    *value = (uint64_t)json_integer_value(number);
    return true;
}

/* *nodes keeps *found alive. */
static int find_node(struct qmp *qmp, const char *node, json_t **nodes, const json_t **found, struct df_error *err)
{
    int r = view_take(qmp, QEMU_TIMEOUT_MS, nodes, err);
    if (r < 0)
        return r;
    *found = view_node(*nodes, node);
    if (*found)
        return 0;
    return error_set(err, -ENOENT, "QEMU at '%s' has no node '%s': look at query-named-block-nodes for those that there are", qmp_socket(qmp), node);
}

int qemu_node_info(struct qmp *qmp, const char *node, struct qemu_node_info *info, struct df_error *err)
{
    CLEANUP(json_decrefp) json_t *nodes = NULL;
    const json_t *found = NULL;
    int r = find_node(qmp, node, &nodes, &found, err);
    if (r < 0)
        return r;
    const char *driver = json_string_value(json_object_get(found, "drv"));
    const json_t *read_only = json_object_get(found, "ro");
    if (!driver || !json_is_boolean(read_only) || !get_u64(json_object_get(found, "image"), "virtual-size", &info->size))
        return wrong_answer(qmp, node, err);
    snprintf(info->driver, sizeof info->driver, "%s", driver);
    info->read_only = json_is_true(read_only);
    return 0;
}

static bool take_bitmap(const json_t *from, uint64_t size, struct df_bitmap_info *info, uint64_t *count)
{
    uint64_t granularity;
    const json_t *recording = json_object_get(from, "recording"), *busy = json_object_get(from, "busy"), *persistent = json_object_get(from, "persistent");
    if (!json_is_boolean(recording) || !json_is_boolean(busy) || !json_is_boolean(persistent) ||
        !get_u64(from, "granularity", &granularity) || !get_u64(from, "count", count))
        return false;
    if (granularity < DF_GRANULARITY_MIN || granularity > DF_GRANULARITY_MAX || (granularity & (granularity - 1)))
        return false;
    info->granularity = (uint32_t)granularity;
    info->nbits = size ? (size - 1) / granularity + 1 : 0;
    info->recording = info->enabled = json_is_true(recording);
    info->busy = json_is_true(busy);
    info->persistent = json_is_true(persistent);
    info->inconsistent = json_is_true(json_object_get(from, "inconsistent"));
    return true;
}

int qemu_bitmaps(struct qmp *qmp, const char *node, struct df_bitmap_info **infos_out, uint64_t **counts_out, size_t *n, struct df_error *err)
{
    CLEANUP(json_decrefp) json_t *nodes = NULL;
    const json_t *found = NULL, *each;
    uint64_t size;
    size_t i;
    int r = find_node(qmp, node, &nodes, &found, err);
    if (r < 0)
        return r;
    if (!get_u64(json_object_get(found, "image"), "virtual-size", &size))
        return wrong_answer(qmp, node, err);
    const json_t *bitmaps = json_object_get(found, "dirty-bitmaps");     /* not there: none */
    CLEANUP(cleanup_free) struct df_bitmap_info *infos = calloc(json_array_size(bitmaps) + 1, sizeof *infos);
    CLEANUP(cleanup_free) uint64_t *counts = calloc(json_array_size(bitmaps) + 1, sizeof *counts);
    if (!infos || !counts)
        abort();
    *n = 0;
    json_array_foreach (bitmaps, i, each) {
        const char *name = json_string_value(json_object_get(each, "name"));
        if (!name || !bitmap_name_is_plain(name))
            continue;       /* of a job of QEMU's, or nothing that a request could name */
        if (strlen(name) > DF_BITMAP_NAME_MAX || !take_bitmap(each, size, &infos[*n], &counts[*n]))
            return wrong_answer(qmp, node, err);
        strcpy(infos[(*n)++].name, name);
    }
    *infos_out = steal(&infos);
    *counts_out = steal(&counts);
    return 0;
}

int qemu_bitmap_find(struct qmp *qmp, const char *node, const char *bitmap, struct df_bitmap_info *info, uint64_t *count, struct df_error *err)
{
    CLEANUP(cleanup_free) struct df_bitmap_info *infos = NULL;
    CLEANUP(cleanup_free) uint64_t *counts = NULL;
    size_t n;
    int r = qemu_bitmaps(qmp, node, &infos, &counts, &n, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(infos[i].name, bitmap))
            continue;
        *info = infos[i];
        if (count)
            *count = counts[i];
        return 0;
    }
    return error_set(err, -ENOENT, "node '%s' of QEMU at '%s' has no bitmap '%s'", node, qmp_socket(qmp), bitmap);
}

/* ----------------------------------------------------------------- changes */

/* `arguments` is NULL when a name in it is not UTF-8: then they would not be sent at all. */
static int call(struct qmp *qmp, const char *command, const char *bitmap, json_t *arguments, json_t **result, struct df_error *err)
{
    if (!arguments)
        return error_set(err, -EINVAL, "QEMU at '%s' cannot be asked for %s: the name '%s' is not UTF-8, choose another one", qmp_socket(qmp), command, bitmap);
    return qmp_call(qmp, command, arguments, result, QEMU_TIMEOUT_MS, err);
}

/* QEMU has refused: what kind of refusal is it?  Its classes of errors do not say, its bitmap does. */
static int tell_kind(struct qmp *qmp, const char *node, const char *bitmap, bool adds, int r, struct df_error *err)
{
    struct df_bitmap_info info;
    if (r != -EREMOTEIO)
        return r;
    int found = qemu_bitmap_find(qmp, node, bitmap, &info, NULL, NULL);
    if (found == -ENOENT && !adds)
        r = -ENOENT;
    else if (found == 0)
        r = adds ? -EEXIST : info.busy ? -EBUSY : info.inconsistent ? -EINVAL : r;
    if (err)
        err->code = r;
    return r;
}

static int change(struct qmp *qmp, const char *command, const char *node, const char *bitmap, struct df_error *err)
{
    int r = call(qmp, command, bitmap, json_pack("{s:s, s:s}", "node", node, "name", bitmap), NULL, err);
    return r < 0 ? tell_kind(qmp, node, bitmap, false, r, err) : 0;
}

int qemu_bitmap_add(struct qmp *qmp, const char *node, const char *bitmap, uint64_t granularity, unsigned flags, struct df_error *err)
{
    json_t *arguments = json_pack("{s:s, s:s, s:I, s:b, s:b}", "node", node, "name", bitmap, "granularity", (json_int_t)granularity,
                                  "disabled", !!(flags & DF_BITMAP_DISABLED), "persistent", !!(flags & DF_BITMAP_PERSISTENT));
    int r = call(qmp, "block-dirty-bitmap-add", bitmap, arguments, NULL, err);
    return r < 0 ? tell_kind(qmp, node, bitmap, true, r, err) : 0;
}

int qemu_bitmap_remove(struct qmp *qmp, const char *node, const char *bitmap, struct df_error *err)
{
    return change(qmp, "block-dirty-bitmap-remove", node, bitmap, err);
}

int qemu_bitmap_clear(struct qmp *qmp, const char *node, const char *bitmap, struct df_error *err)
{
    return change(qmp, "block-dirty-bitmap-clear", node, bitmap, err);
}

int qemu_bitmap_enable(struct qmp *qmp, const char *node, const char *bitmap, struct df_error *err)
{
    return change(qmp, "block-dirty-bitmap-enable", node, bitmap, err);
}

int qemu_bitmap_disable(struct qmp *qmp, const char *node, const char *bitmap, struct df_error *err)
{
    return change(qmp, "block-dirty-bitmap-disable", node, bitmap, err);
}

/* The kind of what is wrong with the target, else with a source. */
int qemu_bitmap_merge(struct qmp *qmp, const char *node, const char *bitmap, const struct qemu_source *sources, size_t n, struct df_error *err)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{s:s, s:s}", "node", sources[i].node, "name", sources[i].bitmap));
    bool whole = n && json_array_size(list) == n;
    json_t *arguments = json_pack("{s:s, s:s, s:o}", "node", node, "target", bitmap, "bitmaps", list);
    if (!whole) {
        json_decref(arguments);
        arguments = NULL;
    }
    int r = call(qmp, "block-dirty-bitmap-merge", n ? sources[0].bitmap : "", arguments, NULL, err);
    if (r < 0)
        r = tell_kind(qmp, node, bitmap, false, r, err);
    for (size_t i = 0; r == -EREMOTEIO && i < n; i++)
        r = tell_kind(qmp, sources[i].node, sources[i].bitmap, false, r, err);
    return r;
}

int qemu_bitmap_sha256(struct qmp *qmp, const char *node, const char *bitmap, char hex[DF_SHA256_HEX_BYTES], struct df_error *err)
{
    CLEANUP(json_decrefp) json_t *result = NULL;
    json_t *arguments = json_pack("{s:s, s:s}", "node", node, "name", bitmap);
    int r = call(qmp, "x-debug-block-dirty-bitmap-sha256", bitmap, arguments, &result, err);
    if (r < 0)
        return tell_kind(qmp, node, bitmap, false, r, err);
    const char *text = json_string_value(json_object_get(result, "sha256"));
    if (!text || strspn(text, "0123456789abcdef") != DF_SHA256_HEX_BYTES - 1 || text[DF_SHA256_HEX_BYTES - 1])
        return wrong_answer(qmp, node, err);
    strcpy(hex, text);
    return 0;
}
