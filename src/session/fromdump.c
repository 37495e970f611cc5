// SPDX-License-Identifier: BSD-3-Clause
/*
 * The blocks of a dump, on the receiver's thread: their frames fill the same
 * parents as those of the data socket.  The bits are the same too, so a source
 * that comes back in the middle does no harm.
 *
 * A dump may count in smaller chunks than the session, so its frames go through
 * a shadow of the intake.  When the last block is here the digests decide, as
 * with a seal.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "session/fill.h"

static void fill_block(struct fill *fill, struct order *order)
{
    struct load *load = order->load;
    struct dump_frames frames;
    struct frame frame;
    dump_frames_begin(&frames, &load->header, &load->place, order->block, order->nbytes);
    while ((order->r = dump_frames_next(&frames, &frame, &order->err)) > 0) {
        unsigned i = frame.handle - 1u;
        if (!load->intakes[i]->exact)
            fill_frame(fill, load->shadows[i], &frame);
    }
    for (size_t i = 0; i < load->header.nbitmaps; i++) {
        fill_flush(fill, load->shadows[i]);
        if (load->shadows[i]->failed && !order->r)
            order->r = error_set(&order->err, -ENOSPC, "bitmap '%s' of disk '%s' cannot be filled: no space in the target's state directory",
                                 load->intakes[i]->bitmap, load->intakes[i]->backend->disk);
        load->shadows[i]->failed = false;
    }
}

static void all_received(struct intake *in)
{
    uint64_t chunks = in->received->nbits;
    if (map_set_alone(in->received, 0, chunks) < 0)
        in->failed = true;
    atomic_store_explicit(&in->chunks_done, map_count(in->received), memory_order_relaxed);
}

static void end(struct order *order)
{
    struct load *load = order->load;
    struct dump_digests digests[WIRE_SESSION_BITMAPS];
    order->r = dump_unpack_end(order->block, order->nbytes, &load->header, &load->place, digests, &order->err);
    order->exact = true;
    for (size_t i = 0; order->r >= 0 && i < load->header.nbitmaps; i++) {
        struct intake *in = load->intakes[i];
        uint64_t numbers[WIRE_SEGMENTS], wrong = 0;
        size_t n = digests[i].nbytes / 8;
        if (in->exact)
            continue;
        memcpy(numbers, digests[i].bytes, n * 8);
        for (size_t d = 0; d < n; d++)
            numbers[d] = le64toh(numbers[d]);
        all_received(in);
        order->r = receive_compare(in, numbers, n, &wrong, &order->err);
        if (wrong)
            order->r = error_set(&order->err, -EPROTO, "bitmap '%s' of disk '%s' differs from its dump in %" PRIu64 " chunks: load it again",
                                 in->bitmap, in->backend->disk, wrong);
    }
    order->exact = order->r >= 0;
}

void load_obey(struct fill *fill, struct order *order)
{
    if (order->kind == ORDER_LOAD_END)
        end(order);
    else
        fill_block(fill, order);
}
