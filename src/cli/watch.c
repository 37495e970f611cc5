// SPDX-License-Identifier: BSD-3-Clause
/* dirtyferry watch: the events of a daemon as lines, or as JSON lines. */
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/uuid.h"
#include "cli/cli.h"
#include "net/events.h"

static int print_event(struct cli *cli, const struct message *event)
{
    const node *e = event->root;
    if (cli->json) {
        json_t *object = cli_json(e);
        json_object_set_new(object, "event", json_string(event->type->name));
        cli_print_json(object);
        return ferror(stdout);
    }
    char line[128];
    if (node_has(e, "diff")) {
        progress_line(line, node_u64(e, "position", 0), node_u64(e, "size", 0), node_u64(e, "different", 0));
        printf("%6" PRIu64 " %s diff   %-11s %s different  %s/%s\n", node_u64(e, "seq", 0), node_text(e, "diff"), node_text(e, "state"), line,
               node_text(e, "disk"), node_text(e, "bitmap"));
        fflush(stdout);
        return ferror(stdout);
    }
    progress_line(line, node_u64(e, "chunks_done", 0), node_u64(e, "chunks", 0), node_u64(e, "bytes", 0));
    const char *link = node_text(e, "link");
    printf("%6" PRIu64 " %s %s %-11s %s%s\n", node_u64(e, "seq", 0), node_text(e, "session"), node_text(e, "role"), node_text(e, "state"), line,
           link && !strcmp(link, "lost") ? "  link lost" : "");
    fflush(stdout);
    return ferror(stdout);
}

/* "": everything is. */
static bool is_about(const struct message *event, const char *uuid)
{
    const node *e = event->root;
    return !*uuid || !strcmp(node_text(e, node_has(e, "diff") ? "diff" : "session"), uuid);
}

int command_watch(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = { { "help", no_argument, NULL, 'h' }, { 0 } };
    CLEANUP(events_unsubscribe) struct subscription *events = NULL;
    cli->usage = "Usage: dirtyferry [-c EP] [--json] watch [SESSION|DIFF]\n"
                 "Follows the events of a daemon until it is interrupted: all of them, or those of\n"
                 "a session or of a comparison (bitmap diff).\n";
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;)
        return cli_option(cli, c);
    int r = cli_arguments(cli, argc, 0, 1);
    if (r)
        return r;
    uint8_t uuid[UUID_BYTES];
    char only[UUID_TEXT_BYTES] = "";
    if (optind < argc && !uuid_parse(argv[optind], uuid))
        return cli_usage(cli, "'%s' is not the UUID of a session or of a comparison", argv[optind]);
    if (optind < argc)
        uuid_format(uuid, only);        /* lower case, as in events */
    struct client *client = cli_client(cli);
    if (!client)
        return cli->err.code;
    r = cli_subscribe(cli, client, "", &events);
    while (!r) {
        CLEANUP(message_free) struct message *event = NULL;
        r = events_receive(events, 1000, &event, &cli->err);
        if (r == 1)
            r = is_about(event, only) && print_event(cli, event) ? USAGE : 0;
        if (r == USAGE)
            return 0;       /* nobody reads any more */
    }
    return r;
}
