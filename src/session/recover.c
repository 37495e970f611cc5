// SPDX-License-Identifier: BSD-3-Clause
/*
 * A daemon that starts where another one was stopped or killed.
 *
 * The journal has the last state that was acknowledged, or one step more: what
 * belongs to the step is done again, for every step may be repeated.  What was
 * in memory is asked of the other side: a source that streamed asks its target
 * what it lacks, a target waits to be asked.
 *
 *   source   preparing                  withdrawn
 *            prepared, sealed           goes on
 *            fencing                    not acknowledged: writable again, prepared
 *            streaming, sealing         interrupted, and resumes
 *   target   prepared, filled           goes on
 *            receiving                  goes on, waits for its source
 *            merging, abandoning        are finished
 *   ends     what they let go of is let go
 *
 * Where that needs space, memory or descriptors that are not there, the daemon
 * does not start: nothing is given up for a full disk.
 *
 * When the host was restarted without a clean stop, memory that was not synced
 * is gone, and with it every certainty about what happened after the last sync:
 * a source may have pivoted, so it keeps its disks read-only, and its bits say
 * inconsistent; a target's child may have recorded, so its session is abandoned
 * and never cancelled.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "net/client.h"
#include "session/source.h"
#include "session/target.h"

static const char crashed[] = "this host was restarted without a clean stop";

/* ---------------------------------------------------------------- reading */

static void read_bitmap(struct session_bitmap *b, const node *item)
{
    snprintf(b->disk, sizeof b->disk, "%s", node_text(item, "disk"));
    snprintf(b->bitmap, sizeof b->bitmap, "%s", node_text(item, "bitmap"));
    snprintf(b->as_disk, sizeof b->as_disk, "%s", node_text(item, "as_disk"));
    snprintf(b->as_bitmap, sizeof b->as_bitmap, "%s", node_text(item, "as_bitmap"));
    b->handle = (uint16_t)node_u64(item, "handle", 0);
    b->chunks = b->chunks_sent = node_u64(item, "chunks", 0);
    b->exact = node_bool(item, "exact");
    b->fenced = node_bool(item, "fenced");
    b->created = node_bool(item, "created");
    b->merged = node_bool(item, "merged");
    b->as_granularity = node_u64(item, "as_granularity", 0);
    b->transient = node_bool(item, "transient");
    b->geometry = (struct geometry){ node_u64(item, "source_size", 0), node_u64(item, "source_granularity", 0) };
    b->staged = node_bool(item, "staged");
    b->info.enabled = node_bool(item, "enabled");       /* what tidies up has no more than this */
    b->info.persistent = node_bool(item, "persistent");
}

static void copy_optional(char *to, size_t room, const node *entry, const char *key)
{
    const char *text = node_text(entry, key);
    snprintf(to, room, "%s", text ? text : "");
}

static void read_entry(struct session *s, const node *entry, const node *items)
{
    s->state = state_find(s->role, node_text(entry, "state"));
    s->epoch = (uint32_t)node_u64(entry, "epoch", 0);
    if (!s->epoch)
        s->epoch = 1;
    s->chunk_bytes = (uint32_t)node_u64(entry, "chunk_size", 0);
    copy_optional(s->peer_address.endpoint, sizeof s->peer_address.endpoint, entry, "peer");
    copy_optional(s->peer_address.key, sizeof s->peer_address.key, entry, "peer_key");
    copy_optional(s->owner, sizeof s->owner, entry, "owner");
    snprintf(s->data, sizeof s->data, "%s", node_text(entry, "data"));
    s->workers = (unsigned)node_u64(entry, "workers", 0);
    s->max_bandwidth = node_u64(entry, "max_bandwidth", 0);
    s->pivot = node_u64(entry, "pivot", 0);
    s->frames = node_u64(entry, "frames", 0);
    s->bytes = node_u64(entry, "bytes", 0);
    s->resent_frames = node_u64(entry, "resent_frames", 0);
    s->all_dirty = node_bool(entry, "all_dirty");
    s->dump_epoch = (uint32_t)node_u64(entry, "dump_epoch", 0);
    s->is_load = node_bool(entry, "loaded");
    s->touched = node_bool(entry, "touched");
    s->unread = node_bool(entry, "unread");
    s->recorded = node_bool(entry, "recorded");
    snprintf(s->message, sizeof s->message, "%s", node_text(entry, "message"));
    for (unsigned i = 0; i < s->nbitmaps; i++)
        read_bitmap(&s->bitmaps[i], &items[i]);
}

static int take_entry(void *opaque, struct journal *journal, const node *entry)
{
    struct engine *engine = opaque;
    struct session *s = NULL;
    struct df_error err;
    size_t n;
    const node *items = node_list(entry, "bitmaps", &n);
    enum session_role role = strcmp(node_text(entry, "role"), "source") ? ROLE_TARGET : ROLE_SOURCE;
    if (session_new(engine, node_text(entry, "session"), role, (unsigned)n, &s, &err) < 0) {
        log_error("%s", err.message);
        journal_close(journal);
        return 0;
    }
    s->journal = *journal;
    read_entry(s, entry, items);
    for (unsigned i = 0; i < s->nbitmaps && role == ROLE_TARGET && !state_is_end(s->state); i++)
        engine->handles[s->bitmaps[i].handle] = true;
    if (s->pivot > engine->pivots)
        engine->pivots = s->pivot;
    return 0;
}

/* ----------------------------------------------------------------- source */

/* As many as can be: what gives back or tidies up does it for each. */
static void open_backends(struct session *s)
{
    for (unsigned i = 0; i < s->nbitmaps; i++)
        if (!s->bitmaps[i].backend)
            backend_open(s->engine->state_dir, s->bitmaps[i].disk, &s->bitmaps[i].backend, NULL);
}

static void end_source(struct session *s)
{
    open_backends(s);
    if (s->state == SOURCE_RELEASED) {
        source_discard(s);
        remote_tidy(s, REMOTE_DROP, NULL);
        return;
    }
    source_give_back(s);
    if (s->state == SOURCE_ROLLED_BACK)
        pivot_unfence(s);
    remote_tidy(s, REMOTE_THAW, NULL);
}

/* The maps, and whether their bits can be trusted. */
static int open_source(struct session *s, struct df_error *err)
{
    int r = 0;
    for (unsigned i = 0; i < s->nbitmaps; i++) {
        struct session_bitmap *b = &s->bitmaps[i];
        r = source_open(s, b, false, err);
        if (r < 0)
            return r;
        /* Once it has pivoted nothing but a crash of the host makes it so; also one that an earlier daemon has found. */
        bool before = s->state == SOURCE_PREPARING || s->state == SOURCE_PREPARED || s->state == SOURCE_FENCING;
        if (!b->info.inconsistent || (before && !s->engine->rebooted))
            continue;
        s->damaged = true;
        /* Before a pivot of its own the disk is read-only because of the crash (bitmap/crash.c). */
        if (s->state == SOURCE_PREPARING || s->state == SOURCE_PREPARED)
            b->fenced = b->info.readonly;
        error_set(err, -EIO, "%s: the bits of bitmap '%s' of disk '%s' cannot be trusted; roll back while the target has not recorded, "
                  "else load the dump on the target, if there is one, or abandon the session there", crashed, b->bitmap, b->disk);
    }
    return s->damaged ? err->code : 0;
}

/* Nothing goes on by itself: the operator decides.  The disks are read-only, for the pivot may have been here. */
static void stop_source(struct session *s, const struct df_error *why)
{
    bool crashed_here = s->damaged;
    s->damaged = true;
    s->heard_ms = s->retry_ms = clock_ms();
    session_note(s, why);
    /* It could not be opened, this time: it has not pivoted, and must not look as if it had. */
    if (!crashed_here && s->state == SOURCE_FENCING && !s->journal.torn) {
        pivot_unfence(s);
        session_step(s, EVENT_STUCK);
        remote_tidy(s, REMOTE_THAW, NULL);
    }
    if (!crashed_here && s->state == SOURCE_PREPARED)
        return;
    if (state_next(s->role, s->state, EVENT_CRASHED))
        session_step(s, EVENT_CRASHED);
}

/*
 * The entry that says so may be lost with a torn slot: a disk that is read-only
 * was fenced by it, unless another session moved it away.  Then the answer may
 * have been given, and only the target can say that there is a way back.
 */
static void assume_pivot(struct session *s)
{
    bool fenced = false;
    for (unsigned i = 0; i < s->nbitmaps; i++)
        fenced = fenced || s->bitmaps[i].info.readonly;
    if (!s->journal.torn || !fenced || (s->state != SOURCE_PREPARED && s->state != SOURCE_FENCING))
        return;
    for (unsigned i = 0; i < s->nbitmaps && s->state == SOURCE_PREPARED; i++)
        s->bitmaps[i].fenced = s->bitmaps[i].info.readonly;
    if (s->state == SOURCE_PREPARED)
        session_step(s, EVENT_PIVOT);
    session_step(s, EVENT_DRAINED);
}

static void ignore(struct session *s, int r, const struct df_error *err)
{
    (void)s, (void)r, (void)err;
}

static void go_on_source(struct session *s)
{
    struct df_error err;
    assume_pivot(s);
    switch (s->state) {
    case SOURCE_PREPARED:
        durable_sync(s, false, ignore);     /* a disk that was closed cleanly is opened for changes now, not in the pivot */
        remote_tidy(s, REMOTE_THAW, NULL);  /* of a pivot that failed */
        break;
    case SOURCE_FENCING:
        pivot_unfence(s);
        session_step(s, EVENT_STUCK);
        remote_tidy(s, REMOTE_THAW, NULL);
        break;
    case SOURCE_STREAMING:
    case SOURCE_SEALING:
        error_set(&err, -EINTR, "the source's daemon was restarted");
        session_note(s, &err);
        s->epoch++;
        session_step(s, EVENT_LOST);
        digest_session(s);
        break;
    case SOURCE_INTERRUPTED:
        digest_session(s);
        break;
    default:        /* sealed: the target is asked at once */
        break;
    }
    work_forget(s);
    if (s->state == SOURCE_PREPARED)
        for (unsigned i = 0; i < s->nbitmaps; i++)
            work_add(&s->bitmaps[i].work, 0, s->bitmaps[i].chunks);
    s->heard_ms = s->retry_ms = clock_ms();
    pivot_read(s);
    source_start_workers(s);
}

/*
 * Only what is gone or damaged is given up.  All else passes when somebody does
 * something about it: no space, no right, a directory that is not mounted, a
 * target with a key and a daemon that was started without.
 */
static bool is_hindrance(int r)
{
    return r < 0 && r != -ENOENT && r != -EPROTO && r != -EINVAL && r != -EBUSY;
}

static int recover_source(struct session *s, struct df_error *why)
{
    struct df_error err;
    if (state_is_end(s->state)) {
        end_source(s);
        return 0;
    }
    int r = open_source(s, &err), p = peer_open(s->engine->net, &s->peer_address, &s->peer, r < 0 ? NULL : &err);
    if (!s->damaged && (is_hindrance(r) || is_hindrance(p)))
        return error_set(why, r < 0 ? r : p, "session %s cannot go on: %.2048s", s->text, err.message);
    open_backends(s);
    if (s->state == SOURCE_PREPARING && !s->damaged) {
        error_set(&err, -EINTR, "the source's daemon was restarted while session %s was being prepared", s->text);
        source_withdraw(s, &err);
    } else if (r < 0 || p < 0) {
        stop_source(s, &err);
    } else {
        go_on_source(s);
    }
    return 0;
}

/* ----------------------------------------------------------------- target */

static bool is_damaged(const struct session *s)
{
    for (unsigned i = 0; i < s->nbitmaps; i++)
        if (s->bitmaps[i].info.inconsistent && (s->bitmaps[i].info.busy || s->state == TARGET_MERGING))
            return true;
    return false;
}

static bool has_recorded(const struct session *s)
{
    for (unsigned i = 0; i < s->nbitmaps; i++)
        if (s->bitmaps[i].info.recording)
            return true;
    return false;
}

static void give_up(struct session *s, const char *why)
{
    struct df_error err;
    error_set(&err, -EIO, "%s: the session is abandoned, its bitmaps are inconsistent", why);
    session_note(s, &err);
    if (s->state != TARGET_ABANDONING)
        session_step(s, EVENT_ABANDON);
    target_give_up(s);
}

static int recover_target(struct session *s, struct df_error *why)
{
    struct df_error err;
    if (s->state == TARGET_CANCELLED) {
        open_backends(s);
        target_discard(s);
        remote_tidy(s, REMOTE_WITHDRAW, NULL);
    }
    if (state_is_end(s->state))
        return 0;
    int r = target_open(s, s->engine->rebooted, &err);
    if (is_hindrance(r))
        return error_set(why, r, "session %s cannot go on: %.2048s", s->text, err.message);
    open_backends(s);
    if (r >= 0)
        target_begin(s);
    if (r >= 0 && (s->state == TARGET_PREPARED || s->state == TARGET_FILLED) && has_recorded(s))
        session_step(s, EVENT_PIVOT);       /* the entry that said so is lost */
    if (r < 0 || (s->engine->rebooted && is_damaged(s))) {
        give_up(s, r < 0 ? err.message : crashed);
    } else if (s->state == TARGET_ABANDONING) {
        target_give_up(s);
    } else if (s->is_load && s->state == TARGET_PREPARED) {
        error_set(&err, -EINTR, "the daemon was restarted while the dump was being loaded: load it again, or cancel the session here");
        session_note(s, &err);
    } else if (s->is_load || (s->state != TARGET_PREPARED && s->state != TARGET_FILLED)) {
        if (s->state == TARGET_FILLED)
            session_step(s, EVENT_PIVOT);       /* nobody asks for that of a dump */
        target_record(s);
    }
    return 0;
}

/* -------------------------------------------------------------------- all */

/* Received maps without a target session that goes on. */
static int clean_up(void *opaque, const char *name)
{
    struct engine *engine = opaque;
    char uuid[UUID_TEXT_BYTES];
    if (!session_file(name, ".received-", uuid))
        return 0;
    const struct session *s = session_find(engine, uuid, ROLE_TARGET);
    if (!s || state_is_end(s->state))
        unlinkat(engine->sessions_dir, name, 0);
    return 0;
}

bool recover_knows(const struct engine *engine, const uint8_t session[DF_SESSION_BYTES])
{
    for (const struct session *s = engine->sessions; s; s = s->next)
        if (!state_is_end(s->state) && !memcmp(s->uuid, session, UUID_BYTES))
            return true;
    return false;
}

int recover_sessions(struct engine *engine, struct df_error *err)
{
    /* Leases and frames of before the restart may still arrive: they must not look like new ones. */
    engine->next_lease = client_new_id() >> 1;
    engine->next_handle = (uint16_t)(client_new_id() % WIRE_HANDLE_MAX);
    int r = journal_each(engine->sessions_dir, take_entry, engine, err);
    if (r < 0)
        return r;
    for (struct session *s = engine->sessions; !r && s; s = s->next) {
        if (!state_is_end(s->state))
            log_info("session %s %s: found in the journal, %s", s->text, role_name(s->role), state_name(s->state));
        r = (s->role == ROLE_SOURCE ? recover_source : recover_target)(s, err);
    }
    if (r < 0)
        return r;
    files_list(engine->sessions_dir, clean_up, engine);
    dump_clean_up(engine);
    return 0;
}
