// SPDX-License-Identifier: BSD-3-Clause
/*
 * What the fuzz targets share.  A target is one function that takes bytes and
 * must neither crash nor hang nor fail a CHECK, whatever they are.  libFuzzer
 * calls it (`make fuzz`), or main.c does (`make check`).
 *
 * A target keeps nothing from one call to the next that could change what the
 * next one does, so that a finding can be repeated.
 */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nbytes);

#define CHECK(what)                                                                      \
    do {                                                                                 \
        if (!(what)) {                                                                   \
            fprintf(stderr, "%s:%d: CHECK failed: %s\n", __FILE__, __LINE__, #what);     \
            abort();                                                                     \
        }                                                                                \
    } while (0)

/* ------------------------------------------------------------------- input */

struct input {
    const uint8_t *at, *end;
};

static inline size_t input_left(const struct input *in)
{
    return (size_t)(in->end - in->at);
}

/* `nbytes` little-endian; what is behind the end is zero. */
static inline uint64_t input_take(struct input *in, unsigned nbytes)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < nbytes && in->at < in->end; i++)
        v |= (uint64_t)*in->at++ << (8 * i);
    return v;
}

/* The next *nbytes bytes, or as many as there are. */
static inline const uint8_t *input_bytes(struct input *in, size_t *nbytes)
{
    const uint8_t *from = in->at;
    if (*nbytes > input_left(in))
        *nbytes = input_left(in);
    in->at += *nbytes;
    return from;
}

/* A copy that is not one byte longer than it says, so that ASan sees what is read behind it; free() it. */
static inline uint8_t *input_copy(const uint8_t *bytes, size_t nbytes)
{
    uint8_t *copy = malloc(nbytes);
    CHECK(copy || !nbytes);
    if (nbytes)
        memcpy(copy, bytes, nbytes);
    return copy;
}

/* What is read through this is not optimised away. */
static inline void input_read(const void *bytes, size_t nbytes)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < nbytes; i++)
        sum = (uint8_t)(sum + ((const uint8_t *)bytes)[i]);
    __asm__ volatile("" : : "r"(sum));
}

/* --------------------------------------------------------------- directory */

static char fuzz_dir[256];

static inline void fuzz_dir_remove(void)
{
    rmdir(fuzz_dir);
}

/* A directory of this process; whoever puts files there removes them, and the scripts what a crash leaves. */
static inline const char *fuzz_dir_make(void)
{
    const char *tmp = getenv("TMPDIR");
    if (*fuzz_dir)
        return fuzz_dir;
    snprintf(fuzz_dir, sizeof fuzz_dir, "%.200s/df-fuzz-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    CHECK(mkdtemp(fuzz_dir));
    atexit(fuzz_dir_remove);
    return fuzz_dir;
}

#endif
