// SPDX-License-Identifier: BSD-3-Clause
/* dirtyferry resume, abandon: what an operator does after the pivot when the other side is out of reach, or gone. */
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"

#define RESUME_HOLD_MS  7000    /* the daemon waits 5 s for the target */
#define ABANDON_HOLD_MS 12000

int command_resume(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {
        { "from", required_argument, NULL, 'f' }, { "to", required_argument, NULL, 't' }, { "help", no_argument, NULL, 'h' }, { 0 }
    };
    CLEANUP(message_free) struct message *reply = NULL;
    const char *target = NULL, *session;
    struct net_address address;
    struct out out;
    cli->usage = "Usage: dirtyferry [-c EP] [--json] resume SESSION [--from EP] [--to EP]\n"
                 "Tries at once to reach the target of an interrupted session.  Asks the source's\n"
                 "daemon: name it by --from or -c.  --to tells it where the target is now.\n";
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (c) {
        case 'f': cli->endpoint = optarg; break;
        case 't': target = optarg; break;
        default: return cli_option(cli, c);
        }
    }
    int r = cli_session(cli, argc, argv, &session);
    if (r)
        return r;
    r = target ? cli_address(cli, target, &address) : 0;
    struct client *client = r < 0 ? NULL : cli_client(cli);
    if (!client)
        return cli->err.code;
    client_begin(&out, "resume");
    out_text(&out, "session", session);
    if (target)
        cli_put_target(&out, &address);
    r = client_call(client, &out, RESUME_HOLD_MS, &reply, &cli->err);
    if (!r)
        cli_print_status(cli, reply);
    return r;
}

int command_abandon(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {
        { "to", required_argument, NULL, 't' }, { "all-dirty", no_argument, NULL, 'a' }, { "help", no_argument, NULL, 'h' }, { 0 }
    };
    CLEANUP(message_free) struct message *reply = NULL;
    bool all_dirty = false;
    const char *session;
    struct out out;
    cli->usage = "Usage: dirtyferry [-c EP] [--json] abandon SESSION [--to EP] [--all-dirty]\n"
                 "Gives up the bits that the source still has, after the target's pivot: its bitmaps\n"
                 "become inconsistent; or, with --all-dirty, set whole, so that they can be used and\n"
                 "the next backup is a full one.  Asks the target's daemon: name it by --to or -c.\n";
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (c) {
        case 't': cli->endpoint = optarg; break;
        case 'a': all_dirty = true; break;
        default: return cli_option(cli, c);
        }
    }
    int r = cli_session(cli, argc, argv, &session);
    if (r)
        return r;
    struct client *client = cli_client(cli);
    if (!client)
        return cli->err.code;
    client_begin(&out, "abandon");
    out_text(&out, "session", session);
    if (all_dirty)
        out_bool(&out, "all_dirty", true);
    r = client_call(client, &out, ABANDON_HOLD_MS, &reply, &cli->err);
    if (!r && strcmp(node_text(cli_status(reply), "state"), "abandoned")) {
        const struct await until = { .cli = cli, .client = client, .session = session, .role = "target", .state = "abandoned" };
        message_free(&reply);
        r = cli_await(&until, &reply);
    }
    if (!r)
        cli_print_status(cli, reply);
    return r;
}
