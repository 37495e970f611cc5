// SPDX-License-Identifier: BSD-3-Clause
/*
 * Who may listen at a path of the file system.
 *
 * libzmq unlinks whatever is at the path that it binds, also the socket of a
 * program that listens there.  So the path is claimed first: its directory is
 * private, PATH.lock is locked while we serve, and what is at the path is
 * removed only if it is a socket of this user on which nobody listens.
 *
 *     ipc_claim   before zmq_bind
 *     ipc_release after zmq_ctx_term: before, the socket may still be listening
 *
 * A process that is killed leaves both files; the next claim takes them over,
 * for the kernel drops the lock.
 */
#ifndef NET_IPC_H
#define NET_IPC_H

#include <dirtyferry/error.h>

/* Of `ipc://PATH`, its PATH.  -EBUSY: another program has it; -EEXIST: what is there is not ours to remove; -EPERM: no place for a socket. */
int ipc_claim(const char *path, int *lock_fd, struct df_error *err);
/* *lock_fd < 0: nothing was claimed. */
void ipc_release(const char *path, int *lock_fd);

#endif
