// SPDX-License-Identifier: BSD-3-Clause
/* What prepare and migrate have in common: the arguments and the first step. */
#include <errno.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/uuid.h"
#include "cli/cli.h"

/* The leading '-' hands arguments over in order, so that --as belongs to the one before it. */
int plan_parse(struct cli *cli, int argc, char **argv, struct plan *plan)
{
    static const struct option longs[] = {
        { "from", required_argument, NULL, 'f' },       { "to", required_argument, NULL, 't' },
        { "as", required_argument, NULL, 'a' },         { "chunk-size", required_argument, NULL, 'k' },
        { "workers", required_argument, NULL, 'w' },    { "max-bandwidth", required_argument, NULL, 'b' },
        { "grow", no_argument, NULL, 'g' },             { "granularity", required_argument, NULL, 'G' },
        { "transient", no_argument, NULL, 'T' },        { "on-pivot", required_argument, NULL, 'o' },
        { "progress", no_argument, NULL, 'p' },         { "help", no_argument, NULL, 'h' },
        { 0 }
    };
    *plan = (struct plan){ .from = cli->endpoint };
    int r = 0;
    for (int c; !r && (c = getopt_long(argc, argv, "-", longs, NULL)) != -1;) {
        switch (c) {
        case 1:
            if (plan->n == WIRE_SESSION_BITMAPS)
                return cli_usage(cli, "more than %u bitmaps in one session", WIRE_SESSION_BITMAPS);
            plan->items[plan->n++].source = optarg;
            break;
        case 'a':
            if (!plan->n || plan->items[plan->n - 1].as)
                return cli_usage(cli, "--as '%s' does not follow a DISK[/BITMAP]", optarg);
            plan->items[plan->n - 1].as = optarg;
            break;
        case 'f': plan->from = optarg; break;
        case 't': plan->to = optarg; break;
        case 'o': plan->on_pivot = optarg; break;
        case 'p': plan->progress = true; break;
        case 'g': plan->grow = true; break;
        case 'T': plan->transient = true; break;
        case 'G': r = cli_size(cli, optarg, "--granularity", &plan->granularity), plan->has_granularity = true; break;
        case 'k': r = cli_size(cli, optarg, "--chunk-size", &plan->chunk_bytes), plan->has_chunk = true; break;
        case 'w': r = cli_size(cli, optarg, "--workers", &plan->workers), plan->has_workers = true; break;
        case 'b': r = cli_size(cli, optarg, "--max-bandwidth", &plan->max_bandwidth); break;
        default: return cli_option(cli, c);
        }
    }
    for (; !r && optind < argc; optind++) {     /* what stands behind "--" */
        if (plan->n == WIRE_SESSION_BITMAPS)
            return cli_usage(cli, "more than %u bitmaps in one session", WIRE_SESSION_BITMAPS);
        plan->items[plan->n++].source = argv[optind];
    }
    if (!r && !plan->n)
        r = cli_usage(cli, "a DISK or DISK/BITMAP is missing");
    if (!r && !plan->to)
        r = cli_usage(cli, "--to is needed");
    return r;
}

static void put_bitmap(struct out *out, const struct plan *plan, const char *disk, const char *bitmap, const char *as_disk, const char *as_bitmap)
{
    out_map(out, NULL);
    out_text(out, "disk", disk);
    out_text(out, "bitmap", bitmap);
    if (as_disk)
        out_text(out, "as_disk", as_disk);
    if (as_bitmap)
        out_text(out, "as_bitmap", as_bitmap);
    if (plan->has_granularity)
        out_u64(out, "as_granularity", plan->granularity);
    if (plan->transient)
        out_bool(out, "transient", true);
    out_close(out);
}

/* DISK alone means all of its bitmaps. */
static int put_all_of(struct cli *cli, struct client *from, struct out *out, const struct plan *plan, const char *disk, const char *as_disk)
{
    CLEANUP(message_free) struct message *reply = NULL;
    struct out ask;
    size_t n;
    client_begin(&ask, "bitmap-list");
    out_text(&ask, "disk", disk);
    int r = client_call(from, &ask, 0, &reply, &cli->err);
    if (r < 0)
        return r;
    const node *items = node_list(reply->root, "bitmaps", &n);
    if (!n)
        return error_set(&cli->err, -ENOENT, "disk '%s' has no bitmap to move", disk);
    for (size_t i = 0; i < n; i++)
        put_bitmap(out, plan, disk, node_text(&items[i], "name"), as_disk, NULL);
    return 0;
}

static int put_items(struct cli *cli, struct client *from, struct out *out, const struct plan *plan)
{
    int r = 0;
    for (unsigned i = 0; !r && i < plan->n; i++) {
        char disk[CLI_DISK_BYTES], as_disk[CLI_DISK_BYTES];
        const char *bitmap, *as_bitmap = NULL, *as = plan->items[i].as;
        bool one = cli_split(plan->items[i].source, disk, &bitmap);
        if (as)
            cli_split(as, as_disk, &as_bitmap);
        if (one)
            put_bitmap(out, plan, disk, bitmap, as ? as_disk : NULL, as_bitmap);
        else if (as_bitmap)
            r = error_set(&cli->err, -EINVAL, "'%s' is a whole disk and '--as %s' one bitmap: name the bitmap", disk, as);
        else
            r = put_all_of(cli, from, out, plan, disk, as ? as_disk : NULL);
    }
    return r;
}

int plan_prepare(struct cli *cli, const struct plan *plan, struct client_pair *ends, char session[37])
{
    uint8_t uuid[UUID_BYTES];
    struct net_address target;
    struct out out;
    uuid_generate(uuid);
    uuid_format(uuid, session);
    int r = cli_open(cli, plan->from, &ends->from);
    if (!r)
        r = cli_address(cli, plan->to, &target);
    if (!r)
        r = client_open(&cli->net, &target, &ends->to, &cli->err);
    if (r < 0)
        return r;
    client_begin(&out, "prepare");
    out_text(&out, "session", session);
    cli_put_target(&out, &target);
    out_list(&out, "bitmaps");
    r = put_items(cli, ends->from, &out, plan);
    if (r < 0) {
        out_destroy(&out);
        return r;
    }
    out_close(&out);
    if (plan->has_chunk)
        out_u64(&out, "chunk_size", plan->chunk_bytes);
    if (plan->has_workers)
        out_u64(&out, "workers", plan->workers);
    if (plan->max_bandwidth)
        out_u64(&out, "max_bandwidth", plan->max_bandwidth);
    if (plan->grow)
        out_bool(&out, "grow", true);
    return client_call(ends->from, &out, 6000, NULL, &cli->err);
}

void plan_close(struct client_pair *ends)
{
    client_close(&ends->from);
    client_close(&ends->to);
}
