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
    void *context, *socket;
    char endpoint[256];
};

struct sent {
    uint64_t id;
    const struct message_type *type;
};

uint64_t client_new_id(void)
{
    uint64_t id;
    if (getrandom(&id, sizeof id, 0) != sizeof id)
        abort();
    return id;
}

/* Also in place of one that nobody answers: what is queued there is dropped, else the queue fills and a daemon that wakes up gets it all. */
static int open_socket(struct client *client, const char *endpoint, struct df_error *err)
{
    net_close(&client->socket);
    int r = net_socket(client->context, ZMQ_REQ, 16, WIRE_CONTROL_BYTES, &client->socket, err);
    if (r < 0)
        return r;
    int on = 1;
    zmq_setsockopt(client->socket, ZMQ_REQ_RELAXED, &on, sizeof on);
    zmq_setsockopt(client->socket, ZMQ_REQ_CORRELATE, &on, sizeof on);
    return net_connect(client->socket, endpoint, err);
}

int client_open(void *context, const char *endpoint, struct client **out, struct df_error *err)
{
    CLEANUP(client_close) struct client *client = calloc(1, sizeof *client);
    if (!client)
        return error_errno(err, -ENOMEM, "cannot connect to '%s'", endpoint);
    client->context = context;
    int r = open_socket(client, endpoint, err);
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
static int receive(struct client *client, const struct sent *sent, int64_t deadline_ms, struct message **reply, struct df_error *err)
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
        /* A refusal may come under another type: the daemon could not read the request. */
        if (!r && (id != sent->id || ((*reply)->type != sent->type && !(*reply)->error))) {
            message_free(reply);
            r = error_set(err, -EPROTO, "the daemon at '%s' answers something that was not asked", client->endpoint);
        }
        return r < 0 ? r : 1;
    }
}

/* Is anybody there?  Asked on a connection of its own while a long answer is awaited. */
static int ping(struct client *client, struct df_error *err)
{
    CLEANUP(client_close) struct client *other = NULL;
    struct out out;
    int r = client_open(client->context, client->endpoint, &other, err);
    if (r < 0)
        return r;
    client_begin(&out, "hello");
    return client_call(other, &out, 0, NULL, err);
}

/* Sends again and again: 1 when the reply is there, 0 when the time is over. */
static int converse(struct client *client, const struct sent *sent, const uint8_t *bytes, size_t nbytes, int hold_ms,
                    struct message **reply, struct df_error *err)
{
    int64_t deadline_ms = clock_ms() + hold_ms + CLIENT_TRIES * CLIENT_TRY_MS;
    int r = 0;
    for (unsigned tries = 1; !r && clock_ms() < deadline_ms; tries++) {
        if (zmq_send(client->socket, bytes, nbytes, ZMQ_DONTWAIT) < 0 && errno != EINTR && errno != EAGAIN)
            return error_set(err, -errno, "cannot send to '%s': %s", client->endpoint, zmq_strerror(errno));
        int64_t until_ms = clock_ms() + CLIENT_TRY_MS;
        r = receive(client, sent, until_ms < deadline_ms ? until_ms : deadline_ms, reply, err);
        if (!r && hold_ms && tries % CLIENT_TRIES == 0)
            r = ping(client, err);
    }
    return r;
}

int client_call(struct client *client, struct out *out, int hold_ms, struct message **replyp, struct df_error *err)
{
    CLEANUP(message_free) struct message *reply = NULL;
    const uint8_t *bytes;
    size_t nbytes;
    struct sent sent = { 0 };
    int r = 0;
    if (!out_finish(out, &bytes, &nbytes))
        r = error_errno(err, -ENOMEM, "cannot build a request");
    else if (!(sent.type = message_identify(bytes, nbytes, &sent.id, err)))
        r = -EPROTO;
    int64_t start_ms = clock_ms();
    if (!r && !(r = converse(client, &sent, bytes, nbytes, hold_ms, &reply, err)))
        r = error_set(err, -ETIMEDOUT, "no answer from the daemon at '%s' within %d s: is dirtyferryd running there?",
                      client->endpoint, (int)((clock_ms() - start_ms + 500) / 1000));
    out_destroy(out);
    if (r == -ETIMEDOUT)
        open_socket(client, client->endpoint, NULL);
    if (r < 0)
        return r;
    r = message_get_error(reply, err);
    if (replyp)
        *replyp = steal(&reply);
    return r;
}
