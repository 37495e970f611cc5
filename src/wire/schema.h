// SPDX-License-Identifier: BSD-3-Clause
/*
 * All control messages and events as data: which keys, which types, which
 * ranges.  message.c checks every message that comes in against this table, so
 * that handlers read fields without a further check.  proto/dirtyferry.cddl is
 * the same table for people; a test compares the two.
 */
#ifndef WIRE_SCHEMA_H
#define WIRE_SCHEMA_H

#include <stdbool.h>
#include <stdint.h>

enum field_type {
    FIELD_U64,          /* min..max: the value */
    FIELD_BOOL,
    FIELD_TEXT,         /* min..max: bytes of UTF-8, none of them zero */
    FIELD_BIN,          /* min..max: bytes */
    FIELD_UUID,         /* text of 36 characters */
    FIELD_NUMBERS,      /* list of unsigned integers; min..max: how many */
    FIELD_MAPS,         /* list of maps; min..max: how many */
    FIELD_MAP,
};

struct field {
    const char *key;            /* NULL ends a list of fields */
    enum field_type type;
    bool optional;
    uint64_t min, max;
    const struct field *items;  /* FIELD_MAPS, FIELD_MAP */
};

struct message_type {
    const char *name;
    const struct field *request;
    const struct field *reply;      /* NULL: an event, which has none */
};

extern const struct message_type message_types[];   /* ends with name NULL */
extern const struct field message_header[];         /* keys of every message */
extern const struct field message_error[];          /* the keys of a reply's `error` */

const struct message_type *message_type_find(const char *name);

#endif
