// SPDX-License-Identifier: BSD-3-Clause
/*
 * The built-in store: the disks of a state directory.
 *
 * Where another process has the bitmaps, what is here is on its way only: it is
 * dropped when the session lets go of it, and nothing is fenced here.
 */
#include "backend/backend.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "bitmap/disk.h"

struct native {
    struct backend base;
    struct df_disk *disk;
    char directory[3072];
};

static struct df_disk *disk_of(struct backend *b)
{
    return ((struct native *)b)->disk;
}

static uint64_t native_size(struct backend *b)
{
    return df_disk_size(disk_of(b));
}

static int native_info(struct backend *b, const char *bitmap, struct df_bitmap_info *info, struct df_error *err)
{
    return df_bitmap_get_info(disk_of(b), bitmap, info, err);
}

static int native_take(struct backend *b, const char *bitmap, const uint8_t *session, struct df_error *err)
{
    return df_bitmap_take(disk_of(b), bitmap, session, err);
}

static int native_give_back(struct backend *b, const char *bitmap, const uint8_t *session, struct df_error *err)
{
    return (b->remote ? df_bitmap_discard : df_bitmap_give_back)(disk_of(b), bitmap, session, err);
}

static int native_fence(struct backend *b, struct df_error *err)
{
    return b->remote ? 0 : df_disk_fence(disk_of(b), err);
}

static int native_unfence(struct backend *b, struct df_error *err)
{
    return df_disk_unfence(disk_of(b), err);
}

static unsigned native_open_sections(struct backend *b)
{
    return df_disk_open_sections(disk_of(b));
}

static int native_add_frozen(struct backend *b, const char *bitmap, uint64_t granularity, unsigned flags, const uint8_t *session, struct df_error *err)
{
    return df_bitmap_add_frozen(disk_of(b), bitmap, granularity, flags, session, err);
}

static int native_unlock(struct backend *b, const char *bitmap, const uint8_t *session, struct df_error *err)
{
    return df_bitmap_unlock(disk_of(b), bitmap, session, err);
}

static int native_reclaim(struct backend *b, const char *bitmap, const uint8_t *session, struct df_error *err)
{
    return (b->remote ? df_bitmap_discard : df_bitmap_reclaim)(disk_of(b), bitmap, session, err);
}

static int native_give_up(struct backend *b, const char *bitmap, const uint8_t *session, bool all_dirty, struct df_error *err)
{
    return b->remote ? df_bitmap_discard(disk_of(b), bitmap, session, err) : df_bitmap_give_up(disk_of(b), bitmap, session, all_dirty, err);
}

static int native_sync(struct backend *b, struct df_error *err)
{
    return disk_sync(disk_of(b), err);
}

static int native_sync_map(struct backend *b, const char *bitmap, struct df_error *err)
{
    return b->remote ? 0 : disk_sync_map(disk_of(b), bitmap, err);
}

static int native_discard(struct backend *b, const char *bitmap, const uint8_t *session, struct df_error *err)
{
    return df_bitmap_discard(disk_of(b), bitmap, session, err);
}

static int native_get_map(struct backend *b, const char *bitmap, const uint8_t *session, struct backend_map *map, struct df_error *err)
{
    struct map_ref *ref = NULL;
    char file[MAP_FILE_BYTES];
    int r = disk_get_map(disk_of(b), bitmap, session, &ref, err);
    if (r < 0)
        return r;
    map->map = ref->map;
    map->ref = ref;
    snprintf(map->path, sizeof map->path, "%s/%s", ((struct native *)b)->directory, mapref_file(ref->id, file));
    return 0;
}

static int native_peek_map(struct backend *b, const char *bitmap, struct backend_map *map, struct df_error *err)
{
    struct df_bitmap *permitted = NULL;
    struct map_ref *ref = NULL;
    int r = df_bitmap_open(disk_of(b), bitmap, &permitted, err);
    if (r < 0)
        return r;
    r = disk_peek_map(disk_of(b), bitmap, &ref);
    df_bitmap_close(&permitted);
    if (r < 0)
        return error_errno(err, r, "cannot read bitmap '%s' of disk '%s'", bitmap, b->disk);
    map->map = ref->map;
    map->ref = ref;
    return 0;
}

static void native_put_map(struct backend *b, struct backend_map *map)
{
    struct map_ref *ref = steal(&map->ref);
    map->map = NULL;
    if (ref)
        disk_put_map(disk_of(b), &ref);
}

static int native_fill(struct backend *b, const char *bitmap, const uint8_t *session, const struct map *bits, const struct geometry *source, struct df_error *err)
{
    struct backend_map parent = { 0 };
    struct df_bitmap_info info;
    int r = native_info(b, bitmap, &info, err);
    if (!r)
        r = native_get_map(b, bitmap, session, &parent, err);
    if (r < 0)
        return r;
    r = backend_check_map(b, bitmap, &parent, info.nbits, err);
    if (!r && (r = map_write_scaled(parent.map, &(struct geometry){ native_size(b), info.granularity }, bits, source)) < 0)
        error_errno(err, r, "bitmap '%s' of disk '%s' cannot be filled", bitmap, b->disk);
    if (!r && (map_is_broken(parent.map) || map_is_broken(bits)))
        r = error_set(err, -EPROTO, "bitmap '%s' of disk '%s' cannot be filled: a file was cut, the disk or its session is damaged", bitmap, b->disk);
    native_put_map(b, &parent);
    return r;
}

static void native_close(struct backend *b)
{
    struct native *n = (struct native *)b;
    df_disk_close(&n->disk);
    free(n);
}

static const struct backend_ops native_ops = {
    .size = native_size,
    .info = native_info,
    .take = native_take,
    .give_back = native_give_back,
    .fence = native_fence,
    .unfence = native_unfence,
    .open_sections = native_open_sections,
    .add_frozen = native_add_frozen,
    .unlock = native_unlock,
    .reclaim = native_reclaim,
    .fill = native_fill,
    .give_up = native_give_up,
    .discard = native_discard,
    .sync = native_sync,
    .sync_map = native_sync_map,
    .get_map = native_get_map,
    .peek_map = native_peek_map,
    .put_map = native_put_map,
    .close = native_close,
};

int native_open(const char *state_dir, const char *disk, struct backend **backend, struct df_error *err)
{
    CLEANUP(cleanup_free) char *absolute = realpath(state_dir, NULL);
    struct native *n = calloc(1, sizeof *n);
    if (!n)
        return error_errno(err, -ENOMEM, "cannot open disk '%s'", disk);
    int r = df_disk_open(state_dir, disk, &n->disk, err);
    if (!r && (!absolute || snprintf(n->directory, sizeof n->directory, "%s/disks/%s", absolute, disk) >= (int)sizeof n->directory))
        r = error_set(err, -EINVAL, "the path of the state directory '%s' is too long", state_dir);
    if (r < 0) {
        df_disk_close(&n->disk);
        free(n);
        return r;
    }
    n->base.ops = &native_ops;
    snprintf(n->base.disk, sizeof n->base.disk, "%s", disk);
    *backend = &n->base;
    return 0;
}
