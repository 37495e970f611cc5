// SPDX-License-Identifier: BSD-3-Clause
/*
 * Where a disk's bitmaps live.  A session works with any store that can do what
 * this table asks for; the native one keeps them in shared mappings.
 *
 * One struct backend is one disk, opened by a session.  Every call may be
 * repeated; none blocks for long except `reclaim` and `give_up`, which take time
 * in proportion to a bitmap and are called from the receiver thread, and the two
 * that sync.
 */
#ifndef BACKEND_BACKEND_H
#define BACKEND_BACKEND_H

#include <dirtyferry/bitmap.h>

#include "bitmap/map.h"

struct backend;

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
    char disk[DF_DISK_NAME_MAX + 1];
};

/* Opens the disk in whichever store has it. */
int backend_open(const char *state_dir, const char *disk, struct backend **backend, struct df_error *err);
void backend_close(struct backend **backend);

/*
 * A map that is not of the size that the bitmap was said to have: somebody has
 * written to the disk's table between the two questions.  To be asked before
 * the map is used with numbers that came from `info`.
 */
int backend_check_map(const struct backend *backend, const char *bitmap, const struct backend_map *map, uint64_t nbits, struct df_error *err);

/* native.c */
int native_open(const char *state_dir, const char *disk, struct backend **backend, struct df_error *err);

#endif
