// SPDX-License-Identifier: BSD-3-Clause
#include "net/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"
#include "net/access.h"

struct remembered {
    uint64_t hash;
    char key[KEY_TEXT_BYTES];
    uint8_t *bytes;
    size_t nbytes;
};

struct memory {
    struct remembered replies[SERVER_REPLIES];
    unsigned next;
};

/* Nobody pushes out the replies to those who manage: leases come by the hundred, and a peer may send what he likes. */
enum { MEMORY_LEASES, MEMORY_PEERS, MEMORY_OTHERS, MEMORIES };

struct server {
    struct guard *guard;
    void *network, *inproc;
    struct request *open;
    struct memory memories[MEMORIES];
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

int server_open(const struct net *net, struct guard *guard, struct server **out, struct df_error *err)
{
    CLEANUP(server_close) struct server *server = calloc(1, sizeof *server);
    if (!server)
        return error_errno(err, -ENOMEM, "cannot serve");
    server->guard = guard;
    int r = net_socket(net, ZMQ_ROUTER, SERVER_QUEUE, WIRE_CONTROL_BYTES, &server->network, err);
    if (!r)
        r = net_socket(net, ZMQ_ROUTER, 1000, WIRE_CONTROL_BYTES, &server->inproc, err);
    if (r < 0)
        return r;
    *out = steal(&server);
    return 0;
}

int server_listen(struct server *server, const char *endpoint, char bound[256], struct df_error *err)
{
    return guard_listen(server->guard, SERVICE_CONTROL, server->network, endpoint, bound, err);
}

int server_listen_inproc(struct server *server, const char *endpoint, struct df_error *err)
{
    return net_bind_inproc(server->inproc, endpoint, err);
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
    for (unsigned i = 0; i < MEMORIES * SERVER_REPLIES; i++)
        free(server->memories[i / SERVER_REPLIES].replies[i % SERVER_REPLIES].bytes);
    net_close(&server->network);
    net_close(&server->inproc);
    free(server);
}

void *server_socket(struct server *server)
{
    return server->network;
}

void *server_inproc_socket(struct server *server)
{
    return server->inproc;
}

static void send_reply(struct request *request, const uint8_t *bytes, size_t nbytes)
{
    for (unsigned i = 0; i < request->nenvelope; i++)
        zmq_msg_send(&request->envelope[i], request->socket, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    zmq_send(request->socket, "", 0, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    zmq_send(request->socket, bytes, nbytes, ZMQ_DONTWAIT);
}

static struct memory *memory_of(struct request *request)
{
    bool peer = request->caller.roles == KEY_PEER;
    return &request->server->memories[!strcmp(request->message->type->name, "lease") ? MEMORY_LEASES : peer ? MEMORY_PEERS : MEMORY_OTHERS];
}

static void remember(struct request *request, const uint8_t *bytes, size_t nbytes)
{
    struct memory *memory = memory_of(request);
    struct remembered *slot = &memory->replies[memory->next++ % SERVER_REPLIES];
    free(slot->bytes);
    slot->bytes = malloc(nbytes);
    slot->hash = request->hash;
    memcpy(slot->key, request->caller.key, sizeof slot->key);
    slot->nbytes = nbytes;
    if (slot->bytes)
        memcpy(slot->bytes, bytes, nbytes);
}

static const struct remembered *recall(struct request *request)
{
    const struct memory *memory = memory_of(request);
    for (unsigned i = 0; i < SERVER_REPLIES; i++)
        if (memory->replies[i].bytes && memory->replies[i].hash == request->hash && !strcmp(memory->replies[i].key, request->caller.key))
            return &memory->replies[i];
    return NULL;
}

/* By the frame behind the return address: that address itself comes without its origin when the socket was polled before. */
static void identify(struct request *request, zmq_msg_t *part)
{
    struct server *server = request->server;
    if (request->socket == server->inproc) {
        guard_trusted(&request->caller);
        return;
    }
    guard_caller(server->guard, part, &request->caller);
    guard_heard(server->guard, SERVICE_CONTROL, part);
}

/* The frames of one message up to the empty one.  False: nothing there, or not a request. */
static bool take_envelope(struct request *request, zmq_msg_t *body, bool *nothing)
{
    bool delimited = false, more = true, ok = true;
    *nothing = false;
    zmq_msg_init(body);
    for (unsigned i = 0; more; i++) {
        zmq_msg_t part;
        zmq_msg_init(&part);
        if (net_recv(&part, request->socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&part);
            *nothing = i == 0;
            return false;
        }
        more = zmq_msg_more(&part);
        if (i == 1)
            identify(request, &part);
        if (delimited) {
            ok = ok && !more;
            zmq_msg_move(body, &part);
        } else if (!zmq_msg_size(&part) && i) {
            delimited = true;
        } else if (request->nenvelope < 3 && zmq_msg_size(&part) <= SERVER_ADDRESS_BYTES) {
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
        if (open->hash == again->hash && !strcmp(open->caller.key, again->caller.key)) {
            for (unsigned i = 0; i < open->nenvelope; i++)
                zmq_msg_close(&open->envelope[i]);
            memcpy(open->envelope, again->envelope, sizeof open->envelope);
            open->nenvelope = again->nenvelope;
            open->socket = again->socket;
            again->nenvelope = 0;
            return true;
        }
    return false;
}

/* Answers a request that is none, or may not be, in place of the daemon. */
static void turn_down(struct request *request, const char *type, uint64_t id, const struct df_error *err)
{
    struct out out;
    const uint8_t *bytes;
    size_t nbytes;
    message_error_reply(&out, type, id, err);
    if (out_finish(&out, &bytes, &nbytes))
        send_reply(request, bytes, nbytes);
    out_destroy(&out);
}

/* One key, or where there are none, one connection. */
static bool is_same_caller(struct request *a, struct request *b)
{
    if (a->caller.key[0] || b->caller.key[0])
        return !strcmp(a->caller.key, b->caller.key);
    size_t n = zmq_msg_size(&a->envelope[0]);
    return a->socket == b->socket && n == zmq_msg_size(&b->envelope[0]) && !memcmp(zmq_msg_data(&a->envelope[0]), zmq_msg_data(&b->envelope[0]), n);
}

static int check_open(struct request *request, struct df_error *err)
{
    bool looks = access_looks(request->message->type->name);
    unsigned all = 0, own = 0, own_looks = 0;
    for (struct request *open = request->server->open; open; open = open->next) {
        all++;
        if (!is_same_caller(open, request))
            continue;
        own++;
        own_looks += access_looks(open->message->type->name);
    }
    if (all < SERVER_OPEN && own < SERVER_OPEN_ONE && (!looks || own_looks < SERVER_OPEN_LOOKS))
        return 0;
    return error_set(err, -EAGAIN, "%u requests are not answered yet, %u of them yours, %u of these about disks and bitmaps: ask again later", all, own, own_looks);
}

static void refuse(struct request *request, uint64_t id, const struct df_error *err)
{
    const char *type = request->message ? request->message->type->name : NULL;
    guard_refused(request->server->guard, &request->caller, "control: %s%s", type ? type : "a message that is no request",
                  err->code == -EAGAIN ? ", too many at once" : "");
    turn_down(request, type ? type : "hello", id, err);
}

static struct request *accept_request(struct request *request, zmq_msg_t *body)
{
    struct server *server = request->server;
    const char *key = request->caller.key;
    struct df_error err;
    uint64_t id = 0;
    int r = message_decode(zmq_msg_data(body), zmq_msg_size(body), MESSAGE_REQUEST, &request->message, &id, &err);
    if (!r)
        r = access_check(&request->caller, request->message->type->name, &err);
    if (r < 0) {
        refuse(request, id, &err);
        return NULL;
    }
    request->hash = XXH3_64bits_withSeed(zmq_msg_data(body), zmq_msg_size(body), XXH3_64bits(key, strlen(key)));
    if (readdress(server, request))
        return NULL;
    const struct remembered *reply = recall(request);
    if (reply) {
        send_reply(request, reply->bytes, reply->nbytes);
        return NULL;
    }
    if (check_open(request, &err) < 0) {
        refuse(request, id, &err);
        return NULL;
    }
    request->next = server->open;
    server->open = request;
    return request;
}

/* Those that are not taken are bounded, too: NULL may mean that more are there. */
static struct request *receive_from(struct server *server, void *socket)
{
    for (unsigned i = 0; i < SERVER_TURN; i++) {
        struct request *request = calloc(1, sizeof *request);
        zmq_msg_t body;
        bool nothing;
        if (!request)
            return NULL;
        request->server = server;
        request->socket = socket;
        bool whole = take_envelope(request, &body, &nothing);
        struct request *accepted = whole ? accept_request(request, &body) : NULL;
        if (!whole && !nothing)
            guard_refused(server->guard, &request->caller, "control: a message that has not the parts of a request");
        zmq_msg_close(&body);
        if (accepted)
            return accepted;
        request_free(request);
        if (nothing)
            break;
    }
    return NULL;
}

/* The workers of this process first: they are few, and nobody floods them. */
struct request *server_receive(struct server *server)
{
    struct request *request = receive_from(server, server->inproc);
    return request ? request : receive_from(server, server->network);
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

void request_refused(const struct request *request, const char *what)
{
    guard_refused(request->server->guard, &request->caller, "control: %s: %s", request->message->type->name, what);
}

void request_ok(struct request **request)
{
    struct out out;
    request_begin_reply(*request, &out);
    request_reply(request, &out);
}
