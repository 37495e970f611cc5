// SPDX-License-Identifier: BSD-3-Clause
/*
 * A stream worker: asks the source's daemon for leases, sends the leased chunks
 * to the target and hands the leases back with digests.  The same code is a
 * thread of the daemon and a process of its own (`dirtyferry worker`).
 */
#ifndef SESSION_WORKER_H
#define SESSION_WORKER_H

#include <stdint.h>

#include "net/socket.h"

#define WORKER_CONTROL_INPROC "inproc://control"

/*
 * Works for the session until it is over; asks for leases at `control`.  With
 * keys, this side's must be the source daemon's own: to the target its frames
 * are the daemon's.  Returns 0 when the session is over, -ENOENT if there is none.
 */
int worker_run(const struct net *net, const struct net_address *control, const char *session, const char *name, struct df_error *err);

/*
 * A detached thread that runs until its session is over or the context is shut
 * down.  `data`: the target's, to connect early; the chunk size.
 */
void worker_spawn(const struct net *net, const char *session, const struct net_address *data, uint32_t chunk_bytes, unsigned number);

#endif
