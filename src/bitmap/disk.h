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
 *  - `closed` is changed under the file lock (sync.c), `boot` too (crash.c).
 *
 * That is what honest processes do.  Who may write to the file may store
 * anything anywhere at any time.  So a value is fetched once and checked behind
 * the fetch; tables are copied, and only a copy that keeps all rules is used
 * (sane.c); loops end whatever the words say.  A table in force that breaks a
 * rule makes the disk damaged (-EPROTO), and it can only be removed.
 *
 * Lock order: disk->mutex (this process) before the file lock (all processes).
 * Writers take neither, except to map a bitmap that they have not seen yet.
 */
#ifndef BITMAP_DISK_H
#define BITMAP_DISK_H

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include <dirtyferry/bitmap.h>

#include "base/boot.h"
#include "bitmap/map.h"

/* ------------------------------------------------------ the shared file */

enum record_state {
    RECORD_IDLE,            /* records into map */
    RECORD_TAKEN,           /* the same; a session owns it (source) */
    RECORD_LOCKED,          /* frozen parent, child does not record yet */
    RECORD_FROZEN,          /* frozen parent, child records */
    RECORD_RECLAIMING,      /* records into map again, child's bits are on their way */
    RECORD_COMPARED,        /* records into map, as IDLE does, and a comparison sets bits there */
};

enum record_flags {
    RECORD_ENABLED      = 1u << 0,
    RECORD_PERSISTENT   = 1u << 1,
    RECORD_INCONSISTENT = 1u << 2,
    RECORD_WAS_INCONSISTENT = 1u << 3,  /* until the comparison is complete; only when COMPARED */
};

struct record {
    uint64_t map, child;            /* ids of map files, 0 = none */
    uint8_t session[DF_SESSION_BYTES];  /* or comparison */
    uint8_t state, flags, granularity_shift;
    char name[DF_BITMAP_NAME_MAX + 1];
};

/* A host that crashes may leave half a table: hence `checksum`, over all that is behind it and in use. */
struct table {
    uint64_t checksum;          /* XXH3-64 */
    uint64_t number;            /* of the transaction that made it */
    uint64_t next_map;
    uint32_t nrecords;
    uint32_t fence;             /* the epoch's bit, once more */
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

enum section_state { SECTION_CLOSED, SECTION_ASKS, SECTION_ADMITTED };

struct section {
    alignas(64) _Atomic uint64_t open;      /* enum section_state; not CLOSED from begin to end */
    _Atomic uint64_t offset, length;        /* valid while open */
};

#define DISK_EPOCH_FENCED UINT64_C(1)

/* Whether all that must outlive the host is on stable storage; see sync.c. */
enum disk_closed {
    DISK_OPEN,              /* no; and stable storage does not say CLOSED either */
    DISK_CLOSED,            /* yes, and nothing has changed since */
    DISK_UNSURE,            /* no; stable storage may say CLOSED: lock before any change */
};

struct disk_shared {
    char magic[8];          /* the last byte is the version */
    uint64_t size;
    _Atomic uint64_t boot[BOOT_ID_BYTES / 8];   /* the boot of the host that the rest was judged in; [1] is stored last */
    _Atomic uint32_t closed;                    /* enum disk_closed */
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
    struct fault_slot *fault;
    _Atomic bool broken;                    /* the file was cut: `shared` is zeroes that nobody shares */
    bool group;                             /* its files are for a group of writers, see disk_share_all() */
    pthread_mutex_t mutex;                  /* guards what is below, and transactions */
    struct table *table;                    /* the copy that a transaction edits */
    bool lock_is_stuck;                     /* somebody kept the file lock for too long: do not wait again */
    struct map_ref *maps;                   /* mapped now, by id */
    uint64_t own_slots[DF_DISK_WRITERS / 64];
};

/* Modes for a group of writers, else 0700 and 0600. */
#define DISK_GROUP_DIRECTORY_MODE 02750
#define DISK_GROUP_FILE_MODE      0660

/*
 * What may be said of a disk when it is made, as text in a file of its own: its
 * owner's alone, also where the rest is open to a group of writers.  This store
 * does not look into it.  At most DISK_ATTACHMENT_BYTES.
 */
#define DISK_QEMU             "qemu"    /* its bitmaps are kept elsewhere, and where */
#define DISK_DATA             "data"    /* where its contents can be read */
#define DISK_ATTACHMENT_BYTES 4096

uint64_t disk_nbits(const struct df_disk *disk, unsigned granularity_shift);

/* Is it whole after a clean close of the disk?  A comparison begins again after a restart of the host: it keeps nothing. */
static inline bool record_is_kept(const struct record *record)
{
    return record->flags & RECORD_PERSISTENT || (record->state != RECORD_IDLE && record->state != RECORD_COMPARED);
}

struct disk_note {
    const char *file, *text;    /* NULL: there is none */
};

/* df_disk_create(), with these files. */
int disk_create_attached(const char *state_dir, const char *name, uint64_t size, const struct disk_note *notes, size_t n, struct df_error *err);
/* 1: there is one; 0: there is none, or no disk that can be opened; or an error, -EPROTO if it is not what it should be. */
int disk_attachment(const char *state_dir, const char *name, const char *file, char text[DISK_ATTACHMENT_BYTES + 1], struct df_error *err);

/* A descriptor of STATE/disks, made if `create`, and what is known of it and of STATE. */
int disks_open(const char *state_dir, bool create, struct stat *state_st, struct stat *disks_st, struct df_error *err);

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
    struct table *table;        /* a private copy to edit, which kept all rules; NULL when not begun */
    uint64_t number;            /* of the transaction in force */
    uint64_t fence;             /* DISK_EPOCH_FENCED or 0, to edit */
    bool changed;               /* set it, or commit publishes nothing */
    uint64_t created[2], dropped[2];    /* map files to unlink on abort, on commit */
};

/*
 * Takes mutex and file lock.  -EPROTO: the table in force is damaged.  Ends by
 * txn_commit, or txn_abort (also as CLEANUP: a no-op after commit).  A commit
 * that fails has aborted.  It can fail as the first change after a clean close
 * (disk_unclose), with -EACCES where a map must go and only the daemon may
 * remove it, and with -EPROTO when the file was cut meanwhile.
 */
int txn_begin(struct df_disk *disk, struct txn *txn, struct df_error *err);
/* A map in place of what has its name: a process that died before its commit has left a file whose id is given out again. */
int disk_create_map(struct df_disk *disk, uint64_t id, unsigned granularity_shift, struct df_error *err);
int txn_create_map(struct txn *txn, unsigned granularity_shift, uint64_t *id, struct df_error *err);
void txn_drop_map(struct txn *txn, uint64_t id);
int txn_commit(struct txn *txn, struct df_error *err);
void txn_abort(struct txn *txn);
struct record *txn_find(const struct txn *txn, const char *name);
/* The same, with the error. */
int txn_get(const struct txn *txn, const char *name, struct record **record, struct df_error *err);

/* The parts of the above, for crash.c.  Callers hold mutex and file lock, and go on holding them. */
void txn_fill(struct txn *txn);         /* make what was edited complete, and copy it to the table not in force ... */
void txn_publish(struct txn *txn);      /* ... and put it in force */
/* The table not in force becomes a copy of the one in force, which was not edited. */
void txn_mirror(const struct txn *txn);
/* May this process add files to the disk's directory and remove them? */
bool disk_owns_files(const struct df_disk *disk);

/* Behind this one no transaction is possible; nobody gets there by counting. */
#define TXN_NUMBER_MAX (UINT64_MAX >> 2)

/* Number, fence and checksum of a table that is complete. */
void table_seal(struct table *table, uint64_t number, uint64_t fence);

/* ---- sane.c */

/* Copy what is in use of a table that others may be writing to.  NULL, or which rule the copy breaks. */
const char *table_take(const struct df_disk *disk, const struct table *shared, struct table *own);
int disk_set_damaged(const struct df_disk *disk, const char *why, struct df_error *err);
/* A bitmap's name may have these bytes. */
bool bitmap_name_is_plain(const char *name);

/* bitmap.c: add a bitmap to, remove one from, the table under edit. */
int record_add(struct txn *txn, const char *name, uint64_t granularity, unsigned flags, struct record **record, struct df_error *err);
void record_remove(struct txn *txn, struct record *record);

/* ---- permit.c: which operation a bitmap's state refuses, and in which words */

enum permit { PERMIT_REMOVE, PERMIT_CLEAR, PERMIT_ENABLE, PERMIT_DISABLE, PERMIT_MERGE_INTO, PERMIT_READ, PERMIT_MOVE, PERMIT_COMPARE };

int permit_check(const struct txn *txn, const struct record *record, enum permit what, struct df_error *err);
bool record_is_damaged(struct df_disk *disk, const struct record *record);
/* -EBUSY, for a bitmap that is not IDLE: who has it, and what to do. */
int record_refuse_busy(const struct txn *txn, const struct record *record, const char *verb, struct df_error *err);

/* ---- writer.c: used by the reaper of dead sections.  Callers hold mutex and file lock. */

int disk_mark_locked(struct df_disk *disk, uint64_t offset, uint64_t length);

/* ---- section.c: slots.  Callers hold disk->mutex. */

int section_claim(struct df_disk *disk, unsigned *slot, struct df_error *err);
void section_release(struct df_disk *disk, unsigned slot);
/* Does a living process hold a slot?  Looks at the locks only, not into the file. */
bool section_in_use(const struct df_disk *disk);
/* Close all sections that the dead left, when section_in_use() says no.  Callers hold the file lock too. */
int section_reap_all(struct df_disk *disk);

/* Every bitmap that records becomes inconsistent: a write could not be recorded. */
int disk_set_unrecorded(struct df_disk *disk, struct df_error *err);

/*
 * For the engine: the frozen parent (or a taken bitmap) of `session`, mapped
 * until disk_put_map().  The receiver fills it, the stream reads it.
 */
int disk_get_map(struct df_disk *disk, const char *bitmap, const uint8_t session[DF_SESSION_BYTES],
                 struct map_ref **ref, struct df_error *err);
void disk_put_map(struct df_disk *disk, struct map_ref **ref);
/* A bitmap's map whatever its state, to show its count. */
int disk_peek_map(struct df_disk *disk, const char *bitmap, struct map_ref **ref);

/* ---- compare.c: a bitmap that the comparison of that UUID fills */

struct disk_range {
    uint64_t offset, length;    /* bytes of disk, within it; length is not 0 */
};

/*
 * From the start, also once more.  It must record, and be in nobody's hands.
 * -EINVAL, -EROFS, -EBUSY, -EPROTO: it cannot be compared.
 */
int disk_compare_begin(struct df_disk *disk, const char *bitmap, const uint8_t comparison[DF_SESSION_BYTES], struct df_error *err);
/* -ENOENT, here and below: there is no such bitmap, or it is not this comparison's.  -ENOSPC leaves the bitmap as good as before. */
int disk_compare_set(struct df_disk *disk, const char *bitmap, const uint8_t comparison[DF_SESSION_BYTES], const struct disk_range *ranges, size_t n,
                     struct df_error *err);
/* The bits, to be read; disk_put_map(). */
int disk_compare_get_map(struct df_disk *disk, const char *bitmap, const uint8_t comparison[DF_SESSION_BYTES], struct map_ref **ref, struct df_error *err);
/* All of the disk was compared.  *inconsistent: since the begin a write could not be recorded. */
int disk_compare_complete(struct df_disk *disk, const char *bitmap, const uint8_t comparison[DF_SESSION_BYTES], bool *inconsistent, struct df_error *err);
/* It will not be.  0 also if the bitmap is not there, or not this comparison's. */
int disk_compare_cancel(struct df_disk *disk, const char *bitmap, const uint8_t comparison[DF_SESSION_BYTES], struct df_error *err);

/* ---- share.c */

/*
 * Apply the modes to the disks of a state directory as they are: for a group of
 * writers (02750 and 0660, and the group of STATE/disks), or for the owner alone
 * (0700 and 0600).  Whether STATE/disks has the set-group-ID bit says which modes
 * new ones get; giving it that bit and the group is the caller's.  No disk yet: 0.
 */
int disk_share_all(const char *state_dir, bool shared, struct df_error *err);

/* ---- crash.c: callers have just mapped the disk */

/* If the host was restarted since the disk was last attached: judge what is left.  -EPROTO: nothing. */
int disk_check_boot(struct df_disk *disk, struct df_error *err);

/* ---- sync.c: what is on stable storage */

/*
 * To be called before each change of the table or of a map, by who holds mutex
 * and file lock: the note that the disk was closed cleanly is gone from stable
 * storage when it returns.  One load while the disk is open, as it is from the
 * first change after a clean close on.  Who fills the frozen parent of his
 * session need not call it: such a parent is worth nothing before a commit.
 */
int disk_unclose(struct df_disk *disk, struct df_error *err);

/* The table as it is now, the fence, and the directory's entries. */
int disk_sync(struct df_disk *disk, struct df_error *err);
/* A bitmap's map, and its child's, whatever its state. */
int disk_sync_map(struct df_disk *disk, const char *bitmap, struct df_error *err);

#endif
