// SPDX-License-Identifier: BSD-3-Clause
#include "net/handshake.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "net/monitor.h"

struct handshake {
    void *watched, *events;
    bool secure;
    const char *failure;
    bool final;
};

int handshake_watch(const struct net *net, void *socket, struct handshake **out, struct df_error *err)
{
    CLEANUP(cleanup_free) struct handshake *handshake = calloc(1, sizeof *handshake);
    if (!handshake)
        return error_errno(err, -ENOMEM, "cannot connect");
    int r = monitor_open(net, socket, MONITOR_HANDSHAKES, &handshake->events, err);
    if (r < 0)
        return r;
    handshake->watched = socket;
    handshake->secure = net->secure;
    *out = steal(&handshake);
    return 0;
}

void handshake_close(struct handshake **handshakep)
{
    struct handshake *handshake = steal(handshakep);
    if (!handshake)
        return;
    monitor_close(handshake->watched, &handshake->events);
    free(handshake);
}

void *handshake_socket(struct handshake *handshake)
{
    return handshake->events;
}

static const char *explain(const struct monitor_event *event, bool secure)
{
    switch (event->kind) {
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        return "it does not let this key in: the public certificate, with a role that may do this, must be in its --allow directory";
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
        return event->value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH
            ? "one side has a key and the other has none: name the certificate of that daemon (EP,CERTIFICATE) and your own key (--key), or neither"
            : "what answers there does not speak this protocol";
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        return secure ? "it ends the connection at once: the certificate that was named for it is not its own, or it has no key"
                      : "it ends the connection at once: it may have a key; then name its certificate (EP,CERTIFICATE) and your own key (--key)";
    default:
        return NULL;    /* succeeded */
    }
}

const char *handshake_failure(struct handshake *handshake, bool *final)
{
    struct monitor_event event;
    while (monitor_next(handshake->events, &event)) {
        handshake->failure = explain(&event, handshake->secure);
        handshake->final = event.kind != ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL;
    }
    *final = handshake->final;
    return handshake->failure;
}
