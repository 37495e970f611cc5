// SPDX-License-Identifier: BSD-3-Clause
/*
 * Bitmaps that `bitmap import` and `diff --verify-against` read: a table of
 * inputs, one for each format.  An input says how large its disk is and which
 * bitmaps it has, and reads the bits of one of them into a map.
 *
 * A format is a `struct input_ops` and a line in the table of inputs.c.
 */
#ifndef CLI_INPUT_H
#define CLI_INPUT_H

#include "bitmap/map.h"
#include "cli/cli.h"

struct input_bitmap {
    const char *name;               /* NULL: the input has none, the user names it */
    uint64_t granularity;
    bool recording, persistent;
    bool inconsistent;              /* may lack bits: refused unless forced */
};

struct input {
    const struct input_ops *ops;
    /* Set by who opens it. */
    const char *name;               /* FILE, as the user wrote it */
    const char *bitmap;             /* the one that is wanted, or NULL: all that it has */
    uint64_t disk_size;             /* of the disk that the bitmaps are for */
    uint64_t granularity;           /* --granularity, or 0 */
    const char *context;            /* --context, or NULL: the format knows it */
    /* Set by ops->open(), and `state` with them. */
    uint64_t size;                  /* of the disk that the bitmaps are of */
    const struct input_bitmap *bitmaps;
    size_t nbitmaps;
    void *state;
    /* Set by ops->read(): the OR of all offsets, but the end, at which something dirty begins or ends.  0: no bit was rounded outwards. */
    uint64_t edges;
};

struct input_ops {
    const char *format;             /* --format FORMAT */
    /* Does the name, or what it names, say that it is this format?  NULL: never, it must be given. */
    bool (*detect)(const char *name);
    int (*open)(struct input *input, struct df_error *err);
    /* `map`: clean, anonymous, of ceil(disk_size / granularity) bits. */
    int (*read)(struct input *input, size_t index, struct map *map, struct df_error *err);
    /* Also after an open that failed. */
    void (*close)(struct input *input);
};

/*
 * Which of them it is: `format`, or NULL for what the name, or what it names, says.
 * `option` is how the user gives a format.
 */
int input_find(struct cli *cli, struct input *input, const char *format, const char *option);
/* Refused if it is of a disk of another size than that of `disk`, which is disk_size. */
int input_open(struct input *input, const char *disk, struct df_error *err);
/* Also after an open that failed, and when none was tried. */
void input_close(struct input *input);

/* inputs.c */
extern const struct input_ops input_qcow2, input_raw, input_json;
/* input-nbd.c */
extern const struct input_ops input_nbd;

#endif
