// SPDX-License-Identifier: BSD-3-Clause
/*
 * The contents of a disk, to be read only: a raw file or block device, what an
 * NBD server exports, or an image file of another format, which a qemu-nbd that
 * is started for it exports.
 *
 * Who reads it asks for extents first and leaves out what it need not read.
 *
 * Threads: `lanes` readers, each lane used by one thread at a time; and one that
 * asks for extents, at the same time.  Open and close: nobody else is there.
 */
#ifndef IMAGE_IMAGE_H
#define IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dirtyferry/error.h>

/*
 * Where bytes are kept.  Two extents with the same place have the same bytes,
 * whatever those are.  PLACE_UNKNOWN is the same as nothing, not even itself.
 */
enum place_kind {
    PLACE_UNKNOWN,
    PLACE_FILE,         /* `at` in the bytes of file (device, inode) */
    PLACE_GUEST,        /* `at` in the disk whose image is file (device, inode) */
    PLACE_BLOCKS,       /* `at` in the blocks of the file system on `device`; inode 0 */
};

struct place {
    enum place_kind kind;
    uint64_t device, inode, at;
};

struct extent {
    uint64_t length;    /* bytes, from the offset that was asked for; never 0, and within the image */
    bool zero;          /* reads as zeroes */
    struct place place; /* of the first byte; the others follow it */
};

struct image {
    const struct image_ops *ops;
    char *name;             /* as the user wrote it */
    uint64_t size;          /* bytes; it stays what it was at the opening */
    size_t piece_bytes;     /* what a read should be of, a power of two */
    uint64_t identity;      /* another one when the files that it is read from are others, or have changed; of a server that of its URI */
};

struct image_ops {
    /* See the functions of these names. */
    int (*extent)(struct image *image, uint64_t offset, struct extent *extent, struct df_error *err);
    int (*read)(struct image *image, unsigned lane, uint64_t offset, void *buffer, size_t nbytes, struct df_error *err);
    bool (*view)(struct image *image, unsigned lane, uint64_t offset, size_t nbytes, const uint8_t **bytes);    /* NULL: never */
    bool (*view_holds)(const struct image *image, unsigned lane);
    void (*close)(struct image *image);     /* frees all but the name and the struct itself; also after an open that failed */
};

#define IMAGE_TIMEOUT_MS    10000
#define IMAGE_PIECE_MAX     (UINT32_C(1) << 20)
#define IMAGE_VIEW_MAX      (UINT32_C(4) << 20)     /* less is slower: each view costs a system call and a look of all processors */

struct image_how {
    const char *format;     /* raw, or as qemu-img names it; NULL: by what the file begins with.  Not for NBD */
    unsigned lanes;         /* 1 to IMAGE_LANES_MAX */
    int timeout_ms;         /* an NBD server that is silent for so long has stopped */
};

#define IMAGE_LANES_MAX 16

/* `name`: a path or an NBD URI.  An image file that is damaged, as qemu-img check sees it, is refused. */
int image_open(const char *name, const struct image_how *how, struct image **image, struct df_error *err);
void image_close(struct image **image);

/* Of two images: where both are plain files of one file system, extents tell the blocks, so that shared ones are found. */
void image_relate(struct image *a, struct image *b);

/* What lies at `offset`, which is below the size. */
int image_extent(struct image *image, uint64_t offset, struct extent *extent, struct df_error *err);

/*
 * Read all `nbytes`, at most IMAGE_PIECE_MAX, all of them below the size.  An
 * error says where.  After a server was lost, or was silent for too long, all
 * further calls fail, and do so at once.
 */
int image_read(struct image *image, unsigned lane, uint64_t offset, void *buffer, size_t nbytes, struct df_error *err);

bool image_has_views(const struct image *image);
/*
 * Of one that has views: the same bytes where they lie, without a copy, up to IMAGE_VIEW_MAX: valid until
 * the lane's next view of this image.  False: they have to be read.
 */
bool image_view(struct image *image, unsigned lane, uint64_t offset, size_t nbytes, const uint8_t **bytes);
/* To be asked after looking: was that the image?  False: it could not be read, or was cut; image_read() says it. */
bool image_view_holds(const struct image *image, unsigned lane);

/* ---- the kinds; `image` is allocated by them, and named by image_open() */

struct stat;

/* file.c */
/* To be mixed into an identity. */
uint64_t image_file_identity(const struct stat *st);
int image_file_open(const char *path, const struct image_how *how, struct image **image, struct df_error *err);
void image_file_relate(struct image *a, struct image *b);
/* nbdimage.c */
bool image_is_uri(const char *name);
int image_nbd_open(const char *uri, const struct image_how *how, struct image **image, struct df_error *err);
/* qemunbd.c: how->format is set, and is not raw */
int image_qemu_open(const char *path, const struct image_how *how, struct image **image, struct df_error *err);

#endif
