// SPDX-License-Identifier: BSD-3-Clause
/*
 * The inputs of `bitmap diff`.  The contents are raw unless it is said: what a
 * guest writes may look like the beginning of an image.
 */
#include "cli/livediff.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <xxhash.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "image/diff.h"

/* Which contents the disk was read as: going on with other ones would leave out what was compared before. */
static int identify_data(struct cli *cli, const struct live_inputs *in, struct stat *st, char *text, size_t nbytes)
{
    *st = (struct stat){ 0 };
    if (image_is_uri(in->data))
        snprintf(text, nbytes, "%016" PRIx64, (uint64_t)XXH3_64bits(in->data, strlen(in->data)));
    else if (stat(in->data, st) < 0)
        return error_errno(&cli->err, -errno, "cannot read '%.1024s'", in->data);
    else
        snprintf(text, nbytes, "%.32s %llx:%llx:%llx", in->data_format ? in->data_format : "raw", (unsigned long long)st->st_dev, (unsigned long long)st->st_ino,
                 (unsigned long long)st->st_rdev);
    return 0;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return S_ISBLK(a->st_mode) ? S_ISBLK(b->st_mode) && a->st_rdev == b->st_rdev : a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static void stamp(struct live_inputs *in, const char *format, const char *data)
{
    snprintf(in->stamp, sizeof in->stamp, "%.32s %016" PRIx64 " %" PRIu64 " for %" PRIu64 " %s", format, in->old->identity, in->old->size, in->size, data);
}

static int identify(struct cli *cli, struct live_inputs *in)
{
    struct stat st, data_st;
    char data[96];
    int r = identify_data(cli, in, &data_st, data, sizeof data);
    if (r < 0)
        return r;
    if (image_is_uri(in->against)) {
        snprintf(in->label, sizeof in->label, "%s", in->against);
        stamp(in, "nbd", data);
        return 0;
    }
    CLEANUP(cleanup_free) char *path = realpath(in->against, NULL);
    if (!path || stat(path, &st) < 0)
        return error_errno(&cli->err, -errno, "cannot read '%.1024s'", in->against);
    if (is_same(&st, &data_st))
        return error_set(&cli->err, -EINVAL, "'%.1024s' is the disk '%s' itself: name its last backup by --against", in->against, in->disk);
    snprintf(in->label, sizeof in->label, "%s", path);
    stamp(in, in->against_format ? in->against_format : "-", data);
    return 0;
}

static int open_data(struct cli *cli, struct live_inputs *in)
{
    const struct image_how how = { .format = in->data_format ? in->data_format : "raw", .lanes = diff_lanes(), .timeout_ms = IMAGE_TIMEOUT_MS };
    int r = image_open(in->data, &how, &in->new, &cli->err);
    if (!r && in->new->size != in->size)
        r = error_set(&cli->err, -EINVAL, "disk '%s' has %" PRIu64 " bytes and '%.1024s' %" PRIu64 ": the sizes must be equal; "
                      "an image that is not raw is read through the NBD server of the program that has it open, name that by --data",
                      in->disk, in->size, in->data, in->new->size);
    return r;
}

int live_inputs_open(struct cli *cli, struct live_inputs *in)
{
    const struct image_how how = { .format = in->against_format, .lanes = diff_lanes(), .timeout_ms = IMAGE_TIMEOUT_MS };
    if (!in->data && in->is_qemu)
        return error_set(&cli->err, -EINVAL, "where the contents of disk '%s' can be read is not known: let QEMU export the node by NBD (block-export-add), and name its URI by --data, "
                         "or once and for all when the disk is added (disk add --data)", in->disk);
    if (!in->data)
        return error_set(&cli->err, -EINVAL, "where the contents of disk '%s' can be read is not known: name a raw file, a block device or an NBD URI by --data, "
                         "or once and for all when the disk is added (disk add --data)", in->disk);
    int r = image_open(in->against, &how, &in->old, &cli->err);
    if (!r)
        r = open_data(cli, in);
    return r < 0 ? r : identify(cli, in);
}

void live_inputs_close(struct live_inputs *in)
{
    image_close(&in->old);
    image_close(&in->new);
}
