// SPDX-License-Identifier: BSD-3-Clause
/*
 * A bitmap against what differs between two images: clusters that differ and are
 * not dirty are missing from backups that went by it, those that are dirty and
 * equal are wasted.
 */
#ifndef CLI_VERIFY_H
#define CLI_VERIFY_H

#include "cli/input.h"
#include "cli/stretches.h"
#include "image/diff.h"

struct verify {
    /* Set by who opens it: input.name, .bitmap, .context, .granularity; all else is 0. */
    struct input input;
    FILE *list;                         /* missing stretches are written to it, a line each */
    bool json;                          /* or as items of a list */
    /* Set by verify_open(). */
    const struct input_bitmap *bitmap;
    const char *name;                   /* of the bitmap, or of its file */
    struct map *map;
    uint64_t set, clear;                /* the first such bit at or behind the place where it was last looked for */
    struct stretches missing, wasted;
};

/* `format` may be NULL.  The bitmap's size must be that of `disk`. */
int verify_open(struct cli *cli, struct verify *verify, const char *format, const struct image *disk);
/* As struct diff wants it, of the bitmap's granularity. */
int verify_tell(struct verify *verify, uint64_t offset, uint64_t length, enum diff_verdict verdict, struct df_error *err);
int verify_end(struct verify *verify, struct df_error *err);
/* Also after an open that failed, and when none was tried. */
void verify_close(struct verify *verify);

#endif
