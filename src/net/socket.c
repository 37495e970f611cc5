// SPDX-License-Identifier: BSD-3-Clause
#include "net/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/cleanup.h"
#include "net/ipc.h"

/* libzmq's number of it is among the drafts: Debian's takes it, and without it a domain without a handler is open to all. */
#define ZAP_ENFORCE_DOMAIN 93

enum { IO_REQUESTS = 1 << 0, IO_STREAMS = 1 << 1 };    /* bits of ZMQ_AFFINITY */

static int set_int(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof value);
}

static int set_text(void *socket, int option, const char *text)
{
    return zmq_setsockopt(socket, option, text, strlen(text) + (option == ZMQ_ZAP_DOMAIN ? 0 : 1));
}

/* Asked before anything listens: a library that ignores the option would let everybody in when the handler is gone. */
static int probe_curve(void *context, struct df_error *err)
{
    void *socket = zmq_has("curve") ? zmq_socket(context, ZMQ_ROUTER) : NULL;
    bool ok = socket && set_text(socket, ZMQ_ZAP_DOMAIN, "probe") == 0 && set_int(socket, ZAP_ENFORCE_DOMAIN, 1) == 0;
    net_close(&socket);
    return ok ? 0 : error_set(err, -ENOTSUP, "keys cannot be used: this libzmq has no CURVE, or cannot be told to refuse everybody when nobody checks keys (4.3 or later with libsodium is needed)");
}

int net_start(struct net *net, const struct key_pair *keys, struct df_error *err)
{
    *net = (struct net){ .context = zmq_ctx_new(), .secure = keys != NULL };
    if (!net->context)
        return error_errno(err, -errno, "cannot start ZeroMQ");
    zmq_ctx_set(net->context, ZMQ_IO_THREADS, 2);
    zmq_ctx_set(net->context, ZMQ_MAX_SOCKETS, 8192);
    zmq_ctx_set(net->context, ZMQ_BLOCKY, 0);
    if (keys)
        net->keys = *keys;
    int r = keys ? probe_curve(net->context, err) : 0;
    if (r < 0)
        net_stop(net);
    return r;
}

void net_stop(struct net *net)
{
    if (net->context) {
        zmq_ctx_shutdown(net->context);
        zmq_ctx_term(net->context);
    }
    while (net->nipc) {
        net->nipc--;
        ipc_release(net->ipc[net->nipc].path, &net->ipc[net->nipc].lock);
    }
    keys_forget(&net->keys);
    net->context = NULL;
}

static int io_of(int type)
{
    return type == ZMQ_ROUTER || type == ZMQ_DEALER || type == ZMQ_REQ || type == ZMQ_REP ? IO_REQUESTS : IO_STREAMS;
}

int net_socket(const struct net *net, int type, int hwm, int64_t max_bytes, void **out, struct df_error *err)
{
    void *socket = zmq_socket(net->context, type);
    uint64_t io = (uint64_t)io_of(type);
    if (net->secure && max_bytes > 0)
        max_bytes += NET_CURVE_BYTES;
    if (!socket)
        return error_errno(err, -errno, "cannot open a socket");
    int r = set_int(socket, ZMQ_LINGER, 0) | set_int(socket, ZMQ_IPV6, 1) |
            set_int(socket, ZMQ_SNDHWM, hwm) | set_int(socket, ZMQ_RCVHWM, hwm) |
            zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &max_bytes, sizeof max_bytes) |
            zmq_setsockopt(socket, ZMQ_AFFINITY, &io, sizeof io) |
            set_int(socket, ZMQ_TCP_KEEPALIVE, 1) | set_int(socket, ZMQ_TCP_KEEPALIVE_IDLE, NET_KEEPALIVE_IDLE_S) |
            set_int(socket, ZMQ_TCP_KEEPALIVE_INTVL, 1) | set_int(socket, ZMQ_TCP_KEEPALIVE_CNT, 3) |
            set_int(socket, ZMQ_TCP_MAXRT, NET_UNACKED_MS) |
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

int net_bind_inproc(void *socket, const char *endpoint, struct df_error *err)
{
    return zmq_bind(socket, endpoint) < 0 ? error_errno(err, -errno, "cannot listen on '%s'", endpoint) : 0;
}

int net_connect_inproc(void *socket, const char *endpoint, struct df_error *err)
{
    return zmq_connect(socket, endpoint) < 0 ? error_errno(err, -errno, "cannot connect to '%s'", endpoint) : 0;
}

/* In the clear: what no other host reaches. */
static int check_exposure(const struct net *net, const char *endpoint, struct df_error *err)
{
    if (net->secure || net->insecure || net_is_local(endpoint))
        return 0;
    return error_set(err, -EPERM, "cannot listen on '%s' without keys, anybody there could use this daemon: give it --key and --allow, listen on 127.0.0.1, [::1] or ipc://PATH, or take the risk by --insecure", endpoint);
}

static int serve_curve(const struct net *net, void *socket, const char *domain, struct df_error *err)
{
    int r = set_int(socket, ZMQ_CURVE_SERVER, 1) | set_text(socket, ZMQ_CURVE_SECRETKEY, net->keys.secret_key) |
            set_text(socket, ZMQ_ZAP_DOMAIN, domain) | set_int(socket, ZAP_ENFORCE_DOMAIN, 1);
    return r < 0 ? error_errno(err, -errno, "cannot protect a socket by keys") : 0;
}

static int claim_path(struct net *net, const char *endpoint, struct df_error *err)
{
    if (strncmp(endpoint, "ipc://", 6))
        return 0;
    if (net->nipc == NET_IPC)
        return error_set(err, -ENOSPC, "cannot listen on '%s': one process has no more than %u ipc sockets", endpoint, NET_IPC);
    int r = ipc_claim(endpoint + 6, &net->ipc[net->nipc].lock, err);
    if (!r)
        snprintf(net->ipc[net->nipc++].path, sizeof net->ipc->path, "%s", endpoint + 6);
    return r;
}

int net_listen(struct net *net, void *socket, const char *domain, const char *endpoint, char bound[256], struct df_error *err)
{
    int r = net_check_endpoint(endpoint, "endpoint", err);
    if (!r)
        r = check_exposure(net, endpoint, err);
    if (!r && net->secure)
        r = serve_curve(net, socket, domain, err);
    if (!r)
        r = claim_path(net, endpoint, err);
    if (r < 0)
        return r;
    if (zmq_bind(socket, endpoint) < 0)
        return error_set(err, -errno, "cannot listen on '%s': %s", endpoint, zmq_strerror(errno));
    size_t n = 256;
    if (zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, bound, &n) < 0)
        return error_set(err, -errno, "cannot ask where '%s' listens: %s", endpoint, zmq_strerror(errno));
    plain_ipv4(bound);
    return 0;
}

static int connect_curve(const struct net *net, void *socket, const struct net_address *address, struct df_error *err)
{
    int r = set_text(socket, ZMQ_CURVE_SERVERKEY, address->key) | set_text(socket, ZMQ_CURVE_PUBLICKEY, net->keys.public_key) |
            set_text(socket, ZMQ_CURVE_SECRETKEY, net->keys.secret_key);
    return r < 0 ? error_errno(err, -errno, "cannot use the key of '%s'", address->endpoint) : 0;
}

int net_connect(const struct net *net, void *socket, const struct net_address *address, struct df_error *err)
{
    const char *endpoint = address->endpoint;
    bool keyed = address->key[0];
    int r = net_check_endpoint(endpoint, "endpoint", err);
    if (!r && keyed && !net->secure)
        r = error_set(err, -EPERM, "cannot connect to '%s': the daemon there has a key and this program has none: give it its own by --key", endpoint);
    if (!r && !keyed && net->secure)
        r = error_set(err, -EPERM, "cannot connect to '%s' in the clear: this side has a key, so that of the daemon there must be named too (EP,CERTIFICATE)", endpoint);
    if (!r && keyed)
        r = connect_curve(net, socket, address, err);
    if (!r && zmq_connect(socket, endpoint) < 0)
        r = error_set(err, -errno, "cannot connect to '%s': %s", endpoint, zmq_strerror(errno));
    return r;
}

void net_close(void **socket)
{
    void *s = steal(socket);
    if (!s)
        return;
    zmq_socket_monitor(s, NULL, 0);     /* else an I/O thread waits and leaks when nobody takes the last events any more */
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
        /* libzmq takes "SOURCE;ADDRESS", and all that is looked at here would be the source. */
        ok = port > endpoint + 6 && !strchr(endpoint, ';') && (!strcmp(port, ":*") || (port[1] && !*end && number >= 0 && number <= 65535));
    } else {
        ok = ok && !strncmp(endpoint, "ipc://", 6) && n > 6 && n < 6 + 108;
    }
    return ok ? 0 : error_set(err, -EINVAL, "%s '%.255s' is not one: write tcp://HOST:PORT (0 to 65535) or ipc://PATH (under 108 bytes)", what, endpoint);
}

int net_check_address(const struct net_address *address, const char *what, struct df_error *err)
{
    int r = net_check_endpoint(address->endpoint, what, err);
    if (!r && address->key[0] && !key_is_valid(address->key))
        r = error_set(err, -EINVAL, "%s_key is not a public key: 40 characters of Z85", what);
    return r;
}

bool net_is_local(const char *endpoint)
{
    /* Names are not looked up: what they mean may change. */
    static const char *const local[] = { "ipc://", "tcp://[::1]:" };
    const char *port = strrchr(endpoint, ':');
    char host[INET_ADDRSTRLEN] = "";
    struct in_addr address;
    for (unsigned i = 0; i < 2; i++)
        if (!strncmp(endpoint, local[i], strlen(local[i])))
            return true;
    if (strncmp(endpoint, "tcp://", 6) || !port || port <= endpoint + 6 || (size_t)(port - endpoint - 6) >= sizeof host)
        return false;
    memcpy(host, endpoint + 6, (size_t)(port - endpoint - 6));
    return inet_pton(AF_INET, host, &address) == 1 && ntohl(address.s_addr) >> 24 == 127;
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
