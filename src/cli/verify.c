// SPDX-License-Identifier: BSD-3-Clause
/*
 * The bitmap is in memory, but for what is clean in it.  Missing stretches are
 * handed on while they are found; of what is wasted there are sums.
 */
#include "cli/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/error.h"

static int list_missing(void *opaque, uint64_t start, uint64_t length, struct df_error *err)
{
    const struct verify *v = opaque;
    int n = !v->json ? fprintf(v->list, "missing %" PRIu64 " %" PRIu64 "\n", start, length)
                     : fprintf(v->list, "%s{\"start\":%" PRIu64 ",\"length\":%" PRIu64 "}", v->missing.n > 1 ? "," : "", start, length);
    return n < 0 ? error_errno(err, -errno, "cannot list what bitmap '%.1024s' lacks", v->name) : 0;
}

/* -------------------------------------------------------------------- open */

static int choose(struct cli *cli, struct verify *v, size_t *index)
{
    const struct input *in = &v->input;
    size_t n = in->nbitmaps, i = 0;
    if (!in->bitmap && n > 1)
        return error_set(&cli->err, -EINVAL, "'%.1024s' has %zu bitmaps: say by --bitmap which one is meant", in->name, n);
    while (in->bitmap && i < n && in->bitmaps[i].name && strcmp(in->bitmap, in->bitmaps[i].name))
        i++;
    if (i == n)
        return n ? error_set(&cli->err, -ENOENT, "'%.1024s' has no bitmap '%.1024s' (of %zu)", in->name, in->bitmap, n)
                 : error_set(&cli->err, -ENOENT, "'%.1024s' has no bitmaps", in->name);
    *index = i;
    v->bitmap = &in->bitmaps[i];
    v->name = v->bitmap->name ? v->bitmap->name : in->bitmap ? in->bitmap : in->name;
    if (in->granularity && in->granularity != v->bitmap->granularity)
        return error_set(&cli->err, -EINVAL, "bitmap '%.1024s' of '%.1024s' has granularity %" PRIu64 " and --granularity is %" PRIu64 ": leave it out",
                         v->name, in->name, v->bitmap->granularity, in->granularity);
    if (v->bitmap->inconsistent)
        fprintf(stderr, "dirtyferry: bitmap '%s' of '%s' is inconsistent, whoever had it open did not close it: it may lack writes\n", v->name, in->name);
    return 0;
}

/* A difference beside what is dirty must not hide in a bit that was rounded outwards. */
static int check_edges(const struct verify *v, struct df_error *err)
{
    uint64_t edges = v->input.edges, granularity = v->bitmap->granularity;
    if (!(edges & (granularity - 1)))
        return 0;
    return error_set(err, -EINVAL, "bitmap '%.1024s' of '%.1024s' is finer than granularity %" PRIu64 ": give its own, at most '--granularity %" PRIu64 "'",
                     v->name, v->input.name, granularity, edges & -edges);
}

int verify_open(struct cli *cli, struct verify *v, const char *format, const struct image *disk)
{
    struct input *in = &v->input;
    size_t index = 0;
    in->disk_size = disk->size;
    v->missing = (struct stretches){ .each = list_missing, .opaque = v };
    int r = input_find(cli, in, format, "--bitmap-format");
    if (!r && in->ops == &input_nbd && !in->bitmap)
        r = cli_usage(cli, "an NBD server is asked for a bitmap by its name: give --bitmap");
    if (!r)
        r = input_open(in, disk->name, &cli->err);
    if (!r)
        r = choose(cli, v, &index);
    if (!r)
        r = map_create_anonymous(map_round_up(disk->size, v->bitmap->granularity), &v->map, &cli->err);
    if (!r)
        r = in->ops->read(in, index, v->map, &cli->err);
    if (!r)
        r = check_edges(v, &cli->err);
    if (!r) {
        v->set = map_next_set(v->map, 0);
        v->clear = map_next_clear(v->map, 0);
    }
    return r;
}

void verify_close(struct verify *v)
{
    map_close(&v->map);
    input_close(&v->input);
}

/* -------------------------------------------------------------------- tell */

/* Is the bit dirty?  All up to `upto` are like it.  Both kinds are looked for only once they are passed: a run costs one look. */
static bool is_dirty(struct verify *v, uint64_t bit, uint64_t *upto)
{
    if (v->set < bit)
        v->set = map_next_set(v->map, bit);
    if (v->clear < bit)
        v->clear = map_next_clear(v->map, bit);
    *upto = v->set == bit ? v->clear : v->set;
    return v->set == bit;
}

int verify_tell(struct verify *v, uint64_t offset, uint64_t length, enum diff_verdict verdict, struct df_error *err)
{
    uint64_t granularity = v->bitmap->granularity, end = offset + length, upto;
    int r = 0;
    for (uint64_t at = offset; !r && at < end; at = upto) {
        bool dirty = is_dirty(v, at / granularity, &upto), different = verdict == DIFF_DIFFERENT;
        upto = upto < map_round_up(end, granularity) ? upto * granularity : end;
        if (different != dirty)
            r = stretches_add(different ? &v->missing : &v->wasted, at, upto - at, err);
    }
    return r;
}

int verify_end(struct verify *v, struct df_error *err)
{
    int r = stretches_end(&v->missing, err);
    return r < 0 ? r : stretches_end(&v->wasted, err);
}
