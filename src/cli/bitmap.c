// SPDX-License-Identifier: BSD-3-Clause
/* dirtyferry bitmap ... */
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/size.h"
#include "cli/cli.h"

static const char usage[] =
    "Usage: dirtyferry [-c EP] bitmap add DISK BITMAP [--granularity 64K] [--disabled] [--persistent]\n"
    "       dirtyferry [-c EP] bitmap remove|clear|enable|disable DISK BITMAP\n"
    "       dirtyferry [-c EP] bitmap merge DISK BITMAP SOURCE...   SOURCE: [DISK2/]BITMAP2\n"
    "       dirtyferry [-c EP] [--json] bitmap list DISK\n"
    "       dirtyferry [-c EP] [--json] bitmap show DISK BITMAP\n"
    "       dirtyferry [-c EP] bitmap mark DISK OFFSET LENGTH\n"
    "       dirtyferry [-c EP] bitmap export DISK BITMAP FILE --format json|raw|qcow2|svg\n"
    "       dirtyferry [-c EP] [--json] bitmap import DISK [BITMAP] FILE|NBD-URI [--format raw|json|qcow2|nbd]\n"
    "                          [--granularity 64K] [--context CONTEXT] [--force-inconsistent]\n"
    "       dirtyferry [-c EP] [--json] bitmap diff DISK BITMAP --against FILE|NBD-URI [--data FILE|NBD-URI]\n"
    "                          [--against-format F] [--data-format F] [--on-error dirty|stop]\n"
    "       dirtyferry [-c EP] bitmap diff DISK BITMAP --cancel\n"
    "The words mean what they mean in QEMU's block-dirty-bitmap commands.  'mark'\n"
    "records a write on every recording bitmap of the disk.  'diff' compares the disk,\n"
    "which may be in use, with a backup and sets what differs in the bitmap.\n";

static const struct option no_options[] = { { "help", no_argument, NULL, 'h' }, { 0 } };

static int options(struct cli *cli, int argc, char **argv, int min, int max)
{
    for (int c; (c = getopt_long(argc, argv, "", no_options, NULL)) != -1;)
        return cli_option(cli, c);
    return cli_arguments(cli, argc, min, max);
}

static void begin(struct out *out, const char *type, char **names)
{
    client_begin(out, type);
    out_text(out, "disk", names[0]);
    out_text(out, "bitmap", names[1]);
}

static int simple(struct cli *cli, int argc, char **argv, const char *type)
{
    struct out out;
    int r = options(cli, argc, argv, 2, 2);
    if (r)
        return r;
    begin(&out, type, argv + optind);
    return cli_call_qemu(cli, &out, NULL);
}

static int add(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {
        { "granularity", required_argument, NULL, 'g' }, { "disabled", no_argument, NULL, 'd' },
        { "persistent", no_argument, NULL, 'p' }, { "help", no_argument, NULL, 'h' }, { 0 }
    };
    const char *granularity = "64K";
    bool disabled = false, persistent = false;
    uint64_t bytes;
    struct out out;
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (c) {
        case 'g': granularity = optarg; break;
        case 'd': disabled = true; break;
        case 'p': persistent = true; break;
        default: return cli_option(cli, c);
        }
    }
    int r = cli_arguments(cli, argc, 2, 2);
    if (!r)
        r = cli_size(cli, granularity, "--granularity", &bytes);
    if (r)
        return r;
    begin(&out, "bitmap-add", argv + optind);
    out_u64(&out, "granularity", bytes);
    out_bool(&out, "disabled", disabled);
    out_bool(&out, "persistent", persistent);
    return cli_call_qemu(cli, &out, NULL);
}

static int merge(struct cli *cli, int argc, char **argv)
{
    struct out out;
    int r = options(cli, argc, argv, 3, 258);
    if (r)
        return r;
    begin(&out, "bitmap-merge", argv + optind);
    out_list(&out, "sources");
    for (int i = optind + 2; i < argc; i++) {
        char disk[CLI_DISK_BYTES];
        const char *bitmap;
        bool other = cli_split(argv[i], disk, &bitmap);
        out_map(&out, NULL);
        if (other)
            out_text(&out, "disk", disk);
        out_text(&out, "bitmap", other ? bitmap : argv[i]);
        out_close(&out);
    }
    out_close(&out);
    return cli_call_qemu(cli, &out, NULL);
}

static const char *flags(const node *b, char text[96])
{
    static const char *const names[] = { "recording", "busy", "persistent", "inconsistent", "frozen", "readonly" };
    text[0] = 0;
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (node_bool(b, names[i]))
            snprintf(text + strlen(text), 96 - strlen(text), "%s%s", text[0] ? "," : "", names[i]);
    return text[0] ? text : "-";
}

static int list(struct cli *cli, int argc, char **argv)
{
    CLEANUP(message_free) struct message *reply = NULL;
    struct out out;
    int r = options(cli, argc, argv, 1, 1);
    if (r)
        return r;
    client_begin(&out, "bitmap-list");
    out_text(&out, "disk", argv[optind]);
    r = cli_call_qemu(cli, &out, &reply);
    if (r < 0)
        return r;
    if (cli->json) {
        cli_print_json(cli_json(node_map(reply->root, "bitmaps")));
        return 0;
    }
    size_t n;
    const node *items = node_list(reply->root, "bitmaps", &n);
    printf("%-24s %11s %10s  %s\n", "BITMAP", "GRANULARITY", "DIRTY", "STATE");
    for (size_t i = 0; i < n; i++) {
        char granularity[SIZE_TEXT_BYTES], count[SIZE_TEXT_BYTES], text[96];
        printf("%-24s %11s %10s  %s\n", node_text(&items[i], "name"), size_format(node_u64(&items[i], "granularity", 0), granularity),
               size_format(node_u64(&items[i], "count", 0), count), flags(&items[i], text));
    }
    return 0;
}

static int show(struct cli *cli, int argc, char **argv)
{
    CLEANUP(message_free) struct message *reply = NULL;
    struct out out;
    int r = options(cli, argc, argv, 2, 2);
    if (r)
        return r;
    struct client *client = cli_client(cli);
    if (!client)
        return cli->err.code;
    begin(&out, "bitmap-show", argv + optind);
    /* The hash of the largest bitmap takes minutes. */
    r = client_call(client, &out, 600000, &reply, &cli->err);
    if (r < 0)
        return r;
    const node *b = node_map(reply->root, "bitmap");
    if (cli->json) {
        cli_print_json(cli_json(b));
        return 0;
    }
    char granularity[SIZE_TEXT_BYTES], count[SIZE_TEXT_BYTES], text[96];
    printf("name         %s\ngranularity  %s\ndirty        %s\nstate        %s\n", node_text(b, "name"),
           size_format(node_u64(b, "granularity", 0), granularity), size_format(node_u64(b, "count", 0), count), flags(b, text));
    if (node_has(b, "session"))
        printf("session      %s\n", node_text(b, "session"));
    if (node_has(b, "diff"))
        printf("diff         %s\n", node_text(b, "diff"));
    if (node_has(b, "sha256"))
        printf("sha256       %s\n", node_text(b, "sha256"));
    return 0;
}

static int mark(struct cli *cli, int argc, char **argv)
{
    struct out out;
    uint64_t offset, length;
    int r = options(cli, argc, argv, 3, 3);
    if (!r)
        r = cli_size(cli, argv[optind + 1], "OFFSET", &offset);
    if (!r)
        r = cli_size(cli, argv[optind + 2], "LENGTH", &length);
    if (r)
        return r;
    client_begin(&out, "bitmap-mark");
    out_text(&out, "disk", argv[optind]);
    out_u64(&out, "offset", offset);
    out_u64(&out, "length", length);
    return cli_call_qemu(cli, &out, NULL);
}

int command_bitmap(struct cli *cli, int argc, char **argv)
{
    static const struct {
        const char *word, *type;
    } simples[] = {
        { "remove", "bitmap-remove" }, { "clear", "bitmap-clear" }, { "enable", "bitmap-enable" }, { "disable", "bitmap-disable" },
    };
    static const struct {
        const char *word;
        command *run;
    } others[] = { { "add", add }, { "merge", merge }, { "list", list }, { "show", show }, { "mark", mark }, { "export", bitmap_export },
                  { "import", bitmap_import }, { "diff", bitmap_diff } };
    cli->usage = usage;
    if (argc < 2)
        return cli_usage(cli, "a word is missing: add, remove, clear, enable, disable, merge, list, show, mark, export, import or diff");
    const char *word = argv[1];
    if (!strcmp(word, "--help"))
        return cli_option(cli, 'h');
    argv[1] = argv[0];      /* what getopt's messages begin with */
    for (unsigned i = 0; i < sizeof simples / sizeof *simples; i++)
        if (!strcmp(word, simples[i].word))
            return simple(cli, argc - 1, argv + 1, simples[i].type);
    for (unsigned i = 0; i < sizeof others / sizeof *others; i++)
        if (!strcmp(word, others[i].word))
            return others[i].run(cli, argc - 1, argv + 1);
    return cli_usage(cli, "there is no 'bitmap %s'", word);
}
