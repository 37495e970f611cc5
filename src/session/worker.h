// SPDX-License-Identifier: BSD-3-Clause
/*
 * A stream worker: asks the source's daemon for leases, sends the leased chunks
 * to the target and hands the leases back with digests.  The same code is a
 * thread of the daemon and a process of its own (`dirtyferry worker`).
 */
#ifndef SESSION_WORKER_H
#define SESSION_WORKER_H

#include <stdint.h>

#include <dirtyferry/error.h>

#define WORKER_CONTROL_INPROC "inproc://control"

/*
 * Works for the session until it is over.  `data`: the target's data endpoint if
 * it is known already, to connect early, and the chunk size; else NULL and 0.  Returns 0 when the session
 * is over, -ENOENT if there is none.
 */
int worker_run(void *context, const char *control, const char *session, const char *data, uint32_t chunk_bytes, const char *name, struct df_error *err);

/* A detached thread that runs until its session is over or the context is shut down. */
void worker_spawn(void *context, const char *session, const char *data, uint32_t chunk_bytes, unsigned number);

#endif
