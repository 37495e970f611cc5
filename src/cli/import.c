// SPDX-License-Identifier: BSD-3-Clause
/*
 * dirtyferry bitmap import: bitmaps of an input (input.h) become bitmaps of a
 * disk.  They travel as a dump does (wire/dump.h), which is made from one map
 * after the other and never stands in a file: so an import works over the
 * network, is checked by digests and is over at once or not at all.
 *
 * A dump has up to WIRE_SESSION_BITMAPS bitmaps.  Of an input that has more, the
 * dumps that came to their end are taken back when a later one does not.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <dirtyferry/bitmap.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/size.h"
#include "base/uuid.h"
#include "cli/input.h"
#include "cli/upload.h"
#include "session/feed.h"

struct import {
    const char *disk;
    bool forced;
    struct input input;
    size_t *chosen;                 /* of the input's bitmaps */
    size_t nchosen;
    size_t first;                   /* of the chosen ones, in the dump under way */
    struct dump_header header;
    struct dump_cursor at;
    bool ended;
    struct map *map;                /* of bitmap at.handle, while its blocks are made */
    struct dump_block block;
    struct dump_digests digests[WIRE_SESSION_BITMAPS];
    uint64_t numbers[WIRE_SESSION_BITMAPS][WIRE_SEGMENTS];
};

static void import_free(struct import **importp)
{
    struct import *im = steal(importp);
    if (!im)
        return;
    input_close(&im->input);
    map_close(&im->map);
    dump_block_destroy(&im->block);
    free(im->chosen);
    free(im);
}

static const struct input_bitmap *bitmap_at(const struct import *im, size_t i)
{
    return &im->input.bitmaps[im->chosen[i]];
}

static const char *name_at(const struct import *im, size_t i)
{
    const char *own = bitmap_at(im, i)->name;
    return own ? own : im->input.bitmap;
}

/* ------------------------------------------------- what shall be imported */

static int ask_size(struct cli *cli, const char *disk, uint64_t *size)
{
    CLEANUP(message_free) struct message *reply = NULL;
    struct out out;
    size_t n;
    client_begin(&out, "disk-list");
    out_text(&out, "disk", disk);
    int r = cli_call(cli, &out, &reply);
    if (r < 0)
        return r;
    const node *disks = node_list(reply->root, "disks", &n);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(node_text(&disks[i], "disk"), disk))
            continue;
        if (node_has(&disks[i], "damaged"))
            return error_set(&cli->err, -EPROTO, "%s", node_text(&disks[i], "damaged"));
        *size = node_u64(&disks[i], "size", 0);
        return 0;
    }
    return error_set(&cli->err, -ENOENT, "there is no disk '%s'", disk);
}

static int choose(struct cli *cli, struct import *im)
{
    const struct input *in = &im->input;
    im->chosen = calloc(in->nbitmaps + 1, sizeof *im->chosen);
    if (!im->chosen)
        return error_errno(&cli->err, -ENOMEM, "cannot import '%.1024s'", in->name);
    for (size_t i = 0; i < in->nbitmaps; i++)
        if (!in->bitmap || !in->bitmaps[i].name || !strcmp(in->bitmap, in->bitmaps[i].name))
            im->chosen[im->nchosen++] = i;
    if (!im->nchosen)
        return in->bitmap ? error_set(&cli->err, -ENOENT, "'%.1024s' has no bitmap '%.1024s' (of %zu)", in->name, in->bitmap, in->nbitmaps)
                          : error_set(&cli->err, -ENOENT, "'%.1024s' has no bitmaps", in->name);
    for (size_t i = 0; i < im->nchosen; i++) {
        if (!name_at(im, i))
            return cli_usage(cli, "'%s' has no name for its bitmap: give BITMAP", in->name);
        if (bitmap_at(im, i)->inconsistent && !im->forced)
            return error_set(&cli->err, -EINVAL, "bitmap '%.1024s' of '%.1024s' is inconsistent, whoever had it open did not close it, and it may lack writes: take a full backup; "
                             "--force-inconsistent imports it all the same", name_at(im, i), in->name);
    }
    return 0;
}

/* ------------------------------------------------------- the dump of them */

static void describe(struct import *im)
{
    struct dump_header *h = &im->header;
    uint8_t uuid[UUID_BYTES];
    size_t left = im->nchosen - im->first;
    memset(h, 0, sizeof *h);
    uuid_generate(uuid);
    uuid_format(uuid, h->session);
    h->id = dump_new_id();
    h->content = DUMP_BITMAP;
    h->epoch = 1;
    h->chunk_bytes = WIRE_CHUNK_BYTES;
    h->nbitmaps = left < WIRE_SESSION_BITMAPS ? left : WIRE_SESSION_BITMAPS;
    for (size_t i = 0; i < h->nbitmaps; i++) {
        struct dump_bitmap *d = &h->bitmaps[i];
        const struct input_bitmap *b = bitmap_at(im, im->first + i);
        snprintf(d->disk, sizeof d->disk, "%s", im->disk);
        snprintf(d->name, sizeof d->name, "%s", name_at(im, im->first + i));
        d->size = im->input.disk_size;
        d->granularity = b->granularity;
        d->enabled = b->recording;
        d->persistent = b->persistent;
    }
}

static int read_map(struct import *im, struct df_error *err)
{
    struct chunking c = dump_chunking(&im->header, im->at.handle - 1);
    int r = map_create_anonymous(c.nbits, &im->map, err);
    return r < 0 ? r : im->input.ops->read(&im->input, im->chosen[im->first + im->at.handle - 1], im->map, err);
}

static int data_block(struct import *im, struct df_error *err)
{
    unsigned handle = im->at.handle;
    int r = im->map ? 0 : read_map(im, err);
    if (!r)
        r = feed_block(&im->header, im->map, &im->at, &im->block, err);
    if (!r && im->at.handle != handle) {
        im->digests[handle - 1] = feed_dump_digests(im->map, im->numbers[handle - 1]);
        map_close(&im->map);
    }
    return r;
}

static int begin(struct cli *cli, void *opaque)
{
    struct import *im = opaque;
    (void)cli;
    map_close(&im->map);
    im->at = (struct dump_cursor){ 0, 1, 0 };
    im->ended = false;
    return 0;
}

static int next(struct cli *cli, void *opaque, const uint8_t **block, size_t *nbytes)
{
    struct import *im = opaque;
    int r;
    if (im->ended)
        return 0;
    if (!im->at.index) {
        r = dump_pack_header(&im->block, &im->header, &cli->err);
        im->at.index++;
    } else if (im->at.handle <= im->header.nbitmaps) {
        r = data_block(im, &cli->err);
    } else {
        r = dump_pack_end(&im->block, im->at.index, im->header.id, im->digests, im->header.nbitmaps, &cli->err);
        im->ended = true;
    }
    *block = im->block.bytes;
    *nbytes = im->block.nbytes;
    return r < 0 ? r : 1;
}

/* ------------------------------------------------------------ all of them */

/* The sentence stays that of the failure. */
static int take_back(struct cli *cli, const struct import *im)
{
    struct df_error why = cli->err;
    for (size_t i = 0; i < im->first; i++) {
        struct out out;
        client_begin(&out, "bitmap-remove");
        out_text(&out, "disk", im->disk);
        out_text(&out, "bitmap", name_at(im, i));
        if (cli_call(cli, &out, NULL) < 0 && cli->err.code != -ENOENT)
            return error_set(&cli->err, why.code, "%.2048s; bitmap '%.1024s' and others that were imported before are still there: remove them", why.message, name_at(im, i));
    }
    cli->err = why;
    return why.code;
}

static int send_all(struct cli *cli, struct import *im)
{
    const struct upload upload = { .header = &im->header, .begin = begin, .next = next, .opaque = im };
    for (im->first = 0; im->first < im->nchosen; im->first += im->header.nbitmaps) {
        CLEANUP(message_free) struct message *reply = NULL;
        describe(im);
        if (cli_upload(cli, &upload, &reply) < 0)
            return take_back(cli, im);
    }
    return 0;
}

static void print_result(struct cli *cli, const struct import *im)
{
    json_t *list = json_array();
    for (size_t i = 0; i < im->nchosen; i++) {
        const struct input_bitmap *b = bitmap_at(im, i);
        char granularity[SIZE_TEXT_BYTES];
        if (cli->json)
            json_array_append_new(list, json_pack("{s:o, s:I, s:b, s:b}", "bitmap", cli_json_text(name_at(im, i)), "granularity", (json_int_t)b->granularity,
                                                  "recording", b->recording, "persistent", b->persistent));
        else
            printf("%s  granularity %s%s%s\n", name_at(im, i), size_format(b->granularity, granularity), b->recording ? "  recording" : "", b->persistent ? "  persistent" : "");
    }
    if (cli->json)
        cli_print_json(list);
    else
        json_decref(list);
}

/* ------------------------------------------------------------ command line */

int bitmap_import(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {
        { "format", required_argument, NULL, 'f' }, { "granularity", required_argument, NULL, 'g' },
        { "force-inconsistent", no_argument, NULL, 'F' }, { "context", required_argument, NULL, 'C' }, { "help", no_argument, NULL, 'h' }, { 0 }
    };
    CLEANUP(import_free) struct import *im = calloc(1, sizeof *im);
    const char *format = NULL, *granularity = NULL, *context = NULL;
    bool forced = false;
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (c) {
        case 'f': format = optarg; break;
        case 'g': granularity = optarg; break;
        case 'F': forced = true; break;
        case 'C': context = optarg; break;
        default: return cli_option(cli, c);
        }
    }
    int r = cli_arguments(cli, argc, 2, 3);
    if (r)
        return r;
    if (!im)
        return error_errno(&cli->err, -ENOMEM, "cannot import");
    im->disk = argv[optind];
    im->forced = forced;
    im->input.name = argv[argc - 1];
    im->input.context = context;
    im->input.bitmap = argc - optind == 3 ? argv[optind + 1] : NULL;
    if (granularity)
        r = cli_granularity(cli, granularity, &im->input.granularity);
    if (!r)
        r = input_find(cli, &im->input, format, "--format");
    if (!r)
        r = ask_size(cli, im->disk, &im->input.disk_size);
    if (!r)
        r = input_open(&im->input, im->disk, &cli->err);
    if (!r)
        r = choose(cli, im);
    if (!r)
        r = send_all(cli, im);
    if (!r)
        print_result(cli, im);
    return r;
}
