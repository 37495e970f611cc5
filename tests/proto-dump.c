// SPDX-License-Identifier: BSD-3-Clause
/*
 * The protocol as the programs have it, for comparison with proto/:
 *
 *     proto-dump cddl | limits | states | errors
 *     proto-dump poke ENDPOINT    every request, with minimal fields, to a daemon
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "daemon/comparison.h"
#include "net/client.h"
#include "net/peer.h"
#include "session/session.h"
#include "session/state.h"
#include "wire-sample.h"
#include "wire/dump.h"
#include "wire/frame.h"

/* ------------------------------------------------------------------- CDDL */

/* Maps that stand inside of messages, in the order in which they turn up, with a name each. */
static struct {
    const struct field *fields;
    char name[128];
} maps[64];
static unsigned nmaps;

static const struct {
    const char *where, *name;
} nice_names[] = {
    { "disk-list-disks", "disk" },          { "bitmap-merge-sources", "merge-source" }, { "bitmap-list-bitmaps", "bitmap" },
    { "prepare-bitmaps", "moved-bitmap" },  { "prepare-status", "status" },             { "status-bitmaps", "bitmap-status" },
    { "offer-bitmaps", "offered-bitmap" },  { "attempt-missing", "missing-range" },
    { "dump-header-bitmaps", "dumped-bitmap" }, { "dump-end-bitmaps", "dumped-digests" },
};

static const char *map_name(const struct field *fields)
{
    for (unsigned i = 0; i < nmaps; i++)
        if (maps[i].fields == fields)
            return maps[i].name;
    return NULL;
}

/* Outer maps before inner ones. */
static void name_maps(const char *owner, const struct field *fields)
{
    for (const struct field *f = fields; f->key; f++) {
        if (!f->items || map_name(f->items))
            continue;
        if (nmaps == sizeof maps / sizeof *maps)
            exit(3);
        char *name = maps[nmaps].name;
        maps[nmaps++].fields = f->items;
        snprintf(name, sizeof maps->name, "%s-%s", owner, f->key);
        for (unsigned i = 0; i < sizeof nice_names / sizeof *nice_names; i++)
            if (!strcmp(name, nice_names[i].where))
                snprintf(name, sizeof maps->name, "%s", nice_names[i].name);
        name_maps(name, f->items);
    }
}

static void print_range(uint64_t min, uint64_t max)
{
    if (min == 0 && max == UINT64_MAX)
        printf("uint");
    else if (min == max)
        printf("%" PRIu64, min);
    else
        printf("%" PRIu64 "..%" PRIu64, min, max);
}

static void print_size(const char *type, const struct field *f)
{
    printf("%s .size ", type);
    if (f->min != f->max)
        putchar('(');
    print_range(f->min, f->max);
    if (f->min != f->max)
        putchar(')');
}

static void print_field(const struct field *f)
{
    printf("  %s%s: ", f->optional ? "? " : "", f->key);
    switch (f->type) {
    case FIELD_U64:     print_range(f->min, f->max); break;
    case FIELD_BOOL:    printf("bool"); break;
    case FIELD_TEXT:    print_size("tstr", f); break;
    case FIELD_BIN:     print_size("bstr", f); break;
    case FIELD_UUID:    printf("uuid"); break;
    case FIELD_NUMBERS: printf("[%" PRIu64 "*%" PRIu64 " uint]", f->min, f->max); break;
    case FIELD_MAPS:    printf("[%" PRIu64 "*%" PRIu64 " %s]", f->min, f->max, map_name(f->items)); break;
    case FIELD_MAP:     printf("%s", map_name(f->items)); break;
    }
    puts(",");
}

static void print_map(const char *name, const char *suffix, const char *type, const struct field *fields)
{
    printf("%s%s = {\n", name, suffix);
    for (const struct field *f = message_header; type && f->key; f++)
        if (strcmp(f->key, "type") || !*type)
            print_field(f);
        else
            printf("  type: \"%s\",\n", type);
    for (const struct field *f = fields; f->key; f++)
        print_field(f);
    if (type && !*type)
        puts("  error: error,");
    puts("  * tstr => any,\n}\n");
}

static void print_choice(const char *rule, const char *suffix, bool events)
{
    const char *between = " =";
    printf("%s", rule);
    for (const struct message_type *t = message_types; t->name; t++)
        if (!t->reply == events) {
            printf("%s %s%s", between, t->name, suffix);
            between = "\n  /";
        }
    puts("\n");
}

static void print_frame(void)
{
    printf("frame = [\n  handle: 0..%u,\n  epoch: 0..255,\n  first: 0..4294967295,\n  count: 1..%u,\n  encoding: 0..%u,\n  payload: bstr .size (0..%u),\n]\n\n",
           WIRE_HANDLE_MAX, WIRE_FRAME_CHUNKS, FRAME_ENCODINGS - 1u, WIRE_CHUNK_BYTES_MAX);
}

static void dump_cddl(void)
{
    puts("message = request / reply / error-reply / event / frame\n");
    print_choice("request", "-request", false);
    print_choice("reply", "-reply", false);
    print_choice("event", "-event", true);
    puts("uuid = tstr .regexp \"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}\"\n");
    print_map("error", "", NULL, message_error);
    print_map("error-reply", "", "", (const struct field[]){ { 0 } });
    for (const struct message_type *t = message_types; t->name; t++) {
        name_maps(t->name, t->request);
        if (t->reply)
            name_maps(t->name, t->reply);
    }
    name_maps("dump-header", dump_header_fields);
    name_maps("dump-end", dump_end_fields);
    for (unsigned i = 0; i < nmaps; i++)
        print_map(maps[i].name, "", NULL, maps[i].fields);
    for (const struct message_type *t = message_types; t->name; t++) {
        print_map(t->name, t->reply ? "-request" : "-event", t->name, t->request);
        if (t->reply)
            print_map(t->name, "-reply", t->name, t->reply);
    }
    print_frame();
    print_map("dump-header", "", NULL, dump_header_fields);
    print_map("dump-end", "", NULL, dump_end_fields);
}

/* ----------------------------------------------------------------- tables */

#define LIMIT(name) { #name, name }

static void dump_limits(void)
{
    static const struct {
        const char *name;
        uint64_t value;
    } limits[] = {
        LIMIT(WIRE_VERSION), LIMIT(WIRE_CONTROL_BYTES), LIMIT(WIRE_DEPTH), LIMIT(WIRE_OBJECTS),
        LIMIT(WIRE_CHUNK_BYTES_MIN), LIMIT(WIRE_CHUNK_BYTES), LIMIT(WIRE_CHUNK_BYTES_MAX), LIMIT(WIRE_CHUNKS),
        LIMIT(WIRE_ENVELOPE_BYTES), LIMIT(WIRE_FRAME_CHUNKS), LIMIT(WIRE_HANDLE_MAX), LIMIT(WIRE_EPOCH_MAX),
        LIMIT(WIRE_SESSION_BITMAPS), LIMIT(WIRE_WORKERS), LIMIT(WIRE_SEGMENTS), LIMIT(WIRE_MISSING_RANGES),
        LIMIT(WIRE_EXTENT_NUMBERS), LIMIT(WIRE_BLOCK_BYTES), LIMIT(WIRE_ENDPOINT_BYTES), LIMIT(WIRE_WAIT_MS),
        LIMIT(DUMP_VERSION), LIMIT(DUMP_HEAD_BYTES), LIMIT(DUMP_PAYLOAD_MAX), LIMIT(DUMP_DATA_TARGET), LIMIT(DUMP_CHUNK_BYTES_MAX),
        LIMIT(DF_GRANULARITY_MIN), LIMIT(DF_GRANULARITY_MAX), LIMIT(DF_GRANULARITY_DEFAULT), LIMIT(DF_DISK_SIZE_MAX),
        LIMIT(DF_BITMAP_BITS_MAX), LIMIT(DF_DISK_BITMAPS), LIMIT(DF_DISK_NAME_MAX), LIMIT(DF_BITMAP_NAME_MAX),
        LIMIT(MAP_BLOCK_BYTES), LIMIT(MAP_SEGMENTS),
        LIMIT(SESSIONS_MAX), LIMIT(ENDED_SESSIONS), LIMIT(COMPARISONS_MAX), LIMIT(SERVER_REPLIES),
        LIMIT(SESSIONS_OWNER), LIMIT(SERVER_OPEN), LIMIT(SERVER_OPEN_ONE), LIMIT(SERVER_OPEN_LOOKS), LIMIT(SERVER_QUEUE), LIMIT(SERVER_ADDRESS_BYTES),
        LIMIT(CONNECTION_SILENT), LIMIT(CONNECTION_KEY), LIMIT(CONNECTION_IDLE_BYTES), LIMIT(CONNECTION_UNFINISHED), LIMIT(CONNECTION_SUBSCRIPTIONS), LIMIT(EVENTS_INCOMING_BYTES),
        LIMIT(NET_KEEPALIVE_IDLE_S), LIMIT(NET_UNACKED_MS), LIMIT(NET_CONNECT_TIMEOUT_MS), LIMIT(NET_HANDSHAKE_IVL_MS),
        LIMIT(CLIENT_TRY_MS), LIMIT(CLIENT_TRIES), LIMIT(PEER_TRY_MS), LIMIT(PEER_TRIES),
        LIMIT(DRAIN_MS), LIMIT(LEASE_MS), LIMIT(LEASE_HOLD_MS), LIMIT(WINDOW_BYTES), LIMIT(WINDOW_MS), LIMIT(STALLED_MS),
        LIMIT(RETRY_MS), LIMIT(RECEIVE_QUIET_MS),
        LIMIT(BEAT_MS), LIMIT(LINK_LOST_MS), LIMIT(RECONNECT_MS), LIMIT(RECONNECT_MAX_MS), LIMIT(RESUME_MS), LIMIT(DUMP_EXPIRE_MS),
        LIMIT(PROGRESS_MS), LIMIT(SNAPSHOT_MS),
    };
    for (unsigned i = 0; i < sizeof limits / sizeof *limits; i++)
        printf("%-26s %" PRIu64 "\n", limits[i].name, limits[i].value);
}

static void dump_errors(void)
{
    for (unsigned i = 0; error_code_at(i); i++)
        puts(error_code_at(i));
}

/* ------------------------------------------------------------------- poke */

/* The request is understood and answered, by yes or no, under its own name. */
static int poke_one(struct client *client, const struct message_type *type)
{
    static const struct sample minimal = { .form = SAMPLE_MINIMAL };
    struct message *reply = NULL;
    struct df_error err = { 0 };
    struct out out;
    sample_build(&out, type->name, client_new_id(), type->request, &minimal);
    client_call(client, &out, 0, &reply, &err);
    bool ok = reply && reply->type == type && err.code != -EPROTO;
    printf("%-16s %s%s%s\n", type->name, ok ? err.code ? "no: " : "yes" : "FAILED: ", err.code ? err.message : "",
           reply && reply->type != type ? " (a reply of another type)" : "");
    message_free(&reply);
    return ok ? 0 : 1;
}

static int poke(const char *endpoint)
{
    struct df_error err;
    struct client *client = NULL;
    struct net net;
    struct net_address address = { .key = "" };
    snprintf(address.endpoint, sizeof address.endpoint, "%s", endpoint);
    if (net_start(&net, NULL, &err) < 0 || client_open(&net, &address, &client, &err) < 0) {
        fprintf(stderr, "proto-dump: %s\n", err.message);
        return 1;
    }
    int failed = 0;
    for (const struct message_type *t = message_types; t->name && !failed; t++)
        if (t->reply)
            failed = poke_one(client, t) || poke_one(client, message_type_find("hello"));
    client_close(&client);
    net_stop(&net);
    return failed;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "cddl"))
        dump_cddl();
    else if (!strcmp(what, "limits"))
        dump_limits();
    else if (!strcmp(what, "states"))
        state_print(stdout);
    else if (!strcmp(what, "errors"))
        dump_errors();
    else if (!strcmp(what, "poke") && argc > 2)
        return poke(argv[2]);
    else
        return fputs("usage: proto-dump cddl|limits|states|errors|poke ENDPOINT\n", stderr), 2;
    return fflush(stdout) ? 1 : 0;
}
