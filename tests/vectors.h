// SPDX-License-Identifier: BSD-3-Clause
/* Reading the records of proto/vectors, one after the other. */
#ifndef TESTS_VECTORS_H
#define TESTS_VECTORS_H

#include "unit.h"

static FILE *file;
static char line_of[12][60000], *keys[12], *values[12];
static unsigned nkeys;

static void open_vectors(const char *name)
{
    char path[1024];
    const char *source = getenv("abs_top_srcdir");
    snprintf(path, sizeof path, "%.900s/proto/vectors/%s", source ? source : ".", name);
    file = fopen(path, "r");
    ck_assert_msg(file != NULL, "%s: %s", path, strerror(errno));
}

/* The next record; false at the end. */
static bool next_record(void)
{
    nkeys = 0;
    while (nkeys < 12 && fgets(line_of[nkeys], sizeof *line_of, file)) {
        char *line = line_of[nkeys], *colon = strchr(line, ':');
        size_t n = strlen(line);
        ck_assert_msg(n && line[n - 1] == '\n', "a line is too long");
        line[n - 1] = 0;
        if (line[0] == '#' || (!line[0] && !nkeys))
            continue;
        if (!line[0])
            break;
        ck_assert_ptr_nonnull(colon);
        *colon = 0;
        keys[nkeys] = line;
        values[nkeys++] = colon + 1 + (colon[1] == ' ');
    }
    return nkeys > 0;
}

static const char *value_or(const char *key, const char *fallback)
{
    for (unsigned i = 0; i < nkeys; i++)
        if (!strcmp(keys[i], key))
            return values[i];
    ck_assert_msg(fallback != NULL, "'%s' is missing", key);
    return fallback;
}

static const char *value(const char *key)
{
    return value_or(key, NULL);
}

static uint64_t number(const char *key)
{
    return strtoull(value(key), NULL, 10);
}

/* `96 01 55*100`: the bytes of exactly that length; free() them. */
static uint8_t *bytes_of(const char *text, size_t *n)
{
    uint8_t *bytes = malloc(3 << 20);
    *n = 0;
    while (*text) {
        unsigned byte;
        if (*text == ' ') {
            text++;
            continue;
        }
        ck_assert_int_eq(sscanf(text, "%2x", &byte), 1);
        text += 2;
        uint64_t times = 1;
        if (*text == '*')
            times = strtoull(text + 1, (char **)&text, 10);
        ck_assert_uint_le(*n + times, 3 << 20);
        memset(bytes + *n, (int)byte, times);
        *n += times;
    }
    return realloc(bytes, *n ? *n : 1);
}

#endif
