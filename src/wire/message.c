// SPDX-License-Identifier: BSD-3-Clause
#include "wire/message.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/uuid.h"
#include "wire/scan.h"

/* -------------------------------------------------------------- checking */

static const node *find(const node *map, const char *key)
{
    size_t n = strlen(key);
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const node *k = &map->via.map.ptr[i].key;
        if (k->type == MSGPACK_OBJECT_STR && k->via.str.size == n && !memcmp(k->via.str.ptr, key, n))
            return &map->via.map.ptr[i].val;
    }
    return NULL;
}

static int bad(const struct field *field, const char *what, struct df_error *err)
{
    return error_set(err, -EPROTO, "the message's field '%s' %s", field->key, what);
}

static int out_of_range(const struct field *field, uint64_t value, const char *unit, struct df_error *err)
{
    return error_set(err, -EPROTO, "the message's field '%s' is out of range: %" PRIu64 "%s, possible are %" PRIu64 " to %" PRIu64,
                     field->key, value, unit, field->min, field->max);
}

static bool within(const struct field *field, uint64_t value)
{
    return value >= field->min && value <= field->max;
}

/*
 * Texts are ended by a zero byte in place: what stood there is the head of the
 * next value, which has been unpacked already, or the spare byte at the end.
 */
static int check_text(const struct field *field, const node *value, struct df_error *err)
{
    if (value->type != MSGPACK_OBJECT_STR)
        return bad(field, "is not a text", err);
    uint32_t n = value->via.str.size;
    if (memchr(value->via.str.ptr, 0, n))
        return bad(field, "has a zero byte in it", err);
    if (n)
        ((char *)(uintptr_t)value->via.str.ptr)[n] = 0;
    else
        ((node *)(uintptr_t)value)->via.str.ptr = "";   /* msgpack-c lets an empty text point anywhere */
    if (field->type == FIELD_UUID) {
        uint8_t uuid[UUID_BYTES];
        return uuid_parse(value->via.str.ptr, uuid) ? 0 : bad(field, "is not a UUID", err);
    }
    return within(field, n) ? 0 : out_of_range(field, n, " bytes", err);
}

static int check_map(const struct field *fields, const node *map, struct df_error *err);

static int check_list(const struct field *field, const node *value, struct df_error *err)
{
    if (value->type != MSGPACK_OBJECT_ARRAY)
        return bad(field, "is not a list", err);
    uint32_t n = value->via.array.size;
    if (!within(field, n))
        return out_of_range(field, n, " items", err);
    for (uint32_t i = 0; i < n; i++) {
        const node *item = &value->via.array.ptr[i];
        if (field->type == FIELD_NUMBERS ? item->type != MSGPACK_OBJECT_POSITIVE_INTEGER : item->type != MSGPACK_OBJECT_MAP)
            return bad(field, "has an item of a wrong type", err);
        int r = field->type == FIELD_MAPS ? check_map(field->items, item, err) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

static int check_field(const struct field *field, const node *value, struct df_error *err)
{
    switch (field->type) {
    case FIELD_U64:
        if (value->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
            return bad(field, "is not an unsigned integer", err);
        return within(field, value->via.u64) ? 0 : out_of_range(field, value->via.u64, "", err);
    case FIELD_BOOL:
        return value->type == MSGPACK_OBJECT_BOOLEAN ? 0 : bad(field, "is not true or false", err);
    case FIELD_TEXT:
    case FIELD_UUID:
        return check_text(field, value, err);
    case FIELD_BIN:
        if (value->type != MSGPACK_OBJECT_BIN)
            return bad(field, "is not bytes", err);
        return within(field, value->via.bin.size) ? 0 : out_of_range(field, value->via.bin.size, " bytes", err);
    case FIELD_NUMBERS:
    case FIELD_MAPS:
        return check_list(field, value, err);
    case FIELD_MAP:
        return value->type == MSGPACK_OBJECT_MAP ? check_map(field->items, value, err) : bad(field, "is not a map", err);
    }
    return bad(field, "has no type", err);
}

/* An empty text may point nowhere at all. */
static bool same_text(const node *a, const node *b)
{
    uint32_t n = a->via.str.size;
    return n == b->via.str.size && (!n || !memcmp(a->via.str.ptr, b->via.str.ptr, n));
}

/* A key that stands twice would be read by one side and checked by the other: refused. */
static int check_unique(const node *map, struct df_error *err)
{
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const node *a = &map->via.map.ptr[i].key;
        if (a->type != MSGPACK_OBJECT_STR)
            return error_set(err, -EPROTO, "the message has a key that is not a text");
        for (uint32_t j = 0; j < i; j++) {
            const node *b = &map->via.map.ptr[j].key;
            if (same_text(a, b))
                return error_set(err, -EPROTO, "the message has the key '%.*s' twice", (int)(a->via.str.size < 64 ? a->via.str.size : 64), a->via.str.ptr);
        }
    }
    return 0;
}

#define KEYS_MAX 32     /* bounds check_unique; no map of the protocol has more */

static int check_map(const struct field *fields, const node *map, struct df_error *err)
{
    if (map->via.map.size > KEYS_MAX)
        return error_set(err, -EPROTO, "the message has a map with %" PRIu32 " keys: %d are possible", map->via.map.size, KEYS_MAX);
    /* Keys are compared before any text is ended by a zero byte, which may fall on the next key's head only. */
    int r = check_unique(map, err);
    for (const struct field *f = fields; !r && f->key; f++) {
        const node *value = find(map, f->key);
        if (value)
            r = check_field(f, value, err);
        else if (!f->optional)
            r = error_set(err, -EPROTO, "the message lacks the field '%s'", f->key);
    }
    return r;
}

/* ------------------------------------------------------------- decoding */

static int unpack(const void *bytes, size_t nbytes, struct message **out, struct df_error *err)
{
    const char *wrong = nbytes > WIRE_CONTROL_BYTES ? "too long" : wire_scan(bytes, nbytes);
    if (wrong)
        return error_set(err, -EPROTO, "a message of %zu bytes is refused: %s", nbytes, wrong);
    CLEANUP(message_free) struct message *m = calloc(1, sizeof *m);
    if (!m || !(m->bytes = malloc(nbytes + 1)))
        return error_errno(err, -ENOMEM, "cannot take a message of %zu bytes", nbytes);
    memcpy(m->bytes, bytes, nbytes);
    msgpack_unpacked_init(&m->unpacked);
    size_t used = 0;
    if (msgpack_unpack_next(&m->unpacked, m->bytes, nbytes, &used) != MSGPACK_UNPACK_SUCCESS || used != nbytes)
        return error_set(err, -EPROTO, "a message of %zu bytes is refused: it cannot be unpacked", nbytes);
    m->root = &m->unpacked.data;
    if (m->root->type != MSGPACK_OBJECT_MAP)
        return error_set(err, -EPROTO, "a message of %zu bytes is refused: it is not a map", nbytes);
    *out = steal(&m);
    return 0;
}

static const struct field *body_fields(const struct message *m, enum message_kind kind)
{
    bool is_event = !m->type->reply;
    if (is_event != (kind == MESSAGE_EVENT))
        return NULL;
    return kind == MESSAGE_REPLY ? m->type->reply : m->type->request;
}

int message_decode(const void *bytes, size_t nbytes, enum message_kind kind, struct message **out,
                   uint64_t *id, struct df_error *err)
{
    CLEANUP(message_free) struct message *m = NULL;
    int r = unpack(bytes, nbytes, &m, err);
    if (!r)
        r = check_map(message_header, m->root, err);
    if (r < 0)
        return r;
    m->id = *id = node_u64(m->root, "id", 0);
    m->type = message_type_find(node_text(m->root, "type"));
    const struct field *fields = m->type ? body_fields(m, kind) : NULL;
    if (!fields)
        return error_set(err, -EPROTO, "a message of type '%s' is not known here", node_text(m->root, "type"));
    const node *error = kind == MESSAGE_REPLY ? find(m->root, "error") : NULL;
    if (error) {
        r = error->type == MSGPACK_OBJECT_MAP ? check_map(message_error, error, err) : error_set(err, -EPROTO, "the message's field 'error' is not a map");
        m->error = error;
    } else {
        r = check_map(fields, m->root, err);
    }
    if (r < 0)
        return r;
    *out = steal(&m);
    return 0;
}

int message_decode_map(const void *bytes, size_t nbytes, const struct field *fields, struct message **out, struct df_error *err)
{
    CLEANUP(message_free) struct message *m = NULL;
    int r = unpack(bytes, nbytes, &m, err);
    if (!r)
        r = check_map(fields, m->root, err);
    if (r < 0)
        return r;
    *out = steal(&m);
    return 0;
}

const struct message_type *message_identify(const void *bytes, size_t nbytes, uint64_t *id, struct df_error *err)
{
    CLEANUP(message_free) struct message *m = NULL;
    return message_decode(bytes, nbytes, MESSAGE_REQUEST, &m, id, err) < 0 ? NULL : m->type;
}

void message_free(struct message **mp)
{
    struct message *m = steal(mp);
    if (!m)
        return;
    msgpack_unpacked_destroy(&m->unpacked);
    free(m->bytes);
    free(m);
}

/* --------------------------------------------------------------- reading */

bool node_has(const node *map, const char *key)
{
    return find(map, key) != NULL;
}

uint64_t node_u64(const node *map, const char *key, uint64_t fallback)
{
    const node *v = find(map, key);
    return v ? v->via.u64 : fallback;
}

bool node_bool(const node *map, const char *key)
{
    const node *v = find(map, key);
    return v && v->via.boolean;
}

const char *node_text(const node *map, const char *key)
{
    const node *v = find(map, key);
    return v ? v->via.str.ptr : NULL;
}

const uint8_t *node_bin(const node *map, const char *key, size_t *nbytes)
{
    const node *v = find(map, key);
    *nbytes = v ? v->via.bin.size : 0;
    return v ? (const uint8_t *)v->via.bin.ptr : NULL;
}

const node *node_list(const node *map, const char *key, size_t *n)
{
    const node *v = find(map, key);
    *n = v ? v->via.array.size : 0;
    return v ? v->via.array.ptr : NULL;
}

const node *node_map(const node *map, const char *key)
{
    return find(map, key);
}

/* --------------------------------------------------------------- writing */

void message_begin(struct out *out, const char *type, uint64_t id)
{
    out_init(out);
    out_u64(out, "v", WIRE_VERSION);
    out_text(out, "type", type);
    out_u64(out, "id", id);
}

void message_error_reply(struct out *out, const char *type, uint64_t id, const struct df_error *err)
{
    message_begin(out, type, id);
    out_map(out, "error");
    out_text(out, "code", error_code_name(err->code));
    out_text(out, "message", err->message);
    out_close(out);
}

int message_get_error(const struct message *reply, struct df_error *err)
{
    if (!reply->error)
        return 0;
    return error_set(err, error_code_from_name(node_text(reply->error, "code")), "%s", node_text(reply->error, "message"));
}
