// SPDX-License-Identifier: BSD-3-Clause
/* dirtyferry status, and how every command shows a session. */
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/size.h"
#include "cli/cli.h"

static void print_status(const node *s)
{
    char bytes[SIZE_TEXT_BYTES];
    uint64_t chunks = node_u64(s, "chunks", 1), done = node_u64(s, "chunks_done", 0);
    printf("%s %s %s  chunks %" PRIu64 "/%" PRIu64 " (%.0f %%)  frames %" PRIu64 "  bytes %s  attempt %" PRIu64 "%s\n",
           node_text(s, "session"), node_text(s, "role"), node_text(s, "state"), done, chunks, 100.0 * (double)done / (double)(chunks ? chunks : 1),
           node_u64(s, "frames", 0), size_format(node_u64(s, "bytes", 0), bytes), node_u64(s, "epoch", 0), cli_link_is_lost(s) ? "  link lost" : "");
    if (node_has(s, "message"))
        printf("  %s\n", node_text(s, "message"));
    if (node_has(s, "dump"))
        printf("  dump %s\n", node_text(s, "dump"));
}

bool cli_link_is_lost(const node *status)
{
    return node_has(status, "link") && !strcmp(node_text(status, "link"), "lost");
}

void cli_print_status(struct cli *cli, const struct message *reply)
{
    if (cli->json)
        cli_print_json(cli_json(cli_status(reply)));
    else
        print_status(cli_status(reply));
}

int command_status(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = { { "help", no_argument, NULL, 'h' }, { 0 } };
    CLEANUP(message_free) struct message *reply = NULL;
    const char *session = NULL;
    struct out out;
    cli->usage = "Usage: dirtyferry [-c EP] [--json] status [SESSION]\n"
                 "Shows the sessions of a daemon, the newest first.\n";
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;)
        return cli_option(cli, c);
    int r = optind < argc ? cli_session(cli, argc, argv, &session) : 0;
    if (r)
        return r;
    client_begin(&out, "status");
    if (session)
        out_text(&out, "session", session);
    r = cli_call(cli, &out, &reply);
    if (r < 0)
        return r;
    if (cli->json) {
        cli_print_json(cli_json(node_map(reply->root, "sessions")));
        return 0;
    }
    size_t n;
    const node *sessions = node_list(reply->root, "sessions", &n);
    for (size_t i = 0; i < n; i++)
        print_status(&sessions[i]);
    return 0;
}
