// SPDX-License-Identifier: BSD-3-Clause
/*
 * Events, by the socket: a message of any parts must be passed over unless it
 * is a topic and an event.
 *
 * Input: parts, each a length (2 bytes) whose top bit says that more follow of
 * the same message.
 */
#include <errno.h>

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

/* libFuzzer's clock interrupts system calls. */
static void send_part(const uint8_t *bytes, size_t nbytes, bool more)
{
    int r;
    while ((r = zmq_send(to, bytes, nbytes, more ? ZMQ_SNDMORE : 0)) < 0 && errno == EINTR)
        ;
    CHECK(r == (int)nbytes);
}

static bool is_readable(void)
{
    int events = 0;
    size_t n = sizeof events;
    while (zmq_getsockopt(from, ZMQ_EVENTS, &events, &n) < 0)
        CHECK(errno == EINTR);
    return events & ZMQ_POLLIN;
}

/* One message is there. */
static void receive(bool expected)
{
    bool found = false;
    while (is_readable()) {
        CLEANUP(message_free) struct message *event = NULL;
        int r = events_take_one(from, &event);
        CHECK(r == (event != NULL) && !(r && found));
        if (!r)
            continue;
        found = true;
        fields_walk(message_header, event->root);
        fields_walk(event->type->request, event->root);
    }
    CHECK(found == expected);
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
        send_part(at, n, more);
        expected = part == 2 && is_event(at, n);
        if (more)
            continue;
        receive(expected);
        part = 0;
    }
    return 0;
}
