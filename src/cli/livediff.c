// SPDX-License-Identifier: BSD-3-Clause
/*
 * dirtyferry bitmap diff: a disk that is in use is compared with a backup, and
 * what differs is set in one of its bitmaps, which records meanwhile.
 *
 * The daemon has the bitmap and the position, this side reads, with the rights
 * of its user.  What was told to the daemon is told for good: whoever of the two
 * dies, the same command goes on there.  A report may be sent twice.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/size.h"
#include "cli/livediff.h"
#include "image/diff.h"

#define REPORT_MS   100     /* between two reports, while there is room for extents */
#define HOLD_MS     60000   /* the daemon does one such thing after the other */
#define SILENCE_MS  60000   /* the daemon may be restarted meanwhile */

struct live {
    struct cli *cli;
    const char *bitmap;
    bool errors_differ;
    char own_data[4097];            /* what the disk says of itself */
    struct live_inputs in;
    struct diff_counts counts;

    /* as the daemon said last */
    char diff[37], state[33];
    uint64_t granularity, position, different, unread;
    bool inconsistent;

    /* the next report */
    uint64_t unread_before;         /* by those who compared until now */
    uint64_t from, end;             /* not behind `position`: somebody else may report too */
    uint64_t numbers[WIRE_EXTENT_NUMBERS];
    size_t n;
    int64_t sent_ms;
    bool drawn, said_waiting, report_failed;
};

/* Set by a signal; nothing else is read by it: relaxed. */
static _Atomic bool interrupted;

static void interrupt(int signal)
{
    (void)signal;
    atomic_store_explicit(&interrupted, true, memory_order_relaxed);
}

/* The first one ends the comparison in order, a second one the process. */
static void catch_signals(void)
{
    struct sigaction action = { .sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND };
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static bool is_interrupted(void)
{
    return atomic_load_explicit(&interrupted, memory_order_relaxed);
}

static void live_free(struct live **livep)
{
    struct live *l = steal(livep);
    if (!l)
        return;
    live_inputs_close(&l->in);
    free(l);
}

/* ------------------------------------------------------------- the daemon */

static void end_line(struct live *l)
{
    if (l->drawn)
        fputc('\n', stderr);
    l->drawn = false;
}

static void draw(struct live *l)
{
    char line[128];
    if (l->cli->json || !isatty(STDERR_FILENO))
        return;
    progress_line(line, l->position, l->in.size, l->different);
    fprintf(stderr, "\r%s different ", line);
    fflush(stderr);
    l->drawn = true;
}

static void take_reply(struct live *l, const node *reply)
{
    snprintf(l->diff, sizeof l->diff, "%s", node_text(reply, "diff"));
    snprintf(l->state, sizeof l->state, "%s", node_text(reply, "state"));
    l->granularity = node_u64(reply, "granularity", 0);
    l->position = node_u64(reply, "position", 0);
    l->different = node_u64(reply, "different", 0);
    l->unread = node_u64(reply, "unread", 0);
    l->inconsistent = node_bool(reply, "inconsistent");
    l->sent_ms = clock_ms();
}

static int ask_disk(struct live *l)
{
    CLEANUP(message_free) struct message *reply = NULL;
    struct cli *cli = l->cli;
    struct out out;
    size_t n;
    client_begin(&out, "disk-list");
    out_text(&out, "disk", l->in.disk);
    int r = cli_call(cli, &out, &reply);
    if (r < 0)
        return r;
    const node *disk = node_list(reply->root, "disks", &n);
    if (n != 1)
        return error_set(&cli->err, -ENOENT, "there is no disk '%s'", l->in.disk);
    if (node_has(disk, "damaged"))
        return error_set(&cli->err, -EPROTO, "%s", node_text(disk, "damaged"));
    l->in.size = node_u64(disk, "size", 0);
    l->in.is_qemu = node_has(disk, "qemu");
    if (l->in.data || !node_has(disk, "data"))
        return 0;
    snprintf(l->own_data, sizeof l->own_data, "%s", node_text(disk, "data"));
    l->in.data = l->own_data;
    return 0;
}

static int begin(struct live *l)
{
    CLEANUP(message_free) struct message *reply = NULL;
    struct out out;
    client_begin(&out, "diff");
    out_text(&out, "disk", l->in.disk);
    out_text(&out, "bitmap", l->bitmap);
    out_text(&out, "against", l->in.label);
    out_text(&out, "stamp", l->in.stamp);
    int r = client_call(cli_client(l->cli), &out, HOLD_MS, &reply, &l->cli->err);
    if (r < 0)
        return r;
    take_reply(l, reply->root);
    l->unread_before = l->unread;
    l->from = l->end = l->position;
    if (l->position && image_is_uri(l->in.against))
        fprintf(stderr, "dirtyferry: goes on at %" PRIu64 " of %" PRIu64 " bytes: what '%s' serves has to be the same backup as before; if it is not, --cancel and begin again\n",
                l->position, l->in.size, l->in.against);
    return 0;
}

static int send_once(struct live *l)
{
    CLEANUP(message_free) struct message *reply = NULL;
    struct out out;
    client_begin(&out, "diff-report");
    out_text(&out, "diff", l->diff);
    out_u64(&out, "offset", l->from);
    out_u64(&out, "length", l->end - l->from);
    out_list(&out, "extents");
    for (size_t i = 0; i < l->n; i++)
        out_u64(&out, NULL, l->numbers[i]);
    out_close(&out);
    out_u64(&out, "unread", l->unread_before + l->counts.unread);
    int r = client_call(cli_client(l->cli), &out, HOLD_MS, &reply, &l->cli->err);
    if (!r)
        take_reply(l, reply->root);
    return r;
}

/* What was told since the last report.  A daemon that is not there may be on its way back. */
static int report(struct live *l)
{
    int64_t until_ms = clock_ms() + SILENCE_MS;
    int r;
    while ((r = send_once(l)) == -ETIMEDOUT && clock_ms() < until_ms && !is_interrupted()) {
        if (!l->said_waiting) {
            end_line(l);
            fprintf(stderr, "dirtyferry: waiting for the daemon at '%s'\n", client_address(cli_client(l->cli))->endpoint);
        }
        l->said_waiting = true;
    }
    l->report_failed = r < 0;
    if (r < 0)
        return r;
    l->n = 0;
    l->from = l->end;
    draw(l);
    return 0;
}

/* ------------------------------------------------------------ the comparison */

static int tell(void *opaque, uint64_t offset, uint64_t length, enum diff_verdict verdict, struct df_error *err)
{
    struct live *l = opaque;
    bool differs = verdict == DIFF_DIFFERENT;
    bool goes_on = differs && l->n && l->numbers[l->n - 2] + l->numbers[l->n - 1] == offset;
    if (goes_on) {
        l->numbers[l->n - 1] += length;
    } else if (differs) {
        l->numbers[l->n++] = offset;
        l->numbers[l->n++] = length;
    }
    l->end = offset + length;
    if (l->n < WIRE_EXTENT_NUMBERS && clock_ms() < l->sent_ms + REPORT_MS)
        return 0;
    int r = report(l);
    if (r < 0)
        *err = l->cli->err;
    return r;
}

/* Stopped, by whomever: what was compared is not compared again. */
static int stopped(struct live *l, int r)
{
    struct df_error why = l->cli->err;
    if (l->report_failed && (r == -ENOENT || r == -ECANCELED || r == -EPROTO))      /* it cannot go on */
        return r;
    if (!l->report_failed && l->end > l->from)
        report(l);
    if (is_interrupted())
        return error_set(&l->cli->err, -EINTR, "stopped at %" PRIu64 " of %" PRIu64 " bytes, bitmap '%s' of disk '%s' stays busy: "
                         "the same command goes on, with --cancel in place of --against it is given up",
                         l->position, l->in.size, l->bitmap, l->in.disk);
    return error_set(&l->cli->err, r, "%.3072s; bitmap '%s' of disk '%s' stays busy: the same command goes on at %" PRIu64 " of %" PRIu64 " bytes, "
                     "with '--on-error dirty' what cannot be read counts as different, --cancel gives it up",
                     why.message, l->bitmap, l->in.disk, l->position, l->in.size);
}

static int compare(struct live *l)
{
    const struct diff diff = { .old = l->in.old, .new = l->in.new, .granularity = l->granularity, .start = l->position, .errors_differ = l->errors_differ,
                               .lanes = diff_lanes(), .stop = &interrupted, .tell = tell, .opaque = l };
    int r = diff_run(&diff, &l->counts, &l->cli->err);
    if (!r && strcmp(l->state, "complete"))
        r = report(l);
    end_line(l);
    return r < 0 ? stopped(l, r) : 0;
}

static void print_result(const struct live *l)
{
    const struct diff_counts *c = &l->counts;
    char different[SIZE_TEXT_BYTES], size[SIZE_TEXT_BYTES], read[SIZE_TEXT_BYTES], unread[SIZE_TEXT_BYTES];
    if (l->cli->json) {
        cli_print_json(json_pack("{s:s, s:o, s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "diff", l->diff, "disk", cli_json_text(l->in.disk), "bitmap", cli_json_text(l->bitmap),
                                 "state", l->state, "size", (json_int_t)l->in.size, "granularity", (json_int_t)l->granularity, "different", (json_int_t)l->different,
                                 "read", (json_int_t)c->read, "zero", (json_int_t)c->zero, "shared", (json_int_t)c->shared, "unread", (json_int_t)l->unread,
                                 "inconsistent", l->inconsistent));
        return;
    }
    printf("bitmap '%s' of disk '%s' has all that differs from '%s': %s of %s; %s were read", l->bitmap, l->in.disk, l->in.against, size_format(l->different, different),
           size_format(l->in.size, size), size_format(c->read, read));
    if (l->unread)
        printf(", %s could not be read and count as different", size_format(l->unread, unread));
    putchar('\n');
}

static int finish(struct live *l)
{
    if (l->cli->json || !l->inconsistent)
        print_result(l);
    if (!l->inconsistent)
        return 0;
    return error_set(&l->cli->err, -EIO, "bitmap '%s' of disk '%s' is inconsistent all the same: a write could not be recorded while it was compared; "
                     "see that the state directory has space, and compare once more",
                     l->bitmap, l->in.disk);
}

/* ------------------------------------------------------------ command line */

static int cancel(struct cli *cli, const struct live *l)
{
    struct out out;
    client_begin(&out, "diff-cancel");
    out_text(&out, "disk", l->in.disk);
    out_text(&out, "bitmap", l->bitmap);
    return cli_call_qemu(cli, &out, NULL);
}

static int run(struct live *l)
{
    int r = ask_disk(l);
    if (!r)
        r = live_inputs_open(l->cli, &l->in);
    if (!r)
        r = begin(l);
    if (r < 0)
        return r;
    catch_signals();
    r = compare(l);
    return r < 0 ? r : finish(l);
}

static int parse(struct cli *cli, int argc, char **argv, struct live *l, bool *cancels)
{
    static const struct option longs[] = {
        { "against", required_argument, NULL, 'a' }, { "data", required_argument, NULL, 'd' }, { "against-format", required_argument, NULL, 'A' },
        { "data-format", required_argument, NULL, 'D' }, { "on-error", required_argument, NULL, 'e' }, { "cancel", no_argument, NULL, 'c' },
        { "help", no_argument, NULL, 'h' }, { 0 }
    };
    const char *on_error = NULL;
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (c) {
        case 'a': l->in.against = optarg; break;
        case 'd': l->in.data = optarg; break;
        case 'A': l->in.against_format = optarg; break;
        case 'D': l->in.data_format = optarg; break;
        case 'e': on_error = optarg; break;
        case 'c': *cancels = true; break;
        default: return cli_option(cli, c);
        }
    }
    int r = cli_arguments(cli, argc, 2, 2);
    if (r)
        return r;
    l->in.disk = argv[optind];
    l->bitmap = argv[optind + 1];
    l->errors_differ = on_error && !strcmp(on_error, "dirty");
    if (on_error && !l->errors_differ && strcmp(on_error, "stop"))
        return cli_usage(cli, "--on-error '%s' is not known: dirty or stop", on_error);
    if (*cancels ? l->in.against || l->in.data || l->in.against_format || l->in.data_format || on_error : !l->in.against)
        return cli_usage(cli, "either --against or --cancel is needed, and --cancel stands alone");
    return 0;
}

int bitmap_diff(struct cli *cli, int argc, char **argv)
{
    CLEANUP(live_free) struct live *l = calloc(1, sizeof *l);
    bool cancels = false;
    if (!l)
        return error_errno(&cli->err, -ENOMEM, "cannot compare");
    l->cli = cli;
    int r = parse(cli, argc, argv, l, &cancels);
    if (r)
        return r;
    if (!cli_client(cli))
        return cli->err.code;
    return cancels ? cancel(cli, l) : run(l);
}
