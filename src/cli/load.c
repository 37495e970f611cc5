// SPDX-License-Identifier: BSD-3-Clause
/*
 * dirtyferry load: a dump into the daemon where the bitmaps shall be.
 *
 * The whole file is checked before anything is sent, and again while it is
 * sent.  What is loaded of a session waits there for the rest; what is loaded of
 * a bitmap is removed when it does not come to its end.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "cli/upload.h"

struct loading {
    const char *name;
    int fd;
    struct dump_header header;      /* what the first look has found */
    struct dump_checker checker;
    uint8_t block[WIRE_BLOCK_BYTES];
    size_t nbytes;
};

static void discard(struct loading **loading)
{
    struct loading *l = steal(loading);
    if (l && l->name)
        cleanup_fd(&l->fd);
    free(l);
}

/* ------------------------------------------------------------- the file */

static int open_file(struct cli *cli, struct loading *l)
{
    struct stat st;
    l->fd = open(l->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (l->fd < 0 || fstat(l->fd, &st) < 0)
        return error_errno(&cli->err, -errno, "cannot read '%.1024s'", l->name);
    if (!S_ISREG(st.st_mode))
        return error_set(&cli->err, -EINVAL, "cannot read '%.1024s': it is not a regular file", l->name);
    return 0;
}

/* Up to `end` bytes of the block are there afterwards, fewer at the end of the file. */
static int fill(struct cli *cli, struct loading *l, size_t end)
{
    while (l->nbytes < end) {
        ssize_t n = read(l->fd, l->block + l->nbytes, end - l->nbytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(&cli->err, -errno, "cannot read '%.1024s'", l->name);
        if (n == 0)
            break;
        l->nbytes += (size_t)n;
    }
    return 0;
}

static int is_wrong(struct cli *cli, const struct loading *l, const struct df_error *why)
{
    return error_set(&cli->err, why->code, "'%.1024s' is not loaded: %.1400s", l->name, why->message);
}

/* 1: a block, checked; 0: that was all of the file, and it was whole. */
static int next_block(struct cli *cli, struct loading *l)
{
    struct dump_head head;
    struct df_error why;
    l->nbytes = 0;
    int r = fill(cli, l, DUMP_HEAD_BYTES);
    if (r < 0)
        return r;
    if (!l->nbytes) {
        r = dump_checker_finish(&l->checker, &why);
        return r < 0 ? is_wrong(cli, l, &why) : 0;
    }
    r = dump_checker_head(&l->checker, l->block, l->nbytes, &head, &why);
    if (r < 0)
        return is_wrong(cli, l, &why);
    r = fill(cli, l, DUMP_HEAD_BYTES + head.nbytes);
    if (r < 0)
        return r;
    r = dump_checker_feed(&l->checker, l->block, l->nbytes, &head, &why);
    return r < 0 ? is_wrong(cli, l, &why) : 1;
}

static int rewind_file(struct cli *cli, struct loading *l)
{
    memset(&l->checker, 0, sizeof l->checker);
    return lseek(l->fd, 0, SEEK_SET) < 0 ? error_errno(&cli->err, -errno, "cannot read '%.1024s'", l->name) : 0;
}

static int check_file(struct cli *cli, struct loading *l)
{
    int r;
    while ((r = next_block(cli, l)) > 0)
        ;
    l->header = l->checker.header;
    return r;
}

/* ------------------------------------------------------------- sending */

static int begin(struct cli *cli, void *opaque)
{
    return rewind_file(cli, opaque);
}

static int next(struct cli *cli, void *opaque, const uint8_t **block, size_t *nbytes)
{
    struct loading *l = opaque;
    int r = next_block(cli, l);
    if (r > 0 && l->checker.header.id != l->header.id)
        return error_set(&cli->err, -EINVAL, "'%.1024s' has become another dump while it was read: load it again", l->name);
    *block = l->block;
    *nbytes = l->nbytes;
    return r;
}

int command_load(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = { { "to", required_argument, NULL, 't' }, { "help", no_argument, NULL, 'h' }, { 0 } };
    CLEANUP(discard) struct loading *l = calloc(1, sizeof *l);
    CLEANUP(message_free) struct message *reply = NULL;
    cli->usage = "Usage: dirtyferry [-c EP] [--json] load FILE [--to EP]\n"
                 "Loads what 'dump' has written: a session's dump on its target, whose bitmaps are\n"
                 "operative then; a bitmap's dump on any host that has a disk of that name and size.\n"
                 "Asks the daemon that --to or -c names.\n";
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (c != 't')
            return cli_option(cli, c);
        cli->endpoint = optarg;
    }
    int r = cli_arguments(cli, argc, 1, 1);
    if (r)
        return r;
    if (!l)
        return error_errno(&cli->err, -ENOMEM, "cannot load a dump");
    l->name = argv[optind];
    l->fd = -1;
    r = open_file(cli, l);
    if (!r)
        r = check_file(cli, l);
    const struct upload upload = { .header = &l->header, .begin = begin, .next = next, .opaque = l };
    if (!r)
        r = cli_upload(cli, &upload, &reply);
    if (r < 0)
        return r;
    cli_print_status(cli, reply);
    if (!cli->json && !strcmp(node_text(cli_status(reply), "state"), "filled"))
        printf("  everything is there; operative after the target's pivot: dirtyferry pivot %s --to %s\n", l->header.session, cli->endpoint);
    return 0;
}
