// SPDX-License-Identifier: BSD-3-Clause
/*
 * Persistent bitmaps of qcow2 images: an image without data that carries
 * bitmaps is written, and the bitmaps of any image are read.
 *
 * An image is never changed in place: that needs its refcounts and the lock of
 * whoever has it open.  `qemu-img bitmap --merge` does it from a written one.
 *
 * Virtual sizes are whole sectors of 512 bytes with QEMU.  A granularity is at
 * least a sector, so a size that is rounded up has as many bits as before.
 */
#ifndef IMAGE_QCOW2_H
#define IMAGE_QCOW2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dirtyferry/error.h>

#include "bitmap/map.h"

/* What QEMU takes; it refuses the whole image otherwise. */
#define QCOW2_BITMAP_BYTES      (UINT64_C(512) << 20)   /* of bits, in one bitmap */
#define QCOW2_BITMAPS           65535u
#define QCOW2_DIRECTORY_BYTES   (UINT64_C(1024) * QCOW2_BITMAPS)
#define QCOW2_NAME_BYTES        1023u
#define QCOW2_SIZE_MAX          (UINT64_C(1) << 61)     /* its largest L1 table at the largest cluster size */

/* ---- writing */

struct qcow2_source {
    const char *name;
    uint64_t granularity;
    bool recording;             /* flag "auto": records when the image is opened */
    const struct map *map;      /* of ceil(size / granularity) bits, that nobody clears meanwhile */
};

/*
 * Write an image of `size` bytes with these bitmaps into an empty file; `path`
 * is what errors call it.  Costs what is dirty in the maps: clusters of bits
 * that are all clear or all set, and the guest's data, take no space.  After an
 * error there is something in the file that is no image.
 */
int qcow2_write(int fd, const char *path, uint64_t size, const struct qcow2_source *sources, size_t n, struct df_error *err);

/*
 * The same with one bitmap whose bits become known in their order; the map of
 * `source` is not used.  Takes the memory of a cluster and of the bitmap's table,
 * at most 66 KiB with the usual clusters.  `path` and source->name stay until the end.
 */
struct qcow2_stream;
int qcow2_stream_open(int fd, const char *path, uint64_t size, const struct qcow2_source *source, struct qcow2_stream **stream, struct df_error *err);
/* These bits are set; none of them is before one that was given. */
int qcow2_stream_set(struct qcow2_stream *stream, uint64_t first_bit, uint64_t nbits, struct df_error *err);
int qcow2_stream_end(struct qcow2_stream *stream, struct df_error *err);
void qcow2_stream_close(struct qcow2_stream **stream);

/* ---- reading */

struct qcow2;

struct qcow2_bitmap {
    const char *name;
    uint64_t granularity;
    uint64_t nbits;
    bool in_use;                /* whoever had the image open did not close it: it may lack bits */
    bool recording;
};

/* Does it begin like a qcow2 image? */
bool qcow2_detect(const char *path);

/*
 * Everything but the bits is read and checked.  Whoever made the file is not
 * trusted: -EINVAL with a sentence for what is wrong, refused or not current.  An
 * image without bitmaps has a list of none.
 */
int qcow2_open(const char *path, struct qcow2 **image, struct df_error *err);
void qcow2_close(struct qcow2 **image);

uint64_t qcow2_size(const struct qcow2 *image);
size_t qcow2_bitmaps(const struct qcow2 *image, const struct qcow2_bitmap **list);

/* Into a clean map of nbits that nobody else writes.  After an error some bits are set. */
int qcow2_read(const struct qcow2 *image, size_t index, struct map *into, struct df_error *err);

#endif
