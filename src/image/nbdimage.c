// SPDX-License-Identifier: BSD-3-Clause
/*
 * An image that an NBD server exports: connections, and reads.
 *
 * A server that says that its connections see the same bytes (multi-conn) gets
 * one for each lane and one for extents; any other, of which some take one
 * client only, gets one for everything.
 *
 * A read that the server refuses is an error of that read.  A server that is
 * silent, ends the connection, or answers wrongly is lost: the first who notices
 * writes the sentence, and all calls end with it, those that wait within a
 * moment (nbd_link_step() looks at is_lost).
 */
#include "image/nbdimage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"

#define REQUEST_BYTES   (UINT32_C(256) << 10)   /* qemu-nbd is slower with 1 MiB, and with 64 KiB */
#define PIECE_BYTES     IMAGE_PIECE_MAX         /* four requests in flight: somebody has to wait for the network */
#define IN_FLIGHT       16
#define MORE_MS         2000        /* a server that has answered once answers a further connection so soon, or not at all */
#define BLOCK_BYTES_MAX 65536       /* of the protocol */
#define BOUNCE_BYTES    (IMAGE_PIECE_MAX + 2 * BLOCK_BYTES_MAX)

/* ------------------------------------------------------------------- lost */

int nbd_image_check(struct nbd_image *image, struct df_error *err)
{
    if (!atomic_load_explicit(&image->is_lost, memory_order_acquire))
        return 0;
    if (err)
        *err = image->lost;
    return image->lost.code;
}

int nbd_image_lose(struct nbd_image *image, struct df_error *err)
{
    LOCK_SCOPE(&image->lost_lock);
    if (!atomic_load_explicit(&image->is_lost, memory_order_relaxed)) {
        image->lost = *err;
        if (image->keeper.explain)
            image->keeper.explain(image->keeper.opaque, &image->lost);
        atomic_store_explicit(&image->is_lost, true, memory_order_release);
    }
    *err = image->lost;
    return err->code;
}

/* ------------------------------------------------------------------- reads */

struct reading {
    unsigned in_flight;
    uint64_t failed_at;         /* the first offset that could not be read */
    int error;                  /* and why, a positive errno; 0: none */
    bool is_short;              /* a reply lacks bytes; libnbd does not mind */
};

struct request {
    struct reading *reading;
    uint64_t offset;
    size_t missing;             /* bytes */
    bool in_flight;
};

static int on_bytes(void *opaque, const void *bytes, size_t nbytes, uint64_t offset, unsigned kind, int *error)
{
    struct request *q = opaque;
    (void)bytes, (void)offset, (void)error;
    if (kind == LIBNBD_READ_DATA || kind == LIBNBD_READ_HOLE)
        q->missing -= nbytes;
    return 0;
}

static int on_read(void *opaque, int *error)
{
    struct request *q = opaque;
    struct reading *reading = q->reading;
    q->in_flight = false;
    reading->in_flight--;
    reading->is_short |= !*error && q->missing;
    if (*error && (!reading->error || q->offset < reading->failed_at)) {
        reading->error = *error;
        reading->failed_at = q->offset;
    }
    return 1;
}

static int ask(struct nbd_link *link, struct request *q, struct reading *reading, uint64_t offset, uint8_t *bytes, size_t nbytes, struct df_error *err)
{
    *q = (struct request){ .reading = reading, .offset = offset, .missing = nbytes, .in_flight = true };
    reading->in_flight++;
    if (nbd_aio_pread_structured(link->nbd, bytes, nbytes, offset, (nbd_chunk_callback){ .callback = on_bytes, .user_data = q },
                                 (nbd_completion_callback){ .callback = on_read, .user_data = q }, 0) < 0)
        return nbd_link_lost(link, err);
    return 0;
}

/* Also after an error of the server all that was asked for is awaited: it goes into the buffer. */
static int read_aligned(struct nbd_image *image, struct nbd_link *link, uint64_t offset, uint8_t *bytes, size_t nbytes, struct df_error *err)
{
    struct request requests[IN_FLIGHT] = { 0 };
    struct reading reading = { 0 };
    int64_t deadline = clock_ms() + link->timeout_ms;
    size_t asked = 0;
    int r = 0;
    for (;;) {
        for (unsigned i = 0; i < IN_FLIGHT && asked < nbytes && !reading.error && !r; i++) {
            if (requests[i].in_flight)
                continue;
            size_t n = nbytes - asked < image->request_bytes ? nbytes - asked : image->request_bytes;
            r = ask(link, &requests[i], &reading, offset + asked, bytes + asked, n, err);
            asked += n;
        }
        unsigned before = reading.in_flight;
        if (!r && before)
            r = nbd_link_step(link, deadline, &image->is_lost, err);
        if (!r && nbd_link_is_over(link))
            r = nbd_link_lost(link, err);
        if (!r && reading.is_short)
            r = error_set(err, -EPROTO, "the NBD server of '%.1024s' sends less than was asked for at offset %" PRIu64 "; nothing of it can be believed", image->name, offset);
        if (r < 0)
            return nbd_image_lose(image, err);
        if (!before)
            break;
        if (reading.in_flight < before)
            deadline = clock_ms() + link->timeout_ms;
    }
    if (reading.error)
        return error_errno(err, -reading.error, "cannot read '%.1024s' at offset %" PRIu64, image->name, reading.failed_at);
    return 0;
}

/* A read that does not begin or end where the server's blocks do. */
static int read_unaligned(struct nbd_image *image, struct nbd_lane *lane, uint64_t offset, void *buffer, size_t nbytes, struct df_error *err)
{
    uint64_t block = image->block_bytes, from = offset / block * block, to = (offset + nbytes + block - 1) / block * block;
    if (to > image->image.size)
        to = image->image.size;
    if (!lane->bounce && !(lane->bounce = malloc(BOUNCE_BYTES)))
        return error_errno(err, -ENOMEM, "cannot read '%.1024s' at offset %" PRIu64, image->name, offset);
    int r = read_aligned(image, &lane->link, from, lane->bounce, (size_t)(to - from), err);
    if (!r)
        memcpy(buffer, lane->bounce + (offset - from), nbytes);
    return r;
}

static int nbd_image_read(struct image *opaque, unsigned number, uint64_t offset, void *buffer, size_t nbytes, struct df_error *err)
{
    struct nbd_image *image = (struct nbd_image *)opaque;
    struct nbd_lane *lane = &image->lanes[image->nlanes > 1 ? 1 + number % (image->nlanes - 1) : 0];
    struct df_error own;
    err = err ? err : &own;         /* the sentence of a lost image is kept */
    LOCK_SCOPE(&lane->lock);
    int r = nbd_image_check(image, err);
    if (r < 0)
        return r;
    uint64_t end = offset + nbytes;
    bool aligned = offset % image->block_bytes == 0 && (end % image->block_bytes == 0 || end == image->image.size);
    return aligned ? read_aligned(image, &lane->link, offset, buffer, nbytes, err) : read_unaligned(image, lane, offset, buffer, nbytes, err);
}

/* ---------------------------------------------------------- open and close */

static void nbd_image_close(struct image *opaque)
{
    struct nbd_image *image = (struct nbd_image *)opaque;
    for (unsigned i = 0; i < image->nlanes; i++) {
        nbd_link_close(&image->lanes[i].link);
        free(image->lanes[i].bounce);
        pthread_mutex_destroy(&image->lanes[i].lock);
    }
    if (image->keeper.close)
        image->keeper.close(image->keeper.opaque);
    for (unsigned c = 0; c < NBD_CONTEXTS; c++)
        free(image->window.status[c]);
    free(image->layers);
    free(image->name);
    pthread_mutex_destroy(&image->lost_lock);
}

static const struct image_ops nbd_image_ops = { .extent = nbd_image_extent, .read = nbd_image_read, .close = nbd_image_close };

static int open_lane(struct nbd_image *image, const struct nbd_image_how *how, const char *const *contexts, unsigned ncontexts, struct df_error *err)
{
    struct nbd_lane *lane = &image->lanes[image->nlanes];
    int fd = how->uri ? -1 : steal_fd(&how->fds[image->nlanes]);
    pthread_mutex_init(&lane->lock, NULL);
    image->nlanes++;
    bool is_first = image->nlanes == 1;
    int r = nbd_link_open(&lane->link, how->name, how->uri, fd, is_first || !how->uri || how->timeout_ms < MORE_MS ? how->timeout_ms : MORE_MS, err);
    if (!r)
        r = nbd_link_go(&lane->link, contexts, ncontexts, err);
    if (r < 0)
        return r;
    lane->link.timeout_ms = how->timeout_ms;
    /* libnbd would clear each buffer before it is filled. */
    nbd_set_pread_initialize(lane->link.nbd, false);
    int64_t size = nbd_get_size(lane->link.nbd);
    if (size < 0)
        return error_set(err, -EPROTO, "the NBD server of '%.1024s' does not say how large it is: %.512s", how->name, nbd_link_why());
    if (image->nlanes > 1 && (uint64_t)size != image->image.size)
        return error_set(err, -EPROTO, "the NBD server of '%.1024s' exports %" PRIu64 " bytes to one connection and %" PRId64 " to the next: it must export one disk to all",
                         how->name, image->image.size, size);
    image->image.size = (uint64_t)size;
    return 0;
}

static void drop_lane(struct nbd_image *image)
{
    struct nbd_lane *lane = &image->lanes[--image->nlanes];
    nbd_link_close(&lane->link);
    pthread_mutex_destroy(&lane->lock);
}

/* A server may take fewer connections than that (qemu-nbd --shared=4) and let the next one wait: those that there are do it too. */
static int open_more_lanes(struct nbd_image *image, const struct nbd_image_how *how, struct df_error *err)
{
    struct df_error why;
    int r = 0;
    for (unsigned i = 0; i < how->lanes && !r; i++)
        r = open_lane(image, how, NULL, 0, &why);
    if (how->uri && (r == -ETIMEDOUT || r == -ECONNRESET || r == -ECONNREFUSED)) {
        drop_lane(image);
        return 0;
    }
    return r < 0 ? error_set(err, r, "%s", why.message) : 0;
}

/* libnbd has checked that block sizes are powers of two that the protocol allows, else they are 0. */
static int prepare_requests(struct nbd_image *image, struct df_error *err)
{
    struct nbd_handle *nbd = image->lanes[0].link.nbd;
    int64_t least = nbd_get_block_size(nbd, LIBNBD_SIZE_MINIMUM), most = nbd_get_block_size(nbd, LIBNBD_SIZE_MAXIMUM);
    image->block_bytes = least > 1 && least <= BLOCK_BYTES_MAX ? (uint32_t)least : 1;
    image->request_bytes = most >= image->block_bytes && most < REQUEST_BYTES ? (uint32_t)most / image->block_bytes * image->block_bytes : REQUEST_BYTES;
    image->window.size = image->image.size;
    for (unsigned c = 0; c < NBD_CONTEXTS; c++) {
        image->window.has[c] = nbd_can_meta_context(nbd, nbd_contexts[c]) == 1;
        if (image->window.has[c] && !(image->window.status[c] = malloc(sizeof *image->window.status[c])))
            return error_errno(err, -ENOMEM, "cannot open '%.1024s'", image->name);
    }
    return 0;
}

static int copy_how(struct nbd_image *image, const struct nbd_image_how *how, struct df_error *err)
{
    image->name = strdup(how->name);
    image->layers = calloc(how->nlayers + 1, sizeof *image->layers);
    if (!image->name || !image->layers)
        return error_errno(err, -ENOMEM, "cannot open '%.1024s'", how->name);
    for (unsigned i = 0; i < how->nlayers; i++)
        image->layers[i] = how->layers[i];
    image->nlayers = how->nlayers;
    return 0;
}

int nbd_image_open(const struct nbd_image_how *how, struct image **out, struct df_error *err)
{
    struct nbd_image *nbd = calloc(1, sizeof *nbd);
    if (!nbd)
        return error_errno(err, -ENOMEM, "cannot open '%.1024s'", how->name);
    CLEANUP(image_close) struct image *image = &nbd->image;
    image->ops = &nbd_image_ops;
    image->piece_bytes = PIECE_BYTES;
    pthread_mutex_init(&nbd->lost_lock, NULL);
    int r = copy_how(nbd, how, err);
    if (!r)
        r = open_lane(nbd, how, nbd_contexts, how->nlayers > 1 ? NBD_CONTEXTS : NBD_DEPTH, err);
    if (!r)
        r = prepare_requests(nbd, err);
    if (!r && (how->fds || nbd_can_multi_conn(nbd->lanes[0].link.nbd) == 1))
        r = open_more_lanes(nbd, how, err);
    if (r < 0)
        return r;
    nbd->keeper = how->keeper;
    *out = steal(&image);
    return 0;
}

bool image_is_uri(const char *name)
{
    static const char *const schemes[] = { "nbd://", "nbds://", "nbd+unix://", "nbds+unix://", "nbd+vsock://", "nbds+vsock://" };
    for (unsigned i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (!strncmp(name, schemes[i], strlen(schemes[i])))
            return true;
    return false;
}

int image_nbd_open(const char *uri, const struct image_how *how, struct image **image, struct df_error *err)
{
    const struct nbd_image_how nbd = { .name = uri, .uri = uri, .lanes = how->lanes, .timeout_ms = how->timeout_ms };
    int r = nbd_image_open(&nbd, image, err);
    if (!r)
        (*image)->identity = XXH3_64bits(uri, strlen(uri));
    return r;
}
