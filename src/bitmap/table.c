// SPDX-License-Identifier: BSD-3-Clause
/*
 * Transactions on a disk's table of bitmaps.
 *
 * Publishing order: fill the table and the active list that are not in force,
 * then one seq_cst store of the new epoch.  Writers that read the list while a
 * later transaction already fills it again notice by the epoch, as in a
 * seqlock: the release fence before filling pairs with their acquire fence
 * before the second look (writer.c).
 */
#include "bitmap/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <xxhash.h>

#include "base/error.h"

/* Byte 0 of the lock space is the table's; the slots' bytes are in section.c. */
static struct flock table_lock(short type)
{
    return (struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1 };
}

int disk_lock(struct df_disk *disk, struct df_error *err)
{
    struct flock lock = table_lock(F_WRLCK);
    while (fcntl(disk->fd, F_OFD_SETLKW, &lock) < 0)
        if (errno != EINTR)
            return error_errno(err, -errno, "cannot lock disk '%s'", disk->name);
    return 0;
}

void disk_unlock(struct df_disk *disk)
{
    struct flock lock = table_lock(F_UNLCK);
    fcntl(disk->fd, F_OFD_SETLK, &lock);
}

static struct table *table_of(const struct df_disk *disk, uint64_t number)
{
    return &disk->shared->tables[number & 1];
}

static uint64_t table_checksum(const struct table *table)
{
    const char *from = (const char *)&table->number, *to = (const char *)&table->records[table->nrecords];
    return XXH3_64bits(from, (size_t)(to - from));
}

void table_seal(struct table *table, uint64_t number, uint64_t fence)
{
    table->number = number;
    table->fence = (uint32_t)fence;
    table->checksum = table_checksum(table);
}

bool table_is_whole(const struct table *table)
{
    return table->nrecords <= DF_DISK_BITMAPS && table->checksum == table_checksum(table);
}

/*
 * All of the table in force is copied, its number and checksum too: as long as
 * nothing is edited there are two copies, which is what a crash may need.
 */
void txn_start(struct df_disk *disk, struct txn *txn)
{
    uint64_t epoch = atomic_load_explicit(&disk->shared->epoch, memory_order_acquire);
    const struct table *now = table_of(disk, epoch >> 1);
    *txn = (struct txn){ .disk = disk, .table = table_of(disk, (epoch >> 1) + 1), .fence = epoch & DISK_EPOCH_FENCED };
    uint32_t n = now->nrecords <= DF_DISK_BITMAPS ? now->nrecords : 0;
    memcpy(txn->table, now, offsetof(struct table, records) + n * sizeof *now->records);
    txn->table->nrecords = n;
}

int txn_begin(struct df_disk *disk, struct txn *txn, struct df_error *err)
{
    *txn = (struct txn){ 0 };
    pthread_mutex_lock(&disk->mutex);
    int r = disk_lock(disk, err);
    if (r < 0) {
        pthread_mutex_unlock(&disk->mutex);
        return r;
    }
    txn_start(disk, txn);
    return 0;
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

/* The map that a write must mark now, 0 = none. */
static uint64_t record_active_map(const struct record *record)
{
    if (!(record->flags & RECORD_ENABLED))
        return 0;
    switch ((enum record_state)record->state) {
    case RECORD_IDLE:
    case RECORD_TAKEN:
    case RECORD_RECLAIMING:
        return record->map;
    case RECORD_FROZEN:
        return record->child;
    case RECORD_LOCKED:
        return 0;
    }
    return 0;
}

static uint64_t next_number(const struct disk_shared *shared)
{
    return (atomic_load_explicit(&shared->epoch, memory_order_relaxed) >> 1) + 1;
}

void txn_fill(struct txn *txn)
{
    struct disk_shared *shared = txn->disk->shared;
    uint64_t number = next_number(shared);
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
}

void txn_publish(struct txn *txn)
{
    struct disk_shared *shared = txn->disk->shared;
    atomic_store_explicit(&shared->epoch, next_number(shared) << 1 | txn->fence, memory_order_seq_cst);
}

int txn_commit(struct txn *txn, struct df_error *err)
{
    /* Before the table has its checksum: a closed disk never has a newer table that is whole (crash.c). */
    int r = txn->changed ? disk_unclose(txn->disk, err) : 0;
    if (r < 0 || !txn->changed) {
        txn_abort(txn);
        return r;
    }
    txn_fill(txn);
    txn_publish(txn);
    finish(txn, txn->dropped);
    return 0;
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

int txn_create_map(struct txn *txn, unsigned granularity_shift, uint64_t *id, struct df_error *err)
{
    char file[MAP_FILE_BYTES];
    struct map *map = NULL;
    *id = txn->table->next_map++;
    /* A process that died between here and its commit has left a file whose id is given out again. */
    unlinkat(txn->disk->dirfd, mapref_file(*id, file), 0);
    int r = map_create(txn->disk->dirfd, mapref_file(*id, file), disk_nbits(txn->disk, granularity_shift), &map, err);
    if (r < 0)
        return r;
    map_close(&map);
    note(txn->created, *id);
    return 0;
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
