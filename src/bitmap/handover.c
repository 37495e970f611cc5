// SPDX-License-Identifier: BSD-3-Clause
/*
 * The hand-over of one bitmap, as its state sees it:
 *
 *     source   IDLE --take--> TAKEN --give_back--> IDLE
 *     target   (none) --add_frozen--> LOCKED, or IDLE --freeze--> LOCKED
 *              LOCKED --unlock--> FROZEN --reclaim--> RECLAIMING --> IDLE
 *              LOCKED, FROZEN --abdicate--> IDLE
 *     both     TAKEN, LOCKED, FROZEN --discard--> (none)
 *
 * reclaim publishes RECLAIMING first (writers go to the parent again), then
 * ORs the child into the parent, then publishes IDLE.  Killed in between, it is
 * simply called again: the child is still there and OR may be repeated.
 */
#include "bitmap/disk.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"

struct step {
    struct txn txn;
    struct record *record;
};

static void step_abort(struct step *step)
{
    txn_abort(&step->txn);
}

static int refuse_state(const struct step *step, const char *verb, struct df_error *err)
{
    static const char *const names[] = { "not in a session", "the source of a session", "locked", "recording into its child", "being reclaimed" };
    unsigned state = step->record->state;
    return error_set(err, -EBUSY, "bitmap '%s' of disk '%s' cannot be %s: it is %s", step->record->name, step->txn.disk->name,
                     verb, state < sizeof names / sizeof *names ? names[state] : "damaged");
}

/* Find the bitmap; if a session owns it, it must be this one. */
static int step_begin(struct df_disk *disk, const char *name, const uint8_t *session, struct step *step, struct df_error *err)
{
    int r = txn_begin(disk, &step->txn, err);
    if (!r)
        r = txn_get(&step->txn, name, &step->record, err);
    if (!r && step->record->state != RECORD_IDLE && memcmp(step->record->session, session, DF_SESSION_BYTES))
        r = error_set(err, -EBUSY, "bitmap '%s' of disk '%s' is busy: another session is moving it; wait for it or cancel it", name, disk->name);
    return r;
}

static int step_end(struct step *step, enum record_state state, const uint8_t *session)
{
    step->record->state = (uint8_t)state;
    if (session)
        memcpy(step->record->session, session, DF_SESSION_BYTES);
    else
        memset(step->record->session, 0, DF_SESSION_BYTES);
    step->txn.changed = true;
    txn_commit(&step->txn);
    return 0;
}

int df_bitmap_take(struct df_disk *disk, const char *name, const uint8_t session[DF_SESSION_BYTES], struct df_error *err)
{
    CLEANUP(step_abort) struct step step = { 0 };
    int r = step_begin(disk, name, session, &step, err);
    if (r < 0 || step.record->state == RECORD_TAKEN)
        return r;
    r = permit_check(&step.txn, step.record, PERMIT_MOVE, err);
    return r < 0 ? r : step_end(&step, RECORD_TAKEN, session);
}

int df_bitmap_give_back(struct df_disk *disk, const char *name, const uint8_t session[DF_SESSION_BYTES], struct df_error *err)
{
    CLEANUP(step_abort) struct step step = { 0 };
    int r = step_begin(disk, name, session, &step, err);
    if (r < 0 || step.record->state == RECORD_IDLE)
        return r;
    return step.record->state == RECORD_TAKEN ? step_end(&step, RECORD_IDLE, NULL) : refuse_state(&step, "given back", err);
}

int df_bitmap_freeze(struct df_disk *disk, const char *name, const uint8_t session[DF_SESSION_BYTES], bool locked, struct df_error *err)
{
    CLEANUP(step_abort) struct step step = { 0 };
    enum record_state state = locked ? RECORD_LOCKED : RECORD_FROZEN;
    int r = step_begin(disk, name, session, &step, err);
    if (r < 0 || step.record->state == state)
        return r;
    r = permit_check(&step.txn, step.record, PERMIT_MOVE, err);
    if (!r)
        r = txn_create_map(&step.txn, step.record->granularity_shift, &step.record->child, err);
    return r < 0 ? r : step_end(&step, state, session);
}

int df_bitmap_add_frozen(struct df_disk *disk, const char *name, uint64_t granularity, unsigned flags,
                         const uint8_t session[DF_SESSION_BYTES], struct df_error *err)
{
    CLEANUP(step_abort) struct step step = { 0 };
    int r = txn_begin(disk, &step.txn, err);
    if (r < 0)
        return r;
    step.record = txn_find(&step.txn, name);
    if (step.record && step.record->state == RECORD_LOCKED && !memcmp(step.record->session, session, DF_SESSION_BYTES))
        return 0;
    if (step.txn.fence)
        return error_set(err, -EROFS, "disk '%s' is read-only and cannot be the target of a move: it was moved away; see 'dirtyferry disk writable'", disk->name);
    r = record_add(&step.txn, name, granularity, flags, &step.record, err);
    if (!r)
        r = txn_create_map(&step.txn, step.record->granularity_shift, &step.record->child, err);
    return r < 0 ? r : step_end(&step, RECORD_LOCKED, session);
}

int df_bitmap_discard(struct df_disk *disk, const char *name, const uint8_t session[DF_SESSION_BYTES], struct df_error *err)
{
    CLEANUP(step_abort) struct step step = { 0 };
    int r = txn_begin(disk, &step.txn, err);
    if (r < 0)
        return r;
    step.record = txn_find(&step.txn, name);
    if (!step.record || step.record->state == RECORD_IDLE || memcmp(step.record->session, session, DF_SESSION_BYTES))
        return 0;
    record_remove(&step.txn, step.record);
    txn_commit(&step.txn);
    return 0;
}

int df_bitmap_unlock(struct df_disk *disk, const char *name, const uint8_t session[DF_SESSION_BYTES], struct df_error *err)
{
    CLEANUP(step_abort) struct step step = { 0 };
    int r = step_begin(disk, name, session, &step, err);
    if (r < 0 || step.record->state == RECORD_FROZEN)
        return r;
    return step.record->state == RECORD_LOCKED ? step_end(&step, RECORD_FROZEN, session) : refuse_state(&step, "unlocked", err);
}

int df_bitmap_abdicate(struct df_disk *disk, const char *name, const uint8_t session[DF_SESSION_BYTES], struct df_error *err)
{
    CLEANUP(step_abort) struct step step = { 0 };
    int r = step_begin(disk, name, session, &step, err);
    if (r < 0 || step.record->state == RECORD_IDLE)
        return r;
    if (step.record->state != RECORD_LOCKED && step.record->state != RECORD_FROZEN)
        return refuse_state(&step, "given up", err);
    txn_drop_map(&step.txn, step.record->map);
    step.record->map = steal(&step.record->child);
    return step_end(&step, RECORD_IDLE, NULL);
}

int df_bitmap_reclaim(struct df_disk *disk, const char *name, const uint8_t session[DF_SESSION_BYTES], struct df_error *err)
{
    struct map_ref *parent = NULL, *child = NULL;
    uint64_t merged;
    {
        CLEANUP(step_abort) struct step step = { 0 };
        int r = step_begin(disk, name, session, &step, err);
        if (r < 0 || step.record->state == RECORD_IDLE)
            return r;
        if (step.record->state == RECORD_TAKEN)
            return refuse_state(&step, "reclaimed", err);
        unsigned shift = step.record->granularity_shift;
        r = mapref_get(disk, step.record->map, shift, &parent, err);
        if (!r)
            r = mapref_get(disk, step.record->child, shift, &child, err);
        if (r < 0) {
            mapref_put(disk, &parent);
            return r;
        }
        merged = step.record->child;
        step_end(&step, RECORD_RECLAIMING, session);
    }
    int r = map_merge(parent->map, child->map);
    bool lossy = r < 0 || map_is_damaged(parent->map) || map_is_damaged(child->map);
    disk_put_map(disk, &parent);
    disk_put_map(disk, &child);
    CLEANUP(step_abort) struct step step = { 0 };
    r = step_begin(disk, name, session, &step, err);
    /* Another reclaim of this session may have come first, and a new freeze behind it: its child is not ours to drop. */
    if (r < 0 || step.record->state != RECORD_RECLAIMING || step.record->child != merged)
        return r;
    txn_drop_map(&step.txn, steal(&step.record->child));
    if (lossy)
        step.record->flags |= RECORD_INCONSISTENT;
    return step_end(&step, RECORD_IDLE, NULL);
}

int disk_get_map(struct df_disk *disk, const char *bitmap, const uint8_t session[DF_SESSION_BYTES], struct map_ref **ref, struct df_error *err)
{
    CLEANUP(step_abort) struct step step = { 0 };
    int r = step_begin(disk, bitmap, session, &step, err);
    if (r < 0)
        return r;
    if (step.record->state == RECORD_IDLE)
        return refuse_state(&step, "streamed", err);
    return mapref_get(disk, step.record->map, step.record->granularity_shift, ref, err);
}

int disk_peek_map(struct df_disk *disk, const char *bitmap, struct map_ref **ref)
{
    CLEANUP(txn_abort) struct txn txn;
    struct record *record;
    int r = txn_begin(disk, &txn, NULL);
    if (!r)
        r = txn_get(&txn, bitmap, &record, NULL);
    return r < 0 ? r : mapref_get(disk, record->map, record->granularity_shift, ref, NULL);
}

void disk_put_map(struct df_disk *disk, struct map_ref **ref)
{
    LOCK_SCOPE(&disk->mutex);
    mapref_put(disk, ref);
}
