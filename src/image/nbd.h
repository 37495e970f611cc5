// SPDX-License-Identifier: BSD-3-Clause
/*
 * Reads a dirty bitmap from an NBD server, as QEMU, qemu-nbd and the storage
 * daemon export it: the meta context "qemu:dirty-bitmap:NAME".
 *
 * The server is not trusted: whatever it sends, a call ends with 0 or with a
 * sentence, sets no bit beyond the disk, and needs memory for the map and a few
 * replies.  Nothing is printed.  A source belongs to one thread at a time.
 */
#ifndef IMAGE_NBD_H
#define IMAGE_NBD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "bitmap/map.h"

struct nbd_source;

#define NBD_CONTEXT_PREFIX "qemu:dirty-bitmap:"     /* and the bitmap's name */

/*
 * `uri` as libnbd understands it: nbd+unix:///EXPORT?socket=PATH, nbd://HOST/EXPORT, nbds:// with TLS.
 * Connecting, and each question of the negotiation, takes at most timeout_ms.
 * -ENOENT: the server has no such export or context; -ENOTSUP: no server that could have one;
 * -ETIMEDOUT; other codes are those of connecting.
 */
int nbd_source_open(const char *uri, const char *context, int timeout_ms, struct nbd_source **source, struct df_error *err);
void nbd_source_close(struct nbd_source **source);

uint64_t nbd_source_size(const struct nbd_source *source);

/*
 * Sets in `map`, which is clean and has a bit for each 2^granularity_shift bytes
 * of the disk, every bit that a dirty extent touches.  `stop` may be NULL; soon
 * after it became true the call ends with -ECANCELED.  -ETIMEDOUT: the server
 * has finished no answer for timeout_ms.  After a failure the map is of no use,
 * and the source can only be closed; after a success it may be read again.
 */
int nbd_source_read(struct nbd_source *source, unsigned granularity_shift, struct map *map, const _Atomic bool *stop, struct df_error *err);

/* After that: the OR of all offsets, but the disk's end, at which dirty extents begin or end.  So it says whether bits were rounded outwards. */
uint64_t nbd_source_edges(const struct nbd_source *source);

#endif
