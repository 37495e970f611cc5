// SPDX-License-Identifier: BSD-3-Clause
/*
 * dirtyferry dump: the state of a session's source, or a bitmap, as a file.  The
 * daemon is asked for block after block; each is checked as `load` will do.
 */
#include <errno.h>
#include <inttypes.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/size.h"
#include "base/uuid.h"
#include "cli/cli.h"
#include "wire/dump.h"

#define HOLD_MS 60000   /* the first block waits for a copy of the bitmaps, the last one for their digests */

struct dumping {
    const char *session;            /* NULL: disk and bitmap */
    char disk[CLI_DISK_BYTES];
    const char *bitmap;
    uint64_t id, handle, first;     /* where the next block begins */
    uint64_t bytes;
    struct output file;
    struct dump_checker checker;
};

static void discard(struct dumping **dumping)
{
    struct dumping *d = steal(dumping);
    if (d)
        output_discard(&d->file);
    free(d);
}

static int ask(struct cli *cli, const struct dumping *d, struct message **reply)
{
    struct out out;
    client_begin(&out, "dump");
    out_u64(&out, "dump", d->id);
    if (d->session) {
        out_text(&out, "session", d->session);
    } else {
        out_text(&out, "disk", d->disk);
        out_text(&out, "bitmap", d->bitmap);
    }
    out_u64(&out, "index", d->checker.index);
    out_u64(&out, "handle", d->handle);
    out_u64(&out, "first", d->first);
    return client_call(cli_client(cli), &out, HOLD_MS, reply, &cli->err);
}

static int take(struct cli *cli, struct dumping *d, const struct message *reply)
{
    struct dump_head head;
    size_t nbytes;
    const uint8_t *block = node_bin(reply->root, "block", &nbytes);
    bool more = node_has(reply->root, "handle");
    int r = dump_checker_feed(&d->checker, block, nbytes, &head, &cli->err);
    if (!r && (d->checker.header.id != d->id || more == d->checker.ended))
        r = error_set(&cli->err, -EPROTO, "block %" PRIu64 " of the dump is not the one that was asked for", d->checker.index - 1);
    if (!r && fwrite(block, nbytes, 1, d->file.file) != 1)
        r = error_errno(&cli->err, -errno, "cannot write '%.1024s'", d->file.name);
    d->bytes += nbytes;
    d->handle = node_u64(reply->root, "handle", 0);
    d->first = node_u64(reply->root, "first", 0);
    return r;
}

static int fetch(struct cli *cli, struct dumping *d)
{
    d->id = dump_new_id();
    d->handle = 1;
    while (!d->checker.ended) {
        CLEANUP(message_free) struct message *reply = NULL;
        int r = ask(cli, d, &reply);
        if (!r)
            r = take(cli, d, reply);
        if (r < 0)
            return r;
    }
    return dump_checker_finish(&d->checker, &cli->err);
}

static json_t *json_bitmaps(const struct dump_header *h)
{
    json_t *list = json_array();
    for (size_t i = 0; i < h->nbitmaps; i++)
        json_array_append_new(list, json_pack("{s:o, s:o, s:I, s:I}", "disk", cli_json_text(h->bitmaps[i].disk), "bitmap", cli_json_text(h->bitmaps[i].name),
                                              "size", (json_int_t)h->bitmaps[i].size, "granularity", (json_int_t)h->bitmaps[i].granularity));
    return list;
}

static void print_result(struct cli *cli, const struct dumping *d)
{
    const struct dump_header *h = &d->checker.header;
    char bytes[SIZE_TEXT_BYTES];
    if (cli->json)
        cli_print_json(json_pack("{s:o, s:s, s:I, s:I, s:I, s:o}", "file", cli_json_text(d->file.name), "session", h->session, "epoch", (json_int_t)h->epoch,
                                 "bytes", (json_int_t)d->bytes, "blocks", (json_int_t)d->checker.index, "bitmaps", json_bitmaps(h)));
    else
        printf("%s  session %s  attempt %" PRIu64 "  bitmaps %zu  bytes %s  blocks %" PRIu64 "\n", d->file.name, h->session, h->epoch, h->nbitmaps,
               size_format(d->bytes, bytes), d->checker.index);
}

int command_dump(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = { { "from", required_argument, NULL, 'f' }, { "help", no_argument, NULL, 'h' }, { 0 } };
    CLEANUP(discard) struct dumping *d = calloc(1, sizeof *d);
    uint8_t uuid[UUID_BYTES];
    cli->usage = "Usage: dirtyferry [-c EP] [--json] dump SESSION FILE [--from EP]\n"
                 "       dirtyferry [-c EP] [--json] dump DISK/BITMAP FILE [--from EP]\n"
                 "Writes what the source of a session has to send, after its pivot, or a bitmap, to\n"
                 "FILE, for 'load'.  Asks the source's daemon: name it by --from or -c.\n";
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (c != 'f')
            return cli_option(cli, c);
        cli->endpoint = optarg;
    }
    int r = cli_arguments(cli, argc, 2, 2);
    if (r)
        return r;
    if (!d)
        return error_errno(&cli->err, -ENOMEM, "cannot dump");
    const char *what = argv[optind];
    if (uuid_parse(what, uuid))
        d->session = what;
    else if (!cli_split(what, d->disk, &d->bitmap))
        return cli_usage(cli, "'%s' is neither a session's UUID nor DISK/BITMAP", what);
    if (!cli_client(cli))
        return cli->err.code;
    r = output_open(cli, &d->file, argv[optind + 1], 0600);
    if (!r)
        r = fetch(cli, d);
    if (!r)
        r = output_commit(cli, &d->file);
    if (!r)
        print_result(cli, d);
    return r;
}
