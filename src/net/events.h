// SPDX-License-Identifier: BSD-3-Clause
/*
 * The events socket: PUB, messages of two frames, topic and map.  A subscriber
 * may miss any of them (slow joiner, full queue), hence sequence numbers and
 * snapshots.
 *
 * The daemon's is an XPUB: the same to a subscriber, and what he subscribes to
 * can be seen, and who he is.
 */
#ifndef NET_EVENTS_H
#define NET_EVENTS_H

#include "net/guard.h"
#include "wire/message.h"

/*
 * libzmq takes some kilobytes of memory for each subscription, and takes in what
 * lies in its queue and in the kernel's buffer before a connection that was cut
 * ends: both are short.
 */
#define EVENTS_INCOMING       16        /* messages */
#define EVENTS_BUFFER_BYTES   16384
#define EVENTS_INCOMING_BYTES 1024  /* of a subscription, or of a message of CURVE's handshake */

int events_listen(const struct net *net, struct guard *guard, const char *endpoint, char bound[256], void **socket, struct df_error *err);
/* Take what subscribers have sent. */
void events_take(void *socket, struct guard *guard);
/* Takes `out`. */
void events_publish(void *socket, const char *topic, struct out *out);

struct subscription;

/* Connects and subscribes to all topics that begin with `prefix`. */
int events_subscribe(const struct net *net, const struct net_address *address, const char *prefix, struct subscription **subscription, struct df_error *err);
void events_unsubscribe(struct subscription **subscription);
/* 1: an event; 0: none within timeout_ms; messages that are not events are skipped.  -EACCES: the daemon does not let this side in. */
int events_receive(struct subscription *subscription, int timeout_ms, struct message **event, struct df_error *err);

/* The message that is there, whatever it is, from any socket: 1 if it is an event. */
int events_take_one(void *socket, struct message **event);

#endif
