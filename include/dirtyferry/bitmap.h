// SPDX-License-Identifier: BSD-3-Clause
/*
 * Disks, their dirty bitmaps and the recording of writes.
 *
 * A state directory holds disks; a disk has a size in bytes and any number of
 * named bitmaps up to DF_DISK_BITMAPS; a bitmap has one bit for each
 * `granularity` bytes of disk.  All of it lives in files that are mapped
 * shared, so that many threads of many processes record into the same bits
 * and a process that dies takes nothing with it.
 *
 * Units: `offset`, `length`, `size`, `granularity` and `count` are bytes of
 * disk.  A bit that covers the end of a disk counts as a whole granularity, as
 * in QEMU's `count`.
 *
 * Ownership: what an `_open`, `_new` call hands out is the caller's and goes
 * back to the `_close`, `_free` call, which also clears the pointer.
 *
 * Threads: a struct df_disk may be used by any number of threads at once.  A
 * struct df_writer and a struct df_bitmap belong to one thread at a time.
 * After fork() the child must open its own.
 *
 * Errors: see error.h.  The ones that a call adds of its own are named there;
 * any call may return -EINVAL for an argument out of range, -EPROTO for a disk
 * whose files somebody has written to past this library, -ENOENT for a disk
 * or bitmap that is not there, and the errno of a system call on its files.
 */
#ifndef DIRTYFERRY_BITMAP_H
#define DIRTYFERRY_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dirtyferry/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Limits.  Granularity and bits as in QEMU (HBITMAP, qcow2), names too. */
#define DF_GRANULARITY_MIN      512u                      /* bytes */
#define DF_GRANULARITY_MAX      (UINT32_C(2) << 30)       /* bytes */
#define DF_GRANULARITY_DEFAULT  65536u                    /* bytes */
#define DF_DISK_SIZE_MAX        (UINT64_C(1) << 60)       /* bytes: 1 EiB */
#define DF_BITMAP_BITS_MAX      (UINT64_C(1) << 41)       /* bits a bitmap */
#define DF_DISK_BITMAPS         256u                      /* bitmaps a disk */
#define DF_DISK_WRITERS         4096u                     /* struct df_writer a disk, all processes */
#define DF_DISK_NAME_MAX        255u                      /* bytes, no '/' and no control characters */
#define DF_BITMAP_NAME_MAX      1023u                     /* bytes, no control characters */
#define DF_SESSION_BYTES        16u                       /* a session's UUID */

struct df_disk;
struct df_bitmap;
struct df_writer;

/* ------------------------------------------------------------------ disks */

/*
 * Create the disk `name` of `size` bytes (1 to DF_DISK_SIZE_MAX) in the state
 * directory, which is made (mode 0700) if it is not there.  -EEXIST if there
 * is one of that name.
 */
int df_disk_create(const char *state_dir, const char *name, uint64_t size, struct df_error *err);

/*
 * Remove a disk and all its bitmaps.  -EBUSY while a session moves one of them,
 * a comparison fills one, or a program has a writer.  A damaged disk can be removed, too.
 */
int df_disk_remove(const char *state_dir, const char *name, struct df_error *err);

/*
 * Call `each` with the name of each disk, in the order of the directory, until
 * it returns non-zero; that value is returned, else 0.
 */
int df_disk_list(const char *state_dir, int (*each)(void *opaque, const char *name),
                 void *opaque, struct df_error *err);

/*
 * The first open after a restart of the host says which bitmaps are still good,
 * see df_disk_flush().  -EPROTO: the disk's files are damaged, remove it.
 */
int df_disk_open(const char *state_dir, const char *name, struct df_disk **disk, struct df_error *err);
void df_disk_close(struct df_disk **disk);

const char *df_disk_name(const struct df_disk *disk);
uint64_t df_disk_size(const struct df_disk *disk);     /* bytes */

/* True once df_disk_fence() has made the disk read-only. */
bool df_disk_is_readonly(const struct df_disk *disk);

/*
 * The fence: from the return of this call on no write section begins
 * (df_write_begin() gives -EROFS).  Sections that are open go on; ask
 * df_disk_open_sections() until it returns 0, then no write is under way and
 * the bits of all bitmaps stay as they are.  Fencing a fenced disk does
 * nothing.
 */
int df_disk_fence(struct df_disk *disk, struct df_error *err);

/*
 * Let writes pass again: the roll-back of a fence, or a disk that was moved
 * away and shall be used anew.  The call does not ask who owns the disk.
 */
int df_disk_unfence(struct df_disk *disk, struct df_error *err);

/*
 * How many write sections are open now.  One that a dead process left behind
 * is not counted: its range is marked in the bitmaps that record now (or, on a
 * fenced disk, was marked when it began) and it is closed.
 */
unsigned df_disk_open_sections(struct df_disk *disk);

/*
 * Close the disk cleanly: all that persistent bitmaps and bitmaps of sessions
 * hold goes to stable storage, and then the note that it is there.  A program
 * calls it when it has freed its last writer and before df_disk_close().
 * -EBUSY, and nothing is done, while a living process has a writer: that one
 * will call it when it leaves.  The next change takes the note back, so it may
 * be called at any time and as often as one likes.
 *
 * Without it nothing is lost as long as the host runs, whatever processes die.
 * After a restart of the host a bitmap is `inconsistent` unless the disk was
 * closed cleanly and the bitmap is persistent (or a session owns it).
 */
int df_disk_flush(struct df_disk *disk, struct df_error *err);

/* ---------------------------------------------------------------- bitmaps */

/* How a bitmap is made; both flags as in QEMU's block-dirty-bitmap-add. */
enum df_bitmap_flags {
    DF_BITMAP_DISABLED   = 1u << 0,     /* does not record until enabled */
    DF_BITMAP_PERSISTENT = 1u << 1,     /* outlives a clean stop of the host, see df_disk_flush() */
};

/* What a bitmap is, in the words that QEMU shows to its users. */
struct df_bitmap_info {
    char name[DF_BITMAP_NAME_MAX + 1];
    uint32_t granularity;               /* bytes */
    uint64_t nbits;                     /* ceil(size / granularity) */
    bool recording;                     /* a write is recorded now */
    bool enabled;                       /* records when nothing else hinders it */
    bool persistent;
    bool busy;                          /* a session or a comparison owns it: it cannot be used */
    bool inconsistent;                  /* may lack bits: it can only be removed, or compared with a backup (dirtyferry(1), bitmap diff) */
    bool frozen;                        /* a child stands in for it */
    bool readonly;                      /* its disk is fenced */
    uint8_t session[DF_SESSION_BYTES];  /* who owns it, when busy */
    bool compared;                      /* busy: it is the comparison that owns it, not a session */
};

/*
 * Add a bitmap, all clean, in O(1) whatever the size.  `granularity` is a
 * power of two within the limits.  -EEXIST; -EFBIG if the disk would need more
 * than DF_BITMAP_BITS_MAX bits; -ENOSPC beyond DF_DISK_BITMAPS.
 */
int df_bitmap_add(struct df_disk *disk, const char *name, uint64_t granularity,
                  unsigned flags, struct df_error *err);

/*
 * remove, clear, enable, disable: as QEMU's block-dirty-bitmap-*.  -EBUSY
 * while a session or a comparison owns the bitmap, -EINVAL if it is
 * inconsistent (only remove is allowed then), -EROFS on a fenced disk (remove excepted).
 *
 * clear is O(1): a new empty map takes the place of the old one.  A write whose
 * section is open across it is dirty afterwards.
 */
int df_bitmap_remove(struct df_disk *disk, const char *name, struct df_error *err);
int df_bitmap_clear(struct df_disk *disk, const char *name, struct df_error *err);
int df_bitmap_enable(struct df_disk *disk, const char *name, struct df_error *err);
int df_bitmap_disable(struct df_disk *disk, const char *name, struct df_error *err);

/*
 * target |= source, where both disks have the same size and the granularities
 * may differ (rounded outwards).  As QEMU's block-dirty-bitmap-merge.  Bits
 * that are set in the source meanwhile may or may not arrive.  -EBUSY, -EINVAL
 * (inconsistent, or sizes differ), -EROFS as above.
 */
int df_bitmap_merge(struct df_disk *disk, const char *target,
                    struct df_disk *source_disk, const char *source, struct df_error *err);

int df_bitmap_get_info(struct df_disk *disk, const char *name,
                       struct df_bitmap_info *info, struct df_error *err);

/* All bitmaps of the disk.  *infos is one malloc()ed array; free() it. */
int df_bitmap_list(struct df_disk *disk, struct df_bitmap_info **infos, size_t *n, struct df_error *err);

/* Say that the bitmap may lack bits.  It records on; only remove is allowed. */
int df_bitmap_set_inconsistent(struct df_disk *disk, const char *name, struct df_error *err);

/* --------------------------------------------------- contents of a bitmap */

/*
 * Open a bitmap's contents for reading.  They stay readable until closed, even
 * when the bitmap is cleared or removed.  -EBUSY while a session owns it,
 * -EINVAL if it is inconsistent: nobody may use such bits for a backup.
 */
int df_bitmap_open(struct df_disk *disk, const char *name, struct df_bitmap **bitmap, struct df_error *err);
void df_bitmap_close(struct df_bitmap **bitmap);

/* Is the bit that covers byte `offset` of the disk set? */
bool df_bitmap_test(const struct df_bitmap *bitmap, uint64_t offset);

/*
 * The first dirty (clean) stretch that begins at or after `offset`, clipped to
 * the disk's size.  False if there is none.  Cost: the dirty part of what is
 * passed over.  Bits set concurrently may be missed.
 */
bool df_bitmap_next_dirty(const struct df_bitmap *bitmap, uint64_t offset,
                          uint64_t *start, uint64_t *length);
bool df_bitmap_next_clean(const struct df_bitmap *bitmap, uint64_t offset,
                          uint64_t *start, uint64_t *length);

/* Number of set bits times granularity, as QEMU's `count`. */
uint64_t df_bitmap_count(const struct df_bitmap *bitmap);

/*
 * SHA-256 of the little-endian bits, zero-padded to 8 bytes, in lower-case hex:
 * what QEMU's x-debug-block-dirty-bitmap-sha256 prints.  Time in proportion to
 * the whole bitmap, set or not.
 */
#define DF_SHA256_HEX_BYTES 65
void df_bitmap_sha256(const struct df_bitmap *bitmap, char hex[DF_SHA256_HEX_BYTES]);

/* ------------------------------------------------------- recording writes */

/*
 * A writer records the writes of one thread, one write at a time.  A program
 * with several requests in flight takes a writer for each.  -EMFILE beyond
 * DF_DISK_WRITERS.  The disk must outlive its writers.
 */
int df_writer_new(struct df_disk *disk, struct df_writer **writer, struct df_error *err);
void df_writer_free(struct df_writer **writer);

/*
 * A write is a section:
 *
 *     r = df_write_begin(w, offset, length);
 *     if (r == 0) {
 *         ... the I/O, whether it succeeds or not ...
 *         df_write_end(w);
 *     }
 *
 * begin marks the range in every recording bitmap and refuses with -EROFS on a
 * fenced disk, -EINVAL for a range that is not within the disk, -EBUSY if a
 * section is open already.  end marks again if a bitmap changed hands meanwhile.  Neither takes a lock; both are a few
 * nanoseconds when the bits are set already.
 *
 * When a bit cannot be stored (the state directory is full) or a bitmap cannot
 * be mapped, the write is let through and the bitmap says `inconsistent`: a backup problem must not
 * become the guest's I/O error.
 */
int df_write_begin(struct df_writer *writer, uint64_t offset, uint64_t length);
void df_write_end(struct df_writer *writer);

/* begin and end in one, for a write that somebody else has done. */
int df_disk_mark(struct df_disk *disk, uint64_t offset, uint64_t length, struct df_error *err);

/* --------------------------------------------- the hand-over of a bitmap */

/*
 * What a session does with a bitmap.  The verbs are QEMU's (successor,
 * abdicate, reclaim).  The engine uses these calls; a backup program that
 * wants QEMU's freeze semantics on this store may too.  Every call may be
 * repeated with the same session; one of another session gets -EBUSY.
 *
 * take       the source's bitmap becomes busy; it records on.
 * give_back  undoes take.
 * freeze     the bitmap becomes the frozen parent of a new, clean, anonymous
 *            child; it is busy.  locked: the child does not record yet.
 * add_frozen add and freeze (locked) in one step: no write can slip into the
 *            parent in between.  -EEXIST, and the errors of df_bitmap_add();
 *            -EROFS on a fenced disk.
 * discard    the bitmap goes away with its child, if the session owns it.
 * unlock     the child records (unless the bitmap is disabled).
 * abdicate   the parent's bits are dropped, the child is the bitmap.
 * reclaim    the parent records in place of the child and takes its bits;
 *            time in proportion to the child's dirty part; not busy any more.
 * give_up    reclaim where the source's bits did not all arrive and will not:
 *            the bitmap says inconsistent, or with `all_dirty` every bit of it
 *            is set and it can be used (the next backup copies all).  -ENOSPC
 *            if the bits cannot be stored; the bitmap is then as it was, but
 *            for bits of the parent.  Nothing to do for a bitmap that is not
 *            busy or not there.
 */
int df_bitmap_take(struct df_disk *disk, const char *name,
                   const uint8_t session[DF_SESSION_BYTES], struct df_error *err);
int df_bitmap_give_back(struct df_disk *disk, const char *name,
                        const uint8_t session[DF_SESSION_BYTES], struct df_error *err);
int df_bitmap_freeze(struct df_disk *disk, const char *name,
                     const uint8_t session[DF_SESSION_BYTES], bool locked, struct df_error *err);
int df_bitmap_add_frozen(struct df_disk *disk, const char *name, uint64_t granularity, unsigned flags,
                         const uint8_t session[DF_SESSION_BYTES], struct df_error *err);
int df_bitmap_discard(struct df_disk *disk, const char *name,
                      const uint8_t session[DF_SESSION_BYTES], struct df_error *err);
int df_bitmap_unlock(struct df_disk *disk, const char *name,
                     const uint8_t session[DF_SESSION_BYTES], struct df_error *err);
int df_bitmap_abdicate(struct df_disk *disk, const char *name,
                       const uint8_t session[DF_SESSION_BYTES], struct df_error *err);
int df_bitmap_reclaim(struct df_disk *disk, const char *name,
                      const uint8_t session[DF_SESSION_BYTES], struct df_error *err);
int df_bitmap_give_up(struct df_disk *disk, const char *name,
                      const uint8_t session[DF_SESSION_BYTES], bool all_dirty, struct df_error *err);

#ifdef __cplusplus
}
#endif

#endif
