// SPDX-License-Identifier: BSD-3-Clause
/*
 * Building a control or event message: a map with string keys, nested maps and
 * lists.  Counts are filled in when a map or list is closed, in the shortest
 * form.  Failure to allocate is remembered and told by out_finish().
 */
#ifndef WIRE_OUT_H
#define WIRE_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <msgpack.h>

#include "wire/limits.h"

struct out {
    msgpack_sbuffer buffer;
    msgpack_packer packer;
    struct {
        size_t at;          /* of the count's head byte */
        uint32_t n;
        bool is_list;
    } open[WIRE_DEPTH];
    unsigned depth;
    bool failed;
};

/* Opens the outermost map. */
void out_init(struct out *out);
void out_destroy(struct out *out);

/* In a map give a key, in a list NULL. */
void out_u64(struct out *out, const char *key, uint64_t value);
void out_bool(struct out *out, const char *key, bool value);
void out_text(struct out *out, const char *key, const char *text);
void out_bin(struct out *out, const char *key, const void *bytes, size_t nbytes);
void out_map(struct out *out, const char *key);
void out_list(struct out *out, const char *key);
/* Closes the innermost open map or list. */
void out_close(struct out *out);

/* Closes the outermost map.  The bytes belong to `out`. */
bool out_finish(struct out *out, const uint8_t **bytes, size_t *nbytes);

#endif
