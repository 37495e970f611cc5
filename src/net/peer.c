// SPDX-License-Identifier: BSD-3-Clause
#include "net/peer.h"

#include <errno.h>
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
    struct handshake *handshake;    /* only where there are keys: it takes descriptors, and sessions are many */
    struct call *calls;
    struct net_address address;
};

int peer_open(const struct net *net, const struct net_address *address, struct peer **out, struct df_error *err)
{
    CLEANUP(peer_close) struct peer *peer = calloc(1, sizeof *peer);
    if (!peer)
        return error_errno(err, -ENOMEM, "cannot connect to '%s'", address->endpoint);
    peer->address = *address;
    int r = net_socket(net, ZMQ_DEALER, 1000, WIRE_CONTROL_BYTES, &peer->socket, err);
    if (!r && net->secure)
        r = handshake_watch(net, peer->socket, &peer->handshake, err);
    if (!r)
        r = net_connect(net, peer->socket, address, err);
    if (r < 0)
        return r;
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
    handshake_close(&peer->handshake);
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

static int no_answer(struct peer *peer, unsigned tries, struct df_error *err)
{
    bool final;
    const char *why = peer->handshake ? handshake_failure(peer->handshake, &final) : NULL;
    return why ? error_set(err, -ETIMEDOUT, "the daemon at '%s' cannot be talked to: %s", peer->address.endpoint, why)
               : error_set(err, -ETIMEDOUT, "no answer from the daemon at '%s' after %u tries: is dirtyferryd running there?", peer->address.endpoint, tries);
}

int64_t peer_tick(struct peer *peer)
{
    int64_t now = clock_ms(), next = INT64_MAX;
    for (struct call *call = peer->calls, *following; call; call = following) {
        following = call->next;
        if (call->again_ms <= now && call->tries >= PEER_TRIES) {
            struct df_error err;
            int r = no_answer(peer, call->tries, &err);
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
