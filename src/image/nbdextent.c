// SPDX-License-Identifier: BSD-3-Clause
/*
 * The extents of an image on an NBD server: zeroes by "base:allocation", and by
 * "qemu:allocation-depth" the file of the backing chain that holds the bytes.
 *
 * The server is asked about as much as a request can hold, and its answer is
 * kept: one round trip serves many calls.  It may answer for the beginning of
 * what it was asked only, and for another part in each context; the window is
 * what all of them cover.
 *
 * Invariant: the extents of a status follow each other without a gap from
 * window.from on, none is empty, none goes beyond the end of the disk.
 */
#include "image/nbdimage.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"

#define REQUEST_MAX ((UINT64_C(1) << 32) - (UINT64_C(1) << 20))    /* a request's length has 32 bits */

const char *const nbd_contexts[NBD_CONTEXTS] = {
    [NBD_ALLOCATION] = "base:allocation",
    [NBD_DEPTH] = "qemu:allocation-depth",
};

/* ---------------------------------------------------------------- asking */

static int refuse(struct nbd_window *w, const char *wrong, int *error)
{
    w->wrong = wrong;
    *error = EPROTO;
    return -1;
}

static int on_extents(void *opaque, const char *context, uint64_t offset, uint32_t *entries, size_t n, int *error)
{
    struct nbd_window *w = opaque;
    unsigned c = 0;
    while (c < NBD_CONTEXTS && (!w->has[c] || strcmp(context, nbd_contexts[c])))
        c++;
    if (c == NBD_CONTEXTS || offset != w->from || w->status[c]->n)
        return refuse(w, "extents that were not asked for", error);
    struct nbd_status *s = w->status[c];
    uint64_t at = w->from;
    for (size_t i = 0; i < n / 2 && s->n < NBD_EXTENTS_MAX; i++) {
        uint32_t length = entries[2 * i];
        if (!length)
            return refuse(w, "an extent of no length", error);
        if (length > w->size - at)
            return refuse(w, "an extent beyond the end", error);
        at += length;
        s->extents[s->n].end = at;
        s->extents[s->n++].value = entries[2 * i + 1];
    }
    return 0;
}

static int on_reply(void *opaque, int *error)
{
    struct nbd_window *w = opaque;
    w->answered = true;
    w->error = *error;
    return 1;
}

static int await_reply(struct nbd_image *image, struct nbd_link *link, struct df_error *err)
{
    struct nbd_window *w = &image->window;
    int64_t deadline = clock_ms() + link->timeout_ms;
    int r = 0;
    while (!r && !w->answered)
        r = nbd_link_step(link, deadline, &image->is_lost, err);
    if (!r && nbd_link_is_over(link))
        r = nbd_link_lost(link, err);
    if (w->wrong)
        r = error_set(err, -EPROTO, "the NBD server of '%.1024s' answers wrongly about the extents at offset %" PRIu64 ": %s; nothing of it can be believed",
                      image->name, w->from, w->wrong);
    if (r < 0)
        return nbd_image_lose(image, err);
    if (w->error)
        return error_errno(err, -w->error, "the NBD server of '%.1024s' does not say what is allocated at offset %" PRIu64, image->name, w->from);
    return 0;
}

/* The window becomes one that begins with the block of `offset`. */
static int ask(struct nbd_image *image, uint64_t offset, struct df_error *err)
{
    struct nbd_window *w = &image->window;
    struct nbd_link *link = &image->lanes[0].link;
    uint64_t from = offset / image->block_bytes * image->block_bytes, left = image->image.size - from;
    w->from = w->to = from;
    w->answered = false;
    w->wrong = NULL;
    for (unsigned c = 0; c < NBD_CONTEXTS; c++)
        if (w->has[c])
            w->status[c]->n = 0;
    if (nbd_aio_block_status(link->nbd, left < REQUEST_MAX ? left : REQUEST_MAX, from, (nbd_extent_callback){ .callback = on_extents, .user_data = w },
                             (nbd_completion_callback){ .callback = on_reply, .user_data = w }, 0) < 0) {
        nbd_link_lost(link, err);
        return nbd_image_lose(image, err);
    }
    int r = await_reply(image, link, err);
    if (r < 0)
        return r;
    uint64_t to = image->image.size;
    for (unsigned c = 0; c < NBD_CONTEXTS; c++) {
        if (!w->has[c])
            continue;
        uint64_t end = w->status[c]->n ? w->status[c]->extents[w->status[c]->n - 1].end : from;
        to = end < to ? end : to;
    }
    if (to <= offset) {
        error_set(err, -EPROTO, "the NBD server of '%.1024s' answers wrongly about the extents at offset %" PRIu64 ": it says nothing of that offset; nothing of it can be believed",
                  image->name, offset);
        return nbd_image_lose(image, err);
    }
    w->to = to;
    return 0;
}

/* -------------------------------------------------------------- the answer */

/* The value at `offset`, which is in the window; *end becomes the extent's, if that is nearer. */
static uint32_t look_up(const struct nbd_status *s, uint64_t offset, uint64_t *end)
{
    unsigned low = 0, high = s->n - 1;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (s->extents[middle].end > offset)
            high = middle;
        else
            low = middle + 1;
    }
    if (s->extents[low].end < *end)
        *end = s->extents[low].end;
    return s->extents[low].value;
}

/* The place of `offset`, which lies in the file at that depth; *end becomes where that ends, if that is nearer. */
static struct place place_at(const struct nbd_image *image, uint32_t depth, uint64_t offset, uint64_t *end)
{
    const struct nbd_layer *layer = depth && depth <= image->nlayers ? &image->layers[depth - 1] : NULL;
    if (!layer || layer->place.kind == PLACE_UNKNOWN || offset >= layer->size)
        return (struct place){ .kind = PLACE_UNKNOWN };
    if (layer->size < *end)
        *end = layer->size;
    struct place place = layer->place;
    place.at += offset;
    return place;
}

int nbd_image_extent(struct image *opaque, uint64_t offset, struct extent *extent, struct df_error *err)
{
    struct nbd_image *image = (struct nbd_image *)opaque;
    struct nbd_window *w = &image->window;
    struct df_error own;
    err = err ? err : &own;         /* the sentence of a lost image is kept */
    LOCK_SCOPE(&image->lanes[0].lock);
    int r = nbd_image_check(image, err);
    if (!r && !w->has[NBD_ALLOCATION]) {
        *extent = (struct extent){ .length = image->image.size - offset };
        return 0;
    }
    if (!r && (offset < w->from || offset >= w->to))
        r = ask(image, offset, err);
    if (r < 0)
        return r;
    uint64_t end = w->to;
    /* A hole that is not said to be zero may read as anything. */
    bool zero = look_up(w->status[NBD_ALLOCATION], offset, &end) & LIBNBD_STATE_ZERO;
    /* A file that stands alone holds everything, also what it has not allocated. */
    uint32_t depth = w->has[NBD_DEPTH] ? look_up(w->status[NBD_DEPTH], offset, &end) : image->nlayers == 1;
    struct place place = place_at(image, depth, offset, &end);
    *extent = (struct extent){ .length = end - offset, .zero = zero, .place = place };
    return 0;
}
