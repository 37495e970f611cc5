// SPDX-License-Identifier: BSD-3-Clause
#include "net/events.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "net/handshake.h"

void events_publish(void *socket, const char *topic, struct out *out)
{
    const uint8_t *bytes;
    size_t nbytes;
    if (out_finish(out, &bytes, &nbytes) && zmq_send(socket, topic, strlen(topic), ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0)
        zmq_send(socket, bytes, nbytes, ZMQ_DONTWAIT);
    out_destroy(out);
}

int events_listen(const struct net *net, struct guard *guard, const char *endpoint, char bound[256], void **socket, struct df_error *err)
{
    int r = net_socket(net, ZMQ_XPUB, 1000, EVENTS_INCOMING_BYTES, socket, err);
    if (r < 0)
        return r;
    /* Verbose: else only the first subscription to each topic is seen, and one subscriber heard. */
    int hwm = EVENTS_INCOMING, buffer = EVENTS_BUFFER_BYTES, all = 1;
    if (zmq_setsockopt(*socket, ZMQ_RCVHWM, &hwm, sizeof hwm) < 0 || zmq_setsockopt(*socket, ZMQ_RCVBUF, &buffer, sizeof buffer) < 0 ||
        zmq_setsockopt(*socket, ZMQ_XPUB_VERBOSE, &all, sizeof all) < 0)
        return error_errno(err, -errno, "cannot set up the events socket");
    return guard_listen(guard, SERVICE_EVENTS, *socket, endpoint, bound, err);
}

void events_take(void *socket, struct guard *guard)
{
    bool more = true;
    for (unsigned i = 0; more && i < EVENTS_INCOMING; i++) {
        zmq_msg_t subscription;
        zmq_msg_init(&subscription);
        more = net_recv(&subscription, socket, ZMQ_DONTWAIT) >= 0;
        if (more)
            guard_heard(guard, SERVICE_EVENTS, &subscription);
        zmq_msg_close(&subscription);
    }
}

struct subscription {
    void *socket;
    struct handshake *handshake;
    char endpoint[WIRE_ENDPOINT_BYTES + 1];
};

int events_subscribe(const struct net *net, const struct net_address *address, const char *prefix, struct subscription **out, struct df_error *err)
{
    CLEANUP(events_unsubscribe) struct subscription *subscription = calloc(1, sizeof *subscription);
    if (!subscription)
        return error_errno(err, -ENOMEM, "cannot follow the events of '%s'", address->endpoint);
    memcpy(subscription->endpoint, address->endpoint, sizeof subscription->endpoint);
    int r = net_socket(net, ZMQ_SUB, 10000, WIRE_CONTROL_BYTES, &subscription->socket, err);
    if (!r)
        r = handshake_watch(net, subscription->socket, &subscription->handshake, err);
    if (!r && zmq_setsockopt(subscription->socket, ZMQ_SUBSCRIBE, prefix, strlen(prefix)) < 0)
        r = error_errno(err, -errno, "cannot subscribe to '%s'", prefix);
    if (!r)
        r = net_connect(net, subscription->socket, address, err);
    if (r < 0)
        return r;
    *out = steal(&subscription);
    return 0;
}

void events_unsubscribe(struct subscription **subscriptionp)
{
    struct subscription *subscription = steal(subscriptionp);
    if (!subscription)
        return;
    handshake_close(&subscription->handshake);
    net_close(&subscription->socket);
    free(subscription);
}

int events_take_one(void *socket, struct message **event)
{
    bool more = true, found = false;
    for (unsigned i = 0; more; i++) {
        zmq_msg_t part;
        zmq_msg_init(&part);
        if (net_recv(&part, socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&part);
            break;
        }
        more = zmq_msg_more(&part);
        uint64_t id;
        if (i == 1 && !more)
            found = message_decode(zmq_msg_data(&part), zmq_msg_size(&part), MESSAGE_EVENT, event, &id, NULL) == 0;
        zmq_msg_close(&part);
    }
    return found;
}

int events_receive(struct subscription *subscription, int timeout_ms, struct message **event, struct df_error *err)
{
    zmq_pollitem_t items[2] = { { subscription->socket, 0, ZMQ_POLLIN, 0 }, { handshake_socket(subscription->handshake), 0, ZMQ_POLLIN, 0 } };
    bool final = false;
    int r = zmq_poll(items, 2, timeout_ms);
    if (r < 0)
        return errno == EINTR ? 0 : error_set(err, -errno, "cannot wait for events: %s", zmq_strerror(errno));
    const char *why = handshake_failure(subscription->handshake, &final);
    if (why && final)
        return error_set(err, -EACCES, "the events at '%s' cannot be followed: %s", subscription->endpoint, why);
    if (!(items[0].revents & ZMQ_POLLIN))
        return 0;
    return events_take_one(subscription->socket, event);
}
