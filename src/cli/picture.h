// SPDX-License-Identifier: BSD-3-Clause
/*
 * A picture of a disk: equal cells, each with how much of it changed; for the
 * terminal and as a figure.  Its size does not depend on the disk's.
 */
#ifndef CLI_PICTURE_H
#define CLI_PICTURE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define PICTURE_COLUMNS 64u
#define PICTURE_CELLS   1024u

struct picture {
    uint64_t size, granularity;         /* of the disk and its clusters */
    uint64_t cell_bytes;                /* a power of two of clusters; the last cell may be shorter */
    unsigned ncells;
    uint64_t bytes, stretches;          /* that changed */
    uint64_t changed[PICTURE_CELLS];    /* bytes of each cell */
};

void picture_begin(struct picture *picture, uint64_t size, uint64_t granularity);
/* A stretch that changed, within the disk; none touches another one. */
void picture_add(struct picture *picture, uint64_t start, uint64_t length);
/* Blocks or ASCII, as the locale can show.  Errors are the file's: ferror(). */
void picture_print(const struct picture *picture, FILE *file);
/* A figure, whole in itself; `title` is any text. */
void picture_svg(const struct picture *picture, const char *title, FILE *file);

#endif
