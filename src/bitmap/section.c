// SPDX-License-Identifier: BSD-3-Clause
/*
 * Section slots: who is in the middle of a write.
 *
 * A slot belongs to whoever holds the lock on its byte, by an open file
 * description lock: the kernel drops it when the last process that has the
 * description is gone, whatever killed it and in whatever PID namespace it
 * lived.  Locks of one description do not exclude each other, so a process
 * notes its own slots in own_slots.
 *
 * An open slot without a lock is a write that was never acknowledged.  Part of
 * it may be on the disk, and a bitmap may have been cleared since it began: its
 * range is marked once more where writes are recorded now, then it is closed.
 * A disk that is closed cleanly has none, so this is never its first change.
 */
#include "bitmap/disk.h"

#include <errno.h>
#include <fcntl.h>

#include "base/cleanup.h"
#include "base/error.h"

/* Far behind anything that is in the file; locks may lie there. */
#define SLOT_LOCK_BASE (INT64_C(1) << 40)

static struct flock slot_lock(unsigned slot, short type)
{
    return (struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_start = SLOT_LOCK_BASE + slot, .l_len = 1 };
}

static bool is_own(const struct df_disk *disk, unsigned slot)
{
    return disk->own_slots[slot / 64] >> (slot % 64) & 1;
}

static bool is_dead(const struct df_disk *disk, unsigned slot)
{
    if (is_own(disk, slot))
        return false;
    struct flock lock = slot_lock(slot, F_WRLCK);
    return fcntl(disk->fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK;
}

/* Callers hold mutex and file lock, so the epoch stands still and no other process reaps. */
static int reap(struct df_disk *disk, unsigned slot)
{
    struct section *section = &disk->shared->sections[slot];
    uint64_t state = atomic_load_explicit(&section->open, memory_order_acquire);
    if (state == SECTION_CLOSED)
        return 0;
    uint64_t offset = atomic_load_explicit(&section->offset, memory_order_relaxed);
    uint64_t length = atomic_load_explicit(&section->length, memory_order_relaxed);
    int r = 0;
    if (state != SECTION_ASKS && offset < disk->size && length && length <= disk->size - offset)
        r = disk_mark_locked(disk, offset, length);
    if (r < 0)      /* it could not be marked: the slot stays open, whoever comes next tries again */
        return r;
    atomic_store_explicit(&section->open, SECTION_CLOSED, memory_order_release);
    return 0;
}

/*
 * The slot is ours: make it fit to be opened.  The load of `closed` comes
 * behind the lock of the slot; why that suffices is said in sync.c.
 */
static int make_ready(struct df_disk *disk, unsigned slot, struct df_error *err)
{
    struct disk_shared *shared = disk->shared;
    /* seq_cst: whoever fences after this store looks at the slot, whoever fenced before is seen by begin. */
    uint64_t n = atomic_load_explicit(&shared->nsections, memory_order_seq_cst);
    for (unsigned i = 0; n <= slot && !atomic_compare_exchange_weak_explicit(&shared->nsections, &n, slot + 1,
                                                                             memory_order_seq_cst, memory_order_seq_cst); i++)
        if (i > 2 * DF_DISK_WRITERS)    /* honest ones have raised it by then */
            return disk_set_damaged(disk, "the number of its writers changes all the time", err);
    if (atomic_load_explicit(&shared->closed, memory_order_seq_cst) == DISK_OPEN &&
        !atomic_load_explicit(&shared->sections[slot].open, memory_order_relaxed))
        return 0;
    int r = disk_lock(disk, err);
    if (r < 0)
        return r;
    r = disk_unclose(disk, err);
    if (!r && (r = reap(disk, slot)) < 0)
        error_errno(err, r, "cannot record the write of a dead writer of disk '%s'", disk->name);
    disk_unlock(disk);
    return r;
}

int section_claim(struct df_disk *disk, unsigned *slot, struct df_error *err)
{
    for (unsigned i = 0; i < DF_DISK_WRITERS; i++) {
        if (is_own(disk, i))
            continue;
        struct flock lock = slot_lock(i, F_WRLCK);
        if (fcntl(disk->fd, F_OFD_SETLK, &lock) < 0) {
            if (errno == EAGAIN || errno == EACCES)
                continue;
            return error_errno(err, -errno, "cannot claim a writer's slot of disk '%s'", disk->name);
        }
        disk->own_slots[i / 64] |= UINT64_C(1) << (i % 64);
        int r = make_ready(disk, i, err);
        if (r < 0)
            section_release(disk, i);
        *slot = i;
        return r;
    }
    return error_set(err, -EMFILE, "disk '%s' has %u writers already, the most that are possible: close some", disk->name, DF_DISK_WRITERS);
}

void section_release(struct df_disk *disk, unsigned slot)
{
    struct flock lock = slot_lock(slot, F_UNLCK);
    disk->own_slots[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
    fcntl(disk->fd, F_OFD_SETLK, &lock);
}

bool section_in_use(const struct df_disk *disk)
{
    for (unsigned i = 0; i < DF_DISK_WRITERS / 64; i++)
        if (disk->own_slots[i])
            return true;
    struct flock all = slot_lock(0, F_WRLCK);
    all.l_len = DF_DISK_WRITERS;
    return fcntl(disk->fd, F_OFD_GETLK, &all) < 0 || all.l_type != F_UNLCK;
}

static unsigned slots_used(const struct df_disk *disk)
{
    uint64_t n = atomic_load_explicit(&disk->shared->nsections, memory_order_seq_cst);
    return n < DF_DISK_WRITERS ? (unsigned)n : DF_DISK_WRITERS;
}

int section_reap_all(struct df_disk *disk)
{
    int r = 0;
    for (unsigned i = 0, n = slots_used(disk); !r && i < n; i++)
        r = reap(disk, i);
    return r;
}

unsigned df_disk_open_sections(struct df_disk *disk)
{
    LOCK_SCOPE(&disk->mutex);
    unsigned open = 0;
    if (fault_is_broken(&disk->broken))     /* nobody knows; as long as somebody writes it may be any */
        return section_in_use(disk);
    for (unsigned i = 0, n = slots_used(disk); i < n; i++) {
        /* seq_cst: pairs with begin, which opens the slot and then looks for the fence. */
        if (!atomic_load_explicit(&disk->shared->sections[i].open, memory_order_seq_cst))
            continue;
        if (is_dead(disk, i) && disk_lock(disk, NULL) == 0) {
            if (!is_dead(disk, i) || reap(disk, i) < 0)
                open++;
            disk_unlock(disk);
        } else {
            open++;
        }
    }
    return !open && fault_is_broken(&disk->broken) ? section_in_use(disk) : open;
}
