// SPDX-License-Identifier: BSD-3-Clause
/*
 * After a restart of the host: what is left of a disk, and what of it is true.
 *
 * A process that dies loses nothing, its mappings are the kernel's.  A host
 * that crashes has on its disk each page as it was at some moment, a moment of
 * its own.  The file says in which boot it was attached last; the first who
 * opens it in another one judges, before anybody else sees it:
 *
 *  1. Tables may be mixed of two times.  The newest one that is whole by its
 *     checksum, and keeps the rules of sane.c, is put in force.  It may be one that was never published, by a
 *     process that was killed just then: as good as published a moment later.
 *  2. Closed cleanly (sync.c): persistent bitmaps and bitmaps of sessions are
 *     on storage to the last bit.  Plain ones are not: inconsistent; nor are
 *     those that a comparison fills, which begins again.
 *     Not closed: any bitmap may lack any bit, all are inconsistent.
 *  3. Not closed and a bitmap was being moved away: the fence of a pivot that
 *     the crash undid may be missing, while the target runs.  Two writable
 *     sides are worse than none: the disk is fenced.  The daemon lifts the fence
 *     when the target says that it never recorded.
 *  4. The processes of the section slots are gone.  Their writes are in no
 *     bitmap that is good: a closed disk had none open.
 *  5. A map that cannot be opened makes its bitmap inconsistent whatever was
 *     said, and is replaced by an empty one: one that cannot be mapped would
 *     hinder the recording of all others (writer.c).  A writer that may not make
 *     files there leaves all of it as it is, for the daemon to judge.
 *
 * A second crash in between comes to the same verdict, because at each moment
 * storage has one of: the old boot with all that the verdict was drawn from, or
 * the new boot with the verdict.  Hence: `closed` stays as it is (a verdict is
 * no change), the new table is on storage before the epoch names it, both are
 * before a map is replaced (5 must not be drawn from an empty map), and `boot`
 * is stored last.
 *
 * Memory order: others compare `boot` without the lock.  boot[1] is stored
 * (release) behind all else and loaded (acquire) first, so who finds it sees
 * the verdict.
 */
#include "bitmap/disk.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/files.h"

#define BOOT_WORDS (BOOT_ID_BYTES / 8)

static bool is_boot(const struct disk_shared *shared, const uint64_t boot[BOOT_WORDS])
{
    return atomic_load_explicit(&shared->boot[1], memory_order_acquire) == boot[1] &&
           atomic_load_explicit(&shared->boot[0], memory_order_relaxed) == boot[0];
}

/* The newer one of the tables that are whole, or -1. */
static int newest_table(const struct df_disk *disk, uint64_t in_force)
{
    int best = -1;
    uint64_t number = 0;
    for (unsigned i = 0; i < 2; i++) {
        int which = (int)((in_force + i) & 1);      /* the one in force first: it wins a tie */
        if (table_take(disk, &disk->shared->tables[which], disk->table) || (best >= 0 && disk->table->number <= number))
            continue;
        best = which;
        number = disk->table->number;
    }
    return best;
}

/*
 * Step 1.  *closed: the table is the one that the clean close vouched for, or
 * the verdict on that one (a closed disk gets no newer one by a commit).
 */
static int choose_table(struct df_disk *disk, struct txn *txn, bool *closed, struct df_error *err)
{
    struct disk_shared *shared = disk->shared;
    uint64_t epoch = atomic_load_explicit(&shared->epoch, memory_order_relaxed), number = epoch >> 1;
    int best = newest_table(disk, number);
    if (best < 0 || table_take(disk, &shared->tables[best], disk->table) || number > TXN_NUMBER_MAX)
        return error_set(err, -EPROTO, "disk '%s' was damaged when the host crashed, its list of bitmaps is lost: remove the disk, add it and its bitmaps anew and take a full backup",
                         disk->name);
    const struct table *table = disk->table;
    *closed = table->number >= number && atomic_load_explicit(&shared->closed, memory_order_relaxed) == DISK_CLOSED;
    /* A fence whose table was torn holds too. */
    uint64_t fence = table->fence | (number > table->number ? epoch & DISK_EPOCH_FENCED : 0);
    if (number < table->number)
        number = table->number;
    number += (number & 1) != (uint64_t)best;
    atomic_store_explicit(&shared->epoch, number << 1 | fence, memory_order_relaxed);
    *txn = (struct txn){ .disk = disk, .table = disk->table, .number = number, .fence = fence };
    return 0;
}

/* Can the map be opened?  -EPROTO, -ENOENT: no, and it never will.  Others may be of this process only. */
static int try_map(struct df_disk *disk, uint64_t id, unsigned granularity_shift, struct df_error *err)
{
    struct map_ref *ref = NULL;
    int r = id ? mapref_get(disk, id, granularity_shift, &ref, err) : 0;
    mapref_put(disk, &ref);
    return r;
}

static bool is_lost(int r)
{
    return r == -EPROTO || r == -ENOENT;
}

/* Steps 2, 3 and the first half of 5. */
static int judge(struct txn *txn, bool closed, struct df_error *err)
{
    for (uint32_t i = 0; i < txn->table->nrecords; i++) {
        struct record *record = &txn->table->records[i];
        struct df_error why[2];
        int r[2] = { try_map(txn->disk, record->map, record->granularity_shift, &why[0]),
                     try_map(txn->disk, record->child, record->granularity_shift, &why[1]) };
        for (unsigned j = 0; j < 2; j++)
            if (r[j] < 0 && !is_lost(r[j]))
                return error_set(err, r[j], "disk '%s' cannot be opened: %s", txn->disk->name, why[j].message);
        if ((r[0] || r[1]) && !disk_owns_files(txn->disk))
            return error_set(err, -EACCES, "disk '%s' was damaged when the host crashed, and only the owner of its files can repair it: start the daemon first", txn->disk->name);
        if (!closed || !record_is_kept(record) || r[0] || r[1])
            record->flags |= RECORD_INCONSISTENT;
        if (!closed && record->state == RECORD_TAKEN)
            txn->fence = DISK_EPOCH_FENCED;
    }
    return 0;
}

/* Nobody is there who could have it mapped.  If no new one can be made, writers find that out and say so. */
static void replace_if_damaged(struct df_disk *disk, uint64_t id, unsigned granularity_shift)
{
    if (is_lost(try_map(disk, id, granularity_shift, NULL)))
        disk_create_map(disk, id, granularity_shift, NULL);
}

static void replace_damaged_maps(struct df_disk *disk, const struct table *table)
{
    for (uint32_t i = 0; i < table->nrecords; i++) {
        replace_if_damaged(disk, table->records[i].map, table->records[i].granularity_shift);
        replace_if_damaged(disk, table->records[i].child, table->records[i].granularity_shift);
    }
}

/* Step 4. */
static void drop_sections(struct disk_shared *shared)
{
    for (unsigned i = 0; i < DF_DISK_WRITERS; i++)
        if (atomic_load_explicit(&shared->sections[i].open, memory_order_relaxed))
            atomic_store_explicit(&shared->sections[i].open, 0, memory_order_relaxed);
    atomic_store_explicit(&shared->nsections, 0, memory_order_relaxed);
}

/* Callers hold mutex and file lock. */
static int recover(struct df_disk *disk, const uint64_t boot[BOOT_WORDS], struct df_error *err)
{
    struct disk_shared *shared = disk->shared;
    struct txn txn;
    bool closed = false;
    if (section_in_use(disk))
        return error_set(err, -EPROTO, "disk '%s' says that it was opened before the host was restarted, and a program has it open for writing: it is damaged, stop that program, remove the disk and add it anew",
                         disk->name);
    int r = choose_table(disk, &txn, &closed, err);
    if (!r)
        r = judge(&txn, closed, err);
    if (r < 0)
        return r;
    txn_fill(&txn);
    drop_sections(shared);
    r = files_sync(disk->fd);
    if (!r) {
        txn_publish(&txn);
        r = files_sync(disk->fd);
    }
    if (r < 0)
        return error_errno(err, r, "disk '%s' cannot be opened: writing what a restart of the host left of it to stable storage failed", disk->name);
    if (fault_is_broken(&disk->broken))
        return disk_set_damaged(disk, "its file was cut", err);
    replace_damaged_maps(disk, txn.table);
    atomic_store_explicit(&shared->boot[0], boot[0], memory_order_relaxed);
    atomic_store_explicit(&shared->boot[1], boot[1], memory_order_release);
    return 0;
}

int disk_check_boot(struct df_disk *disk, struct df_error *err)
{
    uint8_t id[BOOT_ID_BYTES];
    uint64_t boot[BOOT_WORDS];
    int r = boot_id(id, err);
    memcpy(boot, id, sizeof boot);
    if (r < 0 || is_boot(disk->shared, boot))
        return r;
    LOCK_SCOPE(&disk->mutex);
    r = disk_lock(disk, err);
    if (r < 0)
        return r;
    if (!is_boot(disk->shared, boot))   /* nobody was faster */
        r = recover(disk, boot, err);
    disk_unlock(disk);
    return r;
}
