// SPDX-License-Identifier: BSD-3-Clause
#include "net/monitor.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

int monitor_open(const struct net *net, void *socket, int kinds, void **events, struct df_error *err)
{
    static _Atomic unsigned number;     /* names only: relaxed suffices */
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, "inproc://monitor-%u", atomic_fetch_add_explicit(&number, 1, memory_order_relaxed));
    if (zmq_socket_monitor(socket, endpoint, kinds) < 0)
        return error_errno(err, -errno, "cannot watch the connections of a socket");
    int r = net_socket(net, ZMQ_PAIR, 0, -1, events, err);
    if (!r)
        r = net_connect_inproc(*events, endpoint, err);
    if (r < 0)
        monitor_close(socket, events);
    return r;
}

void monitor_close(void *socket, void **events)
{
    zmq_socket_monitor(socket, NULL, 0);
    net_close(events);
}

/* Two frames: number and value, then the endpoint, which is this side's own. */
bool monitor_next(void *events, struct monitor_event *event)
{
    uint8_t head[6];
    int n;
    do
        n = zmq_recv(events, head, sizeof head, ZMQ_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n != sizeof head)
        return false;
    memcpy(&event->kind, head, sizeof event->kind);
    memcpy(&event->value, head + sizeof event->kind, sizeof event->value);
    zmq_recv(events, NULL, 0, 0);
    return true;
}
