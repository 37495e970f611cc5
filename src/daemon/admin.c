// SPDX-License-Identifier: BSD-3-Clause
/*
 * A request begins on the thread for its kind, which finds out whether its disk
 * is QEMU's; if so, and the thread is not QEMU's, it comes back and goes there.
 */
#include "daemon/admin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/uuid.h"
#include "bitmap/disk.h"
#include "daemon/stores.h"
#include "net/access.h"

static const char *disk_name(const struct ask *ask)
{
    return node_text(ask->root, "disk");
}

/* ----------------------------------------------------------------- disks */

static int disk_add(const struct ask *ask, struct out *out, struct df_error *err)
{
    (void)out;
    const char *data = node_text(ask->root, "data");
    if (data && (!*data || !bitmap_name_is_plain(data)))
        return error_set(err, -EINVAL, "disk '%s' cannot be added: where its data is, is empty or has a control character in it", disk_name(ask));
    if (!node_has(ask->root, "size") || node_has(ask->root, "node") || node_has(ask->root, "nbd"))
        return error_set(err, -EINVAL, "disk '%s' cannot be added: give a size, or the socket of QEMU and a node", disk_name(ask));
    return disk_create_attached(ask->state_dir, disk_name(ask), node_u64(ask->root, "size", 0), &(struct disk_note){ DISK_DATA, data }, 1, err);
}

static int disk_remove(const struct ask *ask, struct out *out, struct df_error *err)
{
    (void)out;
    return df_disk_remove(ask->state_dir, disk_name(ask), err);
}

/* Behind this many bytes no further disk is put into a reply; the longest entry fits in what is left. */
#define LISTING_BYTES (WIRE_CONTROL_BYTES - 16384)

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
    struct qemu_attachment qemu;
    char data[DISK_ATTACHMENT_BYTES + 1];
    struct df_error err;
    int attached = qemu_attachment(l->state_dir, name, &qemu, &err), has_data = attached < 0 ? attached : disk_attachment(l->state_dir, name, DISK_DATA, data, &err);
    int r = has_data < 0 ? has_data : df_disk_open(l->state_dir, name, &disk, &err);
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
    if (attached > 0) {
        char where[sizeof qemu.socket + sizeof qemu.node];
        snprintf(where, sizeof where, "%s %s", qemu.socket, qemu.node);
        out_text(l->out, "qemu", where);
    }
    if (has_data > 0 && *data)
        out_text(l->out, "data", data);
    out_close(l->out);
    return 0;
}

static int disk_list(const struct ask *ask, struct out *out, struct df_error *err)
{
    struct listing listing = { ask->state_dir, out, 0 };
    const char *only = node_text(ask->root, "disk");
    out_list(out, "disks");
    int r = only ? put_disk(&listing, only) : df_disk_list(ask->state_dir, put_disk, &listing, err);
    out_close(out);
    if (r > 0)
        out_bool(out, "more", true);
    return r < 0 ? r : 0;
}

static int disk_writable(const struct ask *ask, struct out *out, struct df_error *err)
{
    CLEANUP(df_disk_close) struct df_disk *disk = NULL;
    CLEANUP(cleanup_free) struct df_bitmap_info *infos = NULL;
    size_t n = 0;
    (void)out;
    int r = df_disk_open(ask->state_dir, disk_name(ask), &disk, err);
    if (!r)
        r = df_bitmap_list(disk, &infos, &n, err);
    for (size_t i = 0; !r && i < n; i++)
        if (infos[i].busy && !infos[i].compared)
            r = error_set(err, -EBUSY, "disk '%s' cannot be made writable: a session is moving its bitmap '%s'; roll it back or wait for it",
                          disk_name(ask), infos[i].name);
    return r < 0 ? r : df_disk_unfence(disk, err);
}

void put_bitmap(struct out *out, const struct df_bitmap_info *info, uint64_t count, const char *hex)
{
    static const uint8_t nobody[DF_SESSION_BYTES];
    char text[UUID_TEXT_BYTES];
    out_text(out, "name", info->name);
    out_u64(out, "granularity", info->granularity);
    out_u64(out, "count", count);
    out_bool(out, "recording", info->recording);
    out_bool(out, "busy", info->busy);
    out_bool(out, "persistent", info->persistent);
    out_bool(out, "inconsistent", info->inconsistent);
    out_bool(out, "frozen", info->frozen);
    out_bool(out, "readonly", info->readonly);
    if (info->busy && memcmp(info->session, nobody, sizeof nobody))
        out_text(out, info->compared ? "diff" : "session", uuid_format(info->session, text));
    if (hex)
        out_text(out, "sha256", hex);
}

/* -------------------------------------------------------------- requests */

/* `qemu`: for a disk of QEMU; NULL: the same for all. */
static const struct command {
    const char *type;
    store_handler *handle, *qemu;
} commands[] = {
    { "disk-add", disk_add, qemu_disk_add },
    { "disk-list", disk_list, NULL },
    { "disk-remove", disk_remove, NULL },
    { "disk-writable", disk_writable, NULL },
    { "bitmap-add", native_add, qemu_add },
    { "bitmap-remove", native_remove, qemu_remove },
    { "bitmap-clear", native_clear, qemu_clear },
    { "bitmap-enable", native_enable, qemu_enable },
    { "bitmap-disable", native_disable, qemu_disable },
    { "bitmap-merge", native_merge, qemu_merge },
    { "bitmap-list", native_list, qemu_list },
    { "bitmap-show", native_show, qemu_show },
    { "bitmap-mark", native_mark, qemu_mark },
    { "bitmap-extents", native_extents, qemu_extents },
};

struct job {
    struct chore chore;         /* first: the keeper hands this pointer back */
    struct admin *admin;
    const struct command *command;
    struct request *request;
    struct ask ask;
    bool on_qemu;               /* it is on QEMU's thread ... */
    bool belongs_there;         /* ... or should be */
    struct out out;             /* the reply when chore.r is 0 */
};

static const struct command *find_command(const char *type)
{
    for (unsigned i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(commands[i].type, type))
            return &commands[i];
    return NULL;
}

/* 1: by QEMU. */
static int find_store(struct job *job)
{
    if (!job->command->qemu)
        return 0;
    if (job->command->handle == disk_add)
        return node_has(job->ask.root, "qemu");
    return qemu_attachment(job->ask.state_dir, disk_name(&job->ask), &job->ask.qemu, &job->chore.err);
}

static void work(struct chore *chore)
{
    struct job *job = (struct job *)chore;
    int is_qemu = find_store(job);
    request_begin_reply(job->request, &job->out);
    job->belongs_there = is_qemu > 0 && !job->on_qemu;
    if (is_qemu < 0)
        chore->r = is_qemu;
    else if (!job->belongs_there)
        chore->r = (is_qemu ? job->command->qemu : job->command->handle)(&job->ask, &job->out, &chore->err);
}

static void done(struct chore *chore)
{
    struct job *job = (struct job *)chore;
    if (job->belongs_there) {
        out_destroy(&job->out);
        job->on_qemu = true;
        keeper_send(job->admin->keepers[ADMIN_QEMU], chore);
        return;
    }
    if (chore->r == 0) {
        request_reply(&job->request, &job->out);
    } else {
        out_destroy(&job->out);
        request_fail(&job->request, &chore->err);
    }
    free(job);
}

bool admin_request(struct admin *admin, struct request *request)
{
    const char *type = request->message->type->name;
    const struct command *command = find_command(type);
    if (!command)
        return false;
    struct job *job = calloc(1, sizeof *job);
    if (!job)
        abort();
    job->chore.work = work;
    job->chore.done = done;
    job->admin = admin;
    job->command = command;
    job->request = request;
    job->ask.state_dir = admin->state_dir;
    job->ask.root = request->message->root;
    keeper_send(admin->keepers[access_looks(type) ? ADMIN_LOOKS : ADMIN_CHANGES], &job->chore);
    return true;
}

/* --------------------------------------------------------------- threads */

int admin_start(struct admin *admin, const struct net *net, const char *state_dir, struct df_error *err)
{
    static const char *const endpoints[ADMIN_THREADS] = { "inproc://changes", "inproc://looks", "inproc://qemu" };
    int r = 0;
    admin->state_dir = state_dir;
    for (unsigned i = 0; !r && i < ADMIN_THREADS; i++)
        r = keeper_start(net, endpoints[i], &admin->keepers[i], err);
    return r;
}

void admin_stop(struct admin *admin)
{
    for (unsigned i = 0; i < ADMIN_THREADS; i++)
        keeper_stop(&admin->keepers[i]);
}

void admin_receive(struct admin *admin)
{
    for (unsigned i = 0; i < ADMIN_THREADS; i++)
        keeper_receive(admin->keepers[i]);
}
