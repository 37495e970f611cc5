// SPDX-License-Identifier: BSD-3-Clause
#include "cli/upload.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"

#define HOLD_MS 12000
#define TRIES   3       /* the daemon was restarted in the middle: from the beginning */

static int send_block(struct cli *cli, const struct dump_header *header, uint64_t index, const uint8_t *block, size_t nbytes, struct message **reply)
{
    struct out out;
    client_begin(&out, "load");
    out_u64(&out, "dump", header->id);
    out_text(&out, "session", header->session);
    out_u64(&out, "index", index);
    out_bin(&out, "block", block, nbytes);
    return client_call(cli_client(cli), &out, HOLD_MS, reply, &cli->err);
}

/* *sent: how many blocks the daemon has taken. */
static int send_all(struct cli *cli, const struct upload *u, uint64_t *sent, struct message **reply)
{
    const uint8_t *block;
    size_t nbytes;
    *sent = 0;
    int r = u->begin(cli, u->opaque);
    while (!r && (r = u->next(cli, u->opaque, &block, &nbytes)) > 0) {
        message_free(reply);
        r = send_block(cli, u->header, *sent, block, nbytes, reply);
        *sent += !r;
    }
    return r;
}

/* The sentence stays that of the failure. */
static int take_back(struct cli *cli, const struct dump_header *header)
{
    struct df_error why = cli->err;
    const char *session = header->session;
    if (cli_session_call(cli, cli_client(cli), "cancel", session, "target", NULL) < 0 && cli->err.code != -ENOENT)
        return error_set(&cli->err, why.code, "%.2048s; what was loaded until then is still there: 'dirtyferry cancel %s --to %s' removes it, loading it again goes on",
                         why.message, session, cli->endpoint);
    cli->err = why;
    return why.code;
}

/* The last answer may have come before the merge was over. */
static int settle(struct cli *cli, const struct dump_header *header, struct message **reply)
{
    const char *state = node_text(cli_status(*reply), "state");
    if (!strcmp(state, "filled") || !strcmp(state, "operative"))
        return 0;
    const struct await until = { .cli = cli, .client = cli_client(cli), .session = header->session, .role = "target", .state = "operative" };
    message_free(reply);
    return cli_await(&until, reply);
}

int cli_upload(struct cli *cli, const struct upload *u, struct message **reply)
{
    uint64_t sent = 0;
    bool begun = false;
    int r = -ESTALE;
    if (!cli_client(cli))
        return cli->err.code;
    for (unsigned i = 0; i < TRIES && r == -ESTALE && (!i || sent); i++) {
        r = send_all(cli, u, &sent, reply);
        begun |= sent > 0;
    }
    if (r < 0 && begun && u->header->content == DUMP_BITMAP)
        return take_back(cli, u->header);
    return r < 0 ? r : settle(cli, u->header, reply);
}
