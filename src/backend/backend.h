// SPDX-License-Identifier: BSD-3-Clause
/*
 * Where a disk's bitmaps live.  A session works with any store that can do what
 * this table asks for; the native one keeps them in shared mappings.
 *
 * One struct backend is one disk, opened by a session.  Every call may be
 * repeated; none blocks for long except `fill`, `reclaim` and `give_up`, which
 * take time in proportion to a bitmap and are called from the receiver thread,
 * and the two that sync.
 */
#ifndef BACKEND_BACKEND_H
#define BACKEND_BACKEND_H

#include <dirtyferry/bitmap.h>

#include "bitmap/map.h"

struct backend;

/* -------------------------------------------------------- other processes */

/*
 * A bitmap may live in another process (QEMU).  Then the disk here is where a
 * session stages the bits on their way, by the same calls as for a disk of our
 * own, and the steps below are what the other process has to do.  Each takes as
 * long as that process likes, so they run on a thread of their own
 * (session/remote.c); each looks first how things are there, so it may be
 * repeated, also after a restart of either side, and one that fails has changed
 * nothing or is undone.
 */
enum remote_step {
    /* source */
    REMOTE_LOOK,        /* is the bitmap there and free?  Staged as it is there, without bits */
    REMOTE_FREEZE,      /* the pivot: it stands still, what is written from now on is noted beside it */
    REMOTE_READ,        /* the bits that stand still, and those noted beside them until now, are ORed into the map here */
    REMOTE_THAW,        /* the way back: it records on, with what was noted */
    REMOTE_DROP,        /* the target is operative: it goes away */
    /* target */
    REMOTE_ADD,         /* may the bitmap be made there?  Its child is, and does not record yet */
    REMOTE_RECORD,      /* the pivot: the child records */
    REMOTE_MERGE,       /* the bitmap is there under its name, with the bits of the map here and of the child */
    REMOTE_WITHDRAW,    /* the child goes away */
    REMOTE_GIVE_UP,     /* the same, or with all_dirty the bitmap is there with every bit set */
    /* comparison; WITHDRAW ends it */
    REMOTE_COMPARE,     /* may the bitmap be filled?  Staged as it is there, without bits */
    REMOTE_WATCH,       /* its child is there and records */
    REMOTE_FILL,        /* the bitmap has the bits of the map here and of the child */
};

#define REMOTE_JOBS 64u             /* of a step, at most */

/* One bitmap of a step. */
struct remote_job {
    struct backend *backend;
    const char *bitmap;
    const uint8_t *session;
    struct df_bitmap_info info;     /* of what is staged */
    bool all_dirty;                 /* GIVE_UP */
    bool recorded;                  /* RECORD, or WATCH, was done once: a child that is not there has been lost */
    uint64_t late_bytes;            /* of disk, written after the pivot; READ: all, DROP: those since READ */
};

struct remote;
struct remote_ops {
    /* For all jobs, whose backends have these ops.  -ENOTCONN: nobody is there.  -ENODATA: what was recorded there is lost. */
    int (*run)(enum remote_step step, struct remote_job *jobs, size_t n, struct df_error *err);
    void (*close)(struct remote *remote);
};
struct remote {
    const struct remote_ops *ops;
};

/* -------------------------------------------------------------- the store */

/* A map that stays mapped until it is put back. */
struct backend_map {
    struct map *map;
    void *ref;
    char path[4096];        /* for a worker process on the same host */
};

struct backend_ops {
    uint64_t (*size)(struct backend *b);
    int (*info)(struct backend *b, const char *bitmap, struct df_bitmap_info *info, struct df_error *err);

    /* source */
    int (*take)(struct backend *b, const char *bitmap, const uint8_t *session, struct df_error *err);
    int (*give_back)(struct backend *b, const char *bitmap, const uint8_t *session, struct df_error *err);
    int (*fence)(struct backend *b, struct df_error *err);
    int (*unfence)(struct backend *b, struct df_error *err);
    unsigned (*open_sections)(struct backend *b);

    /* target */
    int (*add_frozen)(struct backend *b, const char *bitmap, uint64_t granularity, unsigned flags, const uint8_t *session, struct df_error *err);
    int (*unlock)(struct backend *b, const char *bitmap, const uint8_t *session, struct df_error *err);
    int (*reclaim)(struct backend *b, const char *bitmap, const uint8_t *session, struct df_error *err);
    /*
     * The frozen parent becomes what `bits`, of another geometry, say: outwards,
     * and dirty behind the end of the source's disk.  Before it is reclaimed;
     * -ENOSPC may pass.  NULL: get_map() gives a map of the source's geometry,
     * whatever the parent's is.
     */
    int (*fill)(struct backend *b, const char *bitmap, const uint8_t *session, const struct map *bits, const struct geometry *source, struct df_error *err);

    int (*give_up)(struct backend *b, const char *bitmap, const uint8_t *session, bool all_dirty, struct df_error *err);

    /* both */
    int (*discard)(struct backend *b, const char *bitmap, const uint8_t *session, struct df_error *err);
    int (*get_map)(struct backend *b, const char *bitmap, const uint8_t *session, struct backend_map *map, struct df_error *err);
    /* The same for a bitmap that no session owns and that may be read; it records on. */
    int (*peek_map)(struct backend *b, const char *bitmap, struct backend_map *map, struct df_error *err);
    void (*put_map)(struct backend *b, struct backend_map *map);
    /* Make durable: the disk's table; a bitmap's bits.  They take as long as the medium does: for the keeper's thread. */
    int (*sync)(struct backend *b, struct df_error *err);
    int (*sync_map)(struct backend *b, const char *bitmap, struct df_error *err);
    void (*close)(struct backend *b);
};

struct backend {
    const struct backend_ops *ops;
    struct remote *remote;      /* the process that has the disk's bitmaps; NULL: we have them */
    char disk[DF_DISK_NAME_MAX + 1];
};

/* Opens the disk in whichever store has it. */
int backend_open(const char *state_dir, const char *disk, struct backend **backend, struct df_error *err);
void backend_close(struct backend **backend);

/*
 * Who knows the disks of other processes: gives *remote if `disk` is one, else
 * leaves it NULL.  Set once, before threads start.
 */
typedef int remote_opener(const char *state_dir, const char *disk, struct remote **remote, struct df_error *err);
void backend_set_remote(remote_opener *opener);

/*
 * A map that is not of the size that the bitmap was said to have: somebody has
 * written to the disk's table between the two questions.  To be asked before
 * the map is used with numbers that came from `info`.
 */
int backend_check_map(const struct backend *backend, const char *bitmap, const struct backend_map *map, uint64_t nbits, struct df_error *err);

/* native.c */
int native_open(const char *state_dir, const char *disk, struct backend **backend, struct df_error *err);

#endif
