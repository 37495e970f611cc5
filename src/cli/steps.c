// SPDX-License-Identifier: BSD-3-Clause
/* dirtyferry prepare, pivot, wait, status, cancel, rollback: the move in steps. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/size.h"
#include "cli/cli.h"

static void print_status(const node *s)
{
    char bytes[SIZE_TEXT_BYTES];
    uint64_t chunks = node_u64(s, "chunks", 1), done = node_u64(s, "chunks_done", 0);
    printf("%s %s %s  chunks %" PRIu64 "/%" PRIu64 " (%.0f %%)  frames %" PRIu64 "  bytes %s  attempt %" PRIu64 "\n",
           node_text(s, "session"), node_text(s, "role"), node_text(s, "state"), done, chunks, 100.0 * (double)done / (double)(chunks ? chunks : 1),
           node_u64(s, "frames", 0), size_format(node_u64(s, "bytes", 0), bytes), node_u64(s, "epoch", 0));
    if (node_has(s, "message"))
        printf("  %s\n", node_text(s, "message"));
}

static void print_reply(struct cli *cli, const struct message *reply)
{
    if (cli->json)
        cli_print_json(cli_json(cli_status(reply)));
    else
        print_status(cli_status(reply));
}

/* ---------------------------------------------------------------- prepare */

int command_prepare(struct cli *cli, int argc, char **argv)
{
    CLEANUP(plan_close) struct client_pair ends = { 0 };
    struct plan plan;
    char session[37];
    cli->usage = "Usage: dirtyferry [--json] prepare DISK[/BITMAP] [--as DISK2[/BITMAP2]] ... --to EP\n"
                 "           [--from EP] [--chunk-size SIZE] [--workers N] [--max-bandwidth SIZE]\n"
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

/* ------------------------------------------------------------------ pivot */

static int open_ends(struct cli *cli, const char *from, const char *to, struct client_pair *ends)
{
    int r = from ? client_open(cli->context, from, &ends->from, &cli->err) : 0;
    if (!r && to)
        r = client_open(cli->context, to, &ends->to, &cli->err);
    return r;
}

int command_pivot(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {
        { "from", required_argument, NULL, 'f' }, { "to", required_argument, NULL, 't' },
        { "on-pivot", required_argument, NULL, 'o' }, { "help", no_argument, NULL, 'h' }, { 0 }
    };
    CLEANUP(plan_close) struct client_pair ends = { 0 };
    const char *from = NULL, *to = NULL, *on_pivot = NULL, *session;
    int64_t pivot_us, on_pivot_ms;
    cli->usage = "Usage: dirtyferry [--json] pivot SESSION --from EP --to EP [--on-pivot COMMAND]\n"
                 "       dirtyferry [--json] pivot SESSION --from EP | --to EP\n"
                 "Makes the source's disks read-only (--from), runs the command if there is one,\n"
                 "then lets the target record (--to).  With one of the two only that half is done.\n"
                 "When the command or the target's half fails, the source is rolled back.\n";
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (c) {
        case 'f': from = optarg; break;
        case 't': to = optarg; break;
        case 'o': on_pivot = optarg; break;
        default: return cli_option(cli, c);
        }
    }
    int r = cli_session(cli, argc, argv, &session);
    if (!r && !from && !to)
        r = cli_usage(cli, "--from or --to is needed");
    if (r)
        return r;
    r = open_ends(cli, from, to, &ends);
    if (!r)
        r = plan_pivot(cli, &ends, session, on_pivot, &pivot_us, &on_pivot_ms);
    if (r < 0)
        return r;
    if (cli->json)
        cli_print_json(json_pack("{s:s, s:I, s:I}", "session", session, "pivot_us", (json_int_t)pivot_us, "on_pivot_ms", (json_int_t)on_pivot_ms));
    else
        printf("pivot %.3f ms\n", (double)pivot_us / 1000);
    return 0;
}

/* ------------------------------------------------- wait, cancel, rollback */

/* The shape of all commands that send one request for a session to one daemon. */
static int one_session(struct cli *cli, int argc, char **argv, const char **session)
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

int command_wait(struct cli *cli, int argc, char **argv)
{
    const char *session;
    cli->usage = "Usage: dirtyferry [-c EP] [--json] wait SESSION [--to EP]\n"
                 "Waits until the session's bitmaps are operative.  Asks the target's daemon: name it\n"
                 "by --to or -c.\n";
    int r = one_session(cli, argc, argv, &session);
    if (r)
        return r;
    struct client *client = cli_client(cli);
    if (!client)
        return cli->err.code;
    for (;;) {
        CLEANUP(message_free) struct message *reply = NULL;
        r = cli_wait_call(cli, client, session, "target", "operative", 5000, &reply);
        if (r < 0)
            return r;
        const char *state = node_text(cli_status(reply), "state");
        if (!strcmp(state, "cancelled"))
            return error_set(&cli->err, -ECANCELED, "session %s was cancelled", session);
        if (!strcmp(state, "operative")) {
            print_reply(cli, reply);
            return 0;
        }
    }
}

static int on_source(struct cli *cli, int argc, char **argv, const char *type)
{
    CLEANUP(message_free) struct message *reply = NULL;
    const char *session;
    int r = one_session(cli, argc, argv, &session);
    if (r)
        return r;
    struct client *client = cli_client(cli);
    r = client ? cli_session_call(cli, client, type, session, "source", &reply) : cli->err.code;
    if (!r)
        print_reply(cli, reply);
    return r;
}

/* The source's daemon cancels on both sides; on a target alone it is asked to give up what the source left behind. */
int command_cancel(struct cli *cli, int argc, char **argv)
{
    CLEANUP(message_free) struct message *reply = NULL;
    const char *session;
    cli->usage = "Usage: dirtyferry [-c EP] [--json] cancel SESSION [--from EP | --to EP]\n"
                 "Before the pivot: leaves both sides as they were.  Ask the source's daemon; the\n"
                 "target's only (--to EP) when the source is gone.\n";
    int r = one_session(cli, argc, argv, &session);
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
        print_reply(cli, reply);
    return r;
}

int command_rollback(struct cli *cli, int argc, char **argv)
{
    cli->usage = "Usage: dirtyferry [-c EP] [--json] rollback SESSION [--from EP]\n"
                 "After the source's pivot and while the target has not pivoted: makes the source\n"
                 "live again.  Refused once the target records.\n";
    return on_source(cli, argc, argv, "rollback");
}

/* ----------------------------------------------------------------- status */

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
