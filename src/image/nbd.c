// SPDX-License-Identifier: BSD-3-Clause
/*
 * An NBD client for block status of one meta context.
 *
 * The disk is cut into windows.  PIPELINE requests are in flight, each owns a
 * window.  A server may answer for the beginning of what it was asked only
 * (QEMU: 128 Ki extents a reply, and it looks no further than that); the same
 * request then goes on behind the answered part.  So nothing is asked twice,
 * and the server is at work while we set bits.
 *
 * Invariants
 *  - Only nbd_link_step() waits, never beyond a deadline.  Callbacks touch the
 *    source and the map, never the handle, as libnbd demands.
 *  - Every reply brings its request forward to a multiple of BLOCK_BYTES or to
 *    the end, and one must be complete within the timeout: a server can neither
 *    hold us by trickling bytes nor by answers about next to nothing.
 *  - A length is compared with what is left before it is added to an offset.
 */
#include "image/nbd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "image/nbdlink.h"

#define PIPELINE     16
#define BLOCK_BYTES  512                            /* the finest granularity of a dirty bitmap of QEMU */
#define WINDOW_UNIT  (UINT64_C(1) << 20)
#define WINDOW_MAX   ((UINT64_C(1) << 32) - WINDOW_UNIT)    /* a request's length has 32 bits */
#define DIRTY        UINT32_C(1)                    /* the only flag of the context */

struct request {
    struct nbd_source *source;
    uint64_t offset, end;       /* what is left of its window; equal: it has none */
    uint64_t answered;          /* behind the last extent of the reply */
    int error;                  /* the server's, a positive errno */
    bool in_flight;
};

struct nbd_source {
    struct nbd_link link;
    const char *context;
    uint64_t size;
    /* reading */
    struct map *map;
    unsigned shift;
    uint64_t next_window, window;
    uint64_t edges;
    struct df_error wrong;      /* with an answer; code 0: nothing */
    struct request requests[PIPELINE];
};

static int check_export(struct nbd_source *s, struct df_error *err)
{
    if (nbd_get_structured_replies_negotiated(s->link.nbd) != 1)
        return error_set(err, -ENOTSUP, "the NBD server of '%.1024s' has no structured replies, thus no bitmaps: export the bitmap with QEMU, its storage daemon or qemu-nbd -B", s->link.name);
    if (nbd_can_meta_context(s->link.nbd, s->context) != 1)
        return error_set(err, -ENOENT, "the NBD server of '%.1024s' does not offer '%.512s' (it offers %s): export the node together with that bitmap",
                         s->link.name, s->context, s->link.offered[0] ? s->link.offered : "nothing");
    int64_t size = nbd_get_size(s->link.nbd);
    if (size <= 0)
        return error_set(err, -ENOTSUP, "the export '%.1024s' is empty: it has no bitmap", s->link.name);
    s->size = (uint64_t)size;
    return 0;
}

int nbd_source_open(const char *uri, const char *context, int timeout_ms, struct nbd_source **out, struct df_error *err)
{
    CLEANUP(nbd_source_close) struct nbd_source *s = calloc(1, sizeof *s);
    if (!s || !(s->context = strdup(context)))
        return error_errno(err, -ENOMEM, "cannot connect to '%.1024s'", uri);
    int r = nbd_link_open(&s->link, uri, uri, -1, timeout_ms, err);
    if (!r)
        r = nbd_link_list(&s->link, err);
    if (!r)
        r = nbd_link_go(&s->link, &s->context, 1, err);
    if (!r)
        r = check_export(s, err);
    if (!r)
        *out = steal(&s);
    return r;
}

void nbd_source_close(struct nbd_source **source)
{
    struct nbd_source *s = steal(source);
    if (!s)
        return;
    nbd_link_close(&s->link);
    free((char *)s->context);
    free(s);
}

uint64_t nbd_source_size(const struct nbd_source *source)
{
    return source->size;
}

uint64_t nbd_source_edges(const struct nbd_source *source)
{
    return source->edges;
}

/* -------------------------------------------------------------- reading */

__attribute__((format(printf, 3, 4)))
static int wrong(struct nbd_source *s, uint64_t offset, const char *format, ...)
{
    char what[128];
    va_list ap;
    va_start(ap, format);
    vsnprintf(what, sizeof what, format, ap);
    va_end(ap);
    return error_set(&s->wrong, -EPROTO, "the NBD server of '%.1024s' answers wrongly about '%.512s' at offset %" PRIu64 ": %s; nothing of it can be believed",
                     s->link.name, s->context, offset, what);
}

static int take_extents(struct nbd_source *s, struct request *r, const uint32_t *entries, size_t n)
{
    uint64_t at = r->offset;
    for (size_t i = 0; i < n; i++) {
        uint64_t length = entries[2 * i];
        uint32_t flags = entries[2 * i + 1];
        if (!length)
            return wrong(s, at, "an extent of no length");
        if (flags & ~DIRTY)
            return wrong(s, at, "flags %#" PRIx32 ", of which a dirty bitmap has only the lowest", flags);
        if (at >= r->end)
            return wrong(s, at, "an extent behind what was asked for");
        if (length > s->size - at)
            return wrong(s, at, "an extent of %" PRIu64 " bytes, beyond the end at %" PRIu64, length, s->size);
        uint64_t first = at >> s->shift, last = (at + length - 1) >> s->shift;
        if (flags && map_set_alone(s->map, first, last - first + 1) < 0)
            return error_errno(&s->wrong, -ENOSPC, "cannot store the bits of '%.512s' of '%.1024s'", s->context, s->link.name);
        if (flags)
            s->edges |= at | (at + length < s->size ? at + length : 0);
        at += length;
    }
    /* The last extent may be longer than what was asked for. */
    r->answered = at < r->end ? at : r->end;
    if (r->answered % BLOCK_BYTES && r->answered < s->size)
        return wrong(s, r->answered, "its extents end there, in the middle of a block of %d bytes", BLOCK_BYTES);
    return 0;
}

static int on_extents(void *opaque, const char *context, uint64_t offset, uint32_t *entries, size_t n, int *error)
{
    struct request *r = opaque;
    struct nbd_source *s = r->source;
    int failed = s->wrong.code;
    if (!failed && (offset != r->offset || r->answered > r->offset || strcmp(context, s->context)))
        failed = wrong(s, offset, "extents that were not asked for");
    if (!failed)
        failed = take_extents(s, r, entries, n / 2);
    if (failed)
        *error = -failed;
    return failed ? -1 : 0;
}

static int on_reply(void *opaque, int *error)
{
    struct request *r = opaque;
    r->in_flight = false;
    r->error = *error;
    return 1;
}

static int ask(struct nbd_source *s, struct request *r, struct df_error *err)
{
    r->answered = r->offset;
    r->in_flight = true;
    if (nbd_aio_block_status(s->link.nbd, r->end - r->offset, r->offset, (nbd_extent_callback){ .callback = on_extents, .user_data = r },
                             (nbd_completion_callback){ .callback = on_reply, .user_data = r }, 0) < 0)
        return nbd_link_lost(&s->link, err);
    return 0;
}

/* What came back; *finished becomes true if something did. */
static int take_reply(struct nbd_source *s, struct request *r, bool *finished, struct df_error *err)
{
    if (r->in_flight || r->offset == r->end)
        return 0;
    *finished = true;
    if (r->error)
        return error_errno(err, -r->error, "the NBD server of '%.1024s' does not say what is dirty in '%.512s' at offset %" PRIu64, s->link.name, s->context, r->offset);
    if (r->answered == r->offset) {
        wrong(s, r->offset, "a reply without extents");
        return 0;
    }
    r->offset = r->answered;
    return 0;
}

/* Every request that has something left is in flight afterwards; *busy: there is one. */
static int fill_pipeline(struct nbd_source *s, bool *busy, struct df_error *err)
{
    *busy = false;
    for (unsigned i = 0; i < PIPELINE; i++) {
        struct request *r = &s->requests[i];
        if (r->offset == r->end && s->next_window < s->size) {
            r->offset = s->next_window;
            r->end = s->size - r->offset < s->window ? s->size : r->offset + s->window;
            s->next_window = r->end;
        }
        int failed = r->offset < r->end && !r->in_flight ? ask(s, r, err) : 0;
        if (failed)
            return failed;
        *busy |= r->offset < r->end;
    }
    return 0;
}

static int read_all(struct nbd_source *s, const _Atomic bool *stop, struct df_error *err)
{
    int64_t deadline = clock_ms() + s->link.timeout_ms;
    for (;;) {
        bool busy, finished = false;
        int r = fill_pipeline(s, &busy, err);
        if (!r && busy)
            r = nbd_link_step(&s->link, deadline, stop, err);
        if (r || !busy)
            return r;
        for (unsigned i = 0; !r && i < PIPELINE; i++)
            r = take_reply(s, &s->requests[i], &finished, err);
        if (r || s->wrong.code)
            return r;
        if (finished)
            deadline = clock_ms() + s->link.timeout_ms;
    }
}

int nbd_source_read(struct nbd_source *s, unsigned granularity_shift, struct map *map, const _Atomic bool *stop, struct df_error *err)
{
    uint64_t nbits = map_round_up(s->size, UINT64_C(1) << granularity_shift);
    if (map->nbits != nbits)
        return error_set(err, -EINVAL, "cannot read '%.512s' of '%.1024s' into %" PRIu64 " bits: the disk has %" PRIu64 " bytes, which are %" PRIu64 " bits at that granularity",
                         s->context, s->link.name, map->nbits, s->size, nbits);
    s->map = map;
    s->shift = granularity_shift;
    /* Small disks are cut finely enough to fill the pipeline. */
    s->window = map_round_up(s->size / (4 * PIPELINE) + 1, WINDOW_UNIT) * WINDOW_UNIT;
    if (s->window > WINDOW_MAX)
        s->window = WINDOW_MAX;
    s->next_window = 0;
    for (unsigned i = 0; i < PIPELINE; i++)
        s->requests[i] = (struct request){ .source = s };
    int r = read_all(s, stop, err);
    if (!s->wrong.code)
        return r;
    if (err)
        *err = s->wrong;
    return s->wrong.code;
}
