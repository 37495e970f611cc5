// SPDX-License-Identifier: BSD-3-Clause
/*
 * dirtyferry pivot: the source, then a command if there is one, then the target.
 *
 * When the second half fails the guest runs on neither side, so the move must
 * not stay like that.  Which way it goes the target alone decides: it either
 * pivots, and refuses the roll-back, or is cancelled by the roll-back, and
 * refuses the pivot.  So both are tried in turn until one of them succeeds, also
 * through restarts of the daemons; it does no harm that an answer gets lost.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "cli/cli.h"

#define SETTLE_MS   30000   /* how long a half-done pivot is finished or taken back by itself */
#define PAUSE_MS    500
#define HOLD_MS     12000

static int run_command(struct cli *cli, const char *line)
{
    fflush(stdout);
    int status = system(line);
    if (status == 0)
        return 0;
    return error_set(&cli->err, -ECANCELED, "the command '%.512s' between the two pivots failed (%s %d)", line,
                     WIFEXITED(status) ? "exit status" : "signal", WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

/* A refusal is an answer; without one it may have happened or not.  A source may hold its answer back, a target's pivot is done at once. */
static int ask(struct cli *cli, struct client *client, const char *type, const char *session, const char *role, bool *answered)
{
    CLEANUP(message_free) struct message *reply = NULL;
    struct out out;
    cli_begin_session(&out, type, session, role);
    int r = client_call(client, &out, strcmp(role, "source") ? 0 : HOLD_MS, &reply, &cli->err);
    *answered = reply != NULL;
    return r;
}

/* -------------------------------------------------------- settling it */

/* Asking again will not change it. */
static bool is_final(int r, bool answered)
{
    return answered && (r == -EPERM || r == -ENOENT);
}

static int rolled_back(struct cli *cli, const struct df_error *why, const char *session)
{
    return error_set(&cli->err, why->code, "%.2048s; session %s was rolled back, the source is writable again", why->message, session);
}

/* The command failed: the target must not pivot. */
static int undo(struct cli *cli, const struct client_pair *ends, const char *session)
{
    const struct df_error why = cli->err;
    struct df_error back;
    bool answered;
    for (int64_t until_ms = clock_ms() + SETTLE_MS;; usleep(PAUSE_MS * 1000)) {
        int r = ask(cli, ends->from, "rollback", session, "source", &answered);
        if (!r)
            return rolled_back(cli, &why, session);
        if (is_final(r, answered) || clock_ms() >= until_ms)
            break;
    }
    back = cli->err;
    return error_set(&cli->err, why.code, "%.900s; and the roll-back failed, the source stays read-only: %.900s; try 'dirtyferry rollback %s --from %s'",
                     why.message, back.message, session, client_address(ends->from)->endpoint);
}

/* The target's pivot failed, or was not answered. */
static int finish_or_undo(struct cli *cli, const struct client_pair *ends, const char *session)
{
    const struct df_error why = cli->err;
    struct df_error back, forth;
    bool answered;
    for (int64_t until_ms = clock_ms() + SETTLE_MS;; usleep(PAUSE_MS * 1000)) {
        int r = ask(cli, ends->from, "rollback", session, "source", &answered);
        if (!r)
            return rolled_back(cli, &why, session);
        bool never = is_final(r, answered);
        back = cli->err;
        r = ask(cli, ends->to, "pivot", session, "target", &answered);
        if (!r)
            return 0;
        if ((never && is_final(r, answered)) || clock_ms() >= until_ms)
            break;
    }
    forth = cli->err;
    return error_set(&cli->err, why.code, "session %s is half done, the source is read-only: the target has not pivoted (%.700s) and the roll-back failed (%.700s); "
                     "finish it with 'dirtyferry pivot %s --to %s', or go back with 'dirtyferry rollback %s --from %s'", session, forth.message, back.message,
                     session, client_address(ends->to)->endpoint, session, client_address(ends->from)->endpoint);
}

/* The source's pivot was not answered: before it there is the cancel, behind it the roll-back. */
static int withdraw(struct cli *cli, const struct client_pair *ends, const char *session)
{
    const struct df_error why = cli->err;
    struct df_error back;
    bool answered;
    for (int64_t until_ms = clock_ms() + SETTLE_MS;; usleep(PAUSE_MS * 1000)) {
        int r = ask(cli, ends->from, "cancel", session, "source", &answered);
        if (!r)
            return error_set(&cli->err, why.code, "%.2048s; session %s was cancelled, the source is writable", why.message, session);
        bool never = is_final(r, answered);
        if (answered && (r = ask(cli, ends->from, "rollback", session, "source", &answered)) == 0)
            return rolled_back(cli, &why, session);
        if ((never && is_final(r, answered)) || clock_ms() >= until_ms)
            break;
    }
    back = cli->err;
    return error_set(&cli->err, why.code, "session %s may be half done, and the source read-only: its daemon did not answer the pivot, nor give it up (%.900s); "
                     "go back with 'dirtyferry cancel %s --from %s' or, if that is refused, 'dirtyferry rollback %s --from %s'", session, back.message,
                     session, client_address(ends->from)->endpoint, session, client_address(ends->from)->endpoint);
}

/* One half alone is the caller's to settle. */
static int tell_open(struct cli *cli)
{
    struct df_error why = cli->err;
    return error_set(&cli->err, why.code, "%.2048s; it may have pivoted all the same: repeat the command", why.message);
}

/* --------------------------------------------------------- the halves */

static int pivot_source(struct cli *cli, const struct client_pair *ends, const char *session, struct pivot *pivot)
{
    bool answered;
    int r = ask(cli, ends->from, "pivot", session, "source", &answered);
    if (r < 0 && answered)
        pivot->refused = true;
    else if (r < 0)
        r = ends->to ? withdraw(cli, ends, session) : tell_open(cli);
    return r;
}

static int pivot_target(struct cli *cli, const struct client_pair *ends, const char *session)
{
    bool answered;
    int r = ask(cli, ends->to, "pivot", session, "target", &answered);
    if (r < 0 && ends->from)
        r = finish_or_undo(cli, ends, session);
    else if (r < 0 && !answered)
        r = tell_open(cli);
    return r;
}

int plan_pivot(struct cli *cli, const struct client_pair *ends, const char *session, const char *on_pivot, struct pivot *pivot)
{
    int64_t start_ns = clock_ns();
    *pivot = (struct pivot){ 0 };
    int r = ends->from ? pivot_source(cli, ends, session, pivot) : 0;
    pivot->us = (clock_ns() - start_ns) / 1000;
    if (r < 0)
        return r;
    if (on_pivot) {
        start_ns = clock_ns();
        r = run_command(cli, on_pivot);
        pivot->command_ms = (clock_ns() - start_ns) / NS_PER_MS;
        if (r < 0)
            return ends->from ? undo(cli, ends, session) : r;
    }
    start_ns = clock_ns();
    if (ends->to)
        r = pivot_target(cli, ends, session);
    pivot->us += (clock_ns() - start_ns) / 1000;
    return r;
}

/* ------------------------------------------------------------ command */

static int open_ends(struct cli *cli, const char *from, const char *to, struct client_pair *ends)
{
    int r = from ? cli_open(cli, from, &ends->from) : 0;
    if (!r && to)
        r = cli_open(cli, to, &ends->to);
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
    struct pivot pivot;
    cli->usage = "Usage: dirtyferry [--json] pivot SESSION --from EP --to EP [--on-pivot COMMAND]\n"
                 "       dirtyferry [--json] pivot SESSION --from EP | --to EP\n"
                 "Makes the source's disks read-only (--from), runs the command if there is one,\n"
                 "then lets the target record (--to).  With one of the two only that half is done.\n"
                 "When the command or the target's half fails, the source is rolled back, or the\n"
                 "target's half is repeated if it was done after all.\n";
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
        r = plan_pivot(cli, &ends, session, on_pivot, &pivot);
    if (r < 0)
        return r;
    if (cli->json)
        cli_print_json(json_pack("{s:s, s:I, s:I}", "session", session, "pivot_us", (json_int_t)pivot.us, "on_pivot_ms", (json_int_t)pivot.command_ms));
    else
        printf("pivot %.3f ms\n", (double)pivot.us / 1000);
    return 0;
}
