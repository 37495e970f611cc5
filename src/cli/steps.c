// SPDX-License-Identifier: BSD-3-Clause
/* dirtyferry prepare, cancel, rollback: the first step of the move, and the ways back. */
#include <errno.h>

#include "base/cleanup.h"
#include "cli/cli.h"

#define ROLLBACK_HOLD_MS 12000   /* the target is asked several times */

/* ---------------------------------------------------------------- prepare */

int command_prepare(struct cli *cli, int argc, char **argv)
{
    CLEANUP(plan_close) struct client_pair ends = { 0 };
    struct plan plan;
    char session[37];
    cli->usage = "Usage: dirtyferry [--json] prepare DISK[/BITMAP] [--as DISK2[/BITMAP2]] ... --to EP\n"
                 "           [--from EP] [--grow] [--granularity SIZE] [--transient]\n"
                 "           [--chunk-size SIZE] [--workers N] [--max-bandwidth SIZE]\n"
                 "Creates the bitmaps on the target, frozen and locked; the source records on.\n"
                 "Prints the session's UUID.  The options are those of 'migrate'.\n";
    int r = plan_parse(cli, argc, argv, &plan);
    if (!r && (plan.on_pivot || plan.progress))
        r = cli_usage(cli, "--on-pivot and --progress are for 'migrate'");
    if (r)
        return r;
    r = plan_prepare(cli, &plan, &ends, session);
    if (r < 0)
        return r;
    if (cli->json)
        cli_print_json(json_pack("{s:s, s:s}", "session", session, "state", "prepared"));
    else
        printf("%s\n", session);
    return 0;
}

/* ------------------------------------------------------- cancel, rollback */

int cli_one_session(struct cli *cli, int argc, char **argv, const char **session)
{
    static const struct option longs[] = {
        { "from", required_argument, NULL, 'f' }, { "to", required_argument, NULL, 't' }, { "help", no_argument, NULL, 'h' }, { 0 }
    };
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (c != 'f' && c != 't')
            return cli_option(cli, c);
        cli->endpoint = optarg;
    }
    return cli_session(cli, argc, argv, session);
}


/* The source's daemon cancels on both sides; on a target alone it is asked to give up what the source left behind. */
int command_cancel(struct cli *cli, int argc, char **argv)
{
    CLEANUP(message_free) struct message *reply = NULL;
    const char *session;
    cli->usage = "Usage: dirtyferry [-c EP] [--json] cancel SESSION [--from EP | --to EP]\n"
                 "Before the pivot: leaves both sides as they were.  Ask the source's daemon; the\n"
                 "target's only (--to EP) when the source is gone.\n";
    int r = cli_one_session(cli, argc, argv, &session);
    if (r)
        return r;
    struct client *client = cli_client(cli);
    if (!client)
        return cli->err.code;
    r = cli_session_call(cli, client, "cancel", session, "source", &reply);
    if (r == -ENOENT) {
        message_free(&reply);
        r = cli_session_call(cli, client, "cancel", session, "target", &reply);
    }
    if (!r)
        cli_print_status(cli, reply);
    return r;
}

int command_rollback(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {
        { "from", required_argument, NULL, 'f' }, { "force", no_argument, NULL, 'F' }, { "help", no_argument, NULL, 'h' }, { 0 }
    };
    CLEANUP(message_free) struct message *reply = NULL;
    bool force = false;
    const char *session;
    struct out out;
    cli->usage = "Usage: dirtyferry [-c EP] [--json] rollback SESSION [--from EP] [--force]\n"
                 "After the source's pivot and while the target has not pivoted: makes the source\n"
                 "live again.  Refused once the target records.  --force does it without the target's\n"
                 "word, when it is gone for good and you know that no guest ran there.\n";
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (c) {
        case 'f': cli->endpoint = optarg; break;
        case 'F': force = true; break;
        default: return cli_option(cli, c);
        }
    }
    int r = cli_session(cli, argc, argv, &session);
    if (r)
        return r;
    struct client *client = cli_client(cli);
    if (!client)
        return cli->err.code;
    cli_begin_session(&out, "rollback", session, "source");
    if (force)
        out_bool(&out, "force", true);
    r = client_call(client, &out, ROLLBACK_HOLD_MS, &reply, &cli->err);
    if (!r)
        cli_print_status(cli, reply);
    return r;
}
