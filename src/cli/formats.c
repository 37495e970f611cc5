// SPDX-License-Identifier: BSD-3-Clause
/*
 *   json   as `qemu-img map --output=json`: a list of {start, length, dirty}
 *          that covers the disk
 *   raw    the little-endian bits, padded to 8 bytes: what the SHA-256 is of;
 *          clean blocks of it are holes in the file
 *   qcow2  an image without data that has the bitmap under its name
 *   svg    a figure: the disk in rows of cells, the darker the more is dirty
 */
#include "cli/formats.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "bitmap/map.h"
#include "cli/picture.h"
#include "image/qcow2.h"

static int not_written(const struct sink *s, int r, struct df_error *err)
{
    return error_errno(err, r, "cannot write '%.1024s'", s->path);
}

static int allocate(struct sink *s, size_t nbytes, struct df_error *err)
{
    s->state = calloc(1, nbytes);
    return s->state ? 0 : not_written(s, -ENOMEM, err);
}

static void release(struct sink *s)
{
    free(s->state);
}

/* -------------------------------------------------------------------- json */

struct json {
    uint64_t at;                    /* end of what is written */
};

static int json_open(struct sink *s, struct df_error *err)
{
    return allocate(s, sizeof(struct json), err);
}

static void put_item(struct sink *s, uint64_t start, uint64_t end, bool dirty)
{
    if (start < end)
        fprintf(s->file, "%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64 ", \"dirty\": %s}",
                start ? ",\n" : "[", start, end - start, dirty ? "true" : "false");
}

static int json_put(struct sink *s, uint64_t start, uint64_t length, struct df_error *err)
{
    struct json *j = s->state;
    (void)err;
    put_item(s, j->at, start, false);
    put_item(s, start, start + length, true);
    j->at = start + length;
    return 0;
}

static int json_end(struct sink *s, struct df_error *err)
{
    (void)err;
    put_item(s, ((struct json *)s->state)->at, s->size, false);
    fputs(s->size ? "]\n" : "[]\n", s->file);
    return 0;
}

/* --------------------------------------------------------------------- raw */

struct raw {
    uint64_t length;                /* of the file */
    uint64_t written;
    uint64_t at;                    /* the block under way; `length`: none */
    uint8_t block[MAP_BLOCK_BYTES];
};

static int raw_open(struct sink *s, struct df_error *err)
{
    int r = allocate(s, sizeof(struct raw), err);
    if (r < 0)
        return r;
    struct raw *raw = s->state;
    raw->length = map_round_up(map_round_up(s->size, s->granularity), 64) * 8;
    raw->at = raw->length;
    return 0;
}

static int raw_skip(struct sink *s, uint64_t upto, struct df_error *err)
{
    static const uint8_t zeroes[MAP_BLOCK_BYTES];
    struct raw *raw = s->state;
    if (raw->written < upto && !s->is_pipe && fseeko(s->file, (off_t)upto, SEEK_SET) < 0)
        return not_written(s, -errno, err);
    while (raw->written < upto && s->is_pipe && !ferror(s->file))
        raw->written += fwrite(zeroes, 1, upto - raw->written < sizeof zeroes ? upto - raw->written : sizeof zeroes, s->file);
    raw->written = upto;
    return 0;
}

static int raw_store(struct sink *s, struct df_error *err)
{
    struct raw *raw = s->state;
    if (raw->at == raw->length)
        return 0;
    uint64_t left = raw->length - raw->at;
    int r = raw_skip(s, raw->at, err);
    if (!r)
        raw->written += fwrite(raw->block, 1, left < sizeof raw->block ? left : sizeof raw->block, s->file);
    return r;
}

static int raw_put(struct sink *s, uint64_t start, uint64_t length, struct df_error *err)
{
    struct raw *raw = s->state;
    uint64_t end = (start + length - 1) / s->granularity + 1;
    for (uint64_t bit = start / s->granularity, upto; bit < end; bit = upto) {
        uint64_t block = bit / MAP_BLOCK_BITS;
        upto = (block + 1) * MAP_BLOCK_BITS < end ? (block + 1) * MAP_BLOCK_BITS : end;
        if (raw->at != block * MAP_BLOCK_BYTES) {
            int r = raw_store(s, err);
            if (r < 0 || ferror(s->file))
                return r;
            memset(raw->block, 0, sizeof raw->block);
            raw->at = block * MAP_BLOCK_BYTES;
        }
        bits_set(raw->block, bit % MAP_BLOCK_BITS, upto - bit);
    }
    return 0;
}

static int raw_end(struct sink *s, struct df_error *err)
{
    uint64_t length = ((struct raw *)s->state)->length;
    int r = raw_store(s, err);
    if (!r && s->is_pipe)
        return raw_skip(s, length, err);
    if (!r && (fflush(s->file) || ftruncate(fileno(s->file), (off_t)length) < 0))
        r = not_written(s, -errno, err);
    return r;
}

/* ------------------------------------------------------------------- qcow2 */

static int qcow2_sink_open(struct sink *s, struct df_error *err)
{
    const struct qcow2_source source = { .name = s->name, .granularity = s->granularity, .recording = s->recording };
    struct qcow2_stream *stream = NULL;
    int r = qcow2_stream_open(fileno(s->file), s->path, s->size, &source, &stream, err);
    s->state = stream;
    return r;
}

static int qcow2_sink_put(struct sink *s, uint64_t start, uint64_t length, struct df_error *err)
{
    uint64_t first = start / s->granularity, last = (start + length - 1) / s->granularity;
    return qcow2_stream_set(s->state, first, last - first + 1, err);
}

static int qcow2_sink_end(struct sink *s, struct df_error *err)
{
    return qcow2_stream_end(s->state, err);
}

static void qcow2_sink_close(struct sink *s)
{
    struct qcow2_stream *stream = s->state;
    qcow2_stream_close(&stream);
}

/* --------------------------------------------------------------------- svg */

static int svg_open(struct sink *s, struct df_error *err)
{
    int r = allocate(s, sizeof(struct picture), err);
    if (!r)
        picture_begin(s->state, s->size, s->granularity);
    return r;
}

static int svg_put(struct sink *s, uint64_t start, uint64_t length, struct df_error *err)
{
    (void)err;
    picture_add(s->state, start, length);
    return 0;
}

static int svg_end(struct sink *s, struct df_error *err)
{
    (void)err;
    picture_svg(s->state, s->title, s->file);
    return 0;
}

/* ------------------------------------------------------------------- table */

static const struct format formats[] = {
    { "json", true, false, json_open, json_put, json_end, release },
    { "raw", false, false, raw_open, raw_put, raw_end, release },
    { "qcow2", false, true, qcow2_sink_open, qcow2_sink_put, qcow2_sink_end, qcow2_sink_close },
    { "svg", true, false, svg_open, svg_put, svg_end, release },
};

const struct format *format_find(const char *name)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (!strcmp(name, formats[i].name))
            return &formats[i];
    return NULL;
}

int sink_open(struct sink *s, struct df_error *err)
{
    int r = granularity_check(s->granularity, err);
    return r < 0 ? r : s->format->open(s, err);
}

/* errno is that of the call that failed: nothing else was called since. */
static int look(const struct sink *s, int r, struct df_error *err)
{
    return !r && ferror(s->file) ? not_written(s, errno ? -errno : -EIO, err) : r;
}

int sink_put(void *opaque, uint64_t start, uint64_t length, struct df_error *err)
{
    struct sink *s = opaque;
    errno = 0;
    return look(s, s->format->put(s, start, length, err), err);
}

int sink_end(struct sink *s, struct df_error *err)
{
    errno = 0;
    return look(s, s->format->end(s, err), err);
}

void sink_close(struct sink *s)
{
    if (s->state)
        s->format->close(s);
    s->state = NULL;
}
