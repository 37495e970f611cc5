// SPDX-License-Identifier: BSD-3-Clause
/* Bitmaps in shared mappings of the state directory. */
#include <errno.h>
#include <stdlib.h>

#include "backend/quota.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "bitmap/disk.h"
#include "daemon/stores.h"

static const char *ask_disk(const struct ask *ask)
{
    return node_text(ask->root, "disk");
}

static const char *ask_bitmap(const struct ask *ask)
{
    return node_text(ask->root, "bitmap");
}

int native_add(const struct ask *ask, struct out *out, struct df_error *err)
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    unsigned flags = (node_bool(ask->root, "disabled") ? DF_BITMAP_DISABLED : 0) | (node_bool(ask->root, "persistent") ? DF_BITMAP_PERSISTENT : 0);
    uint64_t granularity = node_u64(ask->root, "granularity", DF_GRANULARITY_DEFAULT);
    (void)out;
    int r = df_disk_open(ask->state_dir, ask_disk(ask), &disk, err);
    if (!r)
        r = quota_enter(ask->state_dir, "the bitmap", quota_bitmap_bytes(df_disk_size(disk), granularity), err);
    if (r < 0)
        return r;
    r = df_bitmap_add(disk, ask_bitmap(ask), granularity, flags, err);
    quota_leave();
    return r;
}

static int on_bitmap(const struct ask *ask, struct df_error *err,
                     int (*operation)(struct df_disk *disk, const char *bitmap, struct df_error *err))
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    int r = df_disk_open(ask->state_dir, ask_disk(ask), &disk, err);
    return r < 0 ? r : operation(disk, ask_bitmap(ask), err);
}

int native_remove(const struct ask *ask, struct out *out, struct df_error *err)
{
    (void)out;
    return on_bitmap(ask, err, df_bitmap_remove);
}

int native_clear(const struct ask *ask, struct out *out, struct df_error *err)
{
    (void)out;
    return on_bitmap(ask, err, df_bitmap_clear);
}

int native_enable(const struct ask *ask, struct out *out, struct df_error *err)
{
    (void)out;
    return on_bitmap(ask, err, df_bitmap_enable);
}

int native_disable(const struct ask *ask, struct out *out, struct df_error *err)
{
    (void)out;
    return on_bitmap(ask, err, df_bitmap_disable);
}

static int merge_one(const struct ask *ask, struct df_disk *disk, const node *source, struct df_error *err)
{
    CLEANUP(df_disk_close) struct df_disk *other = NULL;
    struct qemu_attachment qemu;
    const char *name = node_text(source, "disk");
    int r = name ? qemu_attachment(ask->state_dir, name, &qemu, err) : 0;
    if (r > 0)
        r = error_set(err, -ENOTSUP, "disk '%s' is QEMU's and disk '%s' is not: the bitmaps of one cannot be merged into those of the other, move it first",
                      name, ask_disk(ask));
    if (!r && name)
        r = df_disk_open(ask->state_dir, name, &other, err);
    return r < 0 ? r : df_bitmap_merge(disk, ask_bitmap(ask), other ? other : disk, node_text(source, "bitmap"), err);
}

int native_merge(const struct ask *ask, struct out *out, struct df_error *err)
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    size_t n;
    const node *sources = node_list(ask->root, "sources", &n);
    (void)out;
    int r = df_disk_open(ask->state_dir, ask_disk(ask), &disk, err);
    for (size_t i = 0; !r && i < n; i++)
        r = merge_one(ask, disk, &sources[i], err);
    return r;
}

/* Count and hash of a bitmap that may not be used are shown all the same, as QEMU does; the hash only when the bits stand still. */
static void put(struct df_disk *disk, const struct df_bitmap_info *info, bool with_hash, struct out *out)
{
    char hex[DF_SHA256_HEX_BYTES];
    struct map_ref *ref = NULL;
    uint64_t count = 0;
    if (disk_peek_map(disk, info->name, &ref) == 0) {
        count = map_count(ref->map) * info->granularity;
        if (with_hash)
            map_sha256(ref->map, hex);
        disk_put_map(disk, &ref);
    } else {
        with_hash = false;
    }
    put_bitmap(out, info, count, with_hash ? hex : NULL);
}

int native_list(const struct ask *ask, struct out *out, struct df_error *err)
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    CLEANUP(cleanup_free) struct df_bitmap_info *infos = NULL;
    size_t n;
    int r = df_disk_open(ask->state_dir, ask_disk(ask), &disk, err);
    if (!r)
        r = df_bitmap_list(disk, &infos, &n, err);
    if (r < 0)
        return r;
    out_list(out, "bitmaps");
    for (size_t i = 0; i < n; i++) {
        out_map(out, NULL);
        put(disk, &infos[i], false, out);
        out_close(out);
    }
    out_close(out);
    return 0;
}

int native_show(const struct ask *ask, struct out *out, struct df_error *err)
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    struct df_bitmap_info info;
    int r = df_disk_open(ask->state_dir, ask_disk(ask), &disk, err);
    if (!r)
        r = df_bitmap_get_info(disk, ask_bitmap(ask), &info, err);
    if (r < 0)
        return r;
    out_map(out, "bitmap");
    put(disk, &info, true, out);
    out_close(out);
    return 0;
}

int native_mark(const struct ask *ask, struct out *out, struct df_error *err)
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    (void)out;
    int r = df_disk_open(ask->state_dir, ask_disk(ask), &disk, err);
    return r < 0 ? r : df_disk_mark(disk, node_u64(ask->root, "offset", 0), node_u64(ask->root, "length", 0), err);
}

int native_extents(const struct ask *ask, struct out *out, struct df_error *err)
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    CLEANUP(df_bitmap_close) struct df_bitmap *bitmap = NULL;
    struct df_bitmap_info info;
    uint64_t at = node_u64(ask->root, "offset", 0), start = 0, length = 0;
    int r = df_disk_open(ask->state_dir, ask_disk(ask), &disk, err);
    if (!r)
        r = df_bitmap_get_info(disk, ask_bitmap(ask), &info, err);
    if (!r)
        r = df_bitmap_open(disk, ask_bitmap(ask), &bitmap, err);
    if (r < 0)
        return r;
    bool more = false;
    out_u64(out, "size", df_disk_size(disk));
    out_u64(out, "granularity", info.granularity);
    out_bool(out, "enabled", info.enabled);
    out_list(out, "extents");
    for (unsigned n = 0; (more = df_bitmap_next_dirty(bitmap, at, &start, &length)) && n < WIRE_EXTENT_NUMBERS; n += 2) {
        out_u64(out, NULL, start);
        out_u64(out, NULL, length);
        at = start + length;
    }
    out_close(out);
    if (more)
        out_u64(out, "next", at);
    r = df_bitmap_get_info(disk, ask_bitmap(ask), &info, err);
    if (!r && info.inconsistent)        /* it became so while it was read: its file was cut, perhaps */
        r = error_set(err, -EINVAL, "bitmap '%s' of disk '%s' has become inconsistent while it was read", ask_bitmap(ask), ask_disk(ask));
    return r;
}
