// SPDX-License-Identifier: BSD-3-Clause
#include "net/zap.h"

#include <stdio.h>
#include <string.h>

enum frame { ZAP_VERSION, ZAP_ID, ZAP_DOMAIN, ZAP_ADDRESS, ZAP_IDENTITY, ZAP_MECHANISM, ZAP_CREDENTIALS, ZAP_FRAMES };

/* A text that is too long stays empty: it fits nothing. */
static void take_text(const uint8_t *bytes, size_t n, char *text, size_t room)
{
    text[0] = 0;
    if (n < room)
        snprintf(text, room, "%.*s", (int)n, (const char *)bytes);
}

static void take(struct zap_request *request, enum frame frame, const uint8_t *bytes, size_t n, bool *ok)
{
    switch (frame) {
    case ZAP_VERSION:
        *ok = n == 3 && !memcmp(bytes, "1.0", 3);
        break;
    case ZAP_ID:
        request->nid = n <= sizeof request->id ? n : 0;
        memcpy(request->id, bytes, request->nid);
        break;
    case ZAP_DOMAIN:
        take_text(bytes, n, request->domain, sizeof request->domain);
        break;
    case ZAP_ADDRESS:
        take_text(bytes, n, request->address, sizeof request->address);
        break;
    case ZAP_MECHANISM:
        *ok = *ok && n == 5 && !memcmp(bytes, "CURVE", 5);
        break;
    case ZAP_CREDENTIALS:
        if (*ok && n == 32)
            zmq_z85_encode(request->key, bytes, 32);
        break;
    case ZAP_IDENTITY:
    case ZAP_FRAMES:
        break;
    }
}

bool zap_receive(void *socket, struct zap_request *request)
{
    bool more = true, ok = false;
    *request = (struct zap_request){ 0 };
    for (unsigned i = 0; more; i++) {
        zmq_msg_t part;
        zmq_msg_init(&part);
        if (net_recv(&part, socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&part);
            return false;
        }
        more = zmq_msg_more(&part);
        take(request, i < ZAP_FRAMES ? (enum frame)i : ZAP_FRAMES, zmq_msg_data(&part), zmq_msg_size(&part), &ok);
        zmq_msg_close(&part);
    }
    return true;
}

void zap_reply(void *socket, const struct zap_request *request, const char *user_id)
{
    zmq_send(socket, "1.0", 3, ZMQ_SNDMORE);
    zmq_send(socket, request->id, request->nid, ZMQ_SNDMORE);
    zmq_send(socket, user_id ? "200" : "400", 3, ZMQ_SNDMORE);
    zmq_send(socket, "", 0, ZMQ_SNDMORE);
    zmq_send(socket, user_id ? user_id : "", user_id ? strlen(user_id) : 0, ZMQ_SNDMORE);
    zmq_send(socket, "", 0, 0);
}
