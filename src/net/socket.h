// SPDX-License-Identifier: BSD-3-Clause
/*
 * ZeroMQ sockets with the settings that keep a daemon out of trouble: bounded
 * queues and messages, no lingering, short handshakes, and CURVE
 * wherever this process has keys.
 *
 * One context a process; a socket belongs to one thread.  Requests have an I/O
 * thread of their own, so that no flood of frames or subscriptions holds them up.
 */
#ifndef NET_SOCKET_H
#define NET_SOCKET_H

#include <stdbool.h>
#include <stdint.h>

#include <zmq.h>

#include <dirtyferry/error.h>

#include "net/keys.h"
#include "wire/limits.h"

/*
 * No ZMQ_HEARTBEAT_IVL: in libzmq 4.3.4 its timer aborts the process when a
 * connection ends whose queue is full (assertion in out_event), which any peer
 * can bring about.  Sessions ask by themselves whether the other side is there;
 * the kernel ends connections to hosts that are gone.
 */
#define NET_KEEPALIVE_IDLE_S     5      /* then a probe a second, three of them */
#define NET_UNACKED_MS           5000   /* sent and not acknowledged for so long */
#define NET_HANDSHAKE_IVL_MS     3000
#define NET_CONNECT_TIMEOUT_MS   2000   /* the kernel's own is minutes when packets vanish */
#define NET_RECONNECT_IVL_MS     100
#define NET_RECONNECT_MAX_MS     2000
#define NET_CURVE_BYTES          64     /* that encryption adds to a message, at most */
/* Bytes that one data pipe may queue at each end, beside the kernel's buffers. */
#define NET_QUEUE_BYTES          (1 << 20)

#define NET_IPC 3       /* sockets on ipc that one process may have */

/* This process on the bus.  Filled by net_start() and net_listen() before there are threads, read by all of them. */
struct net {
    void *context;
    bool secure;            /* it has keys: nothing goes in or out in the clear */
    bool insecure;          /* in the clear, also where strangers may reach it; asked for by --insecure */
    struct key_pair keys;
    struct {
        char path[108];
        int lock;
    } ipc[NET_IPC];         /* claimed (ipc.h) */
    unsigned nipc;
};

/* Where a daemon listens, and its public key; "" where it has none. */
struct net_address {
    char endpoint[WIRE_ENDPOINT_BYTES + 1];
    char key[KEY_TEXT_BYTES];
};

/* keys: NULL for none.  -ENOTSUP: this libzmq has no CURVE, or cannot be made to fail closed. */
int net_start(struct net *net, const struct key_pair *keys, struct df_error *err);
/* Shut down, wait until every socket is closed, let go of ipc paths. */
void net_stop(struct net *net);

/* hwm: messages a pipe; max_bytes: of one message.  For inproc only the queue length counts. */
int net_socket(const struct net *net, int type, int hwm, int64_t max_bytes, void **socket, struct df_error *err);
void net_close(void **socket);

/*
 * Between the threads of this process: inproc://NAME.  Never in the way of a
 * key: who can connect there is this process.
 */
int net_bind_inproc(void *socket, const char *endpoint, struct df_error *err);
int net_connect_inproc(void *socket, const char *endpoint, struct df_error *err);

/*
 * tcp or ipc.  With keys the socket is a CURVE server in that ZAP domain, for
 * which a handler (guard.h) must be there: without one nobody gets in.  Without
 * keys only loopback and ipc are accepted, unless net->insecure.  A path of ipc
 * is claimed first, so that nobody else's socket is replaced.
 */
int net_listen(struct net *net, void *socket, const char *domain, const char *endpoint, char bound[256], struct df_error *err);
/* Both sides have keys, or neither. */
int net_connect(const struct net *net, void *socket, const struct net_address *address, struct df_error *err);

/* The queue length for messages of that many bytes, so that a pipe holds about NET_QUEUE_BYTES. */
int net_queue_length(uint32_t message_bytes);

/* tcp://host:port or ipc://path, as users and peers may name it; `what` names the value in the error. */
int net_check_endpoint(const char *endpoint, const char *what, struct df_error *err);
/* The same, and the key, if there is one. */
int net_check_address(const struct net_address *address, const char *what, struct df_error *err);

/* Where to connect for `endpoint`: a wildcard host is replaced by the host of `reached`, by which its owner was reached. */
void net_resolve(const char *endpoint, const char *reached, char resolved[256]);

/* Is that ipc, or an address of this host that no other host can reach? */
bool net_is_local(const char *endpoint);

/* zmq_msg_recv that tries again on EINTR.  The socket's RCVTIMEO counts from each try. */
int net_recv(zmq_msg_t *msg, void *socket, int flags);

#endif
