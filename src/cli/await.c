// SPDX-License-Identifier: BSD-3-Clause
/*
 * dirtyferry wait, and the waiting of migrate and load.  Terminal states come by
 * REQ; events, which may get lost, only move the bar.
 *
 * A move outlives its daemons and its link, so the waiting does too: what holds
 * it up is said once, and only silence for SILENCE_MS ends it.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "cli/cli.h"

#define STEP_MS     2000    /* one question, while nothing happens */
#define BAR_MS      100     /* the same while a bar is drawn */
#define LOOK_MS     3000    /* how often the other side is asked what holds it up */
#define SILENCE_MS  60000

struct said {
    bool waiting, lost, interrupted, hindered;
};

__attribute__((format(printf, 3, 4)))
static void say(const struct await *w, bool *said, const char *format, ...)
{
    if (*said)
        return;
    *said = true;
    progress_break(w->progress);
    va_list ap;
    va_start(ap, format);
    fputs("dirtyferry: ", stderr);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
}

static void say_what_is_wrong(const struct await *w, struct said *said, const node *status)
{
    const char *message = node_has(status, "message") ? node_text(status, "message") : "";
    bool interrupted = !strcmp(node_text(status, "state"), "interrupted");
    if (interrupted && *message)
        say(w, &said->interrupted, "session %s is interrupted: %s", w->session, message);
    else if (cli_link_is_lost(status))
        say(w, &said->lost, "session %s: the %s has lost the link%s%s", w->session, node_text(status, "role"), *message ? ": " : "", message);
    else if (*message)
        say(w, &said->hindered, "session %s is %s on the %s: %s", w->session, node_text(status, "state"), node_text(status, "role"), message);
}

/* Nothing of this is an error: who is waited for is somebody else. */
static void look_at_the_source(const struct await *w, struct said *said)
{
    CLEANUP(message_free) struct message *reply = NULL;
    struct df_error err = w->cli->err;
    if (cli_wait_call(w->cli, w->source, w->session, "source", "released", 0, &reply) == 0)
        say_what_is_wrong(w, said, cli_status(reply));
    w->cli->err = err;
}

static bool is_end(const char *state)
{
    static const char *const ends[] = { "operative", "released", "failed", "cancelled", "rolled-back", "abandoned" };
    for (unsigned i = 0; i < sizeof ends / sizeof *ends; i++)
        if (!strcmp(state, ends[i]))
            return true;
    return false;
}

/* 1: it is there, 0: not yet. */
static int look(const struct await *w, struct said *said, const node *status)
{
    const char *state = node_text(status, "state");
    if (!strcmp(state, w->state))
        return 1;
    if (is_end(state))
        return error_set(&w->cli->err, -ECANCELED, "session %s is %s on the %s%s", w->session, state, w->role,
                         strcmp(state, "abandoned") ? "" : ": the source's bits were given up, the bitmaps there are inconsistent or all dirty");
    say_what_is_wrong(w, said, status);
    return 0;
}

static int silence(const struct await *w)
{
    const char *endpoint = client_address(w->client)->endpoint;
    if (!strcmp(w->role, "source"))
        return error_set(&w->cli->err, -ETIMEDOUT, "the bitmaps of session %s are operative on the target, but the source's daemon at '%s' has not answered for %d s: "
                         "look with 'dirtyferry -c %s status %s'", w->session, endpoint, SILENCE_MS / 1000, endpoint, w->session);
    return error_set(&w->cli->err, -ETIMEDOUT, "no answer from the daemon at '%s' for %d s: session %s itself may go on, look with 'dirtyferry wait %s --to %s'",
                     endpoint, SILENCE_MS / 1000, w->session, w->session, endpoint);
}

int cli_await(const struct await *w, struct message **replyp)
{
    struct said said = { 0 };
    int64_t heard_ms = clock_ms(), look_ms = heard_ms + LOOK_MS;
    for (;;) {
        CLEANUP(message_free) struct message *reply = NULL;
        int r = cli_wait_call(w->cli, w->client, w->session, w->role, w->state, w->progress ? BAR_MS : STEP_MS, &reply);
        progress_update(w->progress);
        if (reply)
            heard_ms = clock_ms();
        if (!reply && r == -ETIMEDOUT) {
            if (clock_ms() >= heard_ms + SILENCE_MS)
                return silence(w);
            say(w, &said.waiting, "waiting for the daemon at '%s'", client_address(w->client)->endpoint);
            continue;
        }
        if (r >= 0)
            r = look(w, &said, cli_status(reply));
        if (r == 1 && replyp)
            *replyp = steal(&reply);
        if (r)
            return r < 0 ? r : 0;
        if (w->source && clock_ms() >= look_ms) {
            look_at_the_source(w, &said);
            look_ms = clock_ms() + LOOK_MS;
        }
    }
}

int command_wait(struct cli *cli, int argc, char **argv)
{
    CLEANUP(message_free) struct message *reply = NULL;
    const char *session;
    cli->usage = "Usage: dirtyferry [-c EP] [--json] wait SESSION [--to EP]\n"
                 "Waits until the session's bitmaps are operative.  Asks the target's daemon: name it\n"
                 "by --to or -c.  Waits on while the link is lost, and up to 60 s for a daemon that\n"
                 "does not answer.\n";
    int r = cli_one_session(cli, argc, argv, &session);
    if (r)
        return r;
    struct client *client = cli_client(cli);
    if (!client)
        return cli->err.code;
    const struct await until = { .cli = cli, .client = client, .session = session, .role = "target", .state = "operative" };
    r = cli_await(&until, &reply);
    if (!r)
        cli_print_status(cli, reply);
    return r;
}
