// SPDX-License-Identifier: BSD-3-Clause
/*
 * Messages made from the schema: minimal ones, ones with every field at its
 * upper limit, and ones with exactly one fault.
 *
 * A fault sits at one struct field, wherever in the message that field stands.
 */
#ifndef TESTS_WIRE_SAMPLE_H
#define TESTS_WIRE_SAMPLE_H

#include <stdlib.h>
#include <string.h>

#include "wire/message.h"

enum sample_form {
    SAMPLE_MINIMAL,     /* required fields only, each at its lower limit */
    SAMPLE_FULL,        /* all fields at their upper limits, lists with one item */
    SAMPLE_LISTS,       /* all fields at their lower limits, outer lists as long as possible */
};

enum sample_fault { FAULT_NONE, FAULT_MISSING, FAULT_BELOW, FAULT_ABOVE, FAULT_TYPE, FAULT_TWICE, FAULTS };

struct sample {
    enum sample_form form;
    enum sample_fault fault;
    const struct field *at;
    unsigned type;              /* FAULT_TYPE: which wrong one, 0 to SAMPLE_TYPES - 1 */
};

#define SAMPLE_TYPES 9u
#define SAMPLE_UUID  "6fa2c1d0-0f3e-4b52-9c7b-2d1e8a90b344"

/* Can this field have this fault at all? */
static inline bool sample_can(const struct field *f, enum sample_fault fault)
{
    bool sized = f->type != FIELD_BOOL && f->type != FIELD_UUID && f->type != FIELD_MAP;
    switch (fault) {
    case FAULT_MISSING: return !f->optional;
    case FAULT_BELOW:   return f->type == FIELD_UUID || (sized && f->min > 0);
    case FAULT_ABOVE:   return f->type == FIELD_UUID || (sized && f->max < UINT64_MAX);
    default:            return true;
    }
}

/* depth: 1 in the message itself.  Lists in lists stay short, or the message would be too long. */
static inline uint64_t sample_size(const struct field *f, const struct sample *s, unsigned depth)
{
    bool list = f->type == FIELD_MAPS || f->type == FIELD_NUMBERS;
    if (s->at == f && s->fault == FAULT_BELOW)
        return f->min - 1;
    if (s->at == f && s->fault == FAULT_ABOVE)
        return f->max + 1;
    if (list && (s->form == SAMPLE_FULL || s->fault))   /* the fault may be in an item */
        return f->min ? f->min : 1;
    return s->form == SAMPLE_FULL || (list && s->form == SAMPLE_LISTS && depth <= 2) ? f->max : f->min;
}

/* The msgpack types that are there; `skip` what the field wants. */
static inline void sample_wrong_type(struct out *out, const struct field *f, unsigned which)
{
    out_text(out, f->key, "");
    out->buffer.size--;         /* the empty text's one byte makes room for something else */
    msgpack_packer *p = &out->packer;
    switch (which) {
    case 0: msgpack_pack_nil(p); break;
    case 1: msgpack_pack_int(p, -1); break;
    case 2: msgpack_pack_double(p, 1.5); break;
    case 3: f->type == FIELD_BOOL ? msgpack_pack_uint8(p, 1) : msgpack_pack_true(p); break;
    case 4: msgpack_pack_array(p, 1), msgpack_pack_nil(p); break;
    case 5: f->type == FIELD_MAP ? msgpack_pack_array(p, 0) : msgpack_pack_map(p, 0); break;
    case 6: f->type == FIELD_BIN ? msgpack_pack_nil(p) : (msgpack_pack_bin(p, 1), msgpack_pack_bin_body(p, "x", 1)); break;
    case 7: f->type == FIELD_U64 ? msgpack_pack_float(p, 1.0f) : msgpack_pack_uint8(p, 7); break;
    default:
        if (f->type == FIELD_TEXT || f->type == FIELD_UUID)
            msgpack_pack_nil(p);
        else
            msgpack_pack_str(p, 1), msgpack_pack_str_body(p, "7", 1);
    }
}

static inline void sample_fields(struct out *out, const struct field *fields, const struct sample *s);

static inline void sample_sized(struct out *out, const struct field *f, const struct sample *s)
{
    uint64_t n = sample_size(f, s, out->depth);
    if (f->type == FIELD_U64) {
        out_u64(out, f->key, n);
        return;
    }
    if (f->type == FIELD_TEXT || f->type == FIELD_BIN) {
        char *bytes = malloc(n + 1);
        memset(bytes, 'x', n);
        bytes[n] = 0;
        f->type == FIELD_TEXT ? out_text(out, f->key, bytes) : out_bin(out, f->key, bytes, n);
        free(bytes);
        return;
    }
    out_list(out, f->key);
    for (uint64_t i = 0; i < n; i++)
        if (f->type == FIELD_NUMBERS) {
            out_u64(out, NULL, i);
        } else {
            out_map(out, NULL);
            sample_fields(out, f->items, s);
            out_close(out);
        }
    out_close(out);
}

static inline void sample_field(struct out *out, const struct field *f, const struct sample *s)
{
    enum sample_fault fault = s->at == f ? s->fault : FAULT_NONE;
    if (fault == FAULT_TYPE) {
        sample_wrong_type(out, f, s->type);
    } else if (f->type == FIELD_BOOL) {
        out_bool(out, f->key, s->form == SAMPLE_FULL);
    } else if (f->type == FIELD_UUID) {
        out_text(out, f->key, fault == FAULT_BELOW ? "6fa2c1d0-0f3e-4b52-9c7b-2d1e8a90b34"
                            : fault == FAULT_ABOVE ? SAMPLE_UUID "4" : SAMPLE_UUID);
    } else if (f->type == FIELD_MAP) {
        out_map(out, f->key);
        sample_fields(out, f->items, s);
        out_close(out);
    } else {
        sample_sized(out, f, s);
    }
}

static inline void sample_fields(struct out *out, const struct field *fields, const struct sample *s)
{
    for (const struct field *f = fields; f->key; f++) {
        bool here = s->at == f;
        if ((here && s->fault == FAULT_MISSING) || (!here && f->optional && s->form == SAMPLE_MINIMAL))
            continue;
        sample_field(out, f, s);
        if (here && s->fault == FAULT_TWICE)
            sample_field(out, f, s);
    }
}

/* Finish and destroy `out` afterwards. */
static inline void sample_build(struct out *out, const char *type, uint64_t id, const struct field *fields, const struct sample *s)
{
    message_begin(out, type, id);
    sample_fields(out, fields, s);
}

/* Calls `each` for every field of the message, nested ones too. */
static inline void sample_walk(const struct field *fields, void (*each)(const struct field *f, void *opaque), void *opaque)
{
    for (const struct field *f = fields; f->key; f++) {
        each(f, opaque);
        if (f->items)
            sample_walk(f->items, each, opaque);
    }
}

#endif
