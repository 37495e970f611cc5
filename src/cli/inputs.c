// SPDX-License-Identifier: BSD-3-Clause
/*
 * The table of inputs, and the formats that `bitmap export` writes, read again.  A qcow2 image says all of
 * a bitmap.  raw and json hold one without its name and its flags; json has
 * extents in bytes, so its granularity may be another one than it was exported
 * with, rounded outwards.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <dirtyferry/bitmap.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "cli/input.h"
#include "image/qcow2.h"

struct one {
    FILE *file;
    struct input_bitmap bitmap;
};

static void close_one(struct input *in)
{
    struct one *one = in->state;
    if (one && one->file)
        fclose(one->file);
    free(one);
}

/* A bitmap that records and is not persistent: as `bitmap add` makes it. */
static int open_one(struct input *in, uint64_t granularity, struct df_error *err)
{
    struct one *one = in->state = calloc(1, sizeof *one);
    if (!one)
        return error_errno(err, -ENOMEM, "cannot read '%.1024s'", in->name);
    one->file = fopen(in->name, "re");
    if (!one->file)
        return error_errno(err, -errno, "cannot read '%.1024s'", in->name);
    one->bitmap = (struct input_bitmap){ .granularity = granularity, .recording = true };
    in->bitmaps = &one->bitmap;
    in->nbitmaps = 1;
    return 0;
}

/* --------------------------------------------------------------------- raw */

static uint64_t raw_bytes(const struct input *in)
{
    return map_round_up(map_round_up(in->disk_size, in->granularity), 64) * 8;
}

static int raw_open(struct input *in, struct df_error *err)
{
    struct stat st;
    if (!in->granularity)
        return error_set(err, -EINVAL, "raw bits do not say how much of the disk each of them covers: give --granularity");
    int r = open_one(in, in->granularity, err);
    if (r < 0)
        return r;
    if (fstat(fileno(((struct one *)in->state)->file), &st) < 0)
        return error_errno(err, -errno, "cannot read '%.1024s'", in->name);
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != raw_bytes(in))
        return error_set(err, -EINVAL, "'%.1024s' is not a file of %" PRIu64 " bytes, as a disk of %" PRIu64 " bytes has at granularity %" PRIu64 ": is it of another disk or granularity?",
                         in->name, raw_bytes(in), in->disk_size, in->granularity);
    in->size = in->disk_size;
    return 0;
}

static int raw_read(struct input *in, size_t index, struct map *map, struct df_error *err)
{
    FILE *file = ((struct one *)in->state)->file;
    uint8_t bytes[65536];
    size_t n = 0;
    int r = 0;
    (void)index;
    rewind(file);
    for (uint64_t at = 0, end = raw_bytes(in); !r && at < end; at += n) {
        n = end - at < sizeof bytes ? (size_t)(end - at) : sizeof bytes;
        if (fread(bytes, 1, n, file) != n)
            return error_errno(err, ferror(file) ? -EIO : -EINVAL, "'%.1024s' has become shorter while it was read", in->name);
        r = map_set_bytes_alone(map, at, bytes, n);
    }
    if (r < 0)
        return error_errno(err, r, "cannot hold the bits of '%.1024s'", in->name);
    if (bits_load(bytes + n - 8) & ~map->last_mask)
        return error_set(err, -EINVAL, "'%.1024s' has bits behind the end of the disk: is it of another disk or granularity?", in->name);
    return 0;
}

const struct input_ops input_raw = { .format = "raw", .open = raw_open, .read = raw_read, .close = close_one };

/* -------------------------------------------------------------------- json */

static int json_broken(const struct input *in, uint64_t item, const char *why, struct df_error *err)
{
    return error_set(err, -EINVAL, "'%.1024s' is not a list of extents as 'bitmap export --format json' writes it: extent %" PRIu64 " %s", in->name, item, why);
}

static int next_character(FILE *file)
{
    int c;
    do
        c = getc(file);
    while (c == ' ' || c == '\t' || c == '\n' || c == '\r');
    return c;
}

/* One object at a time: a list of all of them takes 40 times its file in memory. */
static const char *next_extent(FILE *file, uint64_t start, uint64_t *length, bool *dirty)
{
    json_error_t why;
    json_t *item = json_loadf(file, JSON_DISABLE_EOF_CHECK | JSON_REJECT_DUPLICATES, &why);
    json_int_t from = -1, n = 0;
    int is = 0;
    const char *wrong = NULL;
    if (json_unpack(item, "{s:I, s:I, s:b}", "start", &from, "length", &n, "dirty", &is) < 0)
        wrong = "lacks start, length or dirty";
    else if (from < 0 || (uint64_t)from != start)
        wrong = "does not begin where the one before ends";
    else if (n <= 0 || (uint64_t)n > DF_DISK_SIZE_MAX - start)
        wrong = "has no length that is possible";
    json_decref(item);
    *length = (uint64_t)n;
    *dirty = is;
    return wrong;
}

/* Check all extents and, with a map, set the bits of the dirty ones. */
static int walk(struct input *in, struct map *map, struct df_error *err)
{
    FILE *file = ((struct one *)in->state)->file;
    uint64_t granularity = in->bitmaps->granularity, length, item = 1;
    bool dirty;
    in->size = 0;
    rewind(file);
    int c = next_character(file), r = 0;
    if (c != '[')
        return json_broken(in, item, "is not there", err);
    for (; c == '[' || c == ','; item++, c = next_character(file)) {
        const char *wrong = next_extent(file, in->size, &length, &dirty);
        if (wrong)
            return json_broken(in, item, wrong, err);
        if (map && dirty && in->size + length <= in->disk_size)
            r = map_set_alone(map, in->size / granularity, (in->size + length - 1) / granularity - in->size / granularity + 1);
        if (r < 0)
            return error_errno(err, r, "cannot hold the bits of '%.1024s'", in->name);
        if (dirty)
            in->edges |= in->size | (in->size + length < in->disk_size ? in->size + length : 0);
        in->size += length;
    }
    return c == ']' && next_character(file) == EOF && !ferror(file) ? 0 : json_broken(in, item, "is followed by something else", err);
}

static int json_open(struct input *in, struct df_error *err)
{
    int r = open_one(in, in->granularity ? in->granularity : DF_GRANULARITY_DEFAULT, err);
    return r < 0 ? r : walk(in, NULL, err);
}

static int json_read(struct input *in, size_t index, struct map *map, struct df_error *err)
{
    uint64_t size = in->size;
    (void)index;
    int r = walk(in, map, err);
    return !r && in->size != size ? error_set(err, -EINVAL, "'%.1024s' has changed while it was read: try again", in->name) : r;
}

const struct input_ops input_json = { .format = "json", .open = json_open, .read = json_read, .close = close_one };

/* ------------------------------------------------------------------- qcow2 */

struct image {
    struct qcow2 *qcow2;
    struct input_bitmap bitmaps[];
};

static int qcow2_input_open(struct input *in, struct df_error *err)
{
    CLEANUP(qcow2_close) struct qcow2 *qcow2 = NULL;
    const struct qcow2_bitmap *list;
    int r = qcow2_open(in->name, &qcow2, err);
    if (r < 0)
        return r;
    size_t n = qcow2_bitmaps(qcow2, &list);
    struct image *image = in->state = calloc(1, sizeof *image + n * sizeof *image->bitmaps);
    if (!image)
        return error_errno(err, -ENOMEM, "cannot read '%.1024s'", in->name);
    for (size_t i = 0; i < n; i++)      /* in an image bitmaps are persistent, all of them */
        image->bitmaps[i] = (struct input_bitmap){ list[i].name, list[i].granularity, list[i].recording, true, list[i].in_use };
    image->qcow2 = steal(&qcow2);
    in->size = qcow2_size(image->qcow2);
    in->bitmaps = image->bitmaps;
    in->nbitmaps = n;
    return 0;
}

static int qcow2_input_read(struct input *in, size_t index, struct map *map, struct df_error *err)
{
    return qcow2_read(((struct image *)in->state)->qcow2, index, map, err);
}

static void qcow2_input_close(struct input *in)
{
    struct image *image = in->state;
    if (image)
        qcow2_close(&image->qcow2);
    free(image);
}

const struct input_ops input_qcow2 = { .format = "qcow2", .detect = qcow2_detect, .open = qcow2_input_open, .read = qcow2_input_read, .close = qcow2_input_close };

/* ------------------------------------------------------------------- table */

static const struct input_ops *const formats[] = { &input_qcow2, &input_raw, &input_json, &input_nbd };

int input_find(struct cli *cli, struct input *in, const char *format, const char *option)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats && !in->ops; i++)
        if (format ? !strcmp(format, formats[i]->format) : formats[i]->detect && formats[i]->detect(in->name))
            in->ops = formats[i];
    if (!in->ops && format)
        return cli_usage(cli, "%s '%s' is not known", option, format);
    if (!in->ops && access(in->name, R_OK) < 0)
        return error_errno(&cli->err, -errno, "cannot read '%.1024s'", in->name);
    if (!in->ops)
        return error_set(&cli->err, -EINVAL, "'%.1024s' is of no format that can be recognized: give %s raw or json, if that is what it is", in->name, option);
    return in->context && in->ops != &input_nbd ? cli_usage(cli, "--context is for NBD servers, and '%s' is none", in->name) : 0;
}

/* Virtual sizes are whole sectors with QEMU, and so is a granularity: rounding changes no bit. */
static uint64_t sectors(uint64_t size)
{
    return map_round_up(size, 512);
}

int input_open(struct input *in, const char *disk, struct df_error *err)
{
    if (in->bitmap && strlen(in->bitmap) > DF_BITMAP_NAME_MAX)
        return error_set(err, -EINVAL, "the name '%.64s...' of a bitmap has more than %u bytes", in->bitmap, DF_BITMAP_NAME_MAX);
    int r = in->ops->open(in, err);
    if (!r && sectors(in->size) != sectors(in->disk_size))
        return error_set(err, -EINVAL, "disk '%.1024s' has %" PRIu64 " bytes and '%.1024s' is of one with %" PRIu64 ": the sizes must be equal",
                         disk, in->disk_size, in->name, in->size);
    return r;
}

void input_close(struct input *in)
{
    if (in->ops)
        in->ops->close(in);
    in->state = NULL;
}
