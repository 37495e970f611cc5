// SPDX-License-Identifier: BSD-3-Clause
#include "net/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/random.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"

struct client {
    const struct net *net;
    void *socket;
    struct handshake *handshake;    /* NULL within this process */
    struct net_address address;
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

static void close_socket(struct client *client)
{
    handshake_close(&client->handshake);
    net_close(&client->socket);
}

static bool is_inproc(const struct client *client)
{
    return !strncmp(client->address.endpoint, "inproc://", 9);
}

/* Also in place of one that nobody answers: what is queued there is dropped, else the queue fills and a daemon that wakes up gets it all. */
static int open_socket(struct client *client, struct df_error *err)
{
    close_socket(client);
    int r = net_socket(client->net, ZMQ_REQ, 16, WIRE_CONTROL_BYTES, &client->socket, err);
    if (r < 0)
        return r;
    int on = 1;
    zmq_setsockopt(client->socket, ZMQ_REQ_RELAXED, &on, sizeof on);
    zmq_setsockopt(client->socket, ZMQ_REQ_CORRELATE, &on, sizeof on);
    if (is_inproc(client))
        return net_connect_inproc(client->socket, client->address.endpoint, err);
    r = handshake_watch(client->net, client->socket, &client->handshake, err);
    return r < 0 ? r : net_connect(client->net, client->socket, &client->address, err);
}

int client_open(const struct net *net, const struct net_address *address, struct client **out, struct df_error *err)
{
    CLEANUP(client_close) struct client *client = calloc(1, sizeof *client);
    if (!client)
        return error_errno(err, -ENOMEM, "cannot connect to '%s'", address->endpoint);
    client->net = net;
    client->address = *address;
    int r = open_socket(client, err);
    if (r < 0)
        return r;
    *out = steal(&client);
    return 0;
}

int client_open_inproc(const struct net *net, const char *endpoint, struct client **client, struct df_error *err)
{
    struct net_address address = { .key = "" };
    snprintf(address.endpoint, sizeof address.endpoint, "%s", endpoint);
    return client_open(net, &address, client, err);
}

void client_close(struct client **clientp)
{
    struct client *client = steal(clientp);
    if (!client)
        return;
    close_socket(client);
    free(client);
}

const struct net_address *client_address(const struct client *client)
{
    return &client->address;
}

void client_begin(struct out *out, const char *type)
{
    message_begin(out, type, client_new_id());
}

static int take_reply(struct client *client, const struct sent *sent, zmq_msg_t *msg, struct message **reply, struct df_error *err)
{
    uint64_t id;
    int r = message_decode(zmq_msg_data(msg), zmq_msg_size(msg), MESSAGE_REPLY, reply, &id, err);
    /* A refusal may come under another type: the daemon could not read the request. */
    if (!r && (id != sent->id || ((*reply)->type != sent->type && !(*reply)->error))) {
        message_free(reply);
        r = error_set(err, -EPROTO, "the daemon at '%s' answers something that was not asked", client->address.endpoint);
    }
    return r < 0 ? r : 1;
}

static const char *why_not(struct client *client, bool *final)
{
    *final = false;
    return client->handshake ? handshake_failure(client->handshake, final) : NULL;
}

/* The daemon is there and does not let us in: to wait would not help. */
static int check_handshake(struct client *client, struct df_error *err)
{
    bool final;
    const char *why = why_not(client, &final);
    return why && final ? error_set(err, -EACCES, "the daemon at '%s' cannot be talked to: %s", client->address.endpoint, why) : 0;
}

static int no_answer(struct client *client, int64_t ms, struct df_error *err)
{
    bool final;
    const char *why = why_not(client, &final);
    return error_set(err, -ETIMEDOUT, "no answer from the daemon at '%s' within %d s: %s", client->address.endpoint, (int)((ms + 500) / 1000),
                     why ? why : "is dirtyferryd running there?");
}

/* One try: 1 when the reply is there, 0 when it is not. */
static int receive(struct client *client, const struct sent *sent, int64_t deadline_ms, struct message **reply, struct df_error *err)
{
    zmq_pollitem_t items[2] = { { client->socket, 0, ZMQ_POLLIN, 0 } };
    if (client->handshake)
        items[1] = (zmq_pollitem_t){ handshake_socket(client->handshake), 0, ZMQ_POLLIN, 0 };
    for (;;) {
        int64_t left = deadline_ms - clock_ms();
        int n = zmq_poll(items, client->handshake ? 2 : 1, left > 0 ? (long)left : 0);
        if (n < 0 && errno != EINTR)
            return error_set(err, -errno, "no answer from '%s': %s", client->address.endpoint, zmq_strerror(errno));
        int r = check_handshake(client, err);
        if (r < 0)
            return r;
        zmq_msg_t msg;
        zmq_msg_init(&msg);
        bool got = net_recv(&msg, client->socket, ZMQ_DONTWAIT) >= 0;
        r = got ? take_reply(client, sent, &msg, reply, err) : errno == EAGAIN ? 0 : error_set(err, -errno, "no answer from '%s': %s", client->address.endpoint, zmq_strerror(errno));
        zmq_msg_close(&msg);
        if (got || r < 0 || left <= 0)
            return r;
    }
}

/* Is anybody there?  Asked on a connection of its own while a long answer is awaited. */
static int ping(struct client *client, struct df_error *err)
{
    CLEANUP(client_close) struct client *other = NULL;
    struct out out;
    int r = client_open(client->net, &client->address, &other, err);
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
            return error_set(err, -errno, "cannot send to '%s': %s", client->address.endpoint, zmq_strerror(errno));
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
        r = no_answer(client, clock_ms() - start_ms, err);
    out_destroy(out);
    if (r == -ETIMEDOUT || r == -EACCES)
        open_socket(client, NULL);
    if (r < 0)
        return r;
    r = message_get_error(reply, err);
    if (replyp)
        *replyp = steal(&reply);
    return r;
}
