// SPDX-License-Identifier: BSD-3-Clause
/*
 * Transactions on a disk's table of bitmaps.
 *
 * A transaction works on a private copy of the table in force (sane.c): nothing
 * that it checks can be changed by another process before it is used.  The
 * shared table that is not in force is written when the copy is complete, by
 * txn_fill, and never read back.
 *
 * Publishing order: copy to the table and the active list that are not in
 * force, then one seq_cst store of the new epoch.  A host that crashes in the
 * copying leaves a table whose checksum is wrong, and the old one (crash.c); a
 * process that dies there leaves the epoch as it was.  Writers that read the
 * list while a later transaction already fills it again notice by the epoch, as
 * in a seqlock: the release fence before filling pairs with their acquire fence
 * before the second look (writer.c).
 *
 * The table in force must have the number and the fence that the epoch says,
 * and the active list be the one that follows from it.  Else somebody has
 * written to the file past these functions.
 */
#include "bitmap/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"

/* Honest holders keep the file lock for microseconds; a close or a merge of a large bitmap for longer. */
#define LOCK_PATIENCE_MS 5000
#define LOCK_PAUSE_NS    (50 * 1000)

/* Byte 0 of the lock space is the table's; the slots' bytes are in section.c. */
static struct flock table_lock(short type)
{
    return (struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1 };
}

/* Faults are caught, so others are not trusted: somebody who keeps the lock must not keep us too. */
static int lock_patiently(struct df_disk *disk)
{
    struct flock lock = table_lock(F_WRLCK);
    int64_t until_ms = disk->lock_is_stuck ? 0 : clock_ms() + LOCK_PATIENCE_MS;
    while (fcntl(disk->fd, F_OFD_SETLK, &lock) < 0) {
        if (errno != EAGAIN && errno != EACCES && errno != EINTR)
            return -errno;
        disk->lock_is_stuck = clock_ms() >= until_ms;
        if (disk->lock_is_stuck)
            return -EBUSY;
        clock_sleep_ns(LOCK_PAUSE_NS);
    }
    disk->lock_is_stuck = false;
    return 0;
}

int disk_lock(struct df_disk *disk, struct df_error *err)
{
    struct flock lock = table_lock(F_WRLCK);
    int r = fault_is_on() ? lock_patiently(disk) : 0;
    if (r == -EBUSY)
        return error_set(err, r, "disk '%s' has been locked by another program for too long: try again, or stop the programs that write to it", disk->name);
    while (!r && !fault_is_on() && fcntl(disk->fd, F_OFD_SETLKW, &lock) < 0)
        r = errno == EINTR ? 0 : -errno;
    return r < 0 ? error_errno(err, r, "cannot lock disk '%s'", disk->name) : 0;
}

void disk_unlock(struct df_disk *disk)
{
    struct flock lock = table_lock(F_UNLCK);
    fcntl(disk->fd, F_OFD_SETLK, &lock);
}

/* The map that a write must mark now, 0 = none. */
static uint64_t record_active_map(const struct record *record)
{
    if (!(record->flags & RECORD_ENABLED))
        return 0;
    switch ((enum record_state)record->state) {
    case RECORD_IDLE:
    case RECORD_TAKEN:
    case RECORD_RECLAIMING:
    case RECORD_COMPARED:
        return record->map;
    case RECORD_FROZEN:
        return record->child;
    case RECORD_LOCKED:
        return 0;
    }
    return 0;
}

/* Does the list say what the table says? */
static bool active_agrees(const struct active *active, const struct table *table)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < table->nrecords; i++) {
        const struct record *record = &table->records[i];
        uint64_t map = record_active_map(record);
        if (!map)
            continue;
        if (atomic_load_explicit(&active->maps[n].map, memory_order_relaxed) != map ||
            atomic_load_explicit(&active->maps[n].granularity_shift, memory_order_relaxed) != record->granularity_shift)
            return false;
        n++;
    }
    return atomic_load_explicit(&active->n, memory_order_relaxed) == n;
}

static int take_in_force(struct df_disk *disk, struct txn *txn, struct df_error *err)
{
    uint64_t epoch = atomic_load_explicit(&disk->shared->epoch, memory_order_acquire), number = epoch >> 1;
    const char *why = table_take(disk, &disk->shared->tables[number & 1], disk->table);
    if (!why && (disk->table->number != number || disk->table->fence != (epoch & DISK_EPOCH_FENCED)))
        why = "it is not the one that was put in force last";
    if (!why && !active_agrees(&disk->shared->active[number & 1], disk->table))
        why = "writers are told to mark something else";
    if (why)
        return disk_set_damaged(disk, why, err);
    *txn = (struct txn){ .disk = disk, .table = disk->table, .number = number, .fence = epoch & DISK_EPOCH_FENCED };
    return 0;
}

int txn_begin(struct df_disk *disk, struct txn *txn, struct df_error *err)
{
    *txn = (struct txn){ 0 };
    pthread_mutex_lock(&disk->mutex);
    int r = disk_lock(disk, err);
    if (!r && (r = take_in_force(disk, txn, err)) < 0)
        disk_unlock(disk);
    if (r < 0)
        pthread_mutex_unlock(&disk->mutex);
    return r;
}

static void finish(struct txn *txn, const uint64_t unlink_ids[2])
{
    struct df_disk *disk = txn->disk;
    char file[MAP_FILE_BYTES];
    for (unsigned i = 0; i < 2; i++)
        if (unlink_ids[i])
            unlinkat(disk->dirfd, mapref_file(unlink_ids[i], file), 0);
    txn->table = NULL;
    disk_unlock(disk);
    pthread_mutex_unlock(&disk->mutex);
}

static void copy_out(struct table *shared, const struct table *own)
{
    memcpy(shared, own, offsetof(struct table, records) + own->nrecords * sizeof *own->records);
}

void txn_mirror(const struct txn *txn)
{
    copy_out(&txn->disk->shared->tables[(txn->number + 1) & 1], txn->table);
}

void txn_fill(struct txn *txn)
{
    struct disk_shared *shared = txn->disk->shared;
    uint64_t number = txn->number + 1;
    struct active *active = &shared->active[number & 1];
    uint64_t n = 0;
    atomic_thread_fence(memory_order_release);
    for (uint32_t i = 0; i < txn->table->nrecords; i++) {
        const struct record *record = &txn->table->records[i];
        uint64_t map = record_active_map(record);
        if (!map)
            continue;
        atomic_store_explicit(&active->maps[n].map, map, memory_order_relaxed);
        atomic_store_explicit(&active->maps[n].granularity_shift, record->granularity_shift, memory_order_relaxed);
        n++;
    }
    atomic_store_explicit(&active->n, n, memory_order_relaxed);
    table_seal(txn->table, number, txn->fence);
    copy_out(&shared->tables[number & 1], txn->table);
}

void txn_publish(struct txn *txn)
{
    atomic_store_explicit(&txn->disk->shared->epoch, (txn->number + 1) << 1 | txn->fence, memory_order_seq_cst);
}

bool disk_owns_files(const struct df_disk *disk)
{
    return faccessat(disk->dirfd, ".", W_OK | X_OK, AT_EACCESS) == 0;
}

/* May the change be made, before it has begun? */
static int prepare(struct txn *txn, struct df_error *err)
{
    if (txn->dropped[0] && !disk_owns_files(txn->disk))
        return error_set(err, -EACCES, "disk '%s' cannot be changed so: only the owner of its files may remove the old ones; ask the daemon to do it", txn->disk->name);
    /* Before the table has its checksum: a closed disk never has a newer table that is whole (crash.c). */
    return disk_unclose(txn->disk, err);
}

int txn_commit(struct txn *txn, struct df_error *err)
{
    static const uint64_t none[2];
    int r = txn->changed ? prepare(txn, err) : 0;
    if (r < 0 || !txn->changed) {
        txn_abort(txn);
        return r;
    }
    txn_fill(txn);
    txn_publish(txn);
    bool lost = fault_is_broken(&txn->disk->broken);
    if (lost)
        r = disk_set_damaged(txn->disk, "its file was cut", err);
    finish(txn, lost ? none : txn->dropped);
    return r;
}

void txn_abort(struct txn *txn)
{
    if (txn->table)
        finish(txn, txn->created);
}

static void note(uint64_t ids[2], uint64_t id)
{
    ids[ids[0] ? 1 : 0] = id;
}

int disk_create_map(struct df_disk *disk, uint64_t id, unsigned granularity_shift, struct df_error *err)
{
    CLEANUP(map_close) struct map *map = NULL;
    char file[MAP_FILE_BYTES];
    unlinkat(disk->dirfd, mapref_file(id, file), 0);
    int r = map_create(disk->dirfd, file, disk_nbits(disk, granularity_shift), &map, err);
    if (!r && disk->group && fchmod(map->fd, DISK_GROUP_FILE_MODE) < 0) {
        r = error_errno(err, -errno, "cannot let the group of writers use a bitmap of disk '%s'", disk->name);
        unlinkat(disk->dirfd, file, 0);
    }
    return r;
}

int txn_create_map(struct txn *txn, unsigned granularity_shift, uint64_t *id, struct df_error *err)
{
    *id = txn->table->next_map++;
    int r = disk_create_map(txn->disk, *id, granularity_shift, err);
    if (!r)
        note(txn->created, *id);
    return r;
}

void txn_drop_map(struct txn *txn, uint64_t id)
{
    note(txn->dropped, id);
}

struct record *txn_find(const struct txn *txn, const char *name)
{
    for (uint32_t i = 0; i < txn->table->nrecords; i++)
        if (!strcmp(txn->table->records[i].name, name))
            return &txn->table->records[i];
    return NULL;
}

int txn_get(const struct txn *txn, const char *name, struct record **record, struct df_error *err)
{
    *record = txn_find(txn, name);
    if (!*record)
        return error_set(err, -ENOENT, "disk '%s' has no bitmap '%s'", txn->disk->name, name);
    return 0;
}
