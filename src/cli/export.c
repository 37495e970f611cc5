// SPDX-License-Identifier: BSD-3-Clause
/*
 * dirtyferry bitmap export: the dirty extents, fetched page by page, written
 * beside FILE and renamed onto it, so that FILE is whole or not there.
 *
 *   json  as `qemu-img map --output=json`: a list of {start, length, dirty}
 *         that covers the disk
 *   raw   the little-endian bits, padded to 8 bytes: what the SHA-256 is of;
 *         clean stretches are holes in the file
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "cli/cli.h"

struct sink {
    FILE *file;
    bool raw;
    uint64_t size, granularity;
    uint64_t at;            /* json: end of what is written */
    uint64_t word, bits;    /* raw: the word under way */
};

static void put_word(struct sink *s)
{
    uint64_t v = htole64(s->bits);
    if (s->bits && fseeko(s->file, (off_t)(s->word * 8), SEEK_SET) == 0)
        fwrite(&v, sizeof v, 1, s->file);
    s->bits = 0;
}

static void put_raw(struct sink *s, uint64_t start, uint64_t length)
{
    uint64_t end = (start + length - 1) / s->granularity + 1;
    for (uint64_t bit = start / s->granularity; bit < end; bit++) {
        if (bit / 64 != s->word) {
            put_word(s);
            s->word = bit / 64;
        }
        s->bits |= UINT64_C(1) << (bit % 64);
    }
}

static void put_item(struct sink *s, uint64_t start, uint64_t end, bool dirty)
{
    if (start < end)
        fprintf(s->file, "%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64 ", \"dirty\": %s}",
                start ? ",\n" : "[", start, end - start, dirty ? "true" : "false");
}

static void put_extent(struct sink *s, uint64_t start, uint64_t length)
{
    if (s->raw) {
        put_raw(s, start, length);
        return;
    }
    put_item(s, s->at, start, false);
    put_item(s, start, start + length, true);
    s->at = start + length;
}

static int put_end(struct sink *s)
{
    if (s->raw) {
        uint64_t nbits = (s->size - 1) / s->granularity + 1;
        put_word(s);
        return fflush(s->file) ? -1 : ftruncate(fileno(s->file), (off_t)((nbits + 63) / 64 * 8));
    }
    put_item(s, s->at, s->size, false);
    fputs("]\n", s->file);
    return 0;
}

static int fetch(struct cli *cli, char **names, struct sink *sink)
{
    for (uint64_t offset = 0;;) {
        CLEANUP(message_free) struct message *reply = NULL;
        struct out out;
        size_t n;
        client_begin(&out, "bitmap-extents");
        out_text(&out, "disk", names[0]);
        out_text(&out, "bitmap", names[1]);
        out_u64(&out, "offset", offset);
        int r = cli_call(cli, &out, &reply);
        if (r < 0)
            return r;
        const node *numbers = node_list(reply->root, "extents", &n);
        sink->size = node_u64(reply->root, "size", 0);
        sink->granularity = node_u64(reply->root, "granularity", 0);
        for (size_t i = 0; i + 1 < n; i += 2)
            put_extent(sink, numbers[i].via.u64, numbers[i + 1].via.u64);
        if (!node_has(reply->root, "next"))
            return 0;
        offset = node_u64(reply->root, "next", 0);
    }
}

static int export_to(struct cli *cli, char **names, bool raw)
{
    CLEANUP(output_discard) struct output output;
    int r = output_open(cli, &output, names[2], 0666);
    struct sink sink = { .file = output.file, .raw = raw };
    if (!r)
        r = fetch(cli, names, &sink);
    if (!r && put_end(&sink) < 0)
        r = error_errno(&cli->err, -errno, "cannot write '%.1024s'", names[2]);
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
    if (!format || (strcmp(format, "raw") && strcmp(format, "json")))
        return format ? cli_usage(cli, "--format '%s' is not known: raw or json is possible", format)
                      : cli_usage(cli, "--format is needed: raw or json");
    return export_to(cli, argv + optind, !strcmp(format, "raw"));
}
