// SPDX-License-Identifier: BSD-3-Clause
/* The progress bar: a line on stderr that is drawn again for each event. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/size.h"
#include "cli/cli.h"
#include "net/events.h"

#define BAR_CELLS 40

struct progress {
    struct subscription *events;
    bool drawn;
};

void progress_line(char line[128], uint64_t done, uint64_t all, uint64_t bytes)
{
    char bar[BAR_CELLS + 1], size[SIZE_TEXT_BYTES];
    double part = all ? (double)done / (double)all : 0;
    unsigned cells = (unsigned)(part * BAR_CELLS);
    for (unsigned i = 0; i < BAR_CELLS; i++)
        bar[i] = i < cells ? '#' : '.';
    bar[BAR_CELLS] = 0;
    snprintf(line, 128, "[%s] %3.0f %%  %s bytes", bar, part * 100, size_format(bytes, size));
}

/* Without events there is no bar, and nothing else is missing. */
static struct subscription *subscribe(struct cli *cli, struct client *client, const char *session)
{
    struct df_error kept = cli->err;
    char prefix[64];
    struct subscription *events = NULL;
    snprintf(prefix, sizeof prefix, "session/%s/", session);
    cli_subscribe(cli, client, prefix, &events);
    cli->err = kept;
    return events;
}

struct progress *progress_start(struct cli *cli, struct client *client, const char *session, bool wanted)
{
    if (!wanted && (cli->json || !isatty(STDERR_FILENO)))
        return NULL;
    struct progress *p = calloc(1, sizeof *p);
    if (p)
        p->events = subscribe(cli, client, session);
    return p;
}

void progress_update(struct progress *p)
{
    struct message *event = NULL;
    while (p && p->events && events_receive(p->events, 0, &event, NULL) == 1) {
        char line[128];
        const node *e = event->root;
        if (!strcmp(node_text(e, "role"), "target")) {
            progress_line(line, node_u64(e, "chunks_done", 0), node_u64(e, "chunks", 0), node_u64(e, "bytes", 0));
            fprintf(stderr, "\r%s %-11s", line, node_text(e, "state"));
            fflush(stderr);
            p->drawn = true;
        }
        message_free(&event);
    }
}

void progress_break(struct progress *p)
{
    if (p && p->drawn)
        fputc('\n', stderr);
    if (p)
        p->drawn = false;
}

void progress_end(struct progress **pp)
{
    struct progress *p = steal(pp);
    if (!p)
        return;
    progress_update(p);
    progress_break(p);
    events_unsubscribe(&p->events);
    free(p);
}
