// SPDX-License-Identifier: BSD-3-Clause
/* dirtyferry: the command table, global options, exit status. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "bitmap/fault.h"
#include "cli/cli.h"

static const struct {
    const char *name, *arguments, *help;
    command *run;
} commands[] = {
    { "disk", "add|list|remove|writable", "disks of the built-in store", command_disk },
    { "bitmap", "add|remove|clear|enable|disable|merge|list|show|mark|export|import|diff", "bitmaps of a disk", command_bitmap },
    { "migrate", "DISK[/BITMAP]... --from EP --to EP", "move bitmaps: prepare, pivot, wait", command_migrate },
    { "prepare", "DISK[/BITMAP]... --from EP --to EP", "first step: tell the target what will come", command_prepare },
    { "pivot", "SESSION [--from EP] [--to EP]", "second step: source read-only, then target records", command_pivot },
    { "wait", "SESSION", "last step: wait until the bitmaps are operative", command_wait },
    { "status", "[SESSION]", "sessions of a daemon", command_status },
    { "cancel", "SESSION", "before the pivot: leave both sides as they were", command_cancel },
    { "rollback", "SESSION", "after the source's pivot, before the target's: source live again", command_rollback },
    { "resume", "SESSION [--from EP] [--to EP]", "after the pivot: try at once to reach the target again", command_resume },
    { "abandon", "SESSION [--to EP] [--all-dirty]", "after the pivot: give up the source's bits on the target", command_abandon },
    { "dump", "SESSION|DISK/BITMAP FILE [--from EP]", "what a session has to send, or a bitmap, to a file", command_dump },
    { "load", "FILE [--to EP]", "and back, on the target or on any host", command_load },
    { "worker", "SESSION", "a stream worker as a process of its own", command_worker },
    { "watch", "[SESSION|DIFF]", "follow the events of a daemon", command_watch },
    { "diff", "OLD NEW", "a bitmap from the data: what differs between two images", command_diff },
    { "keygen", "FILE [--role ROLE]...", "a key pair: certificate and secret", command_keygen },
};

#define NCOMMANDS (sizeof commands / sizeof *commands)

static void help(FILE *to)
{
    fputs("Usage: dirtyferry [-c EP] [--key FILE] [--json] COMMAND [ARGUMENT]...\n"
          "Moves the dirty bitmaps of a disk to another host, after the disk itself.\n\n", to);
    for (size_t i = 0; i < NCOMMANDS; i++)
        fprintf(to, "  %-9s %s\n            %s\n", commands[i].name, commands[i].arguments, commands[i].help);
    fputs("\n"
          "  -c, --connect EP   the daemon's control endpoint; also from DIRTYFERRY_CONNECT\n"
          "                     [tcp://127.0.0.1:7440]\n"
          "  --key FILE_secret  your own key, for daemons that have keys; also from\n"
          "                     DIRTYFERRY_KEY.  See 'dirtyferry keygen'\n"
          "  --json             print JSON; may also stand behind the command\n"
          "  --help, --version\n\n"
          "EP is tcp://HOST:PORT or ipc://PATH; EP,CERTIFICATE for a daemon with a key, whose\n"
          "public certificate that file is.\n"
          "'dirtyferry COMMAND --help' tells more.  Sizes take K M G T P E (powers of 1024).\n"
          "Exit status: 0 done, 1 refused or failed (one sentence on stderr), 2 usage.\n", to);
}

static int run(struct cli *cli, int argc, char **argv)
{
    for (size_t i = 0; i < NCOMMANDS; i++)
        if (!strcmp(commands[i].name, argv[0])) {
            optind = 0;     /* starts getopt anew */
            argv[0] = (char *)(uintptr_t)"dirtyferry";
            return commands[i].run(cli, argc, argv);
        }
    fprintf(stderr, "dirtyferry: there is no command '%s'.  Try 'dirtyferry --help'.\n", argv[0]);
    return USAGE;
}

/* --json may stand anywhere, before the command and behind it. */
static bool take_json(int *argc, char **argv)
{
    int n = 1;
    for (int i = 1; i < *argc; i++)
        if (strcmp(argv[i], "--json"))
            argv[n++] = argv[i];
    bool found = n < *argc;
    *argc = n;
    argv[n] = NULL;
    return found;
}

static const char *environment(const char *name, const char *fallback)
{
    const char *value = getenv(name);
    return value && *value ? value : fallback;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        { "connect", required_argument, NULL, 'c' }, { "key", required_argument, NULL, 'k' },
        { "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' }, { 0 }
    };
    struct cli cli = { .endpoint = environment("DIRTYFERRY_CONNECT", "tcp://127.0.0.1:7440"), .key = environment("DIRTYFERRY_KEY", NULL), .usage = "" };
    cli.json = take_json(&argc, argv);
    for (int c; (c = getopt_long(argc, argv, "+c:", longs, NULL)) != -1;) {
        switch (c) {
        case 'c': cli.endpoint = optarg; break;
        case 'k': cli.key = optarg; break;
        case 'h': help(stdout); return 0;
        case 'V': puts("dirtyferry " PACKAGE_VERSION); return 0;
        default: fputs("Try 'dirtyferry --help'.\n", stderr); return 2;
        }
    }
    if (optind == argc) {
        help(stderr);
        return 2;
    }
    log_set_level(LOG_LEVEL_WARNING);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);           /* an error of the write (EFBIG) says it */
    int r = fault_start(&cli.err);      /* files are mapped that others may cut (image/file.c) */
    if (!r)
        r = cli_start(&cli);
    if (!r)
        r = run(&cli, argc - optind, argv + optind);
    if (r < 0)
        fprintf(stderr, "dirtyferry: %s\n", cli.err.message);
    if (r == 0 && cli.json && !cli_has_printed())
        cli_print_json(json_object());
    client_close(&cli.client);
    net_stop(&cli.net);
    return r == USAGE ? 2 : r < 0;
}
