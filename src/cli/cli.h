// SPDX-License-Identifier: BSD-3-Clause
/*
 * What the subcommands share.  A subcommand is a function in a file of its own;
 * main.c has the table of them.  It returns 0, or a negative errno with the
 * sentence in cli->err, or USAGE when the command line is wrong (exit status 2).
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <jansson.h>

#include "net/client.h"
#include "net/events.h"

#define USAGE 1     /* not an errno */

struct cli {
    struct net net;
    const char *endpoint;       /* -c: EP or EP,CERTIFICATE, as all daemons are named */
    const char *key;            /* --key: the file of this side's secret key, or NULL */
    bool json;
    struct client *client;      /* to `endpoint`, opened when needed */
    struct df_error err;
    const char *usage;          /* of the subcommand */
};

/* -------------------------------------------------- usage */

/* Prints why and how to get help; returns USAGE. */
__attribute__((format(printf, 2, 3)))
int cli_usage(struct cli *cli, const char *format, ...);
/* For getopt_long's return values: help or a wrong option. */
int cli_option(struct cli *cli, int c);
/* Are there `min` to `max` arguments left? */
int cli_arguments(struct cli *cli, int argc, int min, int max);
/* The only argument is a session's UUID. */
int cli_session(struct cli *cli, int argc, char **argv, const char **session);

/* address.c */
int cli_start(struct cli *cli);
/* EP or EP,CERTIFICATE: the public certificate of the daemon there. */
int cli_address(struct cli *cli, const char *text, struct net_address *address);
int cli_open(struct cli *cli, const char *text, struct client **client);
/* The fields that tell a source where its target is. */
void cli_put_target(struct out *out, const struct net_address *target);
/* To the events of `client`'s daemon, which says itself where it publishes. */
int cli_subscribe(struct cli *cli, struct client *client, const char *prefix, struct subscription **events);

/* ---------------------------------------------- requests */

struct client *cli_client(struct cli *cli);
/* Ask cli->endpoint.  *reply may be NULL. */
int cli_call(struct cli *cli, struct out *out, struct message **reply);
/* The same for what may be QEMU's to answer: the daemon waits for it, one request after the other. */
int cli_call_qemu(struct cli *cli, struct out *out, struct message **reply);
/* Split DISK/BITMAP; false if there is no BITMAP.  A disk's name that is too long stays too long: the daemon refuses it. */
#define CLI_DISK_BYTES 1024
bool cli_split(const char *text, char disk[CLI_DISK_BYTES], const char **bitmap);
/* A size as a number; USAGE if it is none. */
int cli_size(struct cli *cli, const char *text, const char *what, uint64_t *bytes);
/* The same for --granularity: of what a bitmap can have. */
int cli_granularity(struct cli *cli, const char *text, uint64_t *bytes);

/* A reply's fields as JSON, without v, type and id. */
json_t *cli_json(const node *value);
/* File names are bytes: one that is not UTF-8 is not shown. */
json_t *cli_json_text(const char *text);
/* Prints and releases. */
void cli_print_json(json_t *value);
/* The same of an object, with one more value behind the others: a list, whose items with their commas are in `items`. */
void cli_print_json_list(json_t *object, const char *key, FILE *items);
bool cli_has_printed(void);

/* --------------------------------------------- sessions */

struct client_pair {
    struct client *from, *to;
};

void cli_begin_session(struct out *out, const char *type, const char *session, const char *role);
/* A request with a session and a role; *reply may be NULL. */
int cli_session_call(struct cli *cli, struct client *client, const char *type, const char *session, const char *role, struct message **reply);
/* Wait until the session is in `state` or at its end, at most timeout_ms (then 0 as well: look at the state). */
int cli_wait_call(struct cli *cli, struct client *client, const char *session, const char *role, const char *state, int timeout_ms, struct message **reply);
const node *cli_status(const struct message *reply);
/* The arguments of a command that sends one request for a session to one daemon: --from, --to and the UUID. */
int cli_one_session(struct cli *cli, int argc, char **argv, const char **session);

/* status.c: a reply's status as a line and more, or as JSON. */
void cli_print_status(struct cli *cli, const struct message *reply);
bool cli_link_is_lost(const node *status);

/* await.c: wait for a state as long as the move goes on; what holds it up is said on stderr. */
struct progress;
struct await {
    struct cli *cli;
    struct client *client;          /* who is asked */
    const char *session, *role, *state;
    struct progress *progress;      /* may be NULL, as may the next one */
    struct client *source;          /* is looked at now and then, to tell what is wrong */
};
/* 0 when the state is there (reply may be NULL), an error when the session ends otherwise or nobody answers for a minute. */
int cli_await(const struct await *await, struct message **reply);

/* progress.c: a bar on a terminal, fed by the events of `client`'s daemon. */
struct progress *progress_start(struct cli *cli, struct client *client, const char *session, bool wanted);
void progress_update(struct progress *progress);
/* Something else is printed on stderr. */
void progress_break(struct progress *progress);
void progress_end(struct progress **progress);
/* One bar, for watch as well. */
void progress_line(char line[128], uint64_t done, uint64_t all, uint64_t bytes);

/* plan.c: the arguments that prepare and migrate share. */
struct plan {
    const char *from, *to, *on_pivot;
    uint64_t chunk_bytes, workers, max_bandwidth, granularity;
    bool has_chunk, has_workers, has_granularity, transient, grow, progress;
    unsigned n;
    struct {
        const char *source, *as;
    } items[64];
};
int plan_parse(struct cli *cli, int argc, char **argv, struct plan *plan);
/* Opens both ends, sends prepare; `session` gets its UUID. */
int plan_prepare(struct cli *cli, const struct plan *plan, struct client_pair *ends, char session[37]);
void plan_close(struct client_pair *ends);

/* pivot.c: source, then the command if any, then target.  What failed half way is taken back, or finished. */
struct pivot {
    int64_t us, command_ms;
    bool refused;       /* by the source: nothing has happened */
};
int plan_pivot(struct cli *cli, const struct client_pair *ends, const char *session, const char *on_pivot, struct pivot *pivot);

/* output.c: a file that is whole or not there. */
struct output {
    const char *name;
    char temporary[4096];
    FILE *file;
};
int output_open(struct cli *cli, struct output *output, const char *name, mode_t mode);
int output_commit(struct cli *cli, struct output *output);
void output_discard(struct output *output);

/* ------------------------------------------- subcommands */

typedef int command(struct cli *cli, int argc, char **argv);

command command_disk, command_bitmap, command_migrate, command_prepare, command_pivot, command_wait,
        command_status, command_cancel, command_rollback, command_resume, command_abandon, command_dump, command_load,
        command_worker, command_watch, command_keygen, command_diff;
/* Parts of command_bitmap: export.c, import.c, livediff.c. */
command bitmap_export, bitmap_import, bitmap_diff;

#endif
