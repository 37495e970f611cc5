// SPDX-License-Identifier: BSD-3-Clause
/*
 * Events, by the socket: a message of any parts must be passed over unless it
 * is a topic and an event.
 *
 * Input: parts, each a length (2 bytes) whose top bit says that more follow of
 * the same message.
 */
#include "base/cleanup.h"
#include "fields.h"
#include "net/events.h"

#define PARTS 64        /* in all: below the queue's limit */

static void *context, *to, *from;

static void close_sockets(void)
{
    net_close(&to);
    net_close(&from);
    zmq_ctx_term(context);
}

static void open_sockets(void)
{
    if (context)
        return;
    context = zmq_ctx_new();
    to = zmq_socket(context, ZMQ_PAIR);
    from = zmq_socket(context, ZMQ_PAIR);
    CHECK(zmq_bind(from, "inproc://events") == 0 && zmq_connect(to, "inproc://events") == 0);
    atexit(close_sockets);
}

static bool is_event(const uint8_t *bytes, size_t nbytes)
{
    CLEANUP(message_free) struct message *m = NULL;
    uint64_t id;
    return message_decode(bytes, nbytes, MESSAGE_EVENT, &m, &id, NULL) == 0;
}

static void receive(bool expected)
{
    CLEANUP(message_free) struct message *event = NULL;
    struct df_error err = { 0 };
    CHECK(events_receive(from, 0, &event, &err) == expected);
    CHECK(expected == (event != NULL) && !err.code);
    if (!event)
        return;
    fields_walk(message_header, event->root);
    fields_walk(event->type->request, event->root);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nbytes)
{
    struct input in = { bytes, bytes + nbytes };
    bool expected = false;
    open_sockets();
    for (unsigned i = 1, part = 1; input_left(&in) && i <= PARTS; i++, part++) {
        uint64_t head = input_take(&in, 2);
        size_t n = head & 0x7fff;
        const uint8_t *at = input_bytes(&in, &n);
        bool more = head & 0x8000 && input_left(&in) && i < PARTS;
        CHECK(zmq_send(to, at, n, more ? ZMQ_SNDMORE : 0) == (int)n);
        expected = part == 2 && is_event(at, n);
        if (more)
            continue;
        receive(expected);
        part = 0;
    }
    receive(false);
    return 0;
}
