// SPDX-License-Identifier: BSD-3-Clause
#include "net/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"

struct remembered {
    uint64_t key;
    uint8_t *bytes;
    size_t nbytes;
};

struct memory {
    struct remembered replies[SERVER_REPLIES];
    unsigned next;
};

struct server {
    void *socket;
    struct request *open;
    struct memory memories[2];      /* of leases, which come by the hundred, and of all others */
};

/* Requests that may be done twice; all others are remembered. */
static bool only_asks(const char *type)
{
    static const char *const types[] = { "hello", "disk-list", "bitmap-list", "bitmap-show", "bitmap-extents",
                                          "status", "wait", "heartbeat", "dump" };
    for (unsigned i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(type, types[i]))
            return true;
    return false;
}

int server_open(void *context, struct server **out, struct df_error *err)
{
    struct server *server = calloc(1, sizeof *server);
    if (!server)
        return error_errno(err, -ENOMEM, "cannot serve");
    int r = net_socket(context, ZMQ_ROUTER, 1000, WIRE_CONTROL_BYTES, &server->socket, err);
    if (r < 0) {
        free(server);
        return r;
    }
    *out = server;
    return 0;
}

static void request_free(struct request *request)
{
    for (unsigned i = 0; i < request->nenvelope; i++)
        zmq_msg_close(&request->envelope[i]);
    message_free(&request->message);
    free(request);
}

void server_close(struct server **serverp)
{
    struct server *server = steal(serverp);
    if (!server)
        return;
    while (server->open) {
        struct request *request = server->open;
        server->open = request->next;
        request_free(request);
    }
    for (unsigned i = 0; i < 2 * SERVER_REPLIES; i++)
        free(server->memories[i / SERVER_REPLIES].replies[i % SERVER_REPLIES].bytes);
    net_close(&server->socket);
    free(server);
}

void *server_socket(struct server *server)
{
    return server->socket;
}

static void send_reply(struct request *request, const uint8_t *bytes, size_t nbytes)
{
    for (unsigned i = 0; i < request->nenvelope; i++)
        zmq_msg_send(&request->envelope[i], request->server->socket, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    zmq_send(request->server->socket, "", 0, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    zmq_send(request->server->socket, bytes, nbytes, ZMQ_DONTWAIT);
}

static struct memory *memory_of(struct request *request)
{
    return &request->server->memories[strcmp(request->message->type->name, "lease") != 0];
}

static void remember(struct request *request, const uint8_t *bytes, size_t nbytes)
{
    struct memory *memory = memory_of(request);
    struct remembered *slot = &memory->replies[memory->next++ % SERVER_REPLIES];
    free(slot->bytes);
    slot->bytes = malloc(nbytes);
    slot->key = request->key;
    slot->nbytes = nbytes;
    if (slot->bytes)
        memcpy(slot->bytes, bytes, nbytes);
}

static const struct remembered *recall(struct request *request)
{
    const struct memory *memory = memory_of(request);
    for (unsigned i = 0; i < SERVER_REPLIES; i++)
        if (memory->replies[i].bytes && memory->replies[i].key == request->key)
            return &memory->replies[i];
    return NULL;
}

/* The frames of one message up to the empty one.  False: nothing there, or not a request. */
static bool take_envelope(struct request *request, zmq_msg_t *body, bool *nothing)
{
    void *socket = request->server->socket;
    bool delimited = false, more = true, ok = true;
    *nothing = false;
    zmq_msg_init(body);
    for (unsigned i = 0; more; i++) {
        zmq_msg_t part;
        zmq_msg_init(&part);
        if (net_recv(&part, socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&part);
            *nothing = i == 0;
            return false;
        }
        more = zmq_msg_more(&part);
        if (delimited) {
            ok = ok && !more;
            zmq_msg_move(body, &part);
        } else if (!zmq_msg_size(&part) && i) {
            delimited = true;
        } else if (request->nenvelope < 3) {
            zmq_msg_init(&request->envelope[request->nenvelope]);
            zmq_msg_move(&request->envelope[request->nenvelope++], &part);
        } else {
            ok = false;
        }
        zmq_msg_close(&part);
    }
    return ok && delimited;
}

/* Still being worked on: it gets the new return address. */
static bool readdress(struct server *server, struct request *again)
{
    for (struct request *open = server->open; open; open = open->next)
        if (open->key == again->key) {
            for (unsigned i = 0; i < open->nenvelope; i++)
                zmq_msg_close(&open->envelope[i]);
            memcpy(open->envelope, again->envelope, sizeof open->envelope);
            open->nenvelope = again->nenvelope;
            again->nenvelope = 0;
            return true;
        }
    return false;
}

static struct request *accept_request(struct request *request, zmq_msg_t *body)
{
    struct server *server = request->server;
    struct df_error err;
    uint64_t id = 0;
    int r = message_decode(zmq_msg_data(body), zmq_msg_size(body), MESSAGE_REQUEST, &request->message, &id, &err);
    if (r < 0) {
        struct out out;
        const uint8_t *bytes;
        size_t nbytes;
        message_error_reply(&out, "hello", id, &err);
        if (out_finish(&out, &bytes, &nbytes))
            send_reply(request, bytes, nbytes);
        out_destroy(&out);
        return NULL;
    }
    request->key = XXH3_64bits(zmq_msg_data(body), zmq_msg_size(body));
    if (readdress(server, request))
        return NULL;
    const struct remembered *reply = recall(request);
    if (reply) {
        send_reply(request, reply->bytes, reply->nbytes);
        return NULL;
    }
    request->next = server->open;
    server->open = request;
    return request;
}

struct request *server_receive(struct server *server)
{
    for (;;) {
        struct request *request = calloc(1, sizeof *request);
        zmq_msg_t body;
        bool nothing;
        if (!request)
            return NULL;
        request->server = server;
        bool whole = take_envelope(request, &body, &nothing);
        struct request *accepted = whole ? accept_request(request, &body) : NULL;
        zmq_msg_close(&body);
        if (accepted)
            return accepted;
        request_free(request);
        if (nothing)
            return NULL;
    }
}

void request_begin_reply(const struct request *request, struct out *out)
{
    message_begin(out, request->message->type->name, request->message->id);
}

void request_reply(struct request **requestp, struct out *out)
{
    struct request *request = steal(requestp);
    struct server *server = request->server;
    const uint8_t *bytes;
    size_t nbytes;
    struct request **link = &server->open;
    while (*link != request)
        link = &(*link)->next;
    *link = request->next;
    if (out_finish(out, &bytes, &nbytes)) {
        if (!only_asks(request->message->type->name))
            remember(request, bytes, nbytes);
        send_reply(request, bytes, nbytes);
    } else {
        log_error("a reply to '%s' could not be built: out of memory", request->message->type->name);
    }
    out_destroy(out);
    request_free(request);
}

void request_fail(struct request **request, const struct df_error *err)
{
    struct out out;
    message_error_reply(&out, (*request)->message->type->name, (*request)->message->id, err);
    request_reply(request, &out);
}

void request_ok(struct request **request)
{
    struct out out;
    request_begin_reply(*request, &out);
    request_reply(request, &out);
}
