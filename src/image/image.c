// SPDX-License-Identifier: BSD-3-Clause
/* Which kind of image a name is, and the calls that all kinds share. */
#include "image/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/error.h"

/*
 * Formats that qemu-nbd reads and a file's beginning tells.  One of a fixed size
 * that keeps its header at the end (VPC) is raw, but for its last sector.  LUKS is left out: that
 * is more often what a guest has on a raw disk than an image of QEMU.
 */
static const struct {
    const char *format;
    unsigned offset, nbytes;
    const char *magic;
} magics[] = {
    { "qcow2", 0, 8, "QFI\xfb\0\0\0\2" },  { "qcow2", 0, 8, "QFI\xfb\0\0\0\3" }, { "qcow", 0, 8, "QFI\xfb\0\0\0\1" },
    { "qed", 0, 4, "QED\0" },              { "vmdk", 0, 4, "KDMV" },              { "vmdk", 0, 4, "COWD" },
    { "vmdk", 0, 21, "# Disk DescriptorFile" },
    { "vdi", 0x40, 4, "\x7f\x10\xda\xbe" }, { "vhdx", 0, 8, "vhdxfile" },         { "vpc", 0, 8, "conectix" },
    { "parallels", 0, 16, "WithoutFreeSpace" }, { "parallels", 0, 16, "WithouFreSpacExt" },
};

#define NMAGICS    (sizeof magics / sizeof *magics)
#define HEAD_BYTES 512

/* A directory, a pipe or a terminal is refused before it is opened, which might wait. */
static int check_kind(const char *path, struct df_error *err)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return error_errno(err, -errno, "cannot read '%.1024s'", path);
    if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))
        return 0;
    return error_set(err, S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL, "cannot read '%.1024s' as a disk: it is %s, not a file, a block device or an NBD URI", path,
                     S_ISDIR(st.st_mode) ? "a directory" : "something else");
}

/* What a guest has written may look like an image: who compares such a disk says that it is raw. */
static int detect(const char *path, const char **format, struct df_error *err)
{
    CLEANUP(cleanup_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    char head[HEAD_BYTES] = { 0 };
    if (fd < 0 || pread(fd, head, sizeof head, 0) < 0)
        return error_errno(err, -errno, "cannot read '%.1024s'", path);
    *format = "raw";
    for (size_t i = 0; i < NMAGICS; i++)
        if (!memcmp(head + magics[i].offset, magics[i].magic, magics[i].nbytes))
            *format = magics[i].format;
    return 0;
}

static int open_path(const char *path, const struct image_how *how, struct image **image, struct df_error *err)
{
    struct image_how known = *how;
    int r = check_kind(path, err);
    if (!r && !known.format)
        r = detect(path, &known.format, err);
    if (r < 0)
        return r;
    return (strcmp(known.format, "raw") ? image_qemu_open : image_file_open)(path, &known, image, err);
}

int image_open(const char *name, const struct image_how *how, struct image **out, struct df_error *err)
{
    CLEANUP(image_close) struct image *image = NULL;
    int r = (image_is_uri(name) ? image_nbd_open : open_path)(name, how, &image, err);
    if (r < 0)
        return r;
    image->name = strdup(name);
    if (!image->name)
        return error_errno(err, -ENOMEM, "cannot read '%.1024s'", name);
    if (!image->size)
        return error_set(err, -EINVAL, "cannot compare '%.1024s': it is empty", name);
    *out = steal(&image);
    return 0;
}

void image_close(struct image **imagep)
{
    struct image *image = steal(imagep);
    if (!image)
        return;
    image->ops->close(image);
    free(image->name);
    free(image);
}

void image_relate(struct image *a, struct image *b)
{
    if (a->ops == b->ops)
        image_file_relate(a, b);
}

int image_extent(struct image *image, uint64_t offset, struct extent *extent, struct df_error *err)
{
    return image->ops->extent(image, offset, extent, err);
}

int image_read(struct image *image, unsigned lane, uint64_t offset, void *buffer, size_t nbytes, struct df_error *err)
{
    return image->ops->read(image, lane, offset, buffer, nbytes, err);
}

bool image_has_views(const struct image *image)
{
    return image->ops->view != NULL;
}

bool image_view(struct image *image, unsigned lane, uint64_t offset, size_t nbytes, const uint8_t **bytes)
{
    return image->ops->view(image, lane, offset, nbytes, bytes);
}

bool image_view_holds(const struct image *image, unsigned lane)
{
    return image->ops->view_holds(image, lane);
}
