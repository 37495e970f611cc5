// SPDX-License-Identifier: BSD-3-Clause
/*
 * dirtyferry bitmap export: the dirty extents, fetched page by page, written
 * beside FILE and renamed onto it, so that FILE is whole or not there.
 *
 *   json   as `qemu-img map --output=json`: a list of {start, length, dirty}
 *          that covers the disk
 *   raw    the little-endian bits, padded to 8 bytes: what the SHA-256 is of;
 *          clean stretches are holes in the file
 *   qcow2  an image without data that has the bitmap under its name
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "cli/cli.h"
#include "image/qcow2.h"

struct sink {
    const struct format *format;
    const char *name;       /* of the bitmap */
    const char *path;
    FILE *file;
    uint64_t size, granularity;
    bool recording;
    uint64_t at;            /* json: end of what is written */
    uint64_t word, bits;    /* raw: the word under way */
    struct map *map;        /* qcow2: all of it */
};

struct format {
    const char *name;
    /* 0, or a negative errno that still needs its sentence. */
    int (*extent)(struct sink *sink, uint64_t start, uint64_t length);
    int (*end)(struct sink *sink, struct df_error *err);
};

static int not_written(const struct sink *s, int r, struct df_error *err)
{
    return error_errno(err, r, "cannot write '%.1024s'", s->path);
}

/* --------------------------------------------------------------------- raw */

static void put_word(struct sink *s)
{
    uint64_t v = htole64(s->bits);
    if (s->bits && fseeko(s->file, (off_t)(s->word * 8), SEEK_SET) == 0)
        fwrite(&v, sizeof v, 1, s->file);
    s->bits = 0;
}

static int raw_extent(struct sink *s, uint64_t start, uint64_t length)
{
    uint64_t end = (start + length - 1) / s->granularity + 1;
    for (uint64_t bit = start / s->granularity; bit < end; bit++) {
        if (bit / 64 != s->word) {
            put_word(s);
            s->word = bit / 64;
        }
        s->bits |= UINT64_C(1) << (bit % 64);
    }
    return 0;
}

static int raw_end(struct sink *s, struct df_error *err)
{
    uint64_t nbits = (s->size - 1) / s->granularity + 1;
    put_word(s);
    if (fflush(s->file) || ftruncate(fileno(s->file), (off_t)((nbits + 63) / 64 * 8)) < 0)
        return not_written(s, -errno, err);
    return 0;
}

/* -------------------------------------------------------------------- json */

static void put_item(struct sink *s, uint64_t start, uint64_t end, bool dirty)
{
    if (start < end)
        fprintf(s->file, "%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64 ", \"dirty\": %s}",
                start ? ",\n" : "[", start, end - start, dirty ? "true" : "false");
}

static int json_extent(struct sink *s, uint64_t start, uint64_t length)
{
    put_item(s, s->at, start, false);
    put_item(s, start, start + length, true);
    s->at = start + length;
    return 0;
}

static int json_end(struct sink *s, struct df_error *err)
{
    (void)err;
    put_item(s, s->at, s->size, false);
    fputs("]\n", s->file);
    return 0;
}

/* ------------------------------------------------------------------- qcow2 */

static int make_map(struct sink *s, struct df_error *err)
{
    return s->map ? 0 : map_create_anonymous(map_round_up(s->size, s->granularity), &s->map, err);
}

static int qcow2_extent(struct sink *s, uint64_t start, uint64_t length)
{
    struct df_error why;
    uint64_t first = start / s->granularity, last = (start + length - 1) / s->granularity;
    int r = make_map(s, &why);
    return r < 0 ? r : map_set_alone(s->map, first, last - first + 1);
}

static int qcow2_end(struct sink *s, struct df_error *err)
{
    int r = make_map(s, err);
    const struct qcow2_source source = { .name = s->name, .granularity = s->granularity, .recording = s->recording, .map = s->map };
    return r < 0 ? r : qcow2_write(fileno(s->file), s->path, s->size, &source, 1, err);
}

static const struct format formats[] = {
    { "raw", raw_extent, raw_end }, { "json", json_extent, json_end }, { "qcow2", qcow2_extent, qcow2_end },
};
#define NFORMATS (sizeof formats / sizeof *formats)

/* ------------------------------------------------------------------- pages */

/* Is it within the disk?  The daemon says so, and that is not believed. */
static bool is_possible(const struct sink *s, uint64_t start, uint64_t length)
{
    return length && start < s->size && length <= s->size - start;
}

static int take(struct cli *cli, struct sink *s, const struct message *reply)
{
    size_t n;
    const node *numbers = node_list(reply->root, "extents", &n);
    uint64_t size = node_u64(reply->root, "size", 0), granularity = node_u64(reply->root, "granularity", 0);
    if (s->size && (s->size != size || s->granularity != granularity))
        return error_set(&cli->err, -ESTALE, "bitmap '%.1024s' has become another one while it was read: export it again", s->name);
    s->size = size;
    s->granularity = granularity;
    s->recording = !node_has(reply->root, "enabled") || node_bool(reply->root, "enabled");
    for (size_t i = 0; i + 1 < n; i += 2) {
        uint64_t start = numbers[i].via.u64, length = numbers[i + 1].via.u64;
        if (!is_possible(s, start, length))
            return error_set(&cli->err, -EPROTO, "the daemon says that bitmap '%.1024s' is dirty outside of its disk", s->name);
        int r = s->format->extent(s, start, length);
        if (r < 0)
            return not_written(s, r, &cli->err);
    }
    return 0;
}

static int fetch(struct cli *cli, const char *disk, struct sink *sink)
{
    for (uint64_t offset = 0;;) {
        CLEANUP(message_free) struct message *reply = NULL;
        struct out out;
        client_begin(&out, "bitmap-extents");
        out_text(&out, "disk", disk);
        out_text(&out, "bitmap", sink->name);
        out_u64(&out, "offset", offset);
        int r = cli_call(cli, &out, &reply);
        if (!r)
            r = take(cli, sink, reply);
        if (r < 0 || !node_has(reply->root, "next"))
            return r;
        offset = node_u64(reply->root, "next", 0);
    }
}

static int export_to(struct cli *cli, char **names, const struct format *format)
{
    CLEANUP(output_discard) struct output output;
    int r = output_open(cli, &output, names[2], 0666);
    struct sink sink = { .format = format, .name = names[1], .path = names[2], .file = output.file };
    if (!r)
        r = fetch(cli, names[0], &sink);
    if (!r)
        r = format->end(&sink, &cli->err);
    map_close(&sink.map);
    return r < 0 ? r : output_commit(cli, &output);
}

int bitmap_export(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = { { "format", required_argument, NULL, 'f' }, { "help", no_argument, NULL, 'h' }, { 0 } };
    const char *format = NULL;
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (c != 'f')
            return cli_option(cli, c);
        format = optarg;
    }
    int r = cli_arguments(cli, argc, 3, 3);
    if (r)
        return r;
    if (!format)
        return cli_usage(cli, "--format is needed: raw, json or qcow2");
    for (size_t i = 0; i < NFORMATS; i++)
        if (!strcmp(format, formats[i].name))
            return export_to(cli, argv + optind, &formats[i]);
    return cli_usage(cli, "--format '%s' is not known: raw, json or qcow2 is possible", format);
}
