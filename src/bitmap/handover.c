// SPDX-License-Identifier: BSD-3-Clause
/*
 * The hand-over of one bitmap, as its state sees it:
 *
 *     source   IDLE --take--> TAKEN --give_back--> IDLE
 *     target   (none) --add_frozen--> LOCKED, or IDLE --freeze--> LOCKED
 *              LOCKED --unlock--> FROZEN --reclaim--> RECLAIMING --> IDLE
 *              LOCKED --give_up--> RECLAIMING, as from FROZEN
 *              LOCKED, FROZEN --abdicate--> IDLE
 *     both     TAKEN, LOCKED, FROZEN --discard--> (none)
 *
 * COMPARED is in no hand-over: compare.c.
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

/* If a session owns the bitmap, it must be this one. */
static int check_session(const struct step *step, const uint8_t *session, struct df_error *err)
{
    const struct record *record = step->record;
    if (record->state == RECORD_COMPARED)       /* whatever its name: no session's */
        return record_refuse_busy(&step->txn, record, "moved", err);
    if (record->state != RECORD_IDLE && memcmp(record->session, session, DF_SESSION_BYTES))
        return error_set(err, -EBUSY, "bitmap '%s' of disk '%s' is busy: another session is moving it; wait for it or cancel it",
                         record->name, step->txn.disk->name);
    return 0;
}

static int step_begin(struct df_disk *disk, const char *name, const uint8_t *session, struct step *step, struct df_error *err)
{
    int r = txn_begin(disk, &step->txn, err);
    if (!r)
        r = txn_get(&step->txn, name, &step->record, err);
    return r < 0 ? r : check_session(step, session, err);
}

static int step_end(struct step *step, enum record_state state, const uint8_t *session, struct df_error *err)
{
    step->record->state = (uint8_t)state;
    if (session)
        memcpy(step->record->session, session, DF_SESSION_BYTES);
    else
        memset(step->record->session, 0, DF_SESSION_BYTES);
    step->txn.changed = true;
    return txn_commit(&step->txn, err);
}

int df_bitmap_take(struct df_disk *disk, const char *name, const uint8_t session[DF_SESSION_BYTES], struct df_error *err)
{
    CLEANUP(step_abort) struct step step = { 0 };
    int r = step_begin(disk, name, session, &step, err);
    if (r < 0 || step.record->state == RECORD_TAKEN)
        return r;
    r = permit_check(&step.txn, step.record, PERMIT_MOVE, err);
    return r < 0 ? r : step_end(&step, RECORD_TAKEN, session, err);
}

int df_bitmap_give_back(struct df_disk *disk, const char *name, const uint8_t session[DF_SESSION_BYTES], struct df_error *err)
{
    CLEANUP(step_abort) struct step step = { 0 };
    int r = step_begin(disk, name, session, &step, err);
    if (r < 0 || step.record->state == RECORD_IDLE)
        return r;
    return step.record->state == RECORD_TAKEN ? step_end(&step, RECORD_IDLE, NULL, err) : refuse_state(&step, "given back", err);
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
    return r < 0 ? r : step_end(&step, state, session, err);
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
    return r < 0 ? r : step_end(&step, RECORD_LOCKED, session, err);
}

int df_bitmap_discard(struct df_disk *disk, const char *name, const uint8_t session[DF_SESSION_BYTES], struct df_error *err)
{
    CLEANUP(step_abort) struct step step = { 0 };
    int r = txn_begin(disk, &step.txn, err);
    if (r < 0)
        return r;
    step.record = txn_find(&step.txn, name);
    if (!step.record || step.record->state == RECORD_IDLE || step.record->state == RECORD_COMPARED || memcmp(step.record->session, session, DF_SESSION_BYTES))
        return 0;
    record_remove(&step.txn, step.record);
    return txn_commit(&step.txn, err);
}

int df_bitmap_unlock(struct df_disk *disk, const char *name, const uint8_t session[DF_SESSION_BYTES], struct df_error *err)
{
    CLEANUP(step_abort) struct step step = { 0 };
    int r = step_begin(disk, name, session, &step, err);
    if (r < 0 || step.record->state == RECORD_FROZEN)
        return r;
    return step.record->state == RECORD_LOCKED ? step_end(&step, RECORD_FROZEN, session, err) : refuse_state(&step, "unlocked", err);
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
    return step_end(&step, RECORD_IDLE, NULL, err);
}

/* What the parent holds when it is reclaimed. */
enum parent_bits { PARENT_EXACT, PARENT_LACKS_BITS, PARENT_ALL_SET };

/* Publishes RECLAIMING.  *merged is the child's id, 0 if there is nothing to do. */
static int reclaim_begin(struct df_disk *disk, const char *name, const uint8_t *session, enum parent_bits bits,
                         struct map_ref *maps[2], uint64_t *merged, struct df_error *err)
{
    CLEANUP(step_abort) struct step step = { 0 };
    int r = step_begin(disk, name, session, &step, err);
    if (r < 0 || step.record->state == RECORD_IDLE)
        return r;
    if (step.record->state == RECORD_TAKEN)
        return refuse_state(&step, "reclaimed", err);
    unsigned shift = step.record->granularity_shift;
    r = mapref_get(disk, step.record->map, shift, &maps[0], err);
    if (!r)
        r = mapref_get(disk, step.record->child, shift, &maps[1], err);
    if (r < 0) {
        mapref_put(disk, &maps[0]);
        return r;
    }
    if (bits == PARENT_LACKS_BITS)
        step.record->flags |= RECORD_INCONSISTENT;
    *merged = step.record->child;
    return step_end(&step, RECORD_RECLAIMING, session, err);
}

static int reclaim(struct df_disk *disk, const char *name, const uint8_t *session, enum parent_bits bits, struct df_error *err)
{
    struct map_ref *maps[2] = { NULL, NULL };
    uint64_t merged = 0;
    int r = reclaim_begin(disk, name, session, bits, maps, &merged, err);
    bool lossy = false;
    if (!r && merged)
        lossy = map_merge(maps[0]->map, maps[1]->map) < 0 || map_is_damaged(maps[0]->map) || map_is_damaged(maps[1]->map);
    disk_put_map(disk, &maps[0]);
    disk_put_map(disk, &maps[1]);
    if (r < 0 || !merged)
        return r;
    CLEANUP(step_abort) struct step step = { 0 };
    r = step_begin(disk, name, session, &step, err);
    /* Another reclaim of this session may have come first, and a new freeze behind it: its child is not ours to drop. */
    if (r < 0 || step.record->state != RECORD_RECLAIMING || step.record->child != merged)
        return r;
    txn_drop_map(&step.txn, steal(&step.record->child));
    if (bits == PARENT_ALL_SET)     /* lacks nothing, whatever was lost before */
        step.record->flags &= (uint8_t)~RECORD_INCONSISTENT;
    else if (lossy)
        step.record->flags |= RECORD_INCONSISTENT;
    return step_end(&step, RECORD_IDLE, NULL, err);
}

int df_bitmap_reclaim(struct df_disk *disk, const char *name, const uint8_t session[DF_SESSION_BYTES], struct df_error *err)
{
    return reclaim(disk, name, session, PARENT_EXACT, err);
}

int df_bitmap_give_up(struct df_disk *disk, const char *name, const uint8_t session[DF_SESSION_BYTES], bool all_dirty, struct df_error *err)
{
    struct map_ref *parent = NULL;
    {
        CLEANUP(step_abort) struct step step = { 0 };
        int r = txn_begin(disk, &step.txn, err);
        if (r < 0)
            return r;
        step.record = txn_find(&step.txn, name);
        if (!step.record || step.record->state == RECORD_IDLE)
            return 0;
        r = check_session(&step, session, err);
        if (!r && step.record->state == RECORD_TAKEN)
            r = refuse_state(&step, "given up", err);
        if (!r && all_dirty)
            r = mapref_get(disk, step.record->map, step.record->granularity_shift, &parent, err);
        if (r < 0)
            return r;
    }
    if (all_dirty) {
        int r = map_write_ones(parent->map);
        disk_put_map(disk, &parent);
        if (r < 0)
            return error_errno(err, r, "bitmap '%s' of disk '%s' cannot be given up as all dirty: writing its bits failed", name, disk->name);
    }
    return reclaim(disk, name, session, all_dirty ? PARENT_ALL_SET : PARENT_LACKS_BITS, err);
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
