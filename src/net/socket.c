// SPDX-License-Identifier: BSD-3-Clause
#include "net/socket.h"

#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/cleanup.h"

void *net_context(struct df_error *err)
{
    void *context = zmq_ctx_new();
    if (!context) {
        error_errno(err, -errno, "cannot start ZeroMQ");
        return NULL;
    }
    zmq_ctx_set(context, ZMQ_MAX_SOCKETS, 4096);
    zmq_ctx_set(context, ZMQ_BLOCKY, 0);
    return context;
}

static int set_int(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof value);
}

int net_socket(void *context, int type, int hwm, int64_t max_bytes, void **out, struct df_error *err)
{
    void *socket = zmq_socket(context, type);
    if (!socket)
        return error_errno(err, -errno, "cannot open a socket");
    int r = set_int(socket, ZMQ_LINGER, 0) | set_int(socket, ZMQ_IPV6, 1) |
            set_int(socket, ZMQ_SNDHWM, hwm) | set_int(socket, ZMQ_RCVHWM, hwm) |
            zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &max_bytes, sizeof max_bytes) |
            set_int(socket, ZMQ_HEARTBEAT_IVL, NET_HEARTBEAT_IVL_MS) |
            set_int(socket, ZMQ_HEARTBEAT_TIMEOUT, NET_HEARTBEAT_TIMEOUT_MS) |
            set_int(socket, ZMQ_HEARTBEAT_TTL, NET_HEARTBEAT_TIMEOUT_MS) |
            set_int(socket, ZMQ_HANDSHAKE_IVL, NET_HANDSHAKE_IVL_MS) |
            set_int(socket, ZMQ_CONNECT_TIMEOUT, NET_CONNECT_TIMEOUT_MS) |
            set_int(socket, ZMQ_RECONNECT_IVL, NET_RECONNECT_IVL_MS) |
            set_int(socket, ZMQ_RECONNECT_IVL_MAX, NET_RECONNECT_MAX_MS);
    if (r < 0) {
        r = -errno;
        zmq_close(socket);
        return error_errno(err, r, "cannot set up a socket");
    }
    *out = socket;
    return 0;
}

/* An IPv4 address that an IPv6 socket listens on, in the form in which people write it. */
static void plain_ipv4(char endpoint[256])
{
    static const char mapped[] = "tcp://[::ffff:";
    char *close = strchr(endpoint, ']');
    if (strncmp(endpoint, mapped, sizeof mapped - 1) || !close)
        return;
    size_t address = (size_t)(close - endpoint) - (sizeof mapped - 1);
    memmove(endpoint + 6, endpoint + sizeof mapped - 1, address);
    memmove(endpoint + 6 + address, close + 1, strlen(close + 1) + 1);
}

/* Between the threads of a process anything goes. */
static int check_any(const char *endpoint, struct df_error *err)
{
    return strncmp(endpoint, "inproc://", 9) ? net_check_endpoint(endpoint, "endpoint", err) : 0;
}

int net_bind(void *socket, const char *endpoint, char bound[256], struct df_error *err)
{
    int r = check_any(endpoint, err);
    if (r < 0)
        return r;
    if (zmq_bind(socket, endpoint) < 0)
        return error_set(err, -errno, "cannot listen on '%s': %s", endpoint, zmq_strerror(errno));
    size_t n = 256;
    if (bound && zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, bound, &n) < 0)
        return error_set(err, -errno, "cannot ask where '%s' listens: %s", endpoint, zmq_strerror(errno));
    if (bound)
        plain_ipv4(bound);
    return 0;
}

int net_connect(void *socket, const char *endpoint, struct df_error *err)
{
    int r = check_any(endpoint, err);
    if (r < 0)
        return r;
    if (zmq_connect(socket, endpoint) < 0)
        return error_set(err, -errno, "cannot connect to '%s': %s", endpoint, zmq_strerror(errno));
    return 0;
}

void net_close(void **socket)
{
    void *s = steal(socket);
    if (s)
        zmq_close(s);
}

int net_queue_length(uint32_t message_bytes)
{
    uint32_t n = NET_QUEUE_BYTES / (message_bytes ? message_bytes : 1);
    return n > 1000 ? 1000 : n < 8 ? 8 : (int)n;
}

int net_check_endpoint(const char *endpoint, const char *what, struct df_error *err)
{
    const char *port = strrchr(endpoint, ':');
    size_t n = strlen(endpoint);
    bool ok = n <= 255;
    if (ok && !strncmp(endpoint, "tcp://", 6)) {
        char *end;
        long number = strtol(port + 1, &end, 10);
        ok = port > endpoint + 6 && (!strcmp(port, ":*") || (port[1] && !*end && number >= 0 && number <= 65535));
    } else {
        ok = ok && !strncmp(endpoint, "ipc://", 6) && n > 6 && n < 6 + 108;
    }
    return ok ? 0 : error_set(err, -EINVAL, "%s '%.255s' is not one: write tcp://HOST:PORT (0 to 65535) or ipc://PATH (under 108 bytes)", what, endpoint);
}

void net_resolve(const char *endpoint, const char *reached, char resolved[256])
{
    static const char *const wildcards[] = { "tcp://0.0.0.0:", "tcp://[::]:", "tcp://*:" };    /* as net_bind reports them */
    const char *port = strrchr(endpoint, ':');
    const char *reached_port = strrchr(reached, ':');
    for (unsigned i = 0; i < 3; i++)
        if (!strncmp(endpoint, wildcards[i], strlen(wildcards[i])) && !strncmp(reached, "tcp://", 6)) {
            snprintf(resolved, 256, "%.*s%s", (int)(reached_port - reached), reached, port);
            return;
        }
    snprintf(resolved, 256, "%s", endpoint);
}

int net_recv(zmq_msg_t *msg, void *socket, int flags)
{
    int r;
    do
        r = zmq_msg_recv(msg, socket, flags);
    while (r < 0 && errno == EINTR);
    return r;
}
