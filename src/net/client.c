// SPDX-License-Identifier: BSD-3-Clause
#include "net/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"

struct client {
    void *socket;
    char endpoint[256];
};

uint64_t client_new_id(void)
{
    uint64_t id;
    if (getrandom(&id, sizeof id, 0) != sizeof id)
        abort();
    return id;
}

int client_open(void *context, const char *endpoint, struct client **out, struct df_error *err)
{
    CLEANUP(client_close) struct client *client = calloc(1, sizeof *client);
    if (!client)
        return error_errno(err, -ENOMEM, "cannot connect to '%s'", endpoint);
    int r = net_socket(context, ZMQ_REQ, 16, WIRE_CONTROL_BYTES, &client->socket, err);
    if (r < 0)
        return r;
    int on = 1;
    zmq_setsockopt(client->socket, ZMQ_REQ_RELAXED, &on, sizeof on);
    zmq_setsockopt(client->socket, ZMQ_REQ_CORRELATE, &on, sizeof on);
    r = net_connect(client->socket, endpoint, err);
    if (r < 0)
        return r;
    snprintf(client->endpoint, sizeof client->endpoint, "%s", endpoint);
    *out = steal(&client);
    return 0;
}

void client_close(struct client **clientp)
{
    struct client *client = steal(clientp);
    if (!client)
        return;
    net_close(&client->socket);
    free(client);
}

const char *client_endpoint(const struct client *client)
{
    return client->endpoint;
}

void client_begin(struct out *out, const char *type)
{
    message_begin(out, type, client_new_id());
}

/* One try: 1 when the reply is there, 0 when it is not. */
static int receive(struct client *client, int64_t deadline_ms, struct message **reply, struct df_error *err)
{
    for (;;) {
        int64_t left = deadline_ms - clock_ms();
        int timeout = left > 0 ? (int)left : 0;
        zmq_setsockopt(client->socket, ZMQ_RCVTIMEO, &timeout, sizeof timeout);
        zmq_msg_t msg;
        zmq_msg_init(&msg);
        int n = zmq_msg_recv(&msg, client->socket, 0);
        if (n < 0) {
            int error = errno;
            zmq_msg_close(&msg);
            if (error == EINTR)
                continue;
            if (error == EAGAIN)
                return 0;
            return error_set(err, -error, "no answer from '%s': %s", client->endpoint, zmq_strerror(error));
        }
        uint64_t id;
        int r = message_decode(zmq_msg_data(&msg), zmq_msg_size(&msg), MESSAGE_REPLY, reply, &id, err);
        zmq_msg_close(&msg);
        return r < 0 ? r : 1;
    }
}

int client_call(struct client *client, struct out *out, int hold_ms, struct message **replyp, struct df_error *err)
{
    CLEANUP(message_free) struct message *reply = NULL;
    const uint8_t *bytes;
    size_t nbytes;
    int r = out_finish(out, &bytes, &nbytes) ? 0 : error_errno(err, -ENOMEM, "cannot build a request");
    for (unsigned i = 0; !r && i < CLIENT_TRIES; i++) {
        if (zmq_send(client->socket, bytes, nbytes, 0) < 0)
            r = errno == EINTR ? 0 : error_set(err, -errno, "cannot send to '%s': %s", client->endpoint, zmq_strerror(errno));
        else
            r = receive(client, clock_ms() + CLIENT_TRY_MS + hold_ms, &reply, err);
    }
    out_destroy(out);
    if (!r)
        return error_set(err, -ETIMEDOUT, "no answer from the daemon at '%s' within %d s: is dirtyferryd running there?",
                         client->endpoint, CLIENT_TRIES * (CLIENT_TRY_MS + hold_ms) / 1000);
    if (r < 0)
        return r;
    r = message_get_error(reply, err);
    if (replyp)
        *replyp = steal(&reply);
    return r;
}
