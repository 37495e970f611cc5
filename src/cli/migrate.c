// SPDX-License-Identifier: BSD-3-Clause
/* dirtyferry migrate: the whole move as one command. */
#include <string.h>

#include <errno.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/size.h"
#include "cli/cli.h"

static const char usage[] =
    "Usage: dirtyferry [--json] migrate DISK[/BITMAP] [--as DISK2[/BITMAP2]] ... --to EP [OPTION]...\n"
    "Moves bitmaps from one daemon to another.  Call it when the disk itself is on\n"
    "the other side and its guest stands still: the source becomes read-only, the\n"
    "target records, and the old bits follow.\n"
    "\n"
    "  --from EP             the source's daemon (default: -c)\n"
    "  --to EP               the target's daemon, as the source reaches it\n"
    "  --as DISK2[/BITMAP2]  what the disk or bitmap before it is called on the target\n"
    "  --chunk-size SIZE     bytes of bitmap in one frame [1K], 32 to 1M\n"
    "  --workers N           stream workers in the source's daemon [2], 0 to 16\n"
    "  --max-bandwidth SIZE  bytes a second that all workers may send together\n"
    "  --on-pivot COMMAND    run between the source's pivot and the target's; when it\n"
    "                        fails, the move is rolled back\n"
    "  --progress            draw the bar even where stderr is no terminal\n"
    "\n"
    "DISK without BITMAP means all bitmaps of the disk.  With --json it ends with one\n"
    "object: session state pivot_us on_pivot_ms operative_ms frames bytes\n"
    "resent_frames bitmaps.  pivot_us is both pivots together; operative_ms counts\n"
    "from the beginning of the source's pivot.\n";

/* Terminal states come by REQ; events, which may get lost, only move the bar. */
static int wait_operative(struct cli *cli, const struct client_pair *ends, const char *session, struct progress *progress)
{
    for (;;) {
        CLEANUP(message_free) struct message *reply = NULL;
        int r = cli_wait_call(cli, ends->to, session, "target", "operative", progress ? 100 : 5000, &reply);
        if (r < 0)
            return r;
        progress_update(progress);
        const char *state = node_text(cli_status(reply), "state");
        if (!strcmp(state, "operative"))
            return 0;
        if (!strcmp(state, "cancelled"))
            return error_set(&cli->err, -ECANCELED, "session %s was cancelled on the target", session);
    }
}

/* Until the source has let go of its copy. */
static int wait_released(struct cli *cli, const struct client_pair *ends, const char *session, struct message **reply)
{
    for (;;) {
        int r = cli_wait_call(cli, ends->from, session, "source", "released", 5000, reply);
        if (r < 0 || !strcmp(node_text(cli_status(*reply), "state"), "released"))
            return r;
        message_free(reply);
    }
}

static void print_result(struct cli *cli, const node *status, int64_t pivot_us, int64_t on_pivot_ms, int64_t operative_us)
{
    if (cli->json) {
        json_t *bitmaps = cli_json(node_map(status, "bitmaps"));
        cli_print_json(json_pack("{s:s, s:s, s:I, s:I, s:f, s:I, s:I, s:I, s:o}", "session", node_text(status, "session"), "state", "operative",
                                 "pivot_us", (json_int_t)pivot_us, "on_pivot_ms", (json_int_t)on_pivot_ms, "operative_ms", (double)operative_us / 1000,
                                 "frames", (json_int_t)node_u64(status, "frames", 0), "bytes", (json_int_t)node_u64(status, "bytes", 0),
                                 "resent_frames", (json_int_t)node_u64(status, "resent_frames", 0), "bitmaps", bitmaps));
        return;
    }
    char bytes[SIZE_TEXT_BYTES];
    printf("session    %s\noperative  %.1f ms after the pivot began (pivot %.3f ms", node_text(status, "session"), (double)operative_us / 1000, (double)pivot_us / 1000);
    if (on_pivot_ms)
        printf(", command %lld ms", (long long)on_pivot_ms);
    printf(")\nsent       %s bytes in %llu frames\n", size_format(node_u64(status, "bytes", 0), bytes), (unsigned long long)node_u64(status, "frames", 0));
}

static int move(struct cli *cli, const struct plan *plan, const struct client_pair *ends, const char *session)
{
    CLEANUP(message_free) struct message *reply = NULL;
    CLEANUP(progress_end) struct progress *progress = progress_start(cli, ends->to, session, plan->progress);
    int64_t start_ns = clock_ns(), pivot_us, on_pivot_ms;
    int r = plan_pivot(cli, ends, session, plan->on_pivot, &pivot_us, &on_pivot_ms);
    if (r < 0) {
        struct df_error why = cli->err;     /* a source that could not pivot is set free; one that was rolled back is already */
        cli_session_call(cli, ends->from, "cancel", session, "source", NULL);
        cli->err = why;
    }
    if (!r)
        r = wait_operative(cli, ends, session, progress);
    int64_t operative_us = (clock_ns() - start_ns) / 1000;
    if (!r)
        r = wait_released(cli, ends, session, &reply);
    progress_end(&progress);
    if (!r)
        print_result(cli, cli_status(reply), pivot_us, on_pivot_ms, operative_us);
    return r;
}

int command_migrate(struct cli *cli, int argc, char **argv)
{
    CLEANUP(plan_close) struct client_pair ends = { 0 };
    struct plan plan;
    char session[37];
    cli->usage = usage;
    int r = plan_parse(cli, argc, argv, &plan);
    if (r)
        return r;
    r = plan_prepare(cli, &plan, &ends, session);
    return r < 0 ? r : move(cli, &plan, &ends, session);
}
