// SPDX-License-Identifier: BSD-3-Clause
/*
 * The asking side of the control socket: REQ that survives lost messages.
 *
 * REQ_RELAXED lets a request be sent again, REQ_CORRELATE drops answers to
 * earlier ones.  A request that is sent again has the same id, by which the
 * daemon recognises it.
 */
#ifndef NET_CLIENT_H
#define NET_CLIENT_H

#include "net/handshake.h"
#include "wire/message.h"

#define CLIENT_TRY_MS  1500     /* until a request is sent again */
#define CLIENT_TRIES   3

struct client;

int client_open(const struct net *net, const struct net_address *address, struct client **client, struct df_error *err);
/* Of the daemon in this process, by its inproc endpoint. */
int client_open_inproc(const struct net *net, const char *endpoint, struct client **client, struct df_error *err);
void client_close(struct client **client);
const struct net_address *client_address(const struct client *client);

/* Start a request of that type with a fresh id. */
void client_begin(struct out *out, const char *type);

/*
 * Send the request in `out` (which is destroyed), again every CLIENT_TRY_MS, and
 * wait for its reply: CLIENT_TRIES * CLIENT_TRY_MS, plus `hold_ms` when the
 * daemon may hold it back; then it is asked now and then whether it lives.  An
 * error that the daemon reports is returned as such; a request that breaks the
 * schema as -EPROTO without being sent; -EACCES when the daemon does not let this
 * side in; -ETIMEDOUT when nobody answers.
 * `reply` may be NULL.
 */
int client_call(struct client *client, struct out *out, int hold_ms, struct message **reply, struct df_error *err);

uint64_t client_new_id(void);

#endif
