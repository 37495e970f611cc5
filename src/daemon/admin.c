// SPDX-License-Identifier: BSD-3-Clause
#include "daemon/admin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/quota.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/uuid.h"
#include "bitmap/disk.h"

struct job {
    struct chore chore;         /* first: the keeper hands this pointer back */
    const char *state_dir;
    struct request *request;
    struct out out;             /* the reply when chore.r is 0 */
};

typedef int handler(const char *state_dir, const node *root, struct out *out, struct df_error *err);

static const char *disk_name(const node *root)
{
    return node_text(root, "disk");
}

static const char *bitmap_name(const node *root)
{
    return node_text(root, "bitmap");
}

/* ----------------------------------------------------------------- disks */

static int disk_add(const char *state_dir, const node *root, struct out *out, struct df_error *err)
{
    (void)out;
    return df_disk_create(state_dir, disk_name(root), node_u64(root, "size", 0), err);
}

static int disk_remove(const char *state_dir, const node *root, struct out *out, struct df_error *err)
{
    (void)out;
    return df_disk_remove(state_dir, disk_name(root), err);
}

/* Behind this many bytes no further disk is put into a reply; the longest entry fits in what is left. */
#define LISTING_BYTES (WIRE_CONTROL_BYTES - 4096)

struct listing {
    const char *state_dir;
    struct out *out;
    unsigned n;
};

static int put_disk(void *opaque, const char *name)
{
    struct listing *l = opaque;
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    CLEANUP(cleanup_free) struct df_bitmap_info *infos = NULL;
    size_t n = 0;
    struct df_error err;
    int r = df_disk_open(l->state_dir, name, &disk, &err);
    if (!r)
        r = df_bitmap_list(disk, &infos, &n, &err);
    if (r == -ENOENT)
        return 0;       /* removed meanwhile */
    if (l->n++ == 4096 || l->out->buffer.size > LISTING_BYTES)
        return 1;
    out_map(l->out, NULL);
    out_text(l->out, "disk", name);
    out_u64(l->out, "size", r < 0 ? 1 : df_disk_size(disk));
    out_bool(l->out, "readonly", r < 0 || df_disk_is_readonly(disk));
    out_u64(l->out, "bitmaps", r < 0 ? 0 : n);
    if (r < 0)
        out_text(l->out, "damaged", err.message);
    out_close(l->out);
    return 0;
}

static int disk_list(const char *state_dir, const node *root, struct out *out, struct df_error *err)
{
    struct listing listing = { state_dir, out, 0 };
    const char *only = disk_name(root);
    out_list(out, "disks");
    int r = only ? put_disk(&listing, only) : df_disk_list(state_dir, put_disk, &listing, err);
    out_close(out);
    if (r > 0)
        out_bool(out, "more", true);
    return r < 0 ? r : 0;
}

static int disk_writable(const char *state_dir, const node *root, struct out *out, struct df_error *err)
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    CLEANUP(cleanup_free) struct df_bitmap_info *infos = NULL;
    size_t n = 0;
    (void)out;
    int r = df_disk_open(state_dir, disk_name(root), &disk, err);
    if (!r)
        r = df_bitmap_list(disk, &infos, &n, err);
    for (size_t i = 0; !r && i < n; i++)
        if (infos[i].busy)
            r = error_set(err, -EBUSY, "disk '%s' cannot be made writable: a session is moving its bitmap '%s'; roll it back or wait for it",
                          disk_name(root), infos[i].name);
    return r < 0 ? r : df_disk_unfence(disk, err);
}

/* --------------------------------------------------------------- bitmaps */

static int bitmap_add(const char *state_dir, const node *root, struct out *out, struct df_error *err)
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    unsigned flags = (node_bool(root, "disabled") ? DF_BITMAP_DISABLED : 0) | (node_bool(root, "persistent") ? DF_BITMAP_PERSISTENT : 0);
    uint64_t granularity = node_u64(root, "granularity", DF_GRANULARITY_DEFAULT);
    (void)out;
    int r = df_disk_open(state_dir, disk_name(root), &disk, err);
    if (!r)
        r = quota_enter(state_dir, "the bitmap", quota_bitmap_bytes(df_disk_size(disk), granularity), err);
    if (r < 0)
        return r;
    r = df_bitmap_add(disk, bitmap_name(root), granularity, flags, err);
    quota_leave();
    return r;
}

static int on_bitmap(const char *state_dir, const node *root, struct df_error *err,
                     int (*operation)(struct df_disk *disk, const char *bitmap, struct df_error *err))
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    int r = df_disk_open(state_dir, disk_name(root), &disk, err);
    return r < 0 ? r : operation(disk, bitmap_name(root), err);
}

static int bitmap_remove(const char *state_dir, const node *root, struct out *out, struct df_error *err)
{
    (void)out;
    return on_bitmap(state_dir, root, err, df_bitmap_remove);
}

static int bitmap_clear(const char *state_dir, const node *root, struct out *out, struct df_error *err)
{
    (void)out;
    return on_bitmap(state_dir, root, err, df_bitmap_clear);
}

static int bitmap_enable(const char *state_dir, const node *root, struct out *out, struct df_error *err)
{
    (void)out;
    return on_bitmap(state_dir, root, err, df_bitmap_enable);
}

static int bitmap_disable(const char *state_dir, const node *root, struct out *out, struct df_error *err)
{
    (void)out;
    return on_bitmap(state_dir, root, err, df_bitmap_disable);
}

static int merge_one(struct df_disk *disk, const char *state_dir, const node *root, const node *source, struct df_error *err)
{
    CLEANUP(df_disk_close) struct df_disk *other = NULL;
    const char *name = disk_name(source);
    int r = name ? df_disk_open(state_dir, name, &other, err) : 0;
    return r < 0 ? r : df_bitmap_merge(disk, bitmap_name(root), other ? other : disk, bitmap_name(source), err);
}

static int bitmap_merge(const char *state_dir, const node *root, struct out *out, struct df_error *err)
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    size_t n;
    const node *sources = node_list(root, "sources", &n);
    (void)out;
    int r = df_disk_open(state_dir, disk_name(root), &disk, err);
    for (size_t i = 0; !r && i < n; i++)
        r = merge_one(disk, state_dir, root, &sources[i], err);
    return r;
}

/* Count and hash of a bitmap that may not be used are shown all the same, as QEMU does; the hash only when the bits stand still. */
static void put_bitmap(struct df_disk *disk, const struct df_bitmap_info *info, bool with_hash, struct out *out)
{
    char text[UUID_TEXT_BYTES], hex[DF_SHA256_HEX_BYTES];
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
    out_text(out, "name", info->name);
    out_u64(out, "granularity", info->granularity);
    out_u64(out, "count", count);
    out_bool(out, "recording", info->recording);
    out_bool(out, "busy", info->busy);
    out_bool(out, "persistent", info->persistent);
    out_bool(out, "inconsistent", info->inconsistent);
    out_bool(out, "frozen", info->frozen);
    out_bool(out, "readonly", info->readonly);
    if (info->busy)
        out_text(out, "session", uuid_format(info->session, text));
    if (with_hash)
        out_text(out, "sha256", hex);
}

static int bitmap_list(const char *state_dir, const node *root, struct out *out, struct df_error *err)
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    CLEANUP(cleanup_free) struct df_bitmap_info *infos = NULL;
    size_t n;
    int r = df_disk_open(state_dir, disk_name(root), &disk, err);
    if (!r)
        r = df_bitmap_list(disk, &infos, &n, err);
    if (r < 0)
        return r;
    out_list(out, "bitmaps");
    for (size_t i = 0; i < n; i++) {
        out_map(out, NULL);
        put_bitmap(disk, &infos[i], false, out);
        out_close(out);
    }
    out_close(out);
    return 0;
}

static int bitmap_show(const char *state_dir, const node *root, struct out *out, struct df_error *err)
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    struct df_bitmap_info info;
    int r = df_disk_open(state_dir, disk_name(root), &disk, err);
    if (!r)
        r = df_bitmap_get_info(disk, bitmap_name(root), &info, err);
    if (r < 0)
        return r;
    out_map(out, "bitmap");
    put_bitmap(disk, &info, true, out);
    out_close(out);
    return 0;
}

static int bitmap_mark(const char *state_dir, const node *root, struct out *out, struct df_error *err)
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    (void)out;
    int r = df_disk_open(state_dir, disk_name(root), &disk, err);
    return r < 0 ? r : df_disk_mark(disk, node_u64(root, "offset", 0), node_u64(root, "length", 0), err);
}

static int bitmap_extents(const char *state_dir, const node *root, struct out *out, struct df_error *err)
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    CLEANUP(df_bitmap_close) struct df_bitmap *bitmap = NULL;
    struct df_bitmap_info info;
    uint64_t at = node_u64(root, "offset", 0), start = 0, length = 0;
    int r = df_disk_open(state_dir, disk_name(root), &disk, err);
    if (!r)
        r = df_bitmap_get_info(disk, bitmap_name(root), &info, err);
    if (!r)
        r = df_bitmap_open(disk, bitmap_name(root), &bitmap, err);
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
    r = df_bitmap_get_info(disk, bitmap_name(root), &info, err);
    if (!r && info.inconsistent)        /* it became so while it was read: its file was cut, perhaps */
        r = error_set(err, -EINVAL, "bitmap '%s' of disk '%s' has become inconsistent while it was read", bitmap_name(root), disk_name(root));
    return r;
}

static const struct {
    const char *type;
    handler *handle;
} handlers[] = {
    { "disk-add", disk_add },         { "disk-list", disk_list },           { "disk-remove", disk_remove },
    { "disk-writable", disk_writable }, { "bitmap-add", bitmap_add },       { "bitmap-remove", bitmap_remove },
    { "bitmap-clear", bitmap_clear }, { "bitmap-enable", bitmap_enable },   { "bitmap-disable", bitmap_disable },
    { "bitmap-merge", bitmap_merge }, { "bitmap-list", bitmap_list },       { "bitmap-show", bitmap_show },
    { "bitmap-mark", bitmap_mark },   { "bitmap-extents", bitmap_extents },
};

static handler *find_handler(const char *type)
{
    for (unsigned i = 0; i < sizeof handlers / sizeof *handlers; i++)
        if (!strcmp(handlers[i].type, type))
            return handlers[i].handle;
    return NULL;
}

/* ----------------------------------------------------------------- chores */

static void work(struct chore *chore)
{
    struct job *job = (struct job *)chore;
    const struct message *message = job->request->message;
    request_begin_reply(job->request, &job->out);
    chore->r = find_handler(message->type->name)(job->state_dir, message->root, &job->out, &chore->err);
}

static void done(struct chore *chore)
{
    struct job *job = (struct job *)chore;
    if (chore->r == 0) {
        request_reply(&job->request, &job->out);
    } else {
        out_destroy(&job->out);
        request_fail(&job->request, &chore->err);
    }
    free(job);
}

bool admin_request(struct keeper *keeper, const char *state_dir, struct request *request)
{
    if (!find_handler(request->message->type->name))
        return false;
    struct job *job = calloc(1, sizeof *job);
    if (!job)
        abort();
    job->chore.work = work;
    job->chore.done = done;
    job->state_dir = state_dir;
    job->request = request;
    keeper_send(keeper, &job->chore);
    return true;
}
