// SPDX-License-Identifier: BSD-3-Clause
/*
 * Which operation is refused when: one table for all of them.
 *
 * As in QEMU a busy bitmap can do nothing but record, and an inconsistent one
 * can only be removed; and compared, which makes it good (compare.c).  Read-only is this engine's own: after the pivot the
 * bits of the source must stay as they are.
 */
#include "bitmap/disk.h"

#include <errno.h>

#include "base/error.h"

enum { WHEN_BUSY = 1, WHEN_INCONSISTENT = 2, WHEN_READONLY = 4 };

static const struct {
    const char *verb;
    unsigned refused;
} permits[] = {
    [PERMIT_REMOVE]     = { "removed",     WHEN_BUSY },
    [PERMIT_CLEAR]      = { "cleared",     WHEN_BUSY | WHEN_INCONSISTENT | WHEN_READONLY },
    [PERMIT_ENABLE]     = { "enabled",     WHEN_BUSY | WHEN_INCONSISTENT | WHEN_READONLY },
    [PERMIT_DISABLE]    = { "disabled",    WHEN_BUSY | WHEN_INCONSISTENT | WHEN_READONLY },
    [PERMIT_MERGE_INTO] = { "merged into", WHEN_BUSY | WHEN_INCONSISTENT | WHEN_READONLY },
    [PERMIT_READ]       = { "read",        WHEN_BUSY | WHEN_INCONSISTENT },
    [PERMIT_MOVE]       = { "moved",       WHEN_BUSY | WHEN_INCONSISTENT | WHEN_READONLY },
    [PERMIT_COMPARE]    = { "compared",    WHEN_BUSY | WHEN_READONLY },
};

bool record_is_damaged(struct df_disk *disk, const struct record *record)
{
    const uint64_t ids[2] = { record->map, record->child };
    for (unsigned i = 0; i < 2; i++) {
        struct map_ref *ref = NULL;
        if (!ids[i])
            continue;
        bool damaged = mapref_get(disk, ids[i], record->granularity_shift, &ref, NULL) < 0 || map_is_damaged(ref->map);
        mapref_put(disk, &ref);
        if (damaged)
            return true;
    }
    return false;
}

int record_refuse_busy(const struct txn *txn, const struct record *record, const char *verb, struct df_error *err)
{
    const char *disk = txn->disk->name;
    if (record->state == RECORD_COMPARED)
        return error_set(err, -EBUSY, "bitmap '%s' of disk '%s' is busy and cannot be %s: a comparison fills it; let 'dirtyferry bitmap diff' come to its end, or cancel it by 'dirtyferry bitmap diff --cancel'",
                         record->name, disk, verb);
    return error_set(err, -EBUSY, "bitmap '%s' of disk '%s' is busy and cannot be %s: a session is moving it; wait for it or cancel it", record->name, disk, verb);
}

int permit_check(const struct txn *txn, const struct record *record, enum permit what, struct df_error *err)
{
    const char *verb = permits[what].verb;
    unsigned refused = permits[what].refused;
    const char *disk = txn->disk->name;
    if (refused & WHEN_BUSY && record->state != RECORD_IDLE)
        return record_refuse_busy(txn, record, verb, err);
    if (refused & WHEN_INCONSISTENT && (record->flags & RECORD_INCONSISTENT || record_is_damaged(txn->disk, record)))
        return error_set(err, -EINVAL, "bitmap '%s' of disk '%s' is inconsistent and cannot be %s: it may lack writes; remove it, add it anew and take a full backup, or compare the disk with its last one by 'dirtyferry bitmap diff'",
                         record->name, disk, verb);
    if (refused & WHEN_READONLY && txn->fence)
        return error_set(err, -EROFS, "bitmap '%s' of disk '%s' is read-only and cannot be %s: the disk was moved away; see 'dirtyferry disk writable'",
                         record->name, disk, verb);
    return 0;
}
