// SPDX-License-Identifier: BSD-3-Clause
/*
 * The source's requests to a target, for an event loop: a DEALER that speaks
 * like REQ but has several requests under way.  Each is sent again, with the
 * same id, until it is answered or given up.
 */
#ifndef NET_PEER_H
#define NET_PEER_H

#include "net/handshake.h"
#include "wire/message.h"

#define PEER_TRY_MS   1000
#define PEER_TRIES    5

struct peer;

/* reply is NULL when the peer did not answer; r is then -ETIMEDOUT, or the error that the peer reported. */
typedef void peer_answer(void *opaque, uint64_t tag, int r, const struct message *reply, const struct df_error *err);

int peer_open(const struct net *net, const struct net_address *address, struct peer **peer, struct df_error *err);
void peer_close(struct peer **peer);
void *peer_socket(struct peer *peer);

void peer_begin(struct out *out, const char *type, uint64_t *id);
/* Takes `out`.  `answer` is called once, from peer_receive() or peer_tick(); hold_ms: how long the peer may hold its reply back. */
void peer_send(struct peer *peer, struct out *out, uint64_t id, int hold_ms, peer_answer *answer, void *opaque, uint64_t tag);

/* Are requests under way? */
bool peer_is_busy(const struct peer *peer);
/* Take what has arrived. */
void peer_receive(struct peer *peer);
/* Send again, give up.  Returns the time (clock_ms) of the next call that is needed, INT64_MAX if none. */
int64_t peer_tick(struct peer *peer);

#endif
