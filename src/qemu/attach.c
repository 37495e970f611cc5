// SPDX-License-Identifier: BSD-3-Clause
#include "qemu/attach.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "bitmap/disk.h"

/* HOST:PORT; the host may be a number of IPv6 in brackets. */
static bool is_host_port(const char *text)
{
    const char *colon = strrchr(text, ':');
    char *end;
    if (!colon || colon == text || colon[1] < '0' || colon[1] > '9' || strchr(text, '/'))
        return false;
    unsigned long port = strtoul(colon + 1, &end, 10);
    return !*end && port >= 1 && port <= 65535;
}

static int check(const struct qemu_attachment *a, struct df_error *err)
{
    if (a->socket[0] != '/')
        return error_set(err, -EINVAL, "the QMP socket '%s' is not an absolute path: the daemon does not run where you are", a->socket);
    if (a->nbd[0] && a->nbd[0] != '/' && !is_host_port(a->nbd))
        return error_set(err, -EINVAL, "the NBD server '%s' is neither HOST:PORT nor an absolute path", a->nbd);
    if (a->nbd[0] == '/' && strlen(a->nbd) > QEMU_SOCKET_MAX)
        return error_set(err, -EINVAL, "the path of the NBD server '%s' has %zu bytes: a socket's has at most %u", a->nbd, strlen(a->nbd), QEMU_SOCKET_MAX);
    return 0;
}

/* -------------------------------------------------------------------- read */

/* False if it is not there (but may be missing: ""), or no text of that length. */
static bool take_text(const json_t *object, const char *key, char *text, size_t max, bool optional)
{
    const json_t *value = json_object_get(object, key);
    text[0] = 0;
    if (!value)
        return optional;
    if (!json_is_string(value) || !json_string_length(value) || json_string_length(value) > max)
        return false;
    strcpy(text, json_string_value(value));
    return true;
}

int qemu_attachment(const char *state_dir, const char *disk, struct qemu_attachment *a, struct df_error *err)
{
    char text[DISK_ATTACHMENT_BYTES + 1];
    int r = disk_attachment(state_dir, disk, DISK_QEMU, text, err);
    if (r <= 0)
        return r;
    CLEANUP(json_decrefp) json_t *object = json_loads(text, 0, NULL);
    if (!take_text(object, "socket", a->socket, QEMU_SOCKET_MAX, false) || !take_text(object, "node", a->node, QEMU_NODE_NAME_MAX, false) ||
        !take_text(object, "nbd", a->nbd, QEMU_NBD_MAX, true) || check(a, NULL) < 0)
        return error_set(err, -EPROTO, "the file that says where QEMU keeps the bitmaps of disk '%s' is damaged: remove the disk and add it anew", disk);
    return 1;
}

/* ------------------------------------------------------------------- write */

struct search {
    const char *state_dir;
    const struct qemu_attachment *wanted;
    struct df_error *err;
};

static int refuse_same(void *opaque, const char *disk)
{
    const struct search *search = opaque;
    const struct qemu_attachment *wanted = search->wanted;
    struct qemu_attachment other;
    if (qemu_attachment(search->state_dir, disk, &other, NULL) <= 0 || strcmp(other.socket, wanted->socket) || strcmp(other.node, wanted->node))
        return 0;
    return error_set(search->err, -EEXIST, "node '%s' of QEMU at '%s' is disk '%s' already: use that one, or remove it first", wanted->node, wanted->socket, disk);
}

int qemu_attach(const char *state_dir, const char *disk, const struct qemu_attachment *a, const char *data, struct df_error *err)
{
    CLEANUP(qmp_close) struct qmp *qmp = NULL;
    struct qemu_node_info info;
    int r = check(a, err);
    if (!r)
        r = df_disk_list(state_dir, refuse_same, &(struct search){ state_dir, a, err }, err);
    if (!r)
        r = qmp_open(a->socket, QEMU_GREETING_MS, &qmp, err);
    if (!r)
        r = qemu_node_info(qmp, a->node, &info, err);
    if (r < 0)
        return r;
    CLEANUP(json_decrefp) json_t *object = json_pack("{s:s, s:s, s:s*}", "socket", a->socket, "node", a->node, "nbd", a->nbd[0] ? a->nbd : NULL);
    CLEANUP(cleanup_free) char *text = json_dumps(object, JSON_INDENT(1));
    if (!text)
        return error_set(err, -EINVAL, "disk '%s' cannot be added: the path of a socket is not UTF-8, choose another one", disk);
    const struct disk_note notes[] = { { DISK_QEMU, text }, { DISK_DATA, data } };
    return disk_create_attached(state_dir, disk, info.size, notes, sizeof notes / sizeof *notes, err);
}
