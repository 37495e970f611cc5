// SPDX-License-Identifier: BSD-3-Clause
/*
 * What is on stable storage.
 *
 * Recording never waits for a disk: the maps are written back when the kernel
 * likes, so a host that crashes may have lost bits.  Only a disk that was
 * closed cleanly is known to be whole, and `closed` says so.
 *
 *     close    UNSURE - nobody writes? - maps, directories, table - CLOSED - fdatasync
 *     unclose  UNSURE - fdatasync - OPEN
 *
 * Order, as stable storage sees it
 *  - CLOSED is stored only when all that it vouches for is there.
 *  - The first change after it comes when UNSURE has taken its place there.  So
 *    storage that says CLOSED has the last bit that was ever recorded.
 *
 * Order, as other processes see it
 *  - Whoever changes anything loads `closed` first.  OPEN: go on.  Else it
 *    takes the file lock, and with it the turn: a close that is under way ends
 *    first, an unclose is completed, also that of a process that was killed.
 *    OPEN is stored (release) and loaded (acquire or stronger) behind the
 *    fdatasync, so nobody goes on before the storage knows.
 *  - A writer does so once, when it claims its slot: it locks the slot, then
 *    loads `closed`.  A close stores UNSURE, then looks at the locks.  The
 *    kernel guards a file's locks by one lock of its own, so the two see each
 *    other: either the close finds the slot, or the claim finds UNSURE and
 *    waits.  A write itself looks at nothing.
 *
 * The pivot.  Its commits (fence, unlock) do not wait for storage, because take
 * and add_frozen were changes and have opened the disk.  Only when it was
 * closed again between prepare and pivot (the last writer left, the daemon was
 * stopped) the first of them pays for one fdatasync, and must: a fence that a
 * crash could undo behind CLOSED would leave two writable sides.
 */
#include "bitmap/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/files.h"

int disk_unclose(struct df_disk *disk, struct df_error *err)
{
    _Atomic uint32_t *closed = &disk->shared->closed;
    if (atomic_load_explicit(closed, memory_order_acquire) == DISK_OPEN)
        return 0;
    atomic_store_explicit(closed, DISK_UNSURE, memory_order_relaxed);
    int r = files_sync(disk->fd);
    if (r < 0)      /* stays UNSURE: whoever comes next tries again */
        return error_errno(err, r, "disk '%s' cannot be changed: noting that on stable storage failed", disk->name);
    atomic_store_explicit(closed, DISK_OPEN, memory_order_release);
    return 0;
}

/* The entries of the maps and of the disk itself: its directory, disks, the state directory. */
static int sync_entries(const struct df_disk *disk)
{
    static const char *const ways[] = { ".", "..", "../.." };
    int r = 0;
    for (unsigned i = 0; !r && i < sizeof ways / sizeof *ways; i++) {
        CLEANUP(cleanup_fd) int fd = openat(disk->dirfd, ways[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = fd < 0 ? -errno : files_sync_directory(fd);
    }
    return r;
}

static int sync_table(struct df_disk *disk, struct df_error *err)
{
    int r = files_sync(disk->fd);
    if (!r)
        r = sync_entries(disk);
    return r < 0 ? error_errno(err, r, "writing the table of disk '%s' to stable storage failed", disk->name) : 0;
}

/*
 * Both tables are made as the one in force first, so that no older one can come
 * back from storage, whatever is torn later (crash.c).
 * The sync itself is without a lock: no transaction waits for storage.
 */
int disk_sync(struct df_disk *disk, struct df_error *err)
{
    struct txn txn;
    int r = txn_begin(disk, &txn, err);
    if (r < 0)
        return r;
    txn_mirror(&txn);
    txn_abort(&txn);
    return sync_table(disk, err);
}

/* The kernel may forget what it failed to write and say nothing the next time: the map remembers. */
static int sync_map(struct map *map)
{
    int r = files_sync(map->fd);
    if (r < 0)
        atomic_store_explicit(&map->header->damaged, 1, memory_order_release);
    return r;
}

int disk_sync_map(struct df_disk *disk, const char *bitmap, struct df_error *err)
{
    struct map_ref *refs[2] = { NULL, NULL };
    int r;
    {
        CLEANUP(txn_abort) struct txn txn;
        struct record *record;
        r = txn_begin(disk, &txn, err);
        if (!r)
            r = txn_get(&txn, bitmap, &record, err);
        if (!r)
            r = mapref_get(disk, record->map, record->granularity_shift, &refs[0], err);
        if (!r && record->child)
            r = mapref_get(disk, record->child, record->granularity_shift, &refs[1], err);
    }
    for (unsigned i = 0; i < 2; i++) {
        if (!r && refs[i] && (r = sync_map(refs[i]->map)) < 0)
            error_errno(err, r, "writing bitmap '%s' of disk '%s' to stable storage failed", bitmap, disk->name);
        disk_put_map(disk, &refs[i]);
    }
    return r;
}

/* ----------------------------------------------------------- clean close */

/* A map that is damaged or gone makes its bitmap inconsistent whatever is synced (crash.c): pass over it. */
static int close_map(struct df_disk *disk, uint64_t id, unsigned granularity_shift, struct df_error *err)
{
    struct map_ref *ref = NULL;
    struct df_error why;
    int r = id ? mapref_get(disk, id, granularity_shift, &ref, &why) : -ENOENT;
    if (r == -ENOENT || r == -EPROTO)
        return 0;
    if (r < 0)
        return error_set(err, r, "disk '%s' cannot be closed: %s", disk->name, why.message);
    r = sync_map(ref->map);
    mapref_put(disk, &ref);
    return r < 0 ? error_errno(err, r, "writing a bitmap of disk '%s' to stable storage failed", disk->name) : 0;
}

/* All that CLOSED vouches for.  A bitmap that is inconsistent stays so, whatever its bits. */
static int close_contents(struct df_disk *disk, const struct txn *txn, struct df_error *err)
{
    const struct table *table = txn->table;
    txn_mirror(txn);
    int r = section_reap_all(disk);
    if (r < 0)
        return error_errno(err, r, "cannot record the write of a dead writer of disk '%s'", disk->name);
    for (uint32_t i = 0; !r && i < table->nrecords; i++) {
        const struct record *record = &table->records[i];
        if (record->flags & RECORD_INCONSISTENT || !record_is_kept(record))
            continue;
        r = close_map(disk, record->map, record->granularity_shift, err);
        if (!r)
            r = close_map(disk, record->child, record->granularity_shift, err);
    }
    if (!r)
        r = sync_table(disk, err);
    /* What was looked at may have been zeroes: then CLOSED would vouch for nothing. */
    return !r && fault_is_broken(&disk->broken) ? disk_set_damaged(disk, "its file was cut", err) : r;
}

int df_disk_flush(struct df_disk *disk, struct df_error *err)
{
    CLEANUP(txn_abort) struct txn txn;
    int r = txn_begin(disk, &txn, err);
    if (r < 0)
        return r;
    _Atomic uint32_t *closed = &disk->shared->closed;
    uint32_t before = atomic_load_explicit(closed, memory_order_relaxed);
    if (before == DISK_CLOSED)
        return 0;
    /* seq_cst, before the look at the slots: see above. */
    atomic_store_explicit(closed, DISK_UNSURE, memory_order_seq_cst);
    if (section_in_use(disk))
        r = error_set(err, -EBUSY, "disk '%s' cannot be closed: a program has it open for writing; stop that first", disk->name);
    else
        r = close_contents(disk, &txn, err);
    if (r < 0) {    /* not OPEN, if storage may still say CLOSED */
        atomic_store_explicit(closed, before, memory_order_release);
        return r;
    }
    atomic_store_explicit(closed, DISK_CLOSED, memory_order_relaxed);
    r = files_sync(disk->fd);
    if (r < 0) {
        atomic_store_explicit(closed, DISK_UNSURE, memory_order_release);
        return error_errno(err, r, "noting on stable storage that disk '%s' is closed failed", disk->name);
    }
    return 0;
}
