// SPDX-License-Identifier: BSD-3-Clause
/* dirtyferry worker: the stream worker as a process of its own. */
#include <unistd.h>

#include "cli/cli.h"
#include "session/worker.h"

int command_worker(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = { { "help", no_argument, NULL, 'h' }, { 0 } };
    char name[64];
    cli->usage = "Usage: dirtyferry [-c EP] worker SESSION\n"
                 "Streams for a session until that is over.  Runs on the source's host, where it\n"
                 "can read the bitmaps in the state directory; any number may run, and any of\n"
                 "them may be killed: its work goes to the others.  Where there are keys it needs\n"
                 "the source daemon's own: to the target it is that daemon.\n";
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;)
        return cli_option(cli, c);
    const char *session;
    int r = cli_session(cli, argc, argv, &session);
    if (r)
        return r;
    snprintf(name, sizeof name, "process %ld", (long)getpid());
    struct net_address control;
    r = cli_address(cli, cli->endpoint, &control);
    return r < 0 ? r : worker_run(&cli->net, &control, session, name, &cli->err);
}
