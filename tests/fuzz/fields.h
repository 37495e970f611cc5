// SPDX-License-Identifier: BSD-3-Clause
/*
 * A checked message, read as handlers read it: by the schema, without a further
 * check.  What the schema promises must be true.
 */
#ifndef FUZZ_FIELDS_H
#define FUZZ_FIELDS_H

#include "base/uuid.h"
#include "fuzz.h"
#include "wire/message.h"

static inline void fields_walk(const struct field *fields, const node *map);

static inline bool fields_within(const struct field *f, uint64_t value)
{
    return value >= f->min && value <= f->max;
}

static inline void fields_text(const struct field *f, const char *text)
{
    uint8_t uuid[UUID_BYTES];
    size_t n = strlen(text);
    input_read(text, n + 1);
    CHECK(f->type == FIELD_UUID ? uuid_parse(text, uuid) && n == UUID_TEXT_BYTES - 1 : fields_within(f, n));
}

static inline void fields_list(const struct field *f, const node *map)
{
    size_t n;
    const node *items = node_list(map, f->key, &n);
    CHECK(fields_within(f, n));
    for (size_t i = 0; i < n; i++) {
        if (f->type == FIELD_MAPS)
            fields_walk(f->items, &items[i]);
        else
            CHECK(items[i].type == MSGPACK_OBJECT_POSITIVE_INTEGER);
    }
}

static inline void fields_value(const struct field *f, const node *map)
{
    size_t n;
    const uint8_t *bin;
    switch (f->type) {
    case FIELD_U64:
        CHECK(fields_within(f, node_u64(map, f->key, 0)));
        break;
    case FIELD_BOOL:
        CHECK(node_bool(map, f->key) == node_map(map, f->key)->via.boolean);
        break;
    case FIELD_TEXT:
    case FIELD_UUID:
        fields_text(f, node_text(map, f->key));
        break;
    case FIELD_BIN:
        bin = node_bin(map, f->key, &n);
        CHECK(fields_within(f, n));
        input_read(bin, n);
        break;
    case FIELD_NUMBERS:
    case FIELD_MAPS:
        fields_list(f, map);
        break;
    case FIELD_MAP:
        fields_walk(f->items, node_map(map, f->key));
        break;
    }
}

static inline void fields_walk(const struct field *fields, const node *map)
{
    for (const struct field *f = fields; f->key; f++) {
        CHECK(f->optional || node_has(map, f->key));
        if (node_has(map, f->key))
            fields_value(f, map);
    }
}

#endif
