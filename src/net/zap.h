// SPDX-License-Identifier: BSD-3-Clause
/* ZAP (ZeroMQ RFC 27): libzmq asks, on an inproc socket, whether a client may come in. */
#ifndef NET_ZAP_H
#define NET_ZAP_H

#include "net/socket.h"

#define ZAP_ENDPOINT "inproc://zeromq.zap.01"

struct zap_request {
    uint8_t id[255];            /* to be given back as it is */
    size_t nid;
    char domain[32];            /* as given to net_listen() */
    char address[64];           /* of the client; "" for ipc */
    char key[KEY_TEXT_BYTES];   /* its public key; "" if it has none, or the request is not one of CURVE */
};

/* True if there was a request. */
bool zap_receive(void *socket, struct zap_request *request);
/* user_id: NULL refuses. */
void zap_reply(void *socket, const struct zap_request *request, const char *user_id);

#endif
