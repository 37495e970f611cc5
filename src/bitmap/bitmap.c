// SPDX-License-Identifier: BSD-3-Clause
/* Bitmaps as their users manage them: add, remove, clear, enable, disable, merge, look. */
#include "bitmap/disk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"

static int check_name(const char *name, struct df_error *err)
{
    size_t n = strlen(name);
    if (n < 1 || n > DF_BITMAP_NAME_MAX)
        return error_set(err, -EINVAL, "bitmap name '%.64s%s' has %zu bytes: 1 to %u are possible", name, n > 64 ? "..." : "", n, DF_BITMAP_NAME_MAX);
    if (!bitmap_name_is_plain(name))
        return error_set(err, -EINVAL, "bitmap name '%s' has a control character in it: choose another", name);
    return 0;
}

static int check_granularity(const struct df_disk *disk, uint64_t granularity, struct df_error *err)
{
    int r = granularity_check(granularity, err);
    if (r < 0)
        return r;
    uint64_t nbits = disk_nbits(disk, (unsigned)__builtin_ctzll(granularity));
    if (nbits > DF_BITMAP_BITS_MAX)
        return error_set(err, -EFBIG, "a granularity of %" PRIu64 " bytes needs %" PRIu64 " bits for the %" PRIu64
                         " bytes of disk '%s': %" PRIu64 " are possible, choose a larger granularity",
                         granularity, nbits, disk->size, disk->name, DF_BITMAP_BITS_MAX);
    return 0;
}

int record_add(struct txn *txn, const char *name, uint64_t granularity, unsigned flags, struct record **out, struct df_error *err)
{
    struct df_disk *disk = txn->disk;
    if (txn_find(txn, name))
        return error_set(err, -EEXIST, "disk '%s' has a bitmap '%s' already: remove it first or choose another name", disk->name, name);
    if (txn->table->nrecords == DF_DISK_BITMAPS)
        return error_set(err, -ENOSPC, "disk '%s' has %u bitmaps, the most that are possible: remove one first", disk->name, DF_DISK_BITMAPS);
    int r = check_name(name, err);
    if (!r)
        r = check_granularity(disk, granularity, err);
    if (r < 0)
        return r;
    struct record *record = &txn->table->records[txn->table->nrecords];
    memset(record, 0, sizeof *record);
    record->granularity_shift = (uint8_t)__builtin_ctzll(granularity);
    r = txn_create_map(txn, record->granularity_shift, &record->map, err);
    if (r < 0)
        return r;
    record->state = RECORD_IDLE;
    record->flags = (uint8_t)((flags & DF_BITMAP_DISABLED ? 0 : RECORD_ENABLED) | (flags & DF_BITMAP_PERSISTENT ? RECORD_PERSISTENT : 0));
    memcpy(record->name, name, strlen(name) + 1);
    txn->table->nrecords++;
    txn->changed = true;
    *out = record;
    return 0;
}

int df_bitmap_add(struct df_disk *disk, const char *name, uint64_t granularity, unsigned flags, struct df_error *err)
{
    CLEANUP(txn_abort) struct txn txn;
    struct record *record;
    int r = txn_begin(disk, &txn, err);
    if (!r)
        r = record_add(&txn, name, granularity, flags, &record, err);
    return r < 0 ? r : txn_commit(&txn, err);
}

void record_remove(struct txn *txn, struct record *record)
{
    struct record *end = &txn->table->records[txn->table->nrecords];
    txn_drop_map(txn, record->map);
    if (record->child)
        txn_drop_map(txn, record->child);
    memmove(record, record + 1, (size_t)((char *)end - (char *)(record + 1)));
    txn->table->nrecords--;
    txn->changed = true;
}

/* Find, ask permission, edit, publish: the shape of every change of one bitmap. */
static int change(struct df_disk *disk, const char *name, enum permit what,
                  int (*edit)(struct txn *txn, struct record *record, struct df_error *err), struct df_error *err)
{
    CLEANUP(txn_abort) struct txn txn;
    struct record *record;
    int r = txn_begin(disk, &txn, err);
    if (!r)
        r = txn_get(&txn, name, &record, err);
    if (!r)
        r = permit_check(&txn, record, what, err);
    if (!r)
        r = edit(&txn, record, err);
    if (r < 0)
        return r;
    txn.changed = true;
    return txn_commit(&txn, err);
}

static int edit_remove(struct txn *txn, struct record *record, struct df_error *err)
{
    (void)err;
    record_remove(txn, record);
    return 0;
}

static int edit_clear(struct txn *txn, struct record *record, struct df_error *err)
{
    uint64_t old = record->map;
    int r = txn_create_map(txn, record->granularity_shift, &record->map, err);
    if (r < 0)
        return r;
    txn_drop_map(txn, old);
    return 0;
}

static int edit_enable(struct txn *txn, struct record *record, struct df_error *err)
{
    (void)txn, (void)err;
    record->flags |= RECORD_ENABLED;
    return 0;
}

static int edit_disable(struct txn *txn, struct record *record, struct df_error *err)
{
    (void)txn, (void)err;
    record->flags &= (uint8_t)~RECORD_ENABLED;
    return 0;
}

int df_bitmap_remove(struct df_disk *disk, const char *name, struct df_error *err)
{
    return change(disk, name, PERMIT_REMOVE, edit_remove, err);
}

int df_bitmap_clear(struct df_disk *disk, const char *name, struct df_error *err)
{
    return change(disk, name, PERMIT_CLEAR, edit_clear, err);
}

int df_bitmap_enable(struct df_disk *disk, const char *name, struct df_error *err)
{
    return change(disk, name, PERMIT_ENABLE, edit_enable, err);
}

int df_bitmap_disable(struct df_disk *disk, const char *name, struct df_error *err)
{
    return change(disk, name, PERMIT_DISABLE, edit_disable, err);
}

int df_bitmap_set_inconsistent(struct df_disk *disk, const char *name, struct df_error *err)
{
    CLEANUP(txn_abort) struct txn txn;
    struct record *record;
    int r = txn_begin(disk, &txn, err);
    if (!r)
        r = txn_get(&txn, name, &record, err);
    if (r < 0)
        return r;
    txn.changed = !(record->flags & RECORD_INCONSISTENT);
    record->flags |= RECORD_INCONSISTENT;
    return txn_commit(&txn, err);
}

int disk_set_unrecorded(struct df_disk *disk, struct df_error *err)
{
    struct txn txn;
    int r = txn_begin(disk, &txn, err);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < txn.table->nrecords; i++) {
        struct record *record = &txn.table->records[i];
        if (record->flags & RECORD_ENABLED && record->state != RECORD_LOCKED && !(record->flags & RECORD_INCONSISTENT)) {
            record->flags |= RECORD_INCONSISTENT;
            txn.changed = true;
        }
    }
    return txn_commit(&txn, err);
}

/* The map of a bitmap that `what` permits to use, and its granularity. */
static int use_map(struct df_disk *disk, const char *name, enum permit what, struct map_ref **ref, unsigned *shift, struct df_error *err)
{
    CLEANUP(txn_abort) struct txn txn;
    struct record *record;
    int r = txn_begin(disk, &txn, err);
    if (!r)
        r = txn_get(&txn, name, &record, err);
    if (!r)
        r = permit_check(&txn, record, what, err);
    if (r < 0)
        return r;
    *shift = record->granularity_shift;
    return mapref_get(disk, record->map, record->granularity_shift, ref, err);
}

int df_bitmap_merge(struct df_disk *disk, const char *target, struct df_disk *source_disk, const char *source, struct df_error *err)
{
    struct map_ref *from = NULL, *to = NULL;
    struct record *record;
    unsigned from_shift;
    if (disk->size != source_disk->size)
        return error_set(err, -EINVAL, "bitmap '%s' of disk '%s' (%" PRIu64 " bytes) cannot be merged into one of disk '%s' (%" PRIu64 " bytes): the sizes must be equal",
                         source, source_disk->name, source_disk->size, disk->name, disk->size);
    /* As in df_bitmap_open(): what a dead writer left is part of the source. */
    df_disk_open_sections(source_disk);
    int r = use_map(source_disk, source, PERMIT_READ, &from, &from_shift, err);
    if (r < 0)
        return r;
    {
        /* Under the lock: no fence and no session may come between the permission and the last bit. */
        CLEANUP(txn_abort) struct txn txn;
        r = txn_begin(disk, &txn, err);
        if (!r)
            r = txn_get(&txn, target, &record, err);
        if (!r)
            r = permit_check(&txn, record, PERMIT_MERGE_INTO, err);
        if (!r)
            r = mapref_get(disk, record->map, record->granularity_shift, &to, err);
        if (!r)
            r = disk_unclose(disk, err);
        if (!r && (r = map_merge_scaled(to->map, record->granularity_shift, from->map, from_shift)) < 0)
            error_errno(err, r, "merging bitmap '%s' into '%s' of disk '%s' failed half way", source, target, disk->name);
        mapref_put(disk, &to);
    }
    disk_put_map(source_disk, &from);
    return r;
}

static void fill_info(const struct txn *txn, const struct record *record, struct df_bitmap_info *info)
{
    memset(info, 0, sizeof *info);
    memcpy(info->name, record->name, sizeof info->name);
    info->granularity = UINT32_C(1) << record->granularity_shift;
    info->nbits = disk_nbits(txn->disk, record->granularity_shift);
    info->enabled = record->flags & RECORD_ENABLED;
    info->persistent = record->flags & RECORD_PERSISTENT;
    info->busy = record->state != RECORD_IDLE;
    info->frozen = record->state == RECORD_LOCKED || record->state == RECORD_FROZEN;
    info->readonly = txn->fence != 0;
    info->recording = info->enabled && !info->readonly && record->state != RECORD_LOCKED;
    info->inconsistent = record->flags & (RECORD_INCONSISTENT | RECORD_WAS_INCONSISTENT) || record_is_damaged(txn->disk, record);
    info->compared = record->state == RECORD_COMPARED;
    memcpy(info->session, record->session, sizeof info->session);
}

int df_bitmap_get_info(struct df_disk *disk, const char *name, struct df_bitmap_info *info, struct df_error *err)
{
    CLEANUP(txn_abort) struct txn txn;
    struct record *record;
    int r = txn_begin(disk, &txn, err);
    if (!r)
        r = txn_get(&txn, name, &record, err);
    if (!r)
        fill_info(&txn, record, info);
    return r;
}

int df_bitmap_list(struct df_disk *disk, struct df_bitmap_info **infos, size_t *n, struct df_error *err)
{
    CLEANUP(txn_abort) struct txn txn;
    int r = txn_begin(disk, &txn, err);
    if (r < 0)
        return r;
    *n = txn.table->nrecords;
    *infos = calloc(*n + 1, sizeof **infos);
    if (!*infos)
        return error_errno(err, -ENOMEM, "cannot list the bitmaps of disk '%s'", disk->name);
    for (size_t i = 0; i < *n; i++)
        fill_info(&txn, &txn.table->records[i], &(*infos)[i]);
    return 0;
}

/* -------------------------------------------------------------- contents */

struct df_bitmap {
    struct df_disk *disk;
    struct map_ref *ref;
    unsigned shift;
};

int df_bitmap_open(struct df_disk *disk, const char *name, struct df_bitmap **out, struct df_error *err)
{
    CLEANUP(cleanup_free) struct df_bitmap *bitmap = calloc(1, sizeof *bitmap);
    if (!bitmap)
        return error_errno(err, -ENOMEM, "cannot open bitmap '%s'", name);
    bitmap->disk = disk;
    /* A section of a dead process may hold a range that nobody has marked since a clear. */
    df_disk_open_sections(disk);
    int r = use_map(disk, name, PERMIT_READ, &bitmap->ref, &bitmap->shift, err);
    if (r < 0)
        return r;
    *out = steal(&bitmap);
    return 0;
}

void df_bitmap_close(struct df_bitmap **bitmapp)
{
    struct df_bitmap *bitmap = steal(bitmapp);
    if (!bitmap)
        return;
    disk_put_map(bitmap->disk, &bitmap->ref);
    free(bitmap);
}

bool df_bitmap_test(const struct df_bitmap *bitmap, uint64_t offset)
{
    return offset < bitmap->disk->size && map_test(bitmap->ref->map, offset >> bitmap->shift);
}

/*
 * The stretch [first, end) of bits, as bytes from `offset` on and within the
 * disk.  It has one bit at least, also if that one changed between two looks:
 * who asks for one stretch after the other comes to an end.
 */
static bool stretch(const struct df_bitmap *bitmap, uint64_t offset, uint64_t first, uint64_t end, uint64_t *start, uint64_t *length)
{
    if (first >= bitmap->ref->map->nbits)
        return false;
    if (end <= first)
        end = first + 1;
    uint64_t from = first << bitmap->shift, to = end << bitmap->shift;
    if (from < offset)
        from = offset;
    if (to > bitmap->disk->size)
        to = bitmap->disk->size;
    *start = from;
    *length = to - from;
    return true;
}

bool df_bitmap_next_dirty(const struct df_bitmap *bitmap, uint64_t offset, uint64_t *start, uint64_t *length)
{
    if (offset >= bitmap->disk->size)
        return false;
    uint64_t first = map_next_set(bitmap->ref->map, offset >> bitmap->shift);
    return stretch(bitmap, offset, first, map_next_clear(bitmap->ref->map, first), start, length);
}

bool df_bitmap_next_clean(const struct df_bitmap *bitmap, uint64_t offset, uint64_t *start, uint64_t *length)
{
    if (offset >= bitmap->disk->size)
        return false;
    uint64_t first = map_next_clear(bitmap->ref->map, offset >> bitmap->shift);
    return stretch(bitmap, offset, first, map_next_set(bitmap->ref->map, first), start, length);
}

uint64_t df_bitmap_count(const struct df_bitmap *bitmap)
{
    return map_count(bitmap->ref->map) << bitmap->shift;
}

void df_bitmap_sha256(const struct df_bitmap *bitmap, char hex[DF_SHA256_HEX_BYTES])
{
    map_sha256(bitmap->ref->map, hex);
}
