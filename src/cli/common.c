// SPDX-License-Identifier: BSD-3-Clause
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <dirtyferry/bitmap.h>

#include "base/size.h"
#include "base/uuid.h"
#include "cli/cli.h"

int cli_usage(struct cli *cli, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    fputs("dirtyferry: ", stderr);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fprintf(stderr, "\n%s", cli->usage);
    return USAGE;
}

int cli_option(struct cli *cli, int c)
{
    if (c != 'h') {
        fputs(cli->usage, stderr);      /* getopt has said what is wrong */
        return USAGE;
    }
    fputs(cli->usage, stdout);
    exit(0);
}

int cli_arguments(struct cli *cli, int argc, int min, int max)
{
    int n = argc - optind;
    if (n < min)
        return cli_usage(cli, "an argument is missing");
    if (n > max)
        return cli_usage(cli, "there are too many arguments");
    return 0;
}

int cli_session(struct cli *cli, int argc, char **argv, const char **session)
{
    uint8_t uuid[UUID_BYTES];
    int r = cli_arguments(cli, argc, 1, 1);
    if (r)
        return r;
    *session = argv[optind];
    return uuid_parse(*session, uuid) ? 0 : cli_usage(cli, "'%s' is not a session's UUID", *session);
}

struct client *cli_client(struct cli *cli)
{
    if (!cli->client)
        cli_open(cli, cli->endpoint, &cli->client);
    return cli->client;
}

static int call(struct cli *cli, struct out *out, int hold_ms, struct message **reply)
{
    struct client *client = cli_client(cli);
    if (!client) {
        out_destroy(out);
        return cli->err.code;
    }
    return client_call(client, out, hold_ms, reply, &cli->err);
}

int cli_call(struct cli *cli, struct out *out, struct message **reply)
{
    return call(cli, out, 0, reply);
}

int cli_call_qemu(struct cli *cli, struct out *out, struct message **reply)
{
    return call(cli, out, 60000, reply);
}

bool cli_split(const char *text, char disk[CLI_DISK_BYTES], const char **bitmap)
{
    const char *slash = strchr(text, '/');
    size_t n = slash ? (size_t)(slash - text) : strlen(text);
    snprintf(disk, CLI_DISK_BYTES, "%.*s", (int)(n < CLI_DISK_BYTES ? n : CLI_DISK_BYTES - 1), text);
    *bitmap = slash ? slash + 1 : NULL;
    return slash != NULL;
}

int cli_size(struct cli *cli, const char *text, const char *what, uint64_t *bytes)
{
    struct df_error err;
    return size_parse(text, what, bytes, &err) < 0 ? cli_usage(cli, "%s", err.message) : 0;
}

static bool is_head(const char *key)
{
    return !strcmp(key, "v") || !strcmp(key, "type") || !strcmp(key, "id");
}

int cli_granularity(struct cli *cli, const char *text, uint64_t *bytes)
{
    int r = cli_size(cli, text, "--granularity", bytes);
    if (!r && (*bytes < DF_GRANULARITY_MIN || *bytes > DF_GRANULARITY_MAX || *bytes & (*bytes - 1)))
        r = cli_usage(cli, "--granularity %" PRIu64 " is out of range: a power of two from 512 to 2G is possible", *bytes);
    return r;
}

/* Only texts that the schema names are ended by a zero byte: keys and unknown values are not. */
static json_t *json_map(const node *value)
{
    json_t *object = json_object();
    for (uint32_t i = 0; i < value->via.map.size; i++) {
        const node *key = &value->via.map.ptr[i].key;
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)key->via.str.size, key->via.str.ptr);
        if (!is_head(name))
            json_object_set_new(object, name, cli_json(&value->via.map.ptr[i].val));
    }
    return object;
}

json_t *cli_json(const node *value)
{
    json_t *list;
    switch (value->type) {
    case MSGPACK_OBJECT_BOOLEAN:
        return json_boolean(value->via.boolean);
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        return json_integer((json_int_t)value->via.u64);
    case MSGPACK_OBJECT_STR:
        list = json_stringn(value->via.str.ptr, value->via.str.size);
        return list ? list : json_string("(not UTF-8)");
    case MSGPACK_OBJECT_ARRAY:
        list = json_array();
        for (uint32_t i = 0; i < value->via.array.size; i++)
            json_array_append_new(list, cli_json(&value->via.array.ptr[i]));
        return list;
    case MSGPACK_OBJECT_MAP:
        return json_map(value);
    default:
        return json_null();
    }
}

json_t *cli_json_text(const char *text)
{
    json_t *value = json_string(text);
    return value ? value : json_string("(not UTF-8)");
}

static bool has_printed;

bool cli_has_printed(void)
{
    return has_printed;
}

void cli_print_json(json_t *value)
{
    has_printed = true;
    json_dumpf(value, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    putchar('\n');
    fflush(stdout);
    json_decref(value);
}

void cli_print_json_list(json_t *object, const char *key, FILE *items)
{
    char *text = json_dumps(object, JSON_COMPACT), bytes[4096];
    has_printed = true;
    printf("%.*s,\"%s\":[", (int)strlen(text) - 1, text, key);
    rewind(items);
    for (size_t n; (n = fread(bytes, 1, sizeof bytes, items));)
        fwrite(bytes, 1, n, stdout);
    puts("]}");
    fflush(stdout);
    free(text);
    json_decref(object);
}

void cli_begin_session(struct out *out, const char *type, const char *session, const char *role)
{
    client_begin(out, type);
    out_text(out, "session", session);
    out_text(out, "role", role);
}

int cli_session_call(struct cli *cli, struct client *client, const char *type, const char *session, const char *role, struct message **reply)
{
    struct out out;
    cli_begin_session(&out, type, session, role);
    /* A pivot waits for open writes, a cancel for the target: longer than a plain answer takes. */
    return client_call(client, &out, 12000, reply, &cli->err);
}

int cli_wait_call(struct cli *cli, struct client *client, const char *session, const char *role, const char *state, int timeout_ms, struct message **reply)
{
    struct out out;
    cli_begin_session(&out, "wait", session, role);
    out_text(&out, "state", state);
    out_u64(&out, "timeout_ms", (uint64_t)timeout_ms);
    return client_call(client, &out, timeout_ms, reply, &cli->err);
}

const node *cli_status(const struct message *reply)
{
    return node_map(reply->root, "status");
}
