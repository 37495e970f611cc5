// SPDX-License-Identifier: BSD-3-Clause
/*
 * The recording of writes: the path that every write of a guest takes.
 *
 * begin   1. open the section: it asks (seq_cst store)
 *         2. look at the epoch (seq_cst); fenced: close, refuse
 *         3. mark the range in every active map
 *         4. look again; if the epoch moved, go to 2; else it is admitted
 * I/O
 * end     5. look once more; if the epoch moved, mark the new active maps
 *         6. close the section (release)
 *
 * Why it suffices
 *  - 1 before 2 against "fence, then look for open sections": in the total
 *    order of these four one side sees the other, so a fence that finds no open
 *    section is seen by every later begin.
 *  - 3 before 4 against "bump, then read the old map" of a merger: either the
 *    merger finds the mark, or the writer finds the bump and marks the new map.
 *  - A fence that comes between 2 and 4 refuses a write that has marked already.
 *    Its marks stay: too much is safe.  One that 2 refuses at once leaves none.
 *  - 5: a map that took over between 3 and the I/O gets the mark before the
 *    write is acknowledged.
 *  - A writer that dies before it is admitted has written nothing, and its bits
 *    must not appear: the fence may be up and the map on its way already.  So
 *    the reaper marks the ranges of admitted sections only (section.c).
 *  - 6 is a release that the drain reads with acquire or stronger: when it finds
 *    the section closed, it sees every mark.
 *
 * A writer keeps the maps of the last epoch that it saw (its view); only an
 * epoch that moved costs it a lock, system calls and mappings.
 */
#include "bitmap/disk.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/error.h"

#define NO_EPOCH UINT64_MAX

/* Each round of a write that had to look again is a transaction of another process: honest ones are slower than that. */
#define ROUNDS_MAX 1000

struct view {
    uint64_t epoch;
    unsigned n;
    struct {
        struct map_ref *ref;
        struct map *map;
        unsigned shift;
    } maps[DF_DISK_BITMAPS];
};

struct df_writer {
    struct df_disk *disk;
    struct section *section;
    bool open;
    unsigned slot;
    uint64_t offset, length;
    struct view view;
};

static uint64_t look(const struct df_disk *disk)
{
    return atomic_load_explicit(&disk->shared->epoch, memory_order_seq_cst);
}

static void view_clear(struct df_disk *disk, struct view *view)
{
    while (view->n)
        mapref_put(disk, &view->maps[--view->n].ref);
    view->epoch = NO_EPOCH;
}

/* Fill the view with the maps of `epoch`.  Callers hold disk->mutex.  -EAGAIN: the epoch moved meanwhile. */
static int view_load(struct df_disk *disk, struct view *view, uint64_t epoch)
{
    /* The old references go last, so that maps that stay active are not unmapped and mapped again. */
    struct view old = *view;
    const struct active *active = &disk->shared->active[(epoch >> 1) & 1];
    uint64_t n = atomic_load_explicit(&active->n, memory_order_relaxed);
    int r = n <= DF_DISK_BITMAPS ? 0 : -EPROTO;
    view->n = 0;
    for (uint64_t i = 0; !r && i < n; i++) {
        uint64_t id = atomic_load_explicit(&active->maps[i].map, memory_order_relaxed);
        uint64_t shift = atomic_load_explicit(&active->maps[i].granularity_shift, memory_order_relaxed);
        r = shift >= 9 && shift <= 31 ? mapref_get(disk, id, (unsigned)shift, &view->maps[view->n].ref, NULL) : -EPROTO;
        if (r == 0) {
            view->maps[view->n].map = view->maps[view->n].ref->map;
            view->maps[view->n].shift = (unsigned)shift;
            view->n++;
        }
    }
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&disk->shared->epoch, memory_order_relaxed) != epoch)
        r = -EAGAIN;
    view->epoch = epoch;
    if (r < 0)
        view_clear(disk, view);
    view_clear(disk, &old);
    return r;
}

static inline void mark_view(const struct view *view, uint64_t offset, uint64_t length)
{
    for (unsigned i = 0; i < view->n; i++) {
        unsigned shift = view->maps[i].shift;
        uint64_t first = offset >> shift, last = (offset + length - 1) >> shift;
        map_set(view->maps[i].map, first, last - first + 1);    /* a failure is noted in the map */
    }
}

/* A new epoch was seen: its maps, or all recording bitmaps become inconsistent. */
static void renew_view(struct df_writer *w, uint64_t epoch)
{
    pthread_mutex_lock(&w->disk->mutex);
    int r = view_load(w->disk, &w->view, epoch);
    pthread_mutex_unlock(&w->disk->mutex);
    if (r < 0 && r != -EAGAIN)
        disk_set_unrecorded(w->disk, NULL);
}

/* Steps 2 to 4, and 5.  -EROFS only if `refuse`. */
static int mark_active(struct df_writer *w, bool refuse)
{
    uint64_t epoch = look(w->disk);
    for (unsigned i = 0; i < ROUNDS_MAX; i++) {
        if (refuse && epoch & DISK_EPOCH_FENCED)
            return -EROFS;
        if (epoch != w->view.epoch)
            renew_view(w, epoch);
        mark_view(&w->view, w->offset, w->length);
        uint64_t now = look(w->disk);
        if (now == epoch)
            return 0;
        epoch = now;
    }
    /* Somebody makes epochs up.  The write passes, and no bitmap says that it has it. */
    pthread_mutex_lock(&w->disk->mutex);
    view_clear(w->disk, &w->view);
    pthread_mutex_unlock(&w->disk->mutex);
    disk_set_unrecorded(w->disk, NULL);
    return 0;
}

int df_write_begin(struct df_writer *w, uint64_t offset, uint64_t length)
{
    if (w->open)
        return -EBUSY;
    if (!length || offset >= w->disk->size || length > w->disk->size - offset)
        return -EINVAL;
    w->offset = offset;
    w->length = length;
    atomic_store_explicit(&w->section->offset, offset, memory_order_relaxed);
    atomic_store_explicit(&w->section->length, length, memory_order_relaxed);
    atomic_store_explicit(&w->section->open, SECTION_ASKS, memory_order_seq_cst);
    int r = mark_active(w, true);
    /* Relaxed: whoever reads it in place of ASKS finds this process dead. */
    atomic_store_explicit(&w->section->open, r < 0 ? SECTION_CLOSED : SECTION_ADMITTED, r < 0 ? memory_order_release : memory_order_relaxed);
    if (r < 0)
        return r;
    w->open = true;
    return 0;
}

void df_write_end(struct df_writer *w)
{
    if (!w->open)
        return;
    if (look(w->disk) != w->view.epoch)
        mark_active(w, false);
    atomic_store_explicit(&w->section->open, SECTION_CLOSED, memory_order_release);
    w->open = false;
}

int df_writer_new(struct df_disk *disk, struct df_writer **out, struct df_error *err)
{
    struct df_writer *w = calloc(1, sizeof *w);
    if (!w)
        return error_errno(err, -ENOMEM, "cannot make a writer for disk '%s'", disk->name);
    w->disk = disk;
    w->view.epoch = NO_EPOCH;
    LOCK_SCOPE(&disk->mutex);
    int r = section_claim(disk, &w->slot, err);
    if (r < 0) {
        free(w);
        return r;
    }
    w->section = &disk->shared->sections[w->slot];
    *out = w;
    return 0;
}

void df_writer_free(struct df_writer **wp)
{
    struct df_writer *w = steal(wp);
    if (!w)
        return;
    df_write_end(w);
    LOCK_SCOPE(&w->disk->mutex);
    view_clear(w->disk, &w->view);
    section_release(w->disk, w->slot);
    free(w);
}

int df_disk_mark(struct df_disk *disk, uint64_t offset, uint64_t length, struct df_error *err)
{
    struct df_writer *w = NULL;
    int r = df_writer_new(disk, &w, err);
    if (r < 0)
        return r;
    r = df_write_begin(w, offset, length);
    /* A program's write passes when it cannot be recorded; here there is somebody to tell, if no bitmap can. */
    int lost = r == 0 && (w->view.epoch == NO_EPOCH || fault_is_broken(&disk->broken)) ? disk_set_unrecorded(disk, err) : 0;
    df_writer_free(&w);
    if (lost < 0)
        return lost;
    if (r == -EROFS)
        return error_set(err, r, "disk '%s' is read-only: it was moved away, write to it where it is now", disk->name);
    if (r < 0)
        return error_set(err, r, "a write of %llu bytes at %llu is not within the %llu bytes of disk '%s'", (unsigned long long)length,
                         (unsigned long long)offset, (unsigned long long)disk->size, disk->name);
    return 0;
}

int disk_mark_locked(struct df_disk *disk, uint64_t offset, uint64_t length)
{
    struct view *view = calloc(1, sizeof *view);
    if (!view)
        return -ENOMEM;
    view->epoch = NO_EPOCH;
    int r = view_load(disk, view, look(disk));
    mark_view(view, offset, length);
    view_clear(disk, view);
    free(view);
    return r;
}
