// SPDX-License-Identifier: BSD-3-Clause
/*
 * A raw file or block device.
 *
 * All lanes read by one descriptor, through the page cache: so its readahead
 * sees one sequential reader, and a live disk is seen as its writer left it.
 * SEEK_DATA tells holes; where it does not (block devices) all is data.
 *
 * Long stretches are seen through a mapping, which is faster than a copy.  A
 * page that is not there any more, or cannot be read, is a fault; it is caught
 * where fault_start() was called (bitmap/fault.h), and elsewhere nothing is
 * mapped.  Then the stretch is read, for an error with its place and reason.
 * (Not MAP_POPULATE: the kernel tries a page that cannot be read for ever.)
 */
#include "image/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <xxhash.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "bitmap/fault.h"
#include "image/blocks.h"

#define PIECE_BYTES (UINT32_C(256) << 10)   /* so the second copy still finds the first in the cache of the processor */

#define VIEW_MIN    PIECE_BYTES             /* below that a copy is faster */

/* IMAGE_VIEW_MAX of address space, in which a lane maps what it looks at. */
struct window {
    uint8_t *base;
    bool is_dead;               /* there will be none */
    struct fault_slot *fault;
    _Atomic bool broken;
};

struct file {
    struct image image;         /* first */
    int fd;
    bool has_holes;             /* the kernel can tell */
    uint64_t device, inode;
    struct blocks *blocks;      /* or NULL: shared blocks are not looked for */
    struct blocks_volume volume;
    size_t page_bytes;
    struct window windows[IMAGE_LANES_MAX];
};

static struct file *file_of(struct image *image)
{
    return (struct file *)image;
}

/* ---------------------------------------------------------------- extents */

static int refuse_cut(const struct file *f, uint64_t offset, struct df_error *err)
{
    return error_set(err, -EIO, "cannot read '%.1024s' at offset %" PRIu64 ": it ends there and had %" PRIu64 " bytes before, somebody cuts it",
                     f->image.name, offset, f->image.size);
}

/* There is no data from `offset` on: because that is behind the end? */
static int check_end(const struct file *f, struct df_error *err)
{
    struct stat st;
    if (fstat(f->fd, &st) < 0 || (uint64_t)st.st_size >= f->image.size)
        return 0;
    return refuse_cut(f, (uint64_t)st.st_size, err);
}

/* Data or hole from `offset` on.  A file that changes meanwhile is seen as one of its states. */
static int find_data(struct file *f, uint64_t offset, struct extent *extent, struct df_error *err)
{
    uint64_t left = f->image.size - offset;
    *extent = (struct extent){ .length = left };
    if (!f->has_holes)
        return 0;
    off_t data = lseek(f->fd, (off_t)offset, SEEK_DATA);
    if (data < 0 && errno == EINVAL) {
        f->has_holes = false;
        return 0;
    }
    if (data < 0 && errno != ENXIO)
        return error_errno(err, -errno, "cannot find the holes of '%.1024s' at offset %" PRIu64, f->image.name, offset);
    int r = data < 0 ? check_end(f, err) : 0;
    if (r < 0)
        return r;
    extent->zero = data < 0 || (uint64_t)data > offset;
    off_t end = extent->zero ? data : lseek(f->fd, (off_t)offset, SEEK_HOLE);
    if (end > 0 && (uint64_t)end > offset && (uint64_t)end - offset < left)
        extent->length = (uint64_t)end - offset;
    return 0;
}

static void find_place(struct file *f, uint64_t offset, struct extent *extent)
{
    uint64_t at, length;
    extent->place = (struct place){ PLACE_FILE, f->device, f->inode, offset };
    if (extent->zero || !f->blocks)
        return;
    if (blocks_find(f->blocks, offset, &at, &length))
        extent->place = (struct place){ PLACE_BLOCKS, f->volume.id[0], f->volume.id[1], at };
    if (length < extent->length)
        extent->length = length;
}

static int file_extent(struct image *image, uint64_t offset, struct extent *extent, struct df_error *err)
{
    struct file *f = file_of(image);
    int r = find_data(f, offset, extent, err);
    if (r < 0)
        return r;
    find_place(f, offset, extent);
    return 0;
}

/* ------------------------------------------------------------------ reads */

static int file_read(struct image *image, unsigned lane, uint64_t offset, void *buffer, size_t nbytes, struct df_error *err)
{
    struct file *f = file_of(image);
    (void)lane;
    for (size_t done = 0; done < nbytes;) {
        ssize_t n = pread(f->fd, (char *)buffer + done, nbytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, -errno, "cannot read '%.1024s' at offset %" PRIu64, image->name, offset + done);
        if (n == 0)
            return refuse_cut(f, offset + done, err);
        done += (size_t)n;
    }
    return 0;
}

/* ------------------------------------------------------------------ views */

/* It is made of the file: one that cannot be mapped fails here, where nothing is replaced. */
static bool window_open(struct window *w, int fd)
{
    if (w->base || w->is_dead)
        return !w->is_dead;
    w->is_dead = true;
    void *base = mmap(NULL, IMAGE_VIEW_MAX, PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return false;
    if (fault_add(base, IMAGE_VIEW_MAX, &w->broken, &w->fault) < 0) {
        munmap(base, IMAGE_VIEW_MAX);
        return false;
    }
    w->base = base;
    w->is_dead = false;
    return true;
}

static void window_close(struct window *w)
{
    fault_drop(&w->fault);
    if (w->base)
        munmap(steal(&w->base), IMAGE_VIEW_MAX);
}

/* The kernel has unmapped the first `nbytes` before it failed: they may be somebody else's already. */
static bool window_lose(struct window *w, size_t nbytes)
{
    fault_drop(&w->fault);
    munmap(steal(&w->base) + nbytes, IMAGE_VIEW_MAX - nbytes);
    w->is_dead = true;
    return false;
}

static bool file_view(struct image *image, unsigned lane, uint64_t offset, size_t nbytes, const uint8_t **bytes)
{
    struct file *f = file_of(image);
    struct window *w = &f->windows[lane];
    if (!fault_is_on() || nbytes < VIEW_MIN || offset % f->page_bytes || !window_open(w, f->fd))
        return false;
    size_t whole_pages = (nbytes + f->page_bytes - 1) / f->page_bytes * f->page_bytes;
    atomic_store_explicit(&w->broken, false, memory_order_relaxed);     /* only this thread looks at the window */
    *bytes = w->base;
    if (mmap(w->base, nbytes, PROT_READ, MAP_SHARED | MAP_FIXED, f->fd, (off_t)offset) == MAP_FAILED)
        return window_lose(w, whole_pages);
    return true;
}

static bool file_view_holds(const struct image *image, unsigned lane)
{
    return !fault_is_broken(&((const struct file *)image)->windows[lane].broken);
}

static void file_close(struct image *image)
{
    struct file *f = file_of(image);
    for (unsigned i = 0; i < IMAGE_LANES_MAX; i++)
        window_close(&f->windows[i]);
    blocks_close(&f->blocks);
    if (f->fd >= 0)
        close(f->fd);
}

static const struct image_ops file_ops = {
    .extent = file_extent, .read = file_read, .view = file_view, .view_holds = file_view_holds, .close = file_close,
};

/* ------------------------------------------------------------------- open */

uint64_t image_file_identity(const struct stat *st)
{
    const uint64_t words[] = { st->st_dev, st->st_ino, st->st_rdev, (uint64_t)st->st_size, (uint64_t)st->st_mtim.tv_sec, (uint64_t)st->st_mtim.tv_nsec };
    return XXH3_64bits(words, sizeof words);
}

static int find_size(struct file *f, const char *path, struct df_error *err)
{
    struct stat st;
    off_t end = fstat(f->fd, &st) < 0 ? -1 : lseek(f->fd, 0, SEEK_END);
    if (end < 0)
        return error_errno(err, -errno, "cannot find out the size of '%.1024s'", path);
    f->image.size = (uint64_t)end;
    f->device = st.st_dev;
    f->inode = st.st_ino;
    f->image.identity = image_file_identity(&st);
    f->has_holes = true;
    return 0;
}

int image_file_open(const char *path, const struct image_how *how, struct image **out, struct df_error *err)
{
    struct file *f = calloc(1, sizeof *f);
    (void)how;
    if (!f)
        return error_errno(err, -ENOMEM, "cannot read '%.1024s'", path);
    CLEANUP(image_close) struct image *image = &f->image;
    image->ops = &file_ops;
    image->piece_bytes = PIECE_BYTES;
    f->page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    f->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (f->fd < 0)
        return error_errno(err, -errno, "cannot read '%.1024s'", path);
    posix_fadvise(f->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    int r = find_size(f, path, err);
    if (!r)
        *out = steal(&image);
    return r;
}

void image_file_relate(struct image *a, struct image *b)
{
    struct file *files[2] = { file_of(a), file_of(b) };
    if (a->ops != &file_ops || b->ops != &file_ops)
        return;
    if (!blocks_volume(files[0]->fd, &files[0]->volume) || !blocks_volume(files[1]->fd, &files[1]->volume) ||
        memcmp(&files[0]->volume, &files[1]->volume, sizeof files[0]->volume))
        return;
    for (unsigned i = 0; i < 2; i++)
        files[i]->blocks = blocks_open(files[i]->fd);
}
