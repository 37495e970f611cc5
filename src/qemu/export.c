// SPDX-License-Identifier: BSD-3-Clause
/*
 * Bits out of QEMU: it exports a bitmap by NBD, read-only, and we read it.
 *
 * A QEMU has one NBD server at most.  Where its user has started one, its
 * address comes with the disk (--nbd), or it is -EADDRINUSE.  Else we start one
 * in STATE/qemu for as long as we need it; several sessions may need it at once,
 * and who finds no export left stops it.  Nobody else's exports are on it: they would have had to
 * know its address.
 */
#include "qemu/qemu.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <xxhash.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "image/nbd.h"

#define URI_BYTES 2048

/* ----------------------------------------------------------------- server */

static int server_path(const struct qemu_remote *qemu, char path[sizeof ((struct sockaddr_un *)0)->sun_path], struct df_error *err)
{
    size_t room = sizeof ((struct sockaddr_un *)0)->sun_path;
    CLEANUP(cleanup_fd) int dirfd = -1;
    int r = qemu_open_directory(qemu, &dirfd, err);
    if (r < 0)
        return r;
    if (snprintf(path, room, "%s/qemu/%016" PRIx64, qemu->state_dir, (uint64_t)XXH3_64bits(qemu->at.socket, strlen(qemu->at.socket))) >= (int)room)
        return error_set(err, -ENAMETOOLONG, "the path of the state directory '%s' is too long for a socket in it: use a shorter one", qemu->state_dir);
    return 0;
}

/* One that is there already, of another session or from before a restart, will do if it is at our place. */
static int server_start(struct visit *v, const struct qemu_remote *qemu, struct df_error *err)
{
    char path[sizeof ((struct sockaddr_un *)0)->sun_path];
    struct df_error why;
    if (qemu->at.nbd[0])
        return 0;
    int r = server_path(qemu, path, err);
    if (r < 0)
        return r;
    r = qmp_call(v->qmp, "nbd-server-start", json_pack("{s:{s:s, s:{s:s}}}", "addr", "type", "unix", "data", "path", path), NULL, QEMU_TIMEOUT_MS, &why);
    if (r == -EREMOTEIO && strstr(why.message, "already running") && access(path, F_OK) == 0)
        return 0;
    if (r == -EREMOTEIO && strstr(why.message, "already running"))
        return error_set(err, -EADDRINUSE, "the QEMU at '%s' has an NBD server of somebody else's: add the disk with '--nbd ADDRESS', where that server listens", qemu->at.socket);
    if (r < 0)
        *err = why;
    return r;
}

static void server_stop(struct visit *v, const struct qemu_remote *qemu)
{
    char path[sizeof ((struct sockaddr_un *)0)->sun_path];
    json_t *exports = NULL;
    if (qemu->at.nbd[0] || server_path(qemu, path, NULL) < 0 || access(path, F_OK) < 0)
        return;
    if (qmp_call(v->qmp, "query-block-exports", NULL, &exports, QEMU_TIMEOUT_MS, NULL) == 0 && json_array_size(exports) == 0 &&
        qmp_call(v->qmp, "nbd-server-stop", NULL, NULL, QEMU_TIMEOUT_MS, NULL) == 0)
        unlink(path);
    json_decref(exports);
}

/* In a URI's query all but the plainest characters are escaped. */
static int put_escaped(char *to, size_t room, const char *text)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-";
    size_t n = 0;
    for (; *text && n + 4 < room; text++)
        n += (size_t)snprintf(to + n, 4, strchr(plain, *text) ? "%c" : "%%%02X", (unsigned char)*text);
    to[n] = 0;
    return *text ? -ENAMETOOLONG : 0;
}

static int make_uri(const struct qemu_remote *qemu, const char *id, char *uri, size_t room, struct df_error *err)
{
    char path[sizeof ((struct sockaddr_un *)0)->sun_path];
    char escaped[3 * sizeof qemu->at.nbd];
    const char *nbd = qemu->at.nbd;
    int r = nbd[0] ? 0 : server_path(qemu, path, err);
    if (r < 0)
        return r;
    bool is_tcp = nbd[0] && nbd[0] != '/';
    r = put_escaped(escaped, sizeof escaped, nbd[0] ? nbd : path);
    if (r < 0 || snprintf(uri, room, is_tcp ? "nbd://%2$s/%1$s" : "nbd+unix:///%1$s?socket=%2$s", id, is_tcp ? nbd : escaped) >= (int)room)
        return error_set(err, -ENAMETOOLONG, "the NBD address '%s' is too long", nbd);
    return 0;
}

/* Told at the prepare: after the pivot it is late for another state directory or another server. */
int export_check(struct visit *v, const struct remote_job *job, struct df_error *err)
{
    char id[QEMU_ID_BYTES], uri[URI_BYTES];
    qemu_id(job, id);
    int r = make_uri(qemu_of(job), id, uri, sizeof uri, err);
    if (!r)
        r = server_start(v, qemu_of(job), err);
    if (!r)
        server_stop(v, qemu_of(job));
    return r;
}

/* ---------------------------------------------------------------- exports */

static int is_exported(struct visit *v, const char *id, bool *is, struct df_error *err)
{
    json_t *exports = NULL;
    const json_t *item;
    size_t i;
    int r = qmp_call(v->qmp, "query-block-exports", NULL, &exports, QEMU_TIMEOUT_MS, err);
    *is = false;
    json_array_foreach(exports, i, item) {
        const char *found = json_string_value(json_object_get(item, "id"));
        *is = *is || (found && !strcmp(found, id));
    }
    json_decref(exports);
    return r;
}

/* It is gone some time after QEMU was told, when its clients are; only then is the bitmap free. */
int export_remove(struct visit *v, const struct remote_job *job, struct df_error *err)
{
    const struct timespec pause = { 0, 1000 * 1000 };
    int64_t deadline = clock_ms() + QEMU_TIMEOUT_MS;
    char id[QEMU_ID_BYTES];
    bool is;
    qemu_id(job, id);
    int r = is_exported(v, id, &is, err);
    if (!r && is)
        qmp_call(v->qmp, "block-export-del", json_pack("{s:s, s:s}", "id", id, "mode", "hard"), NULL, QEMU_TIMEOUT_MS, NULL);
    while (!r && is && !(r = is_exported(v, id, &is, err)) && is) {
        if (clock_ms() > deadline)
            return error_set(err, -ETIMEDOUT, "the QEMU at '%s' does not end its export '%s'", qemu_of(job)->at.socket, id);
        nanosleep(&pause, NULL);
    }
    if (!r)
        server_stop(v, qemu_of(job));
    return r;
}

static int export_add(struct visit *v, const struct remote_job *job, const char *id, const char *bitmap, struct df_error *err)
{
    const char *node = qemu_of(job)->at.node;
    json_t *arguments = json_pack("{s:s, s:s, s:s, s:s, s:b, s:[{s:s, s:s}]}", "type", "nbd", "id", id, "node-name", node, "name", id, "writable", 0,
                                  "bitmaps", "node", node, "name", bitmap);
    return qmp_call(v->qmp, "block-export-add", arguments, NULL, QEMU_TIMEOUT_MS, err);
}

static int read_bits(const struct remote_job *job, const char *uri, const char *bitmap, struct map *map, struct df_error *err)
{
    CLEANUP(nbd_source_close) struct nbd_source *source = NULL;
    char context[sizeof NBD_CONTEXT_PREFIX + DF_BITMAP_NAME_MAX];
    snprintf(context, sizeof context, NBD_CONTEXT_PREFIX "%s", bitmap);
    int r = nbd_source_open(uri, context, QEMU_TIMEOUT_MS, &source, err);
    if (!r && nbd_source_size(source) != job->backend->ops->size(job->backend))
        r = error_set(err, -EINVAL, "the export of node '%s' has %" PRIu64 " bytes, not those of disk '%s'", qemu_of(job)->at.node, nbd_source_size(source), qemu_of(job)->disk);
    return r < 0 ? r : nbd_source_read(source, (unsigned)__builtin_ctzll(job->info.granularity), map, NULL, err);
}

int export_read(struct visit *v, const struct remote_job *job, const char *bitmap, struct map *map, struct df_error *err)
{
    char id[QEMU_ID_BYTES], uri[URI_BYTES];
    struct df_error ignored;
    qemu_id(job, id);
    int r = export_remove(v, job, err);
    if (!r)
        r = make_uri(qemu_of(job), id, uri, sizeof uri, err);
    if (!r)
        r = server_start(v, qemu_of(job), err);
    if (!r)
        r = export_add(v, job, id, bitmap, err);
    if (r < 0)
        return r;
    qmp_close(&v->qmp);     /* others have their turn meanwhile: reading may take seconds */
    r = read_bits(job, uri, bitmap, map, err);
    int again = qmp_open(qemu_of(job)->at.socket, QEMU_TIMEOUT_MS, &v->qmp, r < 0 ? &ignored : err);
    if (!again)
        again = export_remove(v, job, r < 0 ? &ignored : err);
    return r < 0 ? r : again;
}
