// SPDX-License-Identifier: BSD-3-Clause
/*
 * What the requests about bitmaps do, for each kind of store that a disk's
 * bitmaps may be in.  admin.c has the table and finds out which store it is.
 */
#ifndef DAEMON_STORES_H
#define DAEMON_STORES_H

#include <dirtyferry/bitmap.h>

#include "qemu/attach.h"
#include "wire/message.h"

struct ask {
    const char *state_dir;
    const node *root;                   /* of the request */
    struct qemu_attachment qemu;        /* of its disk, if that is QEMU's */
};

typedef int store_handler(const struct ask *ask, struct out *out, struct df_error *err);

/* A bitmap as users see it; `hex` may be NULL.  The session is shown if there is one. */
void put_bitmap(struct out *out, const struct df_bitmap_info *info, uint64_t count, const char *hex);

/* native.c: shared mappings in the state directory. */
store_handler native_add, native_remove, native_clear, native_enable, native_disable, native_merge, native_list, native_show, native_mark, native_extents;

/* qemu.c: each opens a connection of its own, since a monitor serves one at a time; each may wait for QEMU. */
store_handler qemu_disk_add, qemu_add, qemu_remove, qemu_clear, qemu_enable, qemu_disable, qemu_merge, qemu_list, qemu_show, qemu_mark, qemu_extents;

#endif
