// SPDX-License-Identifier: BSD-3-Clause
/*
 * A bitmap that a comparison fills: the disk is compared with a backup, and what
 * differs is set, while the bitmap records.
 *
 *     IDLE --begin--> COMPARED --complete, cancel--> IDLE
 *     COMPARED --begin by the same comparison--> COMPARED, from the start again
 *
 * A comparison of all of the disk makes good whatever writes the bitmap lacked,
 * but only at its end.  So `inconsistent` is put aside at the begin, as
 * RECORD_WAS_INCONSISTENT, and users see it all the time:
 *
 *     complete   what was put aside is gone; what was noted since then stays
 *     cancel     what was put aside is what it was
 *
 * Order of the begin, for a process may be killed at any point:
 *  1. A map that says `damaged` makes the record say INCONSISTENT (a commit).
 *  2. The map's word is cleared.  From here on it tells of this comparison.
 *  3. INCONSISTENT becomes WAS_INCONSISTENT, IDLE becomes COMPARED (a commit).
 * Killed behind 1 or 2 the bitmap is what it was.  3 moves the epoch.  So a write
 * that could not be marked before 2, and reaches the disk behind 3, is marked
 * once more at its end (writer.c); one that was over before 3 is compared.
 *
 * Bits are set past the file lock.  A close of the disk that comes in between
 * vouches for bits that are not all on storage; but after a restart of the host
 * a comparison begins again, and needs none of them.
 */
#include "bitmap/disk.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"

static bool is_of(const struct record *record, const uint8_t *comparison)
{
    return record->state == RECORD_COMPARED && !memcmp(record->session, comparison, DF_SESSION_BYTES);
}

static int check_begin(const struct txn *txn, const struct record *record, const uint8_t *comparison, struct df_error *err)
{
    if (is_of(record, comparison))
        return 0;
    int r = permit_check(txn, record, PERMIT_COMPARE, err);
    if (!r && !(record->flags & RECORD_ENABLED))
        r = error_set(err, -EINVAL, "bitmap '%s' of disk '%s' does not record and cannot be compared: writes of the time until the end would be in no bitmap; "
                      "enable it first, or add another one", record->name, txn->disk->name);
    return r;
}

/* Its map too; -EPROTO: that was cut. */
static int begin_step(struct df_disk *disk, const char *name, const uint8_t *comparison, struct txn *txn, struct record **record, struct map_ref **ref,
                      struct df_error *err)
{
    int r = txn_begin(disk, txn, err);
    if (!r)
        r = txn_get(txn, name, record, err);
    if (!r)
        r = check_begin(txn, *record, comparison, err);
    if (!r)
        r = mapref_get(disk, (*record)->map, (*record)->granularity_shift, ref, err);
    if (!r && map_is_broken((*ref)->map)) {
        mapref_put(disk, ref);
        r = -EPROTO;
    }
    if ((r == -EPROTO || r == -ENOENT) && *record)
        error_set(err, r, "bitmap '%s' of disk '%s' cannot be compared: its file was cut or is gone; remove it and add it anew", name, disk->name);
    return r;
}

/* Step 1. */
static int note_damage(struct df_disk *disk, const char *name, const uint8_t *comparison, struct df_error *err)
{
    CLEANUP(txn_abort) struct txn txn = { 0 };
    struct record *record = NULL;
    struct map_ref *ref = NULL;
    int r = begin_step(disk, name, comparison, &txn, &record, &ref, err);
    if (r < 0)
        return r;
    if (map_is_damaged(ref->map) && !(record->flags & RECORD_INCONSISTENT)) {
        record->flags |= RECORD_INCONSISTENT;
        txn.changed = true;
    }
    mapref_put(disk, &ref);
    return txn_commit(&txn, err);
}

int disk_compare_begin(struct df_disk *disk, const char *name, const uint8_t comparison[DF_SESSION_BYTES], struct df_error *err)
{
    CLEANUP(txn_abort) struct txn txn = { 0 };
    struct record *record = NULL;
    struct map_ref *ref = NULL;
    int r = note_damage(disk, name, comparison, err);
    if (!r)
        r = begin_step(disk, name, comparison, &txn, &record, &ref, err);
    if (r < 0)
        return r;
    r = disk_unclose(disk, err);
    if (!r && record->flags & RECORD_INCONSISTENT) {
        /* Relaxed: published with the epoch. */
        atomic_store_explicit(&ref->map->header->damaged, 0, memory_order_relaxed);
        record->flags = (uint8_t)((record->flags & ~RECORD_INCONSISTENT) | RECORD_WAS_INCONSISTENT);
    }
    mapref_put(disk, &ref);
    if (r < 0)
        return r;
    record->state = RECORD_COMPARED;
    memcpy(record->session, comparison, DF_SESSION_BYTES);
    txn.changed = true;
    return txn_commit(&txn, err);
}

static int get_compared(struct df_disk *disk, const char *name, const uint8_t *comparison, struct txn *txn, struct record **record, struct df_error *err)
{
    int r = txn_begin(disk, txn, err);
    if (!r)
        r = txn_get(txn, name, record, err);
    if (!r && !is_of(*record, comparison))
        r = error_set(err, -ENOENT, "bitmap '%s' of disk '%s' is not filled by this comparison any more: begin again", name, disk->name);
    return r;
}

static int refuse_cut(const struct df_disk *disk, const char *name, struct df_error *err)
{
    return error_set(err, -EPROTO, "bitmap '%s' of disk '%s' cannot be filled: its file was cut; cancel the comparison, remove the bitmap and add it anew", name, disk->name);
}

static int get_map(struct df_disk *disk, const char *name, const uint8_t *comparison, struct map_ref **ref, unsigned *shift, struct df_error *err)
{
    CLEANUP(txn_abort) struct txn txn = { 0 };
    struct record *record;
    int r = get_compared(disk, name, comparison, &txn, &record, err);
    if (!r)
        r = disk_unclose(disk, err);
    if (r < 0)
        return r;
    *shift = record->granularity_shift;
    r = mapref_get(disk, record->map, record->granularity_shift, ref, err);
    return r == -EPROTO || r == -ENOENT ? refuse_cut(disk, name, err) : r;
}

int disk_compare_get_map(struct df_disk *disk, const char *name, const uint8_t comparison[DF_SESSION_BYTES], struct map_ref **ref, struct df_error *err)
{
    unsigned shift;
    return get_map(disk, name, comparison, ref, &shift, err);
}

int disk_compare_set(struct df_disk *disk, const char *name, const uint8_t comparison[DF_SESSION_BYTES], const struct disk_range *ranges, size_t n,
                     struct df_error *err)
{
    struct map_ref *ref = NULL;
    unsigned shift;
    int r = get_map(disk, name, comparison, &ref, &shift, err);
    if (r < 0)
        return r;
    for (size_t i = 0; !r && i < n; i++) {
        uint64_t first = ranges[i].offset >> shift, last = (ranges[i].offset + ranges[i].length - 1) >> shift;
        r = map_make_room(ref->map, first, last - first + 1);
        if (!r)
            r = map_set(ref->map, first, last - first + 1);
    }
    bool broken = map_is_broken(ref->map);
    disk_put_map(disk, &ref);
    if (broken)
        return refuse_cut(disk, name, err);
    return r < 0 ? error_errno(err, r, "bitmap '%s' of disk '%s' cannot be filled: its file system may be full", name, disk->name) : 0;
}

static int end(struct txn *txn, struct record *record, struct df_error *err)
{
    record->flags &= (uint8_t)~RECORD_WAS_INCONSISTENT;
    record->state = RECORD_IDLE;
    memset(record->session, 0, sizeof record->session);
    txn->changed = true;
    return txn_commit(txn, err);
}

int disk_compare_complete(struct df_disk *disk, const char *name, const uint8_t comparison[DF_SESSION_BYTES], bool *inconsistent, struct df_error *err)
{
    CLEANUP(txn_abort) struct txn txn = { 0 };
    struct record *record;
    int r = get_compared(disk, name, comparison, &txn, &record, err);
    if (r < 0)
        return r;
    *inconsistent = record->flags & RECORD_INCONSISTENT || record_is_damaged(disk, record);
    return end(&txn, record, err);
}

int disk_compare_cancel(struct df_disk *disk, const char *name, const uint8_t comparison[DF_SESSION_BYTES], struct df_error *err)
{
    CLEANUP(txn_abort) struct txn txn = { 0 };
    int r = txn_begin(disk, &txn, err);
    if (r < 0)
        return r;
    struct record *record = txn_find(&txn, name);
    if (!record || !is_of(record, comparison))
        return 0;
    if (record->flags & RECORD_WAS_INCONSISTENT)
        record->flags |= RECORD_INCONSISTENT;
    return end(&txn, record, err);
}
