// SPDX-License-Identifier: BSD-3-Clause
/*
 * The run: readers and the ring between them and the caller.
 *
 *     planning mutex   who holds it plans the next stretch and gets the next
 *                      slot of the ring: so slots are in the order of the disk.
 *                      Extents are asked for under it.
 *     ring mutex       the slots' states.  Taken under the planning mutex or
 *                      alone, never the other way round.
 *
 * A slot belongs to its reader from `taken` to `done`, then to the caller, who
 * takes slots in order.  A reader that finds an error puts it into its slot and
 * goes on: the caller comes to the first one in the order of the disk, whichever
 * was found first, so the same fault always ends a run at the same place.
 */
#include "image/diff.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "image/clusters.h"
#include "image/compare.h"

#define SLOTS     (4 * IMAGE_LANES_MAX)
#define LANES_MIN 4             /* NBD servers want several questions at once, however few processors there are */
#define LANES_MAX 5             /* memory: each may have two views and two pieces */
#define STOP_MS   100           /* how late `stop` may be noticed */

struct slot {
    bool is_done;
    int r;                      /* < 0: here the run ends, `compared.why` says why */
    struct stretch stretch;
    struct compared compared;   /* of what was read */
};

struct reader {
    struct run *run;
    struct lane lane;
    pthread_t thread;
};

struct run {
    const struct diff *diff;
    pthread_mutex_t planning;
    struct plan plan;           /* under `planning` */
    bool is_planned;            /* the same: to the end, or to an error */

    pthread_mutex_t mutex;
    pthread_cond_t freed;       /* for readers: the ring is not full any more, or the run is to end */
    pthread_cond_t done;        /* for the caller: the first slot is done, or no reader is left */
    struct slot *slots;         /* number n is slots[n % SLOTS] */
    uint64_t next, first;       /* slot to be taken next; the caller's */
    unsigned running;           /* readers */
    bool stop;

    unsigned nreaders;
    struct reader readers[IMAGE_LANES_MAX];
};

/* ---------------------------------------------------------------- readers */

static bool is_read(enum plan_action action)
{
    return action == PLAN_COMPARE || action == PLAN_OLD_ALONE || action == PLAN_NEW_ALONE;
}

/* The next slot in order, or NULL when the run is to end. */
static struct slot *wait_for_slot(struct run *run)
{
    LOCK_SCOPE(&run->mutex);
    while (!run->stop && run->next - run->first == SLOTS)
        pthread_cond_wait(&run->freed, &run->mutex);
    if (run->stop)
        return NULL;
    struct slot *slot = &run->slots[run->next++ % SLOTS];
    slot->is_done = false;
    return slot;
}

static struct slot *take_slot(struct run *run)
{
    struct stretch stretch;
    struct df_error why;
    LOCK_SCOPE(&run->planning);
    if (run->is_planned)
        return NULL;
    int r = plan_next(&run->plan, COMPARE_BYTES, &stretch, &why);
    run->is_planned = r <= 0;
    struct slot *slot = r ? wait_for_slot(run) : NULL;
    if (!slot)
        return NULL;
    slot->stretch = stretch;
    slot->r = r < 0 ? r : 0;
    if (r < 0)
        slot->compared.why = why;
    return slot;
}

static void finish_slot(struct run *run, struct slot *slot)
{
    LOCK_SCOPE(&run->mutex);
    slot->is_done = true;
    if (slot == &run->slots[run->first % SLOTS])
        pthread_cond_signal(&run->done);
}

static void *read_slots(void *opaque)
{
    struct reader *reader = opaque;
    struct run *run = reader->run;
    for (struct slot *slot; (slot = take_slot(run));) {
        if (!slot->r && is_read(slot->stretch.action))
            slot->r = compare_stretch(&reader->lane, &slot->stretch, &slot->compared);
        finish_slot(run, slot);
    }
    LOCK_SCOPE(&run->mutex);
    run->running--;
    pthread_cond_signal(&run->done);
    return NULL;
}

/* ----------------------------------------------------------------- caller */

static bool is_stopped(const struct run *run)
{
    return run->diff->stop && atomic_load_explicit(run->diff->stop, memory_order_relaxed);
}

/* The next slot in order that is done; NULL: there is none any more, or the run was stopped. */
static struct slot *next_done(struct run *run)
{
    LOCK_SCOPE(&run->mutex);
    for (;;) {
        struct timespec until;
        struct slot *slot = &run->slots[run->first % SLOTS];
        if (is_stopped(run))
            return NULL;
        if (run->first < run->next && slot->is_done)
            return slot;
        if (run->first == run->next && !run->running)
            return NULL;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += STOP_MS * NS_PER_MS;
        until.tv_sec += until.tv_nsec / NS_PER_S;
        until.tv_nsec %= NS_PER_S;
        pthread_cond_timedwait(&run->done, &run->mutex, &until);
    }
}

static void free_slot(struct run *run)
{
    LOCK_SCOPE(&run->mutex);
    if (run->next - run->first++ == SLOTS)
        pthread_cond_signal(&run->freed);       /* one reader at most waits: it holds the planning mutex */
}

static int add_compared(const struct diff *diff, const struct slot *slot, struct clusters *clusters, struct df_error *err)
{
    uint64_t granularity = diff->granularity, offset = slot->stretch.offset, end = offset + slot->stretch.length, n;
    int r = 0;
    for (size_t i = 0; !r && offset < end; i++, offset += n) {
        n = granularity - offset % granularity;
        if (n > end - offset)
            n = end - offset;
        r = clusters_add(clusters, offset, n, slot->compared.different[i] ? DIFF_DIFFERENT : DIFF_EQUAL, err);
    }
    return r;
}

static void count(const struct slot *slot, struct diff_counts *counts)
{
    const struct compared *c = &slot->compared;
    if (slot->stretch.action == PLAN_ZERO)
        counts->zero += slot->stretch.length;
    if (slot->stretch.action == PLAN_SHARED)
        counts->shared += slot->stretch.length;
    if (!is_read(slot->stretch.action))
        return;
    counts->read += c->read;
    if (c->unread && !counts->unread)
        counts->first_unread = c->why;
    counts->unread += c->unread;
}

static int take(struct run *run, const struct slot *slot, struct clusters *clusters, struct diff_counts *counts, struct df_error *err)
{
    const struct stretch *s = &slot->stretch;
    if (slot->r < 0)
        return error_set(err, slot->r, "%s", slot->compared.why.message);
    count(slot, counts);
    if (is_read(s->action))
        return add_compared(run->diff, slot, clusters, err);
    return clusters_add(clusters, s->offset, s->length, s->action == PLAN_DIFFERENT ? DIFF_DIFFERENT : DIFF_EQUAL, err);
}

static int take_all(struct run *run, struct diff_counts *counts, struct df_error *err)
{
    const struct diff *diff = run->diff;
    struct clusters clusters;
    int r = 0;
    clusters_begin(&clusters, diff);
    for (struct slot *slot; !r && (slot = next_done(run));) {
        r = take(run, slot, &clusters, counts, err);
        if (!r)
            r = clusters_flush(&clusters, err);
        free_slot(run);
    }
    counts->different = clusters.different_bytes;
    if (!r && clusters.at < diff->new->size)
        r = error_set(err, -ECANCELED, "comparing '%.512s' with '%.512s' was stopped at offset %" PRIu64, diff->old->name, diff->new->name, clusters.at);
    return r;
}

/* ---------------------------------------------------------------- threads */

static int start_reader(struct run *run, struct reader *reader, struct df_error *err)
{
    reader->run = run;
    int r = lane_init(&reader->lane, run->diff, run->nreaders, err);
    if (!r && (r = -pthread_create(&reader->thread, NULL, read_slots, reader)) < 0)
        error_errno(err, r, "cannot start a thread to compare '%.512s' with '%.512s'", run->diff->old->name, run->diff->new->name);
    if (r < 0)
        lane_destroy(&reader->lane);
    return r;
}

/* More readers than processors help where somebody else is at work meanwhile, which he is not for views. */
static unsigned useful_lanes(const struct diff *diff)
{
    unsigned processors = (unsigned)get_nprocs(), least = processors < 2 ? 2 : processors;
    return image_has_views(diff->old) && image_has_views(diff->new) && least < diff->lanes ? least : diff->lanes;
}

/* Fewer than wanted do it too. */
static int start_readers(struct run *run, struct df_error *err)
{
    int r = 0;
    LOCK_SCOPE(&run->mutex);        /* none ends before it is counted */
    while (!r && run->nreaders < useful_lanes(run->diff)) {
        r = start_reader(run, &run->readers[run->nreaders], err);
        run->nreaders += !r;
    }
    run->running = run->nreaders;
    return run->nreaders ? 0 : r;
}

static void stop_readers(struct run *run)
{
    pthread_mutex_lock(&run->mutex);
    run->stop = true;
    pthread_cond_signal(&run->freed);
    pthread_mutex_unlock(&run->mutex);
    for (unsigned i = 0; i < run->nreaders; i++) {
        pthread_join(run->readers[i].thread, NULL);
        lane_destroy(&run->readers[i].lane);
    }
}

/* -------------------------------------------------------------------- run */

static int run_init(struct run *run, const struct diff *diff, struct df_error *err)
{
    pthread_condattr_t monotonic;
    run->diff = diff;
    plan_begin(&run->plan, diff);
    run->slots = calloc(SLOTS, sizeof *run->slots);
    if (!run->slots)
        return error_errno(err, -ENOMEM, "cannot compare '%.512s' with '%.512s'", diff->old->name, diff->new->name);
    pthread_mutex_init(&run->planning, NULL);
    pthread_mutex_init(&run->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&run->freed, NULL);
    pthread_cond_init(&run->done, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return 0;
}

static void run_destroy(struct run *run)
{
    pthread_cond_destroy(&run->done);
    pthread_cond_destroy(&run->freed);
    pthread_mutex_destroy(&run->mutex);
    pthread_mutex_destroy(&run->planning);
    free(run->slots);
}

static int check(const struct diff *diff, struct df_error *err)
{
    uint64_t granularity = diff->granularity;
    if (granularity < GRANULARITY_MIN || granularity & (granularity - 1))
        return error_set(err, -EINVAL, "a granularity of %" PRIu64 " bytes is not possible: it is a power of two, at least %d", granularity, GRANULARITY_MIN);
    if (diff->start % granularity || diff->start > diff->new->size)
        return error_set(err, -EINVAL, "cannot begin to compare at offset %" PRIu64 " of '%.512s': it is no multiple of %" PRIu64 " within %" PRIu64 " bytes",
                         diff->start, diff->new->name, granularity, diff->new->size);
    return 0;
}

unsigned diff_lanes(void)
{
    int n = get_nprocs();
    return n < LANES_MIN ? LANES_MIN : n > LANES_MAX ? LANES_MAX : (unsigned)n;
}

int diff_run(const struct diff *diff, struct diff_counts *counts, struct df_error *err)
{
    struct run run = { 0 };
    memset(counts, 0, sizeof *counts);
    int r = check(diff, err);
    if (!r)
        r = run_init(&run, diff, err);
    if (r < 0)
        return r;
    image_relate(diff->old, diff->new);
    r = start_readers(&run, err);
    if (!r)
        r = take_all(&run, counts, err);
    stop_readers(&run);
    run_destroy(&run);
    return r;
}
