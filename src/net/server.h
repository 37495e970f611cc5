// SPDX-License-Identifier: BSD-3-Clause
/*
 * The answering side of the control socket.
 *
 * A ROUTER, which is REP without its lockstep: a reply may be held back while
 * other requests are served, and REQ clients see no difference.
 *
 * A client that got no reply sends its request again with the same id.  Then
 *  - a request that is still being worked on gets the new return address;
 *  - one that changed something and was answered is not done twice: its reply
 *    is remembered (the last SERVER_REPLIES leases and as many others, by id and
 *    bytes) and replayed;
 *  - one that only asks is answered anew.
 */
#ifndef NET_SERVER_H
#define NET_SERVER_H

#include "net/socket.h"
#include "wire/message.h"

#define SERVER_REPLIES 1024

struct server;

struct request {
    struct message *message;
    struct server *server;
    struct request *next;       /* in the server's list of unanswered ones */
    uint64_t key;               /* hash of the bytes, the id among them */
    zmq_msg_t envelope[3];      /* return address, without the empty frame behind it */
    unsigned nenvelope;
};

int server_open(void *context, struct server **server, struct df_error *err);
void server_close(struct server **server);
void *server_socket(struct server *server);

/* The next request, or NULL when there is none now.  Bad ones are answered or dropped here. */
struct request *server_receive(struct server *server);

/* Answer and free.  `out` is finished, sent and destroyed. */
void request_reply(struct request **request, struct out *out);
void request_fail(struct request **request, const struct df_error *err);
/* A reply without fields of its own. */
void request_ok(struct request **request);
void request_begin_reply(const struct request *request, struct out *out);

#endif
