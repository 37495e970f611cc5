// SPDX-License-Identifier: BSD-3-Clause
/*
 * nbdkit filter: each write, zero and trim that passes is a write section of a
 * dirtyferry disk, whatever the plugin beneath.
 *
 * Life cycle
 *
 *     config, config_complete      dirtyferry-state, dirtyferry-disk
 *     get_ready                    look whether the disk is there (still on the terminal)
 *     -- nbdkit forks --
 *     after_fork                   open the disk, claim the keeper
 *       open                       a connection, without writers
 *         prepare                  size of the plugin == size of the disk
 *         pwrite, zero, trim       take a lane, begin, next, end, put the lane back
 *       close                      the lanes of the connection go
 *     unload                       connections that were never closed, keeper; close the disk cleanly
 *
 * A lane is a writer and its place in the connection's list of idle ones.  A
 * connection has as many lanes as it ever had writes in flight, at most one
 * for each of its threads (nbdkit --threads).  They hang on the connection and
 * not on the thread, because nbdkit may unload a filter while a thread of a
 * connection is still on its way out: a destructor of thread-local data would
 * then run in code that is gone.
 *
 * nbdkit closes no connection that ends because nbdkit itself is stopped; all
 * callbacks have returned when it unloads the filter.  Hence the list of
 * connections.
 *
 * Locks: `connections_mutex` guards the list of connections, a connection's
 * `mutex` its idle lanes.  Neither is held during I/O nor with the other.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <nbdkit-filter.h>

#include <dirtyferry/bitmap.h>

#include "base/cleanup.h"

struct lane {
    struct lane *next;
    struct df_writer *writer;
};

struct connection {
    struct connection *next, *previous;
    pthread_mutex_t mutex;
    struct lane *idle;              /* the one that was used last comes first: its memory is warm */
    atomic_bool told_readonly;      /* the log has it once, not once a write */
};

static char *state_dir, *disk_name;
static struct df_disk *disk;

/* Holds a slot while nbdkit runs, so that the disk cannot be removed between two connections. */
static struct df_writer *keeper;

static pthread_mutex_t connections_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct connection *connections;

/* ---------------------------------------------------------- parameters */

static int set_string(char **to, const char *value)
{
    free(*to);
    *to = strdup(value);
    if (*to)
        return 0;
    nbdkit_error("dirtyferry: out of memory");
    return -1;
}

static int filter_config(nbdkit_next_config *next, nbdkit_backend *nxdata, const char *key, const char *value)
{
    if (strcmp(key, "dirtyferry-state") == 0) {
        free(state_dir);
        state_dir = nbdkit_absolute_path(value);    /* nbdkit changes to / when it daemonizes */
        return state_dir ? 0 : -1;
    }
    if (strcmp(key, "dirtyferry-disk") == 0)
        return set_string(&disk_name, value);
    return next(nxdata, key, value);
}

static int filter_config_complete(nbdkit_next_config_complete *next, nbdkit_backend *nxdata)
{
    if (!state_dir) {
        nbdkit_error("dirtyferry: parameter dirtyferry-state=DIR is missing: name the state directory that holds the disk");
        return -1;
    }
    if (!disk_name) {
        nbdkit_error("dirtyferry: parameter dirtyferry-disk=DISK is missing: name the disk in '%s' that records the writes", state_dir);
        return -1;
    }
    return next(nxdata);
}

/* ------------------------------------------------------------ the disk */

static int open_disk(struct df_disk **to)
{
    struct df_error err;
    if (df_disk_open(state_dir, disk_name, to, &err) == 0)
        return 0;
    nbdkit_error("dirtyferry: %s", err.message);
    return -1;
}

/* An error here is still seen on the terminal; the disk itself must not cross the fork. */
static int filter_get_ready(int thread_model)
{
    (void)thread_model;
    CLEANUP(df_disk_close) struct df_disk *look = NULL;
    return open_disk(&look);
}

static int filter_after_fork(nbdkit_backend *backend)
{
    (void)backend;
    struct df_error err;
    if (open_disk(&disk) < 0)
        return -1;
    if (df_writer_new(disk, &keeper, &err) == 0)
        return 0;
    nbdkit_error("dirtyferry: %s", err.message);
    return -1;
}

static int filter_thread_model(void)
{
    return NBDKIT_THREAD_MODEL_PARALLEL;
}

/* --------------------------------------------------------- connections */

static void connection_free(struct connection *c)
{
    for (struct lane *lane; (lane = c->idle);) {
        c->idle = lane->next;
        df_writer_free(&lane->writer);
        free(lane);
    }
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

static void *filter_open(nbdkit_next_open *next, nbdkit_context *context, int readonly, const char *exportname, int is_tls)
{
    (void)is_tls;
    if (next(context, readonly, exportname) == -1)
        return NULL;
    struct connection *c = calloc(1, sizeof *c);
    if (!c) {
        nbdkit_error("dirtyferry: out of memory");
        return NULL;
    }
    pthread_mutex_init(&c->mutex, NULL);
    LOCK_SCOPE(&connections_mutex);
    c->next = connections;
    if (c->next)
        c->next->previous = c;
    connections = c;
    return c;
}

static void filter_close(void *handle)
{
    struct connection *c = handle;
    pthread_mutex_lock(&connections_mutex);
    *(c->previous ? &c->previous->next : &connections) = c->next;
    if (c->next)
        c->next->previous = c->previous;
    pthread_mutex_unlock(&connections_mutex);
    connection_free(c);
}

/* With another size the bits would be those of other data. */
static int filter_prepare(nbdkit_next *next, void *handle, int readonly)
{
    (void)handle;
    (void)readonly;
    int64_t size = next->get_size(next);
    if (size < 0)
        return -1;
    if ((uint64_t)size == df_disk_size(disk))
        return 0;
    nbdkit_error("dirtyferry: the plugin serves %" PRIi64 " bytes but disk '%s' has %" PRIu64
                 " bytes: serve the image that the disk was added for, or add a disk of the image's size",
                 size, disk_name, df_disk_size(disk));
    return -1;
}

/* The last one out of all that write to the disk: bitmaps that are persistent then outlive the host. */
static void close_cleanly(void)
{
    struct df_error err;
    if (disk && df_disk_flush(disk, &err) < 0 && err.code != -EBUSY)
        nbdkit_error("dirtyferry: %s", err.message);
}

static void filter_unload(void)
{
    for (struct connection *c; (c = connections);) {
        connections = c->next;
        connection_free(c);
    }
    df_writer_free(&keeper);
    close_cleanly();
    df_disk_close(&disk);
    free(state_dir);
    free(disk_name);
}

/* -------------------------------------------------------------- writes */

static struct lane *lane_new(struct df_error *err)
{
    struct lane *lane = calloc(1, sizeof *lane);
    if (!lane) {
        strcpy(err->message, "out of memory");
        return NULL;
    }
    if (df_writer_new(disk, &lane->writer, err) < 0) {
        free(lane);
        return NULL;
    }
    return lane;
}

static struct lane *lane_take(struct connection *c, struct df_error *err)
{
    pthread_mutex_lock(&c->mutex);
    struct lane *lane = c->idle;
    if (lane)
        c->idle = lane->next;
    pthread_mutex_unlock(&c->mutex);
    return lane ? lane : lane_new(err);
}

static void lane_put(struct connection *c, struct lane *lane)
{
    LOCK_SCOPE(&c->mutex);
    lane->next = c->idle;
    c->idle = lane;
}

/* Say why a write is refused.  Returns the errno for the client. */
static int refuse(struct connection *c, int r, const char *what, uint32_t count, uint64_t offset)
{
    if (r != -EROFS) {
        nbdkit_error("dirtyferry: a %s of %" PRIu32 " bytes at %" PRIu64 " was refused, because it cannot be recorded on disk '%s': %s",
                     what, count, offset, disk_name, strerror(-r));
        return EIO;
    }
    if (!atomic_exchange_explicit(&c->told_readonly, true, memory_order_relaxed))
        nbdkit_error("dirtyferry: disk '%s' is read-only: it was moved away, write to it where it is now", disk_name);
    return EROFS;
}

/* The section's lane, or NULL with *err set: then nothing may be written. */
static struct lane *section_begin(struct connection *c, const char *what, uint32_t count, uint64_t offset, int *err)
{
    struct df_error why;
    struct lane *lane = lane_take(c, &why);
    if (!lane) {
        nbdkit_error("dirtyferry: a %s of %" PRIu32 " bytes at %" PRIu64 " was refused, because it cannot be recorded: %s",
                     what, count, offset, why.message);
        *err = EIO;
        return NULL;
    }
    int r = df_write_begin(lane->writer, offset, count);
    if (r == 0)
        return lane;
    lane_put(c, lane);
    *err = refuse(c, r, what, count, offset);
    return NULL;
}

static void section_end(struct connection *c, struct lane *lane)
{
    df_write_end(lane->writer);
    lane_put(c, lane);
}

static int filter_pwrite(nbdkit_next *next, void *handle, const void *buf, uint32_t count, uint64_t offset, uint32_t flags, int *err)
{
    struct lane *lane = section_begin(handle, "write", count, offset, err);
    if (!lane)
        return -1;
    int r = next->pwrite(next, buf, count, offset, flags, err);
    section_end(handle, lane);
    return r;
}

static int filter_zero(nbdkit_next *next, void *handle, uint32_t count, uint64_t offset, uint32_t flags, int *err)
{
    struct lane *lane = section_begin(handle, "zero", count, offset, err);
    if (!lane)
        return -1;
    int r = next->zero(next, count, offset, flags, err);
    section_end(handle, lane);
    return r;
}

static int filter_trim(nbdkit_next *next, void *handle, uint32_t count, uint64_t offset, uint32_t flags, int *err)
{
    struct lane *lane = section_begin(handle, "trim", count, offset, err);
    if (!lane)
        return -1;
    int r = next->trim(next, count, offset, flags, err);
    section_end(handle, lane);
    return r;
}

/* Reads, extents, cache, flush and all can_* are not named: they go straight to the plugin. */
static struct nbdkit_filter filter = {
    .name = "dirtyferry",
    .longname = "dirtyferry dirty bitmaps",
    .description = "Records which parts of the plugin's disk are written, in the dirty bitmaps of a dirtyferry disk.",
    .config_help = "dirtyferry-state=<DIR>   (required) State directory of dirtyferryd.\n"
                   "dirtyferry-disk=<DISK>   (required) Disk whose bitmaps record the writes.",
    .unload = filter_unload,
    .config = filter_config,
    .config_complete = filter_config_complete,
    .thread_model = filter_thread_model,
    .get_ready = filter_get_ready,
    .after_fork = filter_after_fork,
    .open = filter_open,
    .close = filter_close,
    .prepare = filter_prepare,
    .pwrite = filter_pwrite,
    .zero = filter_zero,
    .trim = filter_trim,
};

struct nbdkit_filter *filter_init(void);
NBDKIT_REGISTER_FILTER(filter)
