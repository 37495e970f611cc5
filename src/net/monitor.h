// SPDX-License-Identifier: BSD-3-Clause
/* The monitor of a ZeroMQ socket (zmq_socket_monitor(3)): what happens to its connections. */
#ifndef NET_MONITOR_H
#define NET_MONITOR_H

#include "net/socket.h"

#define MONITOR_HANDSHAKES (ZMQ_EVENT_HANDSHAKE_SUCCEEDED | MONITOR_FAILURES)
#define MONITOR_FAILURES   (ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)
/*
 * Not HANDSHAKE_FAILED_PROTOCOL: when libzmq 4.3.4 tells that of a message behind
 * the handshake, it takes the connection for one whose queue is full, and never
 * closes it.
 */
#define MONITOR_INCOMING   (ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_ACCEPT_FAILED | ZMQ_EVENT_DISCONNECTED | \
                            ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL)

struct monitor_event {
    uint16_t kind;      /* ZMQ_EVENT_... */
    uint32_t value;     /* the descriptor, or what is wrong */
};

/* From the socket's thread.  `events` gets a socket that may belong to another one. */
int monitor_open(const struct net *net, void *socket, int kinds, void **events, struct df_error *err);
void monitor_close(void *socket, void **events);
/* The next event, if there is one now. */
bool monitor_next(void *events, struct monitor_event *event);

#endif
