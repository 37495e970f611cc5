// SPDX-License-Identifier: BSD-3-Clause
/*
 * bench-zmq BYTES COUNT [curve]: a bare ZeroMQ PUSH/PULL pair over loopback TCP,
 * two processes, messages of that size: what the stream is measured against.
 * Prints the megabytes (10^6) a second.  Sockets are set up as the stream's own,
 * but with keys nobody is asked whether a key is allowed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/socket.h"
#include "wire/limits.h"

static void check(int r, const struct df_error *err)
{
    if (r < 0) {
        fprintf(stderr, "bench-zmq: %s\n", err->message);
        exit(1);
    }
}

/* keys: of both sides, or NULL */
static void push(const char *endpoint, const struct key_pair *keys, size_t nbytes, long n)
{
    struct df_error err;
    struct net net;
    struct net_address address = { .key = "" };
    void *socket;
    char *buffer = calloc(1, nbytes);
    int linger = -1;
    snprintf(address.endpoint, sizeof address.endpoint, "%s", endpoint);
    if (keys)
        memcpy(address.key, keys->public_key, sizeof address.key);
    check(net_start(&net, keys, &err), &err);
    check(net_socket(&net, ZMQ_PUSH, net_queue_length((uint32_t)nbytes), WIRE_CHUNK_BYTES_MAX + WIRE_ENVELOPE_BYTES, &socket, &err), &err);
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    check(net_connect(&net, socket, &address, &err), &err);
    while (n--)
        zmq_send(socket, buffer, nbytes, 0);
    zmq_close(socket);
    net_stop(&net);
    free(buffer);
}

static void serve_curve(void *socket, const struct key_pair *keys)
{
    int yes = 1;
    zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &yes, sizeof yes);
    zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, keys->secret_key, sizeof keys->secret_key);
}

int main(int argc, char **argv)
{
    struct df_error err;
    char bound[256] = "";
    int ends[2];
    if (argc < 3 || argc > 4 || (argc == 4 && strcmp(argv[3], "curve")) || pipe(ends) < 0)
        return 2;
    struct key_pair pair, *keys = argc == 4 ? &pair : NULL;
    if (keys)
        check(keys_generate(keys, &err), &err);
    size_t nbytes = (size_t)atol(argv[1]);
    long n = atol(argv[2]);
    pid_t pid = fork();
    if (pid == 0) {
        if (read(ends[0], bound, sizeof bound) <= 0)
            return 1;
        push(bound, keys, nbytes, n);
        _exit(0);
    }
    struct net net;
    void *socket;
    check(net_start(&net, NULL, &err), &err);
    check(net_socket(&net, ZMQ_PULL, 1000, WIRE_CHUNK_BYTES_MAX + WIRE_ENVELOPE_BYTES, &socket, &err), &err);
    if (keys)
        serve_curve(socket, keys);
    check(net_listen(&net, socket, "bench", "tcp://127.0.0.1:*", bound, &err), &err);
    if (write(ends[1], bound, sizeof bound) < 0)
        return 1;
    zmq_msg_t msg;
    zmq_msg_init(&msg);
    int64_t start_ns = 0;
    for (long i = 0; i < n; i++) {
        if (zmq_msg_recv(&msg, socket, 0) != (int)nbytes)
            return 1;
        if (!i)
            start_ns = clock_ns();
    }
    int64_t ns = clock_ns() - start_ns;
    printf("%.1f\n", (double)(n - 1) * (double)nbytes * 1e3 / (double)ns);
    waitpid(pid, NULL, 0);
    zmq_close(socket);
    net_stop(&net);
    return 0;
}
