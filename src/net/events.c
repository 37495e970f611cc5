// SPDX-License-Identifier: BSD-3-Clause
#include "net/events.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"

void events_publish(void *socket, const char *topic, struct out *out)
{
    const uint8_t *bytes;
    size_t nbytes;
    if (out_finish(out, &bytes, &nbytes) && zmq_send(socket, topic, strlen(topic), ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0)
        zmq_send(socket, bytes, nbytes, ZMQ_DONTWAIT);
    out_destroy(out);
}

int events_subscribe(void *context, const char *endpoint, const char *prefix, void **socket, struct df_error *err)
{
    int r = net_socket(context, ZMQ_SUB, 10000, WIRE_CONTROL_BYTES, socket, err);
    if (r < 0)
        return r;
    zmq_setsockopt(*socket, ZMQ_SUBSCRIBE, prefix, strlen(prefix));
    r = net_connect(*socket, endpoint, err);
    if (r < 0)
        net_close(socket);
    return r;
}

int events_receive(void *socket, int timeout_ms, struct message **event, struct df_error *err)
{
    zmq_pollitem_t item = { socket, 0, ZMQ_POLLIN, 0 };
    int r = zmq_poll(&item, 1, timeout_ms);
    if (r < 0)
        return errno == EINTR ? 0 : error_set(err, -errno, "cannot wait for events: %s", zmq_strerror(errno));
    if (!r)
        return 0;
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
