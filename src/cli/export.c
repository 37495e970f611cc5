// SPDX-License-Identifier: BSD-3-Clause
/*
 * dirtyferry bitmap export: the dirty extents, fetched page by page, written
 * in one of the formats (formats.h) beside FILE and renamed onto it, so that FILE
 * is whole or not there.
 */
#include <errno.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "cli/cli.h"
#include "cli/formats.h"
#include "cli/stretches.h"

struct export {
    struct sink sink;
    struct stretches dirty;     /* goes to the sink */
    bool begun;                 /* the first page has the sizes */
};

/* Is it within the disk, and behind the others?  The daemon says so, and that is not believed. */
static bool is_possible(const struct export *e, uint64_t start, uint64_t length)
{
    return length && start >= e->dirty.end && start < e->sink.size && length <= e->sink.size - start;
}

static int begin(struct export *e, uint64_t size, uint64_t granularity, bool recording, struct df_error *err)
{
    struct sink *s = &e->sink;
    if (e->begun)
        return s->size == size && s->granularity == granularity ? 0
               : error_set(err, -ESTALE, "bitmap '%.1024s' has become another one while it was read: export it again", s->name);
    s->size = size;
    s->granularity = granularity;
    s->recording = recording;
    e->begun = true;
    return sink_open(s, err);
}

static int take(struct cli *cli, struct export *e, const struct message *reply)
{
    size_t n;
    const node *numbers = node_list(reply->root, "extents", &n);
    bool recording = !node_has(reply->root, "enabled") || node_bool(reply->root, "enabled");
    int r = begin(e, node_u64(reply->root, "size", 0), node_u64(reply->root, "granularity", 0), recording, &cli->err);
    for (size_t i = 0; !r && i + 1 < n; i += 2) {
        uint64_t start = numbers[i].via.u64, length = numbers[i + 1].via.u64;
        if (!is_possible(e, start, length))
            return error_set(&cli->err, -EPROTO, "the daemon says that bitmap '%.1024s' is dirty outside of its disk, or not in order", e->sink.name);
        r = stretches_add(&e->dirty, start, length, &cli->err);
    }
    return r;
}

static int fetch(struct cli *cli, const char *disk, struct export *e)
{
    for (uint64_t offset = 0;;) {
        CLEANUP(message_free) struct message *reply = NULL;
        struct out out;
        client_begin(&out, "bitmap-extents");
        out_text(&out, "disk", disk);
        out_text(&out, "bitmap", e->sink.name);
        out_u64(&out, "offset", offset);
        int r = cli_call(cli, &out, &reply);
        if (!r)
            r = take(cli, e, reply);
        if (r < 0 || !node_has(reply->root, "next"))
            return r;
        offset = node_u64(reply->root, "next", 0);
    }
}

static int export_to(struct cli *cli, char **names, const struct format *format)
{
    CLEANUP(output_discard) struct output output;
    char title[2048];
    int r = output_open(cli, &output, names[2], 0666);
    struct export e = { .sink = { .format = format, .name = names[1], .title = title, .path = names[2], .file = output.file } };
    e.dirty = (struct stretches){ .each = sink_put, .opaque = &e.sink };
    snprintf(title, sizeof title, "Bitmap %s of disk %s", names[1], names[0]);
    if (!r)
        r = fetch(cli, names[0], &e);
    if (!r)
        r = stretches_end(&e.dirty, &cli->err);
    if (!r)
        r = sink_end(&e.sink, &cli->err);
    sink_close(&e.sink);
    return r < 0 ? r : output_commit(cli, &output);
}

int bitmap_export(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = { { "format", required_argument, NULL, 'f' }, { "help", no_argument, NULL, 'h' }, { 0 } };
    const char *name = NULL;
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (c != 'f')
            return cli_option(cli, c);
        name = optarg;
    }
    int r = cli_arguments(cli, argc, 3, 3);
    if (r)
        return r;
    if (!name)
        return cli_usage(cli, "--format is needed: " FORMATS_TEXT);
    const struct format *format = format_find(name);
    return format ? export_to(cli, argv + optind, format) : cli_usage(cli, "--format '%s' is not known: " FORMATS_TEXT " is possible", name);
}
