// SPDX-License-Identifier: BSD-3-Clause
/*
 * A disk: the shared file that ties its bitmaps, its writers and its owner
 * together.  STATE/disks/NAME/disk is mapped by every process that records or
 * manages; the maps are files beside it, map-<id>.
 *
 * Who may change what
 *  - The table of bitmaps is changed by transactions (table.c) under an
 *    exclusive lock of the file, which the kernel drops when the holder dies.
 *    There are two tables; a transaction fills the one that is not in force and
 *    publishes it with one store to `epoch`.  So a killed process leaves the
 *    old table or the new one, never half of one.
 *  - `epoch` is (transaction number * 2 + fence bit); number & 1 names the
 *    tables in force.  Writers look at this one word.
 *  - A section slot is written by the process that holds the lock on the slot's
 *    byte; the kernel drops that lock too, which is how the dead are told.
 *
 * Lock order: disk->mutex (this process) before the file lock (all processes).
 * Writers take neither, except to map a bitmap that they have not seen yet.
 */
#ifndef BITMAP_DISK_H
#define BITMAP_DISK_H

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>

#include <dirtyferry/bitmap.h>

#include "bitmap/map.h"

/* ------------------------------------------------------ the shared file */

enum record_state {
    RECORD_IDLE,            /* records into map */
    RECORD_TAKEN,           /* the same; a session owns it (source) */
    RECORD_LOCKED,          /* frozen parent, child does not record yet */
    RECORD_FROZEN,          /* frozen parent, child records */
    RECORD_RECLAIMING,      /* records into map again, child's bits are on their way */
};

enum record_flags {
    RECORD_ENABLED      = 1u << 0,
    RECORD_PERSISTENT   = 1u << 1,
    RECORD_INCONSISTENT = 1u << 2,
};

struct record {
    uint64_t map, child;            /* ids of map files, 0 = none */
    uint8_t session[DF_SESSION_BYTES];
    uint8_t state, flags, granularity_shift;
    char name[DF_BITMAP_NAME_MAX + 1];
};

struct table {
    uint64_t next_map;
    uint32_t nrecords;
    struct record records[DF_DISK_BITMAPS];
};

/* What writers mark.  Read without a lock, like a seqlock with `epoch` as its number. */
struct active {
    _Atomic uint64_t n;
    struct {
        _Atomic uint64_t map;
        _Atomic uint64_t granularity_shift;
    } maps[DF_DISK_BITMAPS];
};

struct section {
    alignas(64) _Atomic uint64_t open;      /* 1 from begin to end */
    _Atomic uint64_t offset, length;        /* valid while open */
};

#define DISK_EPOCH_FENCED UINT64_C(1)

struct disk_shared {
    char magic[8];
    uint64_t size;
    alignas(64) _Atomic uint64_t epoch;
    alignas(64) _Atomic uint64_t nsections; /* slots in use are below this */
    alignas(64) struct active active[2];
    struct table tables[2];
    struct section sections[DF_DISK_WRITERS];
};

/* ------------------------------------------------- this process's side */

struct map_ref {
    struct map_ref *next;
    uint64_t id;
    unsigned refs;
    struct map *map;
};

struct df_disk {
    char name[DF_DISK_NAME_MAX + 1];
    int dirfd, fd;
    uint64_t size;                          /* own copy: the shared one is not trusted */
    struct disk_shared *shared;
    pthread_mutex_t mutex;                  /* guards what is below, and transactions */
    struct map_ref *maps;                   /* mapped now, by id */
    uint64_t own_slots[DF_DISK_WRITERS / 64];
};

uint64_t disk_nbits(const struct df_disk *disk, unsigned granularity_shift);

/* ---- mapref.c: a map is mapped once a process.  Callers hold disk->mutex. */

int mapref_get(struct df_disk *disk, uint64_t id, unsigned granularity_shift, struct map_ref **ref, struct df_error *err);
void mapref_put(struct df_disk *disk, struct map_ref **ref);
#define MAP_FILE_BYTES 32
const char *mapref_file(uint64_t id, char file[MAP_FILE_BYTES]);

/* ---- table.c: transactions */

/* The file lock of all processes.  Callers hold disk->mutex. */
int disk_lock(struct df_disk *disk, struct df_error *err);
void disk_unlock(struct df_disk *disk);

struct txn {
    struct df_disk *disk;
    struct table *table;        /* a copy to edit; NULL when not begun */
    uint64_t fence;             /* DISK_EPOCH_FENCED or 0, to edit */
    bool changed;               /* set it, or commit publishes nothing */
    uint64_t created[2], dropped[2];    /* map files to unlink on abort, on commit */
};

/* Takes mutex and file lock.  Ends by txn_commit, or txn_abort (also as CLEANUP: a no-op after commit). */
int txn_begin(struct df_disk *disk, struct txn *txn, struct df_error *err);
int txn_create_map(struct txn *txn, unsigned granularity_shift, uint64_t *id, struct df_error *err);
void txn_drop_map(struct txn *txn, uint64_t id);
void txn_commit(struct txn *txn);
void txn_abort(struct txn *txn);
struct record *txn_find(const struct txn *txn, const char *name);
/* The same, with the error. */
int txn_get(const struct txn *txn, const char *name, struct record **record, struct df_error *err);

/* bitmap.c: add a bitmap to, remove one from, the table under edit. */
int record_add(struct txn *txn, const char *name, uint64_t granularity, unsigned flags, struct record **record, struct df_error *err);
void record_remove(struct txn *txn, struct record *record);

/* ---- permit.c: which operation a bitmap's state refuses, and in which words */

enum permit { PERMIT_REMOVE, PERMIT_CLEAR, PERMIT_ENABLE, PERMIT_DISABLE, PERMIT_MERGE_INTO, PERMIT_READ, PERMIT_MOVE };

int permit_check(const struct txn *txn, const struct record *record, enum permit what, struct df_error *err);
bool record_is_damaged(struct df_disk *disk, const struct record *record);

/* ---- writer.c: used by the reaper of dead sections.  Callers hold mutex and file lock. */

int disk_mark_locked(struct df_disk *disk, uint64_t offset, uint64_t length);

/* ---- section.c: slots.  Callers hold disk->mutex. */

int section_claim(struct df_disk *disk, unsigned *slot, struct df_error *err);
void section_release(struct df_disk *disk, unsigned slot);
/* Does a living process hold a slot? */
bool section_in_use(const struct df_disk *disk);

/* Every bitmap that records becomes inconsistent: a write could not be recorded. */
void disk_set_unrecorded(struct df_disk *disk);

/*
 * For the engine: the frozen parent (or a taken bitmap) of `session`, mapped
 * until disk_put_map().  The receiver fills it, the stream reads it.
 */
int disk_get_map(struct df_disk *disk, const char *bitmap, const uint8_t session[DF_SESSION_BYTES],
                 struct map_ref **ref, struct df_error *err);
void disk_put_map(struct df_disk *disk, struct map_ref **ref);
/* A bitmap's map whatever its state, to show its count. */
int disk_peek_map(struct df_disk *disk, const char *bitmap, struct map_ref **ref);

#endif
