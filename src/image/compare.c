// SPDX-License-Identifier: BSD-3-Clause
/*
 * What is read of both images is compared as a whole; only where it differs it
 * is looked at cluster by cluster.  Where there are views, it is the stretch
 * without a copy; else piece by piece.  Only where a piece cannot be read it is
 * read cluster by cluster, so that no more than the bad ones count as different.
 */
#include "image/compare.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

int lane_init(struct lane *lane, const struct diff *diff, unsigned index, struct df_error *err)
{
    *lane = (struct lane){ .diff = diff, .index = index };
    if (posix_memalign((void **)&lane->buffers[0], 4096, IMAGE_PIECE_MAX) || posix_memalign((void **)&lane->buffers[1], 4096, IMAGE_PIECE_MAX))
        return error_errno(err, -ENOMEM, "cannot compare '%.512s' with '%.512s'", diff->old->name, diff->new->name);
    return 0;
}

void lane_destroy(struct lane *lane)
{
    free(lane->buffers[0]);
    free(lane->buffers[1]);
}

static bool is_zero(const uint8_t *bytes, uint64_t nbytes)
{
    return !bytes[0] && !memcmp(bytes, bytes + 1, nbytes - 1);
}

static bool is_equal(const struct lane *lane, enum plan_action action, uint64_t at, uint64_t nbytes)
{
    switch (action) {
    case PLAN_OLD_ALONE: return is_zero(lane->old + at, nbytes);
    case PLAN_NEW_ALONE: return is_zero(lane->new + at, nbytes);
    default:             return !memcmp(lane->old + at, lane->new + at, nbytes);
    }
}

static int read_both(struct lane *lane, enum plan_action action, uint64_t offset, uint64_t nbytes, struct compared *c, struct df_error *err)
{
    int r = 0;
    if (action != PLAN_NEW_ALONE)
        r = image_read(lane->diff->old, lane->index, offset, lane->buffers[0], nbytes, err);
    if (!r && action != PLAN_OLD_ALONE)
        r = image_read(lane->diff->new, lane->index, offset, lane->buffers[1], nbytes, err);
    lane->old = lane->buffers[0];
    lane->new = lane->buffers[1];
    if (!r)
        c->read += action == PLAN_COMPARE ? 2 * nbytes : nbytes;
    return r;
}

/* Which cluster of the stretch is that, and where in the disk does it end? */
static size_t cluster_at(const struct lane *lane, const struct stretch *s, uint64_t offset, uint64_t *end)
{
    uint64_t granularity = lane->diff->granularity, cluster = offset / granularity;
    *end = offset - offset % granularity + granularity;
    return (size_t)(cluster - s->offset / granularity);
}

static void forget_clusters(const struct lane *lane, const struct stretch *s, struct compared *c)
{
    uint64_t granularity = lane->diff->granularity;
    memset(c->different, 0, (size_t)((s->offset % granularity + s->length - 1) / granularity + 1) * sizeof *c->different);
}

/* What was read, from `offset` on, is not equal. */
static void note_clusters(const struct lane *lane, const struct stretch *s, uint64_t offset, uint64_t nbytes, struct compared *c)
{
    for (uint64_t at = 0, n; at < nbytes; at += n) {
        uint64_t end;
        size_t i = cluster_at(lane, s, offset + at, &end);
        n = smaller(end - (offset + at), nbytes - at);
        if (!c->different[i])
            c->different[i] = !is_equal(lane, s->action, at, n);
    }
}

static int read_by_cluster(struct lane *lane, const struct stretch *s, uint64_t offset, uint64_t nbytes, struct compared *c)
{
    for (uint64_t at = 0, n; at < nbytes; at += n) {
        struct df_error why;
        uint64_t end;
        size_t i = cluster_at(lane, s, offset + at, &end);
        n = smaller(end - (offset + at), nbytes - at);
        int r = read_both(lane, s->action, offset + at, n, c, &why);
        if (r < 0 && !c->unread)
            c->why = why;
        if (r < 0 && !lane->diff->errors_differ)
            return r;
        c->unread += r < 0 ? n : 0;
        c->different[i] |= r < 0 || !is_equal(lane, s->action, 0, n);
    }
    return 0;
}

static int compare_piece(struct lane *lane, const struct stretch *s, uint64_t offset, uint64_t nbytes, struct compared *c)
{
    struct df_error why;
    if (read_both(lane, s->action, offset, nbytes, c, &why) < 0)
        return read_by_cluster(lane, s, offset, nbytes, c);
    if (!is_equal(lane, s->action, 0, nbytes))
        note_clusters(lane, s, offset, nbytes, c);
    return 0;
}

/* False: there are no views, or they do not hold, and nothing is noted. */
static bool compare_views(struct lane *lane, const struct stretch *s, struct compared *c)
{
    struct image *old = s->action == PLAN_NEW_ALONE ? NULL : lane->diff->old, *new = s->action == PLAN_OLD_ALONE ? NULL : lane->diff->new;
    if ((old && !image_has_views(old)) || (new && !image_has_views(new)))
        return false;
    if ((old && !image_view(old, lane->index, s->offset, s->length, &lane->old)) || (new && !image_view(new, lane->index, s->offset, s->length, &lane->new)))
        return false;
    if (!is_equal(lane, s->action, 0, s->length))
        note_clusters(lane, s, s->offset, s->length, c);
    if ((old && !image_view_holds(old, lane->index)) || (new && !image_view_holds(new, lane->index))) {
        forget_clusters(lane, s, c);
        return false;
    }
    c->read += old && new ? 2 * s->length : s->length;
    return true;
}

int compare_stretch(struct lane *lane, const struct stretch *s, struct compared *c)
{
    const struct diff *d = lane->diff;
    uint64_t piece = d->old->piece_bytes > d->new->piece_bytes ? d->old->piece_bytes : d->new->piece_bytes;
    uint64_t n;
    int r = 0;
    forget_clusters(lane, s, c);
    c->read = c->unread = 0;
    if (compare_views(lane, s, c))
        return 0;
    for (uint64_t at = 0; !r && at < s->length; at += n) {
        uint64_t offset = s->offset + at, end;
        size_t i = cluster_at(lane, s, offset, &end);
        n = smaller(piece - offset % piece, s->length - at);
        if (c->different[i])        /* the rest of this cluster need not be read */
            n = smaller(end - offset, s->length - at);
        else
            r = compare_piece(lane, s, offset, n, c);
    }
    return r;
}
