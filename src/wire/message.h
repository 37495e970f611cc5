// SPDX-License-Identifier: BSD-3-Clause
/*
 * Control messages and events: decoding with all checks done at the edge.
 *
 * message_decode() scans, unpacks and compares with the schema; afterwards
 * required fields are there, of their type and within their range, texts end
 * in a zero byte, lists hold only what they may.  Unknown keys are ignored, so
 * that a later version may add some.
 */
#ifndef WIRE_MESSAGE_H
#define WIRE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <msgpack.h>

#include <dirtyferry/error.h>

#include "wire/out.h"
#include "wire/schema.h"

/* A map inside a message; valid as long as the message. */
typedef msgpack_object node;

struct message {
    const struct message_type *type;
    uint64_t id;
    const node *root;
    const node *error;          /* a reply that says no, else NULL */
    msgpack_unpacked unpacked;
    char *bytes;                /* own copy; texts point into it */
};

enum message_kind { MESSAGE_REQUEST, MESSAGE_REPLY, MESSAGE_EVENT };

/* -EPROTO with a sentence for anything that is not such a message.  *id is set as soon as it is known. */
int message_decode(const void *bytes, size_t nbytes, enum message_kind kind, struct message **message,
                   uint64_t *id, struct df_error *err);
/* The same for a map of those fields that is no message: a dump's header, a journal's entry.  type and id stay empty. */
int message_decode_map(const void *bytes, size_t nbytes, const struct field *fields, struct message **message, struct df_error *err);
void message_free(struct message **message);
/* Type and id of a request of our own making, so that its reply can be recognised; NULL if it breaks the schema. */
const struct message_type *message_identify(const void *bytes, size_t nbytes, uint64_t *id, struct df_error *err);

/* Fields of a checked map.  For an absent optional field: the fallback, NULL, or n = 0. */
bool node_has(const node *map, const char *key);
uint64_t node_u64(const node *map, const char *key, uint64_t fallback);
bool node_bool(const node *map, const char *key);
const char *node_text(const node *map, const char *key);
const uint8_t *node_bin(const node *map, const char *key, size_t *nbytes);
/* Item i is &items[i]; a number is items[i].via.u64. */
const node *node_list(const node *map, const char *key, size_t *n);
const node *node_map(const node *map, const char *key);

/* The head of a request, reply or event. */
void message_begin(struct out *out, const char *type, uint64_t id);
/* A whole reply that says no. */
void message_error_reply(struct out *out, const char *type, uint64_t id, const struct df_error *err);

/* The error that a reply carries, back in a struct; 0 if it carries none. */
int message_get_error(const struct message *reply, struct df_error *err);

#endif
