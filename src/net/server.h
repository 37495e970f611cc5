// SPDX-License-Identifier: BSD-3-Clause
/*
 * The answering side of the control socket, and of an inproc one for the
 * workers of this process, who need no key.
 *
 * A ROUTER, which is REP without its lockstep: a reply may be held back while
 * other requests are served, and REQ clients see no difference.
 *
 * A client that got no reply sends its request again with the same id.  Then
 *  - a request that is still being worked on gets the new return address;
 *  - one that changed something and was answered is not done twice: its reply
 *    is remembered (the last SERVER_REPLIES leases, as many to peers and to others, by id and
 *    bytes) and replayed;
 *  - one that only asks is answered anew.
 * All of this within what one key sent: no other gets its replies.
 *
 * Who sent a request is known (guard.h) and whether he may (access.h) is looked
 * at before anything else is done with it.  Requests that are not answered yet
 * are bounded, for each who asks and in all.
 */
#ifndef NET_SERVER_H
#define NET_SERVER_H

#include "net/guard.h"
#include "wire/message.h"

#define SERVER_REPLIES  1024
#define SERVER_ADDRESS_BYTES 255    /* of each part of a return address */
#define SERVER_QUEUE    64      /* messages a connection, each way */
#define SERVER_TURN     64      /* messages that are looked at for one request */
#define SERVER_OPEN     4096    /* requests that are not answered yet */
#define SERVER_OPEN_ONE 1024    /* of one key; without keys, of one connection */
#define SERVER_OPEN_LOOKS 32    /* of these, that look at disks and bitmaps: a thread of its own answers them, one by one */

struct server;

struct request {
    struct message *message;
    struct server *server;
    struct request *next;       /* in the server's list of unanswered ones */
    struct caller caller;
    void *socket;               /* it came by, and its reply goes by */
    uint64_t hash;              /* of the caller's key and the bytes, the id among them */
    zmq_msg_t envelope[3];      /* return address, without the empty frame behind it */
    unsigned nenvelope;
};

int server_open(const struct net *net, struct guard *guard, struct server **server, struct df_error *err);
void server_close(struct server **server);
int server_listen(struct server *server, const char *endpoint, char bound[256], struct df_error *err);
int server_listen_inproc(struct server *server, const char *endpoint, struct df_error *err);
/* For a poll. */
void *server_socket(struct server *server);
void *server_inproc_socket(struct server *server);

/* The next request, or NULL: poll, and ask again.  Bad ones are answered or dropped here. */
struct request *server_receive(struct server *server);

/* Answer and free.  `out` is finished, sent and destroyed. */
void request_reply(struct request **request, struct out *out);
void request_fail(struct request **request, const struct df_error *err);
/* For the log: who was refused what; the answer is the caller's. */
void request_refused(const struct request *request, const char *what);
/* A reply without fields of its own. */
void request_ok(struct request **request);
void request_begin_reply(const struct request *request, struct out *out);

#endif
