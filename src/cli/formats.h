// SPDX-License-Identifier: BSD-3-Clause
/*
 * What bits are written as: a table of formats, for `bitmap export` and `diff`.
 * A sink takes the dirty stretches of a disk while they become known, in order;
 * its memory does not grow with the disk.
 */
#ifndef CLI_FORMATS_H
#define CLI_FORMATS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <dirtyferry/error.h>

#define FORMATS_TEXT "json, raw, qcow2 or svg"

struct sink {
    /* Set by who opens it; the texts stay. */
    const struct format *format;
    const char *name;               /* of the bitmap */
    const char *title;              /* of a figure */
    const char *path;               /* what errors call the file */
    FILE *file;
    bool is_pipe;                   /* or may be: it is written from the beginning to the end */
    uint64_t size, granularity;
    bool recording;
    /* The format's own. */
    void *state;
};

struct format {
    const char *name;
    bool is_text;
    bool needs_file;                /* that can be sought */
    int (*open)(struct sink *sink, struct df_error *err);
    /* Whether sink->file has failed is looked at by the caller of these two. */
    int (*put)(struct sink *sink, uint64_t start, uint64_t length, struct df_error *err);
    int (*end)(struct sink *sink, struct df_error *err);
    void (*close)(struct sink *sink);
};

/* NULL: there is none of that name. */
const struct format *format_find(const char *name);

int sink_open(struct sink *sink, struct df_error *err);
/* A stretch that neither overlaps nor touches those before it, within the disk: from struct stretches, of which `opaque` is a sink. */
int sink_put(void *opaque, uint64_t start, uint64_t length, struct df_error *err);
int sink_end(struct sink *sink, struct df_error *err);
/* Also after an open that failed, and when none was tried. */
void sink_close(struct sink *sink);

#endif
