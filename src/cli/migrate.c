// SPDX-License-Identifier: BSD-3-Clause
/* dirtyferry migrate: the whole move as one command. */
#include "base/cleanup.h"
#include "base/clock.h"
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
    "  --grow                the target's disk may be larger: what lies behind the\n"
    "                        source's end is dirty\n"
    "  --granularity SIZE    of the bitmaps on the target, if not the source's\n"
    "  --transient           the bitmaps on the target are not persistent\n"
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

static void print_result(struct cli *cli, const node *status, const struct pivot *pivot, int64_t operative_us)
{
    if (cli->json) {
        json_t *bitmaps = cli_json(node_map(status, "bitmaps"));
        cli_print_json(json_pack("{s:s, s:s, s:I, s:I, s:f, s:I, s:I, s:I, s:o}", "session", node_text(status, "session"), "state", "operative",
                                 "pivot_us", (json_int_t)pivot->us, "on_pivot_ms", (json_int_t)pivot->command_ms, "operative_ms", (double)operative_us / 1000,
                                 "frames", (json_int_t)node_u64(status, "frames", 0), "bytes", (json_int_t)node_u64(status, "bytes", 0),
                                 "resent_frames", (json_int_t)node_u64(status, "resent_frames", 0), "bitmaps", bitmaps));
        return;
    }
    char bytes[SIZE_TEXT_BYTES];
    printf("session    %s\noperative  %.1f ms after the pivot began (pivot %.3f ms", node_text(status, "session"), (double)operative_us / 1000, (double)pivot->us / 1000);
    if (pivot->command_ms)
        printf(", command %lld ms", (long long)pivot->command_ms);
    printf(")\nsent       %s bytes in %llu frames\n", size_format(node_u64(status, "bytes", 0), bytes), (unsigned long long)node_u64(status, "frames", 0));
}

static int move(struct cli *cli, const struct plan *plan, const struct client_pair *ends, const char *session)
{
    CLEANUP(message_free) struct message *reply = NULL;
    CLEANUP(progress_end) struct progress *progress = progress_start(cli, ends->to, session, plan->progress);
    const struct await operative = { cli, ends->to, session, "target", "operative", progress, ends->from };
    const struct await released = { cli, ends->from, session, "source", "released", NULL, NULL };
    int64_t start_ns = clock_ns();
    struct pivot pivot;
    int r = plan_pivot(cli, ends, session, plan->on_pivot, &pivot);
    if (r < 0 && pivot.refused) {
        struct df_error why = cli->err;
        cli_session_call(cli, ends->from, "cancel", session, "source", NULL);
        cli->err = why;
    }
    if (!r)
        r = cli_await(&operative, NULL);
    int64_t operative_us = (clock_ns() - start_ns) / 1000;
    if (!r)
        r = cli_await(&released, &reply);
    progress_end(&progress);
    if (!r)
        print_result(cli, cli_status(reply), &pivot, operative_us);
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
