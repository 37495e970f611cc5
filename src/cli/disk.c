// SPDX-License-Identifier: BSD-3-Clause
/* dirtyferry disk ... */
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/size.h"
#include "cli/cli.h"

static const char usage[] =
    "Usage: dirtyferry [-c EP] [--json] disk add DISK --size SIZE\n"
    "       dirtyferry [-c EP] [--json] disk list\n"
    "       dirtyferry [-c EP] disk remove DISK\n"
    "       dirtyferry [-c EP] disk writable DISK\n"
    "A disk is known to the daemon by its name and size; its data is elsewhere.\n"
    "'writable' lets writes pass again to a disk that was moved away.\n";

static const struct option no_options[] = { { "help", no_argument, NULL, 'h' }, { 0 } };

static int simple(struct cli *cli, int argc, char **argv, const char *type)
{
    struct out out;
    for (int c; (c = getopt_long(argc, argv, "", no_options, NULL)) != -1;)
        return cli_option(cli, c);
    int r = cli_arguments(cli, argc, 1, 1);
    if (r)
        return r;
    client_begin(&out, type);
    out_text(&out, "disk", argv[optind]);
    return cli_call(cli, &out, NULL);
}

static int add(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = { { "size", required_argument, NULL, 's' }, { "help", no_argument, NULL, 'h' }, { 0 } };
    const char *size = NULL;
    uint64_t bytes = 0;
    struct out out;
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (c != 's')
            return cli_option(cli, c);
        size = optarg;
    }
    int r = cli_arguments(cli, argc, 1, 1);
    if (!r)
        r = size ? cli_size(cli, size, "--size", &bytes) : cli_usage(cli, "--size is needed");
    if (r)
        return r;
    client_begin(&out, "disk-add");
    out_text(&out, "disk", argv[optind]);
    out_u64(&out, "size", bytes);
    return cli_call(cli, &out, NULL);
}

static int list(struct cli *cli, int argc, char **argv)
{
    CLEANUP(message_free) struct message *reply = NULL;
    struct out out;
    for (int c; (c = getopt_long(argc, argv, "", no_options, NULL)) != -1;)
        return cli_option(cli, c);
    int r = cli_arguments(cli, argc, 0, 0);
    if (r)
        return r;
    client_begin(&out, "disk-list");
    r = cli_call(cli, &out, &reply);
    if (r < 0)
        return r;
    if (cli->json) {
        cli_print_json(cli_json(node_map(reply->root, "disks")));
        return 0;
    }
    size_t n;
    const node *disks = node_list(reply->root, "disks", &n);
    printf("%-24s %10s %8s  %s\n", "DISK", "SIZE", "BITMAPS", "STATE");
    for (size_t i = 0; i < n; i++) {
        char size[SIZE_TEXT_BYTES];
        printf("%-24s %10s %8" PRIu64 "  %s\n", node_text(&disks[i], "disk"), size_format(node_u64(&disks[i], "size", 0), size),
               node_u64(&disks[i], "bitmaps", 0), node_has(&disks[i], "damaged") ? node_text(&disks[i], "damaged") : node_bool(&disks[i], "readonly") ? "readonly" : "-");
    }
    return 0;
}

int command_disk(struct cli *cli, int argc, char **argv)
{
    cli->usage = usage;
    if (argc < 2)
        return cli_usage(cli, "a word is missing: add, list, remove or writable");
    const char *word = argv[1];
    if (!strcmp(word, "--help"))
        return cli_option(cli, 'h');
    argv[1] = argv[0];      /* what getopt's messages begin with */
    if (!strcmp(word, "add"))
        return add(cli, argc - 1, argv + 1);
    if (!strcmp(word, "list"))
        return list(cli, argc - 1, argv + 1);
    if (!strcmp(word, "remove"))
        return simple(cli, argc - 1, argv + 1, "disk-remove");
    if (!strcmp(word, "writable"))
        return simple(cli, argc - 1, argv + 1, "disk-writable");
    return cli_usage(cli, "there is no 'disk %s'", word);
}
