// SPDX-License-Identifier: BSD-3-Clause
/*
 * ZeroMQ sockets with the settings that keep a daemon out of trouble: bounded
 * queues and messages, heartbeats, no lingering, short handshakes.
 *
 * One context a process; a socket belongs to one thread.
 */
#ifndef NET_SOCKET_H
#define NET_SOCKET_H

#include <stdbool.h>
#include <stdint.h>

#include <zmq.h>

#include <dirtyferry/error.h>

#define NET_HEARTBEAT_IVL_MS     500
#define NET_HEARTBEAT_TIMEOUT_MS 1500   /* a dead link is noticed within 2 s */
#define NET_HANDSHAKE_IVL_MS     3000
#define NET_CONNECT_TIMEOUT_MS   2000   /* the kernel's own is minutes when packets vanish */
#define NET_RECONNECT_IVL_MS     100
#define NET_RECONNECT_MAX_MS     2000
/* Bytes that one data pipe may queue at each end, beside the kernel's buffers. */
#define NET_QUEUE_BYTES          (1 << 20)

void *net_context(struct df_error *err);

/* hwm: messages a pipe; max_bytes: of one message.  For inproc only the queue length counts. */
int net_socket(void *context, int type, int hwm, int64_t max_bytes, void **socket, struct df_error *err);
int net_bind(void *socket, const char *endpoint, char bound[256], struct df_error *err);
int net_connect(void *socket, const char *endpoint, struct df_error *err);
void net_close(void **socket);

/* The queue length for messages of that many bytes, so that a pipe holds about NET_QUEUE_BYTES. */
int net_queue_length(uint32_t message_bytes);

/* tcp://host:port or ipc://path, as users and peers may name it; `what` names the value in the error. */
int net_check_endpoint(const char *endpoint, const char *what, struct df_error *err);

/* Where to connect for `endpoint`: a wildcard host is replaced by the host of `reached`, by which its owner was reached. */
void net_resolve(const char *endpoint, const char *reached, char resolved[256]);

/* zmq_msg_recv that tries again on EINTR.  The socket's RCVTIMEO counts from each try. */
int net_recv(zmq_msg_t *msg, void *socket, int flags);

#endif
