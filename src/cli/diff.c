// SPDX-License-Identifier: BSD-3-Clause
/*
 * dirtyferry diff: what differs between two images, without a daemon.  The
 * comparison (image/diff.h) tells it in the order of the disk, and on this
 * thread everything is fed from that: the output, the picture, the check of a
 * bitmap, the bar.  So memory does not grow with the disk, but for the dirty part
 * of a bitmap that is checked.
 *
 * stdout has one thing only: what --format writes, a JSON object, or words and
 * a picture for people, which else are on stderr.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <dirtyferry/bitmap.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/size.h"
#include "cli/cli.h"
#include "cli/formats.h"
#include "cli/picture.h"
#include "cli/stretches.h"
#include "cli/verify.h"
#include "image/diff.h"

#define BAR_MS 100

struct arguments {
    const char *old, *new, *old_format, *new_format;
    const char *granularity, *format, *file, *name;
    const char *against, *bitmap, *bitmap_format, *context;
    const char *on_error;
    bool map;
};

struct comparison {
    struct cli *cli;
    const struct arguments *arguments;
    struct image *old, *new;
    uint64_t granularity;
    struct diff_counts counts;
    struct stretches different;     /* goes to the sink and to the picture */
    struct output output;           /* of --output */
    struct sink sink;               /* its format is NULL: there is none */
    struct picture picture;
    struct verify verify;           /* its bitmap is NULL: there is none */
    FILE *report;                   /* for people */
    FILE *items;                    /* missing stretches, with --json */
    bool has_bar;
    int64_t bar_ms;                 /* when it is drawn again */
};

static const char usage[] =
    "Usage: dirtyferry [--json] diff OLD NEW [--granularity 64K] [--format json|raw|qcow2|svg] [--output FILE]\n"
    "                  [--name NAME] [--map] [--old-format FORMAT] [--new-format FORMAT] [--on-error stop|dirty]\n"
    "                  [--verify-against BITMAP [--bitmap NAME] [--bitmap-format raw|json|qcow2|nbd] [--context CONTEXT]]\n"
    "Compares two images (files, block devices, NBD URIs) and writes what differs as a\n"
    "bitmap of NEW, draws it (--map), or checks a bitmap against it (--verify-against).\n"
    "Asks no daemon.\n";

/* --------------------------------------------------------------------- bar */

static void bar_erase(struct comparison *c)
{
    if (c->has_bar && c->bar_ms)
        fputs("\r\033[K", stderr);
    c->bar_ms = 0;
}

static void bar_draw(struct comparison *c, uint64_t done)
{
    char line[128];
    if (!c->has_bar || clock_ms() < c->bar_ms)
        return;
    progress_line(line, done, c->new->size, done);
    fprintf(stderr, "\r%s", line);
    fflush(stderr);
    c->bar_ms = clock_ms() + BAR_MS;
}

/* --------------------------------------------------------------------- run */

static int put_stretch(void *opaque, uint64_t start, uint64_t length, struct df_error *err)
{
    struct comparison *c = opaque;
    picture_add(&c->picture, start, length);
    return c->sink.format ? sink_put(&c->sink, start, length, err) : 0;
}

static int tell(void *opaque, uint64_t offset, uint64_t length, enum diff_verdict verdict, struct df_error *err)
{
    struct comparison *c = opaque;
    int r = verdict == DIFF_DIFFERENT ? stretches_add(&c->different, offset, length, err) : 0;
    if (!r && c->verify.bitmap)
        r = verify_tell(&c->verify, offset, length, verdict, err);
    bar_draw(c, offset + length);
    return r;
}

static int run(struct comparison *c, unsigned lanes)
{
    struct df_error *err = &c->cli->err;
    const struct diff diff = {
        .old = c->old, .new = c->new, .granularity = c->granularity, .lanes = lanes, .tell = tell, .opaque = c,
        .errors_differ = c->arguments->on_error && !strcmp(c->arguments->on_error, "dirty"),
    };
    c->different = (struct stretches){ .each = put_stretch, .opaque = c };
    picture_begin(&c->picture, c->new->size, c->granularity);
    int r = diff_run(&diff, &c->counts, err);
    if (!r)
        r = stretches_end(&c->different, err);
    if (!r && c->verify.bitmap)
        r = verify_end(&c->verify, err);
    if (!r && c->sink.format)
        r = sink_end(&c->sink, err);
    if (!r && c->output.file)
        r = output_commit(c->cli, &c->output);
    bar_erase(c);
    return r;
}

/* ------------------------------------------------------------------ report */

static void print_json(struct comparison *c)
{
    const struct diff_counts *n = &c->counts;
    const struct verify *v = &c->verify;
    json_t *object = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "size", (json_int_t)c->new->size, "granularity", (json_int_t)c->granularity,
                               "different", (json_int_t)n->different, "stretches", (json_int_t)c->different.n, "read", (json_int_t)n->read,
                               "zero", (json_int_t)n->zero, "shared", (json_int_t)n->shared, "unread", (json_int_t)n->unread,
                               "old_size", (json_int_t)c->old->size, "new_size", (json_int_t)c->new->size);
    if (!v->bitmap) {
        cli_print_json(object);
        return;
    }
    json_object_set_new(object, "missing_bytes", json_integer((json_int_t)v->missing.bytes));
    json_object_set_new(object, "wasted", json_integer((json_int_t)v->wasted.bytes));
    json_object_set_new(object, "wasted_stretches", json_integer((json_int_t)v->wasted.n));
    cli_print_json_list(object, "missing", c->items);
}

static void print_summary(const struct comparison *c)
{
    char text[3][SIZE_TEXT_BYTES];
    const struct diff_counts *n = &c->counts;
    const struct stretches *missing = &c->verify.missing, *wasted = &c->verify.wasted;
    uint64_t size = c->new->size;
    fprintf(c->report, "%" PRIu64 " bytes in %" PRIu64 " %s differ, of %s (%.3g %%), at granularity %s\n", n->different, c->different.n, stretches_word(c->different.n),
            size_format(size, text[0]), 100 * (double)n->different / (double)size, size_format(c->granularity, text[1]));
    fprintf(c->report, "%s read; not read: %s zero in both, %s in one place\n", size_format(n->read, text[0]), size_format(n->zero, text[1]), size_format(n->shared, text[2]));
    if (c->old->size != size)
        fprintf(c->report, "OLD has %" PRIu64 " bytes, NEW %" PRIu64 "\n", c->old->size, size);
    if (c->verify.bitmap)
        fprintf(c->report, "missing: %" PRIu64 " bytes in %" PRIu64 " %s differ and are not dirty; wasted: %" PRIu64 " bytes in %" PRIu64 " %s are dirty and equal\n",
                missing->bytes, missing->n, stretches_word(missing->n), wasted->bytes, wasted->n, stretches_word(wasted->n));
}

static int report(struct comparison *c)
{
    const struct verify *v = &c->verify;
    struct df_error *err = &c->cli->err;
    if (c->counts.unread)
        fprintf(stderr, "dirtyferry: %" PRIu64 " bytes could not be read and count as different; the first of them: %s\n", c->counts.unread, c->counts.first_unread.message);
    if (c->cli->json)
        print_json(c);
    else if (c->report == stdout || v->bitmap)
        print_summary(c);
    if (c->arguments->map)
        picture_print(&c->picture, c->report);
    errno = 0;
    if (fflush(stdout) || ferror(stdout))
        return error_errno(err, errno ? -errno : -EIO, "cannot write to standard output");
    return v->missing.n ? error_set(err, -EINVAL, "%" PRIu64 " bytes differ and are not dirty in bitmap '%.1024s': backups that went by it lack them, take a full one", v->missing.bytes, v->name) : 0;
}

/* -------------------------------------------------------------------- open */

/* An image that is compared is not written over. */
static int refuse_input(struct cli *cli, const struct arguments *a)
{
    const char *const inputs[] = { a->old, a->new, a->against };
    struct stat file, input;
    if (stat(a->file, &file) < 0)
        return 0;
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
        if (inputs[i] && stat(inputs[i], &input) == 0 && input.st_dev == file.st_dev && input.st_ino == file.st_ino)
            return error_set(&cli->err, -EEXIST, "cannot write '%.1024s': it is what shall be read", a->file);
    return 0;
}

static int open_sink(struct comparison *c, const struct format *format, char title[2048])
{
    const struct arguments *a = c->arguments;
    int r = a->file ? refuse_input(c->cli, a) : 0;
    if (!r && a->file)
        r = output_open(c->cli, &c->output, a->file, 0666);
    if (r < 0)
        return r;
    snprintf(title, 2048, "Changes from %s to %s", a->old, a->new);
    c->sink = (struct sink){
        .format = format, .name = a->name ? a->name : "diff", .title = title, .path = a->file ? a->file : "standard output",
        .file = a->file ? c->output.file : stdout, .is_pipe = !a->file, .size = c->new->size, .granularity = c->granularity, .recording = true,
    };
    return sink_open(&c->sink, &c->cli->err);
}

static int open_verify(struct comparison *c)
{
    const struct arguments *a = c->arguments;
    struct verify *v = &c->verify;
    v->input = (struct input){ .name = a->against, .bitmap = a->bitmap, .context = a->context, .granularity = a->granularity ? c->granularity : 0 };
    v->json = c->cli->json;
    c->items = v->json ? tmpfile() : NULL;      /* a run that fails prints no half of an object */
    v->list = v->json ? c->items : c->report;
    if (!v->list)
        return error_errno(&c->cli->err, -errno, "cannot make a temporary file");
    int r = verify_open(c->cli, v, a->bitmap_format, c->new);
    if (!r)
        c->granularity = v->bitmap->granularity;
    return r;
}

static int open_image(struct cli *cli, const char *name, const char *format, unsigned lanes, struct image **image)
{
    const struct image_how how = { .format = format, .lanes = lanes, .timeout_ms = IMAGE_TIMEOUT_MS };
    if (format && image_is_uri(name))
        return cli_usage(cli, "a format is for files, and '%s' is an NBD URI", name);
    return image_open(name, &how, image, &cli->err);
}

static int compare(struct comparison *c, const struct format *format)
{
    const struct arguments *a = c->arguments;
    char title[2048];
    unsigned lanes = diff_lanes();
    int r = open_image(c->cli, a->old, a->old_format, lanes, &c->old);
    if (!r)
        r = open_image(c->cli, a->new, a->new_format, lanes, &c->new);
    if (!r && a->against)
        r = open_verify(c);
    if (!r && format)
        r = open_sink(c, format, title);
    if (!r)
        r = run(c, lanes);
    if (!r)
        r = report(c);
    bar_erase(c);
    sink_close(&c->sink);
    output_discard(&c->output);
    verify_close(&c->verify);
    if (c->items)
        fclose(c->items);
    image_close(&c->old);
    image_close(&c->new);
    return r;
}

/* ------------------------------------------------------------ command line */

static int check(struct cli *cli, const struct arguments *a, const struct format **format)
{
    const char *name = a->format ? a->format : a->file ? "json" : NULL;
    *format = name ? format_find(name) : NULL;
    if (name && !*format)
        return cli_usage(cli, "--format '%s' is not known: " FORMATS_TEXT " is possible", name);
    if (*format && !a->file && cli->json)
        return cli_usage(cli, "--json and --format %s both want stdout: give --output", name);
    if (*format && !a->file && ((*format)->needs_file || (!(*format)->is_text && isatty(STDOUT_FILENO))))
        return cli_usage(cli, "--format %s needs --output FILE%s", name, (*format)->needs_file ? "" : ", or a pipe");
    if (a->name && (!*format || strcmp(name, "qcow2")))
        return cli_usage(cli, "--name is for --format qcow2");
    if (!a->against && (a->bitmap || a->bitmap_format || a->context))
        return cli_usage(cli, "--bitmap, --bitmap-format and --context are for --verify-against");
    if (a->on_error && strcmp(a->on_error, "stop") && strcmp(a->on_error, "dirty"))
        return cli_usage(cli, "--on-error '%s' is not known: stop or dirty is possible", a->on_error);
    return 0;
}

static int parse(struct cli *cli, int argc, char **argv, struct arguments *a)
{
    static const struct option longs[] = {
        { "granularity", required_argument, NULL, 'g' },    { "format", required_argument, NULL, 'f' },
        { "output", required_argument, NULL, 'o' },         { "name", required_argument, NULL, 'n' },
        { "map", no_argument, NULL, 'm' },                  { "on-error", required_argument, NULL, 'e' },
        { "old-format", required_argument, NULL, 'O' },     { "new-format", required_argument, NULL, 'N' },
        { "verify-against", required_argument, NULL, 'v' }, { "bitmap", required_argument, NULL, 'b' },
        { "bitmap-format", required_argument, NULL, 'B' },  { "context", required_argument, NULL, 'C' },
        { "help", no_argument, NULL, 'h' },                 { 0 }
    };
    for (int c; (c = getopt_long(argc, argv, "o:", longs, NULL)) != -1;) {
        switch (c) {
        case 'g': a->granularity = optarg; break;
        case 'f': a->format = optarg; break;
        case 'o': a->file = optarg; break;
        case 'n': a->name = optarg; break;
        case 'm': a->map = true; break;
        case 'e': a->on_error = optarg; break;
        case 'O': a->old_format = optarg; break;
        case 'N': a->new_format = optarg; break;
        case 'v': a->against = optarg; break;
        case 'b': a->bitmap = optarg; break;
        case 'B': a->bitmap_format = optarg; break;
        case 'C': a->context = optarg; break;
        default: return cli_option(cli, c);
        }
    }
    int r = cli_arguments(cli, argc, 2, 2);
    a->old = r ? NULL : argv[optind];
    a->new = r ? NULL : argv[optind + 1];
    return r;
}

int command_diff(struct cli *cli, int argc, char **argv)
{
    struct arguments a = { 0 };
    const struct format *format = NULL;
    cli->usage = usage;
    int r = parse(cli, argc, argv, &a);
    if (!r)
        r = check(cli, &a, &format);
    struct comparison c = { .cli = cli, .arguments = &a, .granularity = DF_GRANULARITY_DEFAULT };
    if (!r && a.granularity)
        r = cli_granularity(cli, a.granularity, &c.granularity);
    c.report = cli->json || (format && !a.file) ? stderr : stdout;
    c.has_bar = !cli->json && isatty(STDERR_FILENO) && !(a.against && isatty(STDOUT_FILENO));    /* not between lines that are listed */
    return r ? r : compare(&c, format);
}
