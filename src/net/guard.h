// SPDX-License-Identifier: BSD-3-Clause
/*
 * The guard at the daemon's sockets: who may come in, who is speaking, and an
 * end to connections that do harm.
 *
 * A thread of its own
 *  - is the ZAP handler: it answers from the allow directory (allow.h) and gives
 *    each connection its public key as User-Id;
 *  - watches the directory: when a key is taken out, or loses a role, its
 *    connections are cut, and with them those that have not said who they are
 *    (they come again if they may);
 *  - counts connections: of those that are silent since they were accepted the
 *    oldest are cut when there are too many, and above a hard limit the newest;
 *  - cuts a tcp connection that takes in megabytes without finishing a message
 *    (connections.c; ipc cannot be asked, its directory is private): libzmq keeps the parts of a message without bound
 *    until the last one is there (its HWM counts whole messages).
 *
 * A connection is known by its descriptor (monitor events, ZMQ_SRCFD) and cut
 * by shutdown(2), which leaves the descriptor to libzmq.  Its address is looked
 * at first.  If libzmq closes it and gets it anew between the two, somebody else
 * loses a connection, and makes another one: nothing is lost by that.
 *
 * Without keys the guard counts and cuts just the same, and everybody may
 * everything.
 */
#ifndef NET_GUARD_H
#define NET_GUARD_H

#include "net/allow.h"
#include "net/connections.h"
#include "net/socket.h"

#define GUARD_TICK_MS 50        /* how often connections are looked at while there are some */

/* Roles beside those of certificates. */
#define KEY_SELF ((unsigned)KEY_MONITOR << 1)    /* the daemon's own key: its workers, and moves within the daemon */
#define KEY_ALL  (KEY_ORCHESTRATOR | KEY_PEER | KEY_MONITOR | KEY_SELF)

/* Who sent a message. */
struct caller {
    char key[KEY_TEXT_BYTES];           /* "" where there are no keys, and for threads of this process */
    char name[ALLOW_NAME_BYTES];        /* of the key's certificate */
    char address[64];
    unsigned roles;
};

struct guard;

/* allow: NULL without keys; else it is the guard's from now on, also when this fails. */
int guard_start(struct net *net, struct allow **allow, struct guard **guard, struct df_error *err);
/* After its sockets are closed. */
void guard_stop(struct guard **guard);

/* net_listen() and watch.  Before the thread of the socket uses it. */
int guard_listen(struct guard *guard, enum service service, void *socket, const char *endpoint, char bound[256], struct df_error *err);

/* ---- any thread */

/* By that connection a whole message came. */
void guard_heard(struct guard *guard, enum service service, zmq_msg_t *msg);
/* From any frame of a message of a guarded socket. */
void guard_caller(struct guard *guard, zmq_msg_t *msg, struct caller *caller);
/* A thread of this process. */
void guard_trusted(struct caller *caller);
/* A line in the log now and then (refusals.h). */
__attribute__((format(printf, 3, 4)))
void guard_refused(struct guard *guard, const struct caller *caller, const char *what, ...);

/* Is the message from that key?  Always true without keys; `key` may be "". */
bool guard_is_from(const struct guard *guard, zmq_msg_t *msg, const char *key);

#endif
