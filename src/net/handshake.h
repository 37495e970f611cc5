// SPDX-License-Identifier: BSD-3-Clause
/*
 * Why a connection does not come about.  A ZeroMQ socket tries for ever and
 * says nothing; its monitor knows whether the other side refused the key, or
 * does not speak as this side does.
 */
#ifndef NET_HANDSHAKE_H
#define NET_HANDSHAKE_H

#include "net/socket.h"

struct handshake;

/* Before the socket connects; from its thread, as all below. */
int handshake_watch(const struct net *net, void *socket, struct handshake **handshake, struct df_error *err);
/* Before the socket is closed. */
void handshake_close(struct handshake **handshake);
/* For a poll. */
void *handshake_socket(struct handshake *handshake);
/* NULL, or half a sentence about the last attempt, which failed.  final: the other side said so; else it may be the link. */
const char *handshake_failure(struct handshake *handshake, bool *final);

#endif
