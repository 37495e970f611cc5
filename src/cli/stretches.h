// SPDX-License-Identifier: BSD-3-Clause
/*
 * Stretches of a disk that come in order, in pieces: neighbours are joined, and
 * each is handed on once it is whole.
 */
#ifndef CLI_STRETCHES_H
#define CLI_STRETCHES_H

#include <stdint.h>

#include <dirtyferry/error.h>

struct stretches {
    /* NULL: they are only counted. */
    int (*each)(void *opaque, uint64_t start, uint64_t length, struct df_error *err);
    void *opaque;
    uint64_t start, end;        /* the one under way; none if they are equal */
    uint64_t bytes, n;          /* of those that were handed on */
};

/* The last one is whole. */
static inline int stretches_end(struct stretches *s, struct df_error *err)
{
    uint64_t start = s->start, length = s->end - start;
    if (!length)
        return 0;
    s->start = s->end;
    s->bytes += length;
    s->n++;
    return s->each ? s->each(s->opaque, start, length, err) : 0;
}

/* `start` is not before s->end. */
static inline int stretches_add(struct stretches *s, uint64_t start, uint64_t length, struct df_error *err)
{
    if (s->end != start) {
        int r = stretches_end(s, err);
        if (r < 0)
            return r;
        s->start = start;
    }
    s->end = start + length;
    return 0;
}

static inline const char *stretches_word(uint64_t n)
{
    return n == 1 ? "stretch" : "stretches";
}

#endif
