// SPDX-License-Identifier: BSD-3-Clause
/* Daemons by what the user calls them: EP, or EP,CERTIFICATE where they have keys. */
#include <fcntl.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"

int cli_start(struct cli *cli)
{
    CLEANUP(keys_forget) struct key_pair keys;
    int r = cli->key ? keys_read_secret(cli->key, &keys, &cli->err) : 0;
    return r < 0 ? r : net_start(&cli->net, cli->key ? &keys : NULL, &cli->err);
}

int cli_address(struct cli *cli, const char *text, struct net_address *address)
{
    const char *comma = strrchr(text, ',');
    char endpoint[1024];        /* one that is too long stays too long, and is refused as such */
    struct certificate certificate;
    snprintf(endpoint, sizeof endpoint, "%.*s", comma ? (int)(comma - text) : (int)sizeof endpoint - 1, text);
    *address = (struct net_address){ .key = "" };
    int r = net_check_endpoint(endpoint, "endpoint", &cli->err);
    if (r < 0)
        return r;
    memcpy(address->endpoint, endpoint, strlen(endpoint) + 1);
    if (comma)
        r = keys_read_certificate(AT_FDCWD, comma + 1, &certificate, &cli->err);
    if (!r && comma)
        memcpy(address->key, certificate.public_key, sizeof address->key);
    return r;
}

int cli_open(struct cli *cli, const char *text, struct client **client)
{
    struct net_address address;
    int r = cli_address(cli, text, &address);
    return r < 0 ? r : client_open(&cli->net, &address, client, &cli->err);
}

void cli_put_target(struct out *out, const struct net_address *target)
{
    out_text(out, "target", target->endpoint);
    if (target->key[0])
        out_text(out, "target_key", target->key);
}

int cli_subscribe(struct cli *cli, struct client *client, const char *prefix, struct subscription **events)
{
    CLEANUP(message_free) struct message *reply = NULL;
    struct net_address address = *client_address(client);      /* one key for all sockets of a daemon */
    struct out out;
    client_begin(&out, "hello");
    int r = client_call(client, &out, 0, &reply, &cli->err);
    if (r < 0)
        return r;
    net_resolve(node_text(reply->root, "events"), client_address(client)->endpoint, address.endpoint);
    return events_subscribe(&cli->net, &address, prefix, events, &cli->err);
}
