// SPDX-License-Identifier: BSD-3-Clause
/* dirtyferry disk ... */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/size.h"
#include "cli/cli.h"
#include "image/image.h"

static const char usage[] =
    "Usage: dirtyferry [-c EP] [--json] disk add DISK --size SIZE [--data FILE|NBD-URI]\n"
    "       dirtyferry [-c EP] disk add DISK --qemu QMP-SOCKET --node NODE [--nbd ADDRESS] [--data NBD-URI|FILE]\n"
    "       dirtyferry [-c EP] [--json] disk list\n"
    "       dirtyferry [-c EP] disk remove DISK\n"
    "       dirtyferry [-c EP] disk writable DISK\n"
    "A disk is known to the daemon by its name and size; its data is elsewhere: --data\n"
    "says where, for 'bitmap diff'.\n"
    "With --qemu its bitmaps are those of a node of QEMU or its storage daemon.\n"
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

#define SOCKET_MAX 107u
#define DATA_MAX   4095u

/* The daemon, and who reads the data, run elsewhere: a relative path is made absolute. */
static int put_path(struct cli *cli, struct out *out, const char *key, const char *path, size_t max)
{
    CLEANUP(cleanup_free) char *here = path[0] == '/' ? NULL : getcwd(NULL, 0);
    char text[2 * (DATA_MAX + 1)];
    if (path[0] != '/' && !here)
        return error_errno(&cli->err, -errno, "cannot find out which directory '%s' is in", path);
    snprintf(text, sizeof text, "%s%s%s", here ? here : "", here ? "/" : "", path);
    if (strlen(text) > max)
        return error_set(&cli->err, -EINVAL, "the path '%s' has %zu bytes: at most %zu are possible, choose a shorter one", text, strlen(text), max);
    out_text(out, key, text);
    return 0;
}

static int put_data(struct cli *cli, struct out *out, const char *data)
{
    if (!*data)
        return error_set(&cli->err, -EINVAL, "--data '' names nothing: give a raw file, a block device or an NBD URI");
    if (!image_is_uri(data))
        return put_path(cli, out, "data", data, DATA_MAX);
    if (strlen(data) > DATA_MAX)
        return error_set(&cli->err, -EINVAL, "an NBD URI of %zu bytes is too long: %u are possible", strlen(data), DATA_MAX);
    out_text(out, "data", data);
    return 0;
}

struct qemu {
    const char *socket, *node, *nbd;
};

static int put_qemu(struct cli *cli, struct out *out, const struct qemu *qemu)
{
    int r = put_path(cli, out, "qemu", qemu->socket, SOCKET_MAX);
    out_text(out, "node", qemu->node);
    if (r < 0 || !qemu->nbd)
        return r;
    if (strchr(qemu->nbd, '/') || !strchr(qemu->nbd, ':'))
        return put_path(cli, out, "nbd", qemu->nbd, SOCKET_MAX);
    out_text(out, "nbd", qemu->nbd);
    return 0;
}

static int add(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {
        { "size", required_argument, NULL, 's' }, { "qemu", required_argument, NULL, 'q' }, { "node", required_argument, NULL, 'n' },
        { "nbd", required_argument, NULL, 'b' }, { "data", required_argument, NULL, 'd' }, { "help", no_argument, NULL, 'h' }, { 0 }
    };
    struct qemu qemu = { 0 };
    const char *size = NULL, *data = NULL;
    uint64_t bytes = 0;
    struct out out;
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (c) {
        case 's': size = optarg; break;
        case 'q': qemu.socket = optarg; break;
        case 'n': qemu.node = optarg; break;
        case 'b': qemu.nbd = optarg; break;
        case 'd': data = optarg; break;
        default: return cli_option(cli, c);
        }
    }
    int r = cli_arguments(cli, argc, 1, 1);
    if (!r && !size == !qemu.socket)
        r = cli_usage(cli, "either --size or --qemu is needed");
    if (!r && !qemu.socket != !qemu.node)
        r = cli_usage(cli, "--qemu and --node go together");
    if (!r && qemu.nbd && !qemu.socket)
        r = cli_usage(cli, "--nbd is for a disk of QEMU: give --qemu and --node");
    if (!r && size)
        r = cli_size(cli, size, "--size", &bytes);
    if (r)
        return r;
    client_begin(&out, "disk-add");
    out_text(&out, "disk", argv[optind]);
    if (size)
        out_u64(&out, "size", bytes);
    else
        r = put_qemu(cli, &out, &qemu);
    if (!r && data)
        r = put_data(cli, &out, data);
    if (!r)
        return cli_call_qemu(cli, &out, NULL);
    out_destroy(&out);
    return r;
}

static void print_disk(const node *disk)
{
    char size[SIZE_TEXT_BYTES], bitmaps[24];
    const char *state = node_has(disk, "damaged") ? node_text(disk, "damaged") : node_bool(disk, "readonly") ? "readonly" : "-";
    snprintf(bitmaps, sizeof bitmaps, "%" PRIu64, node_u64(disk, "bitmaps", 0));
    bool is_qemu = node_has(disk, "qemu");
    bool has_data = node_has(disk, "data");
    printf("%-24s %10s %8s  %s%s%s%s%s\n", node_text(disk, "disk"), size_format(node_u64(disk, "size", 0), size), is_qemu ? "-" : bitmaps, state,
           is_qemu ? "  qemu: " : "", is_qemu ? node_text(disk, "qemu") : "", has_data ? "  data: " : "", has_data ? node_text(disk, "data") : "");
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
    for (size_t i = 0; i < n; i++)
        print_disk(&disks[i]);
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
