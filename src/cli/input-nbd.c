// SPDX-License-Identifier: BSD-3-Clause
/*
 * An NBD server as an input: one bitmap, which QEMU names
 * qemu:dirty-bitmap:BITMAP.  Servers tell extents, neither granularity nor flags.
 */
#include <errno.h>
#include <stdlib.h>

#include <dirtyferry/bitmap.h>

#include "base/error.h"
#include "cli/input.h"
#include "image/image.h"
#include "image/nbd.h"

#define TIMEOUT_MS 10000

struct export {
    struct nbd_source *source;
    struct input_bitmap bitmap;
};

static int nbd_open(struct input *in, struct df_error *err)
{
    struct export *e = in->state = calloc(1, sizeof *e);
    char own[sizeof NBD_CONTEXT_PREFIX + DF_BITMAP_NAME_MAX];
    if (!e)
        return error_errno(err, -ENOMEM, "cannot read '%.1024s'", in->name);
    e->bitmap = (struct input_bitmap){ .granularity = in->granularity ? in->granularity : DF_GRANULARITY_DEFAULT, .recording = true };
    in->bitmaps = &e->bitmap;
    in->nbitmaps = 1;
    in->size = in->disk_size;
    if (!in->bitmap)        /* the caller refuses that */
        return 0;
    snprintf(own, sizeof own, NBD_CONTEXT_PREFIX "%s", in->bitmap);
    int r = nbd_source_open(in->name, in->context ? in->context : own, TIMEOUT_MS, &e->source, err);
    if (!r)
        in->size = nbd_source_size(e->source);
    return r;
}

static int nbd_read(struct input *in, size_t index, struct map *map, struct df_error *err)
{
    struct nbd_source *source = ((struct export *)in->state)->source;
    (void)index;
    int r = nbd_source_read(source, (unsigned)__builtin_ctzll(in->bitmaps->granularity), map, NULL, err);
    in->edges = nbd_source_edges(source);
    return r;
}

static void nbd_end(struct input *in)
{
    struct export *e = in->state;
    if (e)
        nbd_source_close(&e->source);
    free(e);
}

const struct input_ops input_nbd = { .format = "nbd", .detect = image_is_uri, .open = nbd_open, .read = nbd_read, .close = nbd_end };
