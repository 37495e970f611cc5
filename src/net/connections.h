// SPDX-License-Identifier: BSD-3-Clause
/*
 * The connections of a daemon, by descriptor, and which of them are cut.  For
 * guard.c, which says why and how.
 *
 * The guard's thread opens, closes and judges.  The threads that receive
 * messages only say by which connection one came: a counter, and the key, under
 * the mutex when it is another than before.  The counter and the hash of the key
 * are read and written relaxed: nothing else is published by them, and one that
 * is seen late is seen at the next tick.  A message of the connection that had
 * the descriptor before may come late: the next one of the new connection puts
 * the key right.
 */
#ifndef NET_CONNECTIONS_H
#define NET_CONNECTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include <dirtyferry/error.h>

#include "net/keys.h"
#include "net/refusals.h"

#define CONNECTION_DESCRIPTORS   65536  /* who gets a higher one is cut */
#define CONNECTION_SILENT        256    /* that have not said anything yet, on all sockets */
#define CONNECTION_KEY           1024   /* of one key: a peer has three or more for each session */
#define CONNECTION_IDLE_BYTES    512    /* a second, that do not count as parts of a message: heartbeats */
#define CONNECTION_UNFINISHED    (UINT64_C(128) << 20)   /* bytes of messages that are not whole, of all */
#define CONNECTION_SUBSCRIPTIONS 256    /* messages that a subscriber may send: one for each topic */
#define CONNECTION_WHO_BYTES     64

enum service { SERVICE_CONTROL, SERVICE_DATA, SERVICE_EVENTS, SERVICES };

const char *service_name(enum service service);

struct connections;

/* max: of all of them.  The refusals stay the caller's. */
int connections_new(unsigned max, struct refusals *refusals, struct connections **connections, struct df_error *err);
void connections_free(struct connections **connections);

/* ---- the guard's thread */

void connections_opened(struct connections *connections, int fd, enum service service);
/* A handshake ended well; which one's, libzmq does not say. */
void connections_settled(struct connections *connections, enum service service);
/* A key was not let in, and the log says so. */
void connections_refused(struct connections *connections, enum service service);
/* failed: in its handshake, as far as that is known. */
void connections_closed(struct connections *connections, int fd, enum service service, bool failed);
/* Those of that key, and those that are silent. */
void connections_cut_key(struct connections *connections, const char *key);
/* Cut what takes in too much.  False: there are none, and no further tick is needed. */
bool connections_tick(struct connections *connections);

/* ---- any thread */

/* A message came by it.  key: "" without keys.  True: somebody else than before speaks there, or it is the first one. */
bool connections_heard(struct connections *connections, int fd, const char *key);
/* Its address; `who` stays as it is when there is none. */
void connections_who(struct connections *connections, int fd, char who[CONNECTION_WHO_BYTES]);

#endif
