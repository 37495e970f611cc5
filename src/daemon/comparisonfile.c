// SPDX-License-Identifier: BSD-3-Clause
/*
 * The file of a comparison: magic, length, XXH3-64 of what follows; then a
 * msgpack map.  It is written beside and renamed.  It is never synced: after a
 * restart of the host a comparison begins again, and one whose file is lost is
 * cancelled (orphans.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "bitmap/map.h"
#include "daemon/comparison.h"

#define FILE_MAX 16384u
#define FRESH    ".new"

struct file_head {
    char magic[8];
    uint64_t nbytes;
    uint64_t sum;
};

static const char file_magic[8] = { 'd', 'f', 'c', 'o', 'm', 'p', 'a', 1 };

static const struct field fields[] = {
    { "diff", FIELD_UUID, false, 0, 0, 0 },
    { "state", FIELD_TEXT, false, 1, 32, 0 },
    { "disk", FIELD_TEXT, false, 1, DF_DISK_NAME_MAX, 0 },
    { "bitmap", FIELD_TEXT, false, 1, DF_BITMAP_NAME_MAX, 0 },
    { "against", FIELD_TEXT, false, 1, COMPARISON_AGAINST_MAX, 0 },
    { "stamp", FIELD_TEXT, false, 1, COMPARISON_STAMP_MAX, 0 },
    { "size", FIELD_U64, false, 1, DF_DISK_SIZE_MAX, 0 },
    { "granularity", FIELD_U64, false, DF_GRANULARITY_MIN, DF_GRANULARITY_MAX, 0 },
    { "position", FIELD_U64, false, 0, DF_DISK_SIZE_MAX, 0 },
    { "different", FIELD_U64, false, 0, DF_DISK_SIZE_MAX, 0 },
    { "unread", FIELD_U64, false, 0, UINT64_MAX, 0 },
    { "qemu", FIELD_BOOL, false, 0, 0, 0 },
    { "filled", FIELD_BOOL, false, 0, 0, 0 },
    { "inconsistent", FIELD_BOOL, false, 0, 0, 0 },
    { 0 }
};

static const char *const state_names[] = { "comparing", "complete", "cancelled" };

const char *comparison_state_name(enum comparison_state state)
{
    return state_names[state];
}

/* --------------------------------------------------------------- writing */

void comparison_put_fields(struct out *out, const struct comparison *c)
{
    char text[UUID_TEXT_BYTES];
    out_text(out, "diff", uuid_format(c->uuid, text));
    out_text(out, "disk", c->disk);
    out_text(out, "bitmap", c->bitmap);
    out_text(out, "against", c->against);
    out_text(out, "state", comparison_state_name(c->state));
    out_u64(out, "size", c->size);
    out_u64(out, "granularity", c->granularity);
    out_u64(out, "position", c->position);
    out_u64(out, "different", c->different);
    out_u64(out, "unread", c->unread);
}

static void put(struct out *out, const struct comparison *c)
{
    out_init(out);
    comparison_put_fields(out, c);
    out_text(out, "stamp", c->stamp);
    out_bool(out, "qemu", c->qemu);
    out_bool(out, "filled", c->filled);
    out_bool(out, "inconsistent", c->inconsistent);
}

/* Two threads write, each its own comparisons: whoever has it may use FRESH. */
static pthread_mutex_t fresh_mutex = PTHREAD_MUTEX_INITIALIZER;

static int write_fresh(int dirfd, const uint8_t *map, size_t nbytes)
{
    struct file_head head = { .nbytes = nbytes, .sum = XXH3_64bits(map, nbytes) };
    memcpy(head.magic, file_magic, sizeof head.magic);
    unlinkat(dirfd, FRESH, 0);
    CLEANUP(cleanup_fd) int fd = openat(dirfd, FRESH, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    int r = fd < 0 ? -errno : files_pwrite(fd, &head, sizeof head, 0);
    return r < 0 ? r : files_pwrite(fd, map, nbytes, sizeof head);
}

int comparison_write(int dirfd, const struct comparison *c, struct df_error *err)
{
    struct out out;
    const uint8_t *map;
    size_t nbytes;
    char name[UUID_TEXT_BYTES];
    uuid_format(c->uuid, name);
    put(&out, c);
    pthread_mutex_lock(&fresh_mutex);
    int r = out_finish(&out, &map, &nbytes) ? write_fresh(dirfd, map, nbytes) : -ENOMEM;
    out_destroy(&out);
    if (!r && renameat(dirfd, FRESH, dirfd, name) < 0)
        r = -errno;
    if (r < 0)
        unlinkat(dirfd, FRESH, 0);
    pthread_mutex_unlock(&fresh_mutex);
    return r < 0 ? error_errno(err, r, "cannot write down how far comparison %s of bitmap '%s' of disk '%s' is", name, c->bitmap, c->disk) : 0;
}

void comparison_remove(int dirfd, const struct comparison *c)
{
    char name[UUID_TEXT_BYTES];
    unlinkat(dirfd, uuid_format(c->uuid, name), 0);
}

/* --------------------------------------------------------------- reading */

static void take(struct comparison *c, const node *map)
{
    *c = (struct comparison){ .state = COMPARISON_COMPARING };
    uuid_parse(node_text(map, "diff"), c->uuid);
    snprintf(c->disk, sizeof c->disk, "%s", node_text(map, "disk"));
    snprintf(c->bitmap, sizeof c->bitmap, "%s", node_text(map, "bitmap"));
    snprintf(c->against, sizeof c->against, "%s", node_text(map, "against"));
    snprintf(c->stamp, sizeof c->stamp, "%s", node_text(map, "stamp"));
    c->size = node_u64(map, "size", 0);
    c->granularity = node_u64(map, "granularity", 0);
    c->position = node_u64(map, "position", 0);
    c->different = node_u64(map, "different", 0);
    c->unread = node_u64(map, "unread", 0);
    c->qemu = node_bool(map, "qemu");
    c->filled = node_bool(map, "filled");
    c->inconsistent = node_bool(map, "inconsistent");
}

/* What the fields do not say. */
static int check(struct comparison *c, const char *state, struct df_error *err)
{
    for (unsigned i = 0; i < sizeof state_names / sizeof *state_names; i++)
        if (!strcmp(state, state_names[i])) {
            c->state = (enum comparison_state)i;
            bool whole = c->position == c->size || (c->position < c->size && c->position % c->granularity == 0);
            if (!whole || (c->state == COMPARISON_COMPLETE && c->position != c->size))
                return error_set(err, -EPROTO, "it is %s at %" PRIu64 " of %" PRIu64 " bytes, which cannot be", state, c->position, c->size);
            return granularity_check(c->granularity, err) < 0 ? -EPROTO : 0;
        }
    return error_set(err, -EPROTO, "its state '%s' is not known", state);
}

int comparison_decode(const uint8_t *bytes, size_t nbytes, struct comparison *c, struct df_error *err)
{
    CLEANUP(message_free) struct message *m = NULL;
    struct file_head head;
    if (nbytes < sizeof head)
        return error_set(err, -EPROTO, "it has %zu bytes", nbytes);
    memcpy(&head, bytes, sizeof head);
    if (memcmp(head.magic, file_magic, sizeof head.magic) || head.nbytes != nbytes - sizeof head ||
        head.sum != XXH3_64bits(bytes + sizeof head, nbytes - sizeof head))
        return error_set(err, -EPROTO, "it is not whole");
    int r = message_decode_map(bytes + sizeof head, nbytes - sizeof head, fields, &m, err);
    if (r < 0)
        return -EPROTO;
    take(c, m->root);
    return check(c, node_text(m->root, "state"), err);
}

static int read_file(int dirfd, const char *name, struct comparison *c, struct df_error *err)
{
    CLEANUP(cleanup_fd) int fd = -1;
    uint8_t bytes[FILE_MAX], uuid[UUID_BYTES];
    int r = files_open(dirfd, "STATE/comparisons", name, O_RDONLY, &fd, err);
    if (r < 0)
        return r;
    ssize_t n = pread(fd, bytes, sizeof bytes, 0);
    if (n < 0)
        return error_errno(err, -EPROTO, "it cannot be read");
    r = comparison_decode(bytes, (size_t)n, c, err);
    uuid_parse(name, uuid);
    if (!r && memcmp(uuid, c->uuid, sizeof uuid))
        r = error_set(err, -EPROTO, "it is of another comparison");
    return r;
}

struct reading {
    int dirfd;
    comparison_found *each;
    void *opaque;
    struct df_error *err;
};

static int take_file(void *opaque, const char *name)
{
    const struct reading *reading = opaque;
    struct comparison c;
    struct df_error err;
    uint8_t uuid[UUID_BYTES];
    if (!uuid_parse(name, uuid))
        return 0;
    int r = read_file(reading->dirfd, name, &c, &err);
    if (!r)
        return reading->each(reading->opaque, &c);
    if (r == -ENOENT)
        return 0;
    if (r != -EPROTO)
        return error_set(reading->err, r, "%s", err.message);
    log_error("the file '%s' of a comparison cannot be used: %s; it is removed, and the comparison is cancelled", name, err.message);
    files_remove(reading->dirfd, name);
    return 0;
}

int comparison_each(int dirfd, comparison_found *each, void *opaque, struct df_error *err)
{
    struct df_error why = { .code = 0 };
    struct reading reading = { dirfd, each, opaque, &why };
    int r = files_list(dirfd, take_file, &reading);
    if (r < 0 && !why.code)
        return error_errno(err, r, "cannot list the comparisons");
    return r < 0 ? error_set(err, r, "%s", why.message) : 0;
}
