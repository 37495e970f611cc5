// SPDX-License-Identifier: BSD-3-Clause
#include "net/peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "net/client.h"

struct call {
    struct call *next;
    uint64_t id, tag;
    const struct message_type *type;
    struct out out;
    const uint8_t *bytes;
    size_t nbytes;
    unsigned tries;
    int hold_ms;
    int64_t again_ms;
    peer_answer *answer;
    void *opaque;
};

struct peer {
    void *socket;
    struct call *calls;
    char endpoint[256];
};

int peer_open(void *context, const char *endpoint, struct peer **out, struct df_error *err)
{
    CLEANUP(peer_close) struct peer *peer = calloc(1, sizeof *peer);
    if (!peer)
        return error_errno(err, -ENOMEM, "cannot connect to '%s'", endpoint);
    int r = net_socket(context, ZMQ_DEALER, 1000, WIRE_CONTROL_BYTES, &peer->socket, err);
    if (!r)
        r = net_connect(peer->socket, endpoint, err);
    if (r < 0)
        return r;
    snprintf(peer->endpoint, sizeof peer->endpoint, "%s", endpoint);
    *out = steal(&peer);
    return 0;
}

static void call_free(struct call *call)
{
    out_destroy(&call->out);
    free(call);
}

void peer_close(struct peer **peerp)
{
    struct peer *peer = steal(peerp);
    if (!peer)
        return;
    while (peer->calls) {
        struct call *call = peer->calls;
        peer->calls = call->next;
        call_free(call);
    }
    net_close(&peer->socket);
    free(peer);
}

bool peer_is_busy(const struct peer *peer)
{
    return peer->calls != NULL;
}

void *peer_socket(struct peer *peer)
{
    return peer->socket;
}

const char *peer_endpoint(const struct peer *peer)
{
    return peer->endpoint;
}

void peer_begin(struct out *out, const char *type, uint64_t *id)
{
    *id = client_new_id();
    message_begin(out, type, *id);
}

static void transmit(struct peer *peer, struct call *call)
{
    call->tries++;
    call->again_ms = clock_ms() + PEER_TRY_MS + call->hold_ms;
    if (zmq_send(peer->socket, "", 0, ZMQ_SNDMORE | ZMQ_DONTWAIT) == 0)
        zmq_send(peer->socket, call->bytes, call->nbytes, ZMQ_DONTWAIT);
}

void peer_send(struct peer *peer, struct out *out, uint64_t id, int hold_ms, peer_answer *answer, void *opaque, uint64_t tag)
{
    struct call *call = calloc(1, sizeof *call);
    if (!call)
        abort();    /* no way to report it, and nothing works without memory */
    call->out = *out;
    if (!out_finish(&call->out, &call->bytes, &call->nbytes))
        abort();
    call->type = message_identify(call->bytes, call->nbytes, &call->id, NULL);
    call->id = id;
    call->tag = tag;
    call->hold_ms = hold_ms;
    call->answer = answer;
    call->opaque = opaque;
    call->next = peer->calls;
    peer->calls = call;
    transmit(peer, call);
}

/* Unlinked first: the answer may send the next request. */
static void finish(struct peer *peer, struct call *call, int r, const struct message *reply, const struct df_error *err)
{
    struct call **link = &peer->calls;
    while (*link != call)
        link = &(*link)->next;
    *link = call->next;
    call->answer(call->opaque, call->tag, r, reply, err);
    call_free(call);
}

static void take_reply(struct peer *peer, const void *bytes, size_t nbytes)
{
    CLEANUP(message_free) struct message *reply = NULL;
    struct df_error err;
    uint64_t id;
    if (message_decode(bytes, nbytes, MESSAGE_REPLY, &reply, &id, &err) < 0)
        return;
    for (struct call *call = peer->calls; call; call = call->next)
        if (call->id == id && (reply->error || call->type == reply->type)) {
            int r = message_get_error(reply, &err);
            finish(peer, call, r, reply, &err);
            return;
        }
}

void peer_receive(struct peer *peer)
{
    for (;;) {
        zmq_msg_t msg;
        zmq_msg_init(&msg);
        if (net_recv(&msg, peer->socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&msg);
            return;
        }
        if (!zmq_msg_more(&msg) && zmq_msg_size(&msg))
            take_reply(peer, zmq_msg_data(&msg), zmq_msg_size(&msg));
        zmq_msg_close(&msg);
    }
}

int64_t peer_tick(struct peer *peer)
{
    int64_t now = clock_ms(), next = INT64_MAX;
    for (struct call *call = peer->calls, *following; call; call = following) {
        following = call->next;
        if (call->again_ms <= now && call->tries >= PEER_TRIES) {
            struct df_error err;
            int r = error_set(&err, -ETIMEDOUT, "no answer from the daemon at '%s' after %u tries: is dirtyferryd running there?",
                              peer->endpoint, call->tries);
            finish(peer, call, r, NULL, &err);
            return clock_ms();      /* the answer may have changed the list or closed it: look again */
        }
        if (call->again_ms <= now)
            transmit(peer, call);
        if (call->again_ms < next)
            next = call->again_ms;
    }
    return next;
}
