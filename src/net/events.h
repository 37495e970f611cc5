// SPDX-License-Identifier: BSD-3-Clause
/*
 * The events socket: PUB, messages of two frames, topic and map.  A subscriber
 * may miss any of them (slow joiner, full queue), hence sequence numbers and
 * snapshots.
 */
#ifndef NET_EVENTS_H
#define NET_EVENTS_H

#include "net/socket.h"
#include "wire/message.h"

/* Takes `out`. */
void events_publish(void *socket, const char *topic, struct out *out);
/* Connects to `endpoint` and subscribes to all topics that begin with `prefix`. */
int events_subscribe(void *context, const char *endpoint, const char *prefix, void **socket, struct df_error *err);
/* 1: an event; 0: none within timeout_ms; messages that are not events are skipped. */
int events_receive(void *socket, int timeout_ms, struct message **event, struct df_error *err);

#endif
