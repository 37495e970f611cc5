// SPDX-License-Identifier: BSD-3-Clause
/*
 * Which blocks of its file system a file has in common with others (reflinks),
 * by FIEMAP.
 *
 * A file system says of an extent that it is shared, and where it is.  Two
 * files of one file system that name the same place have the same bytes there.
 * What is not where it is said to be (compressed, inline, not written yet) does
 * not count.  XFS and btrfs are known to answer so; of others nothing is believed.
 */
#ifndef IMAGE_BLOCKS_H
#define IMAGE_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

/* A file system: the same for all subvolumes of a btrfs. */
struct blocks_volume {
    uint64_t id[2];
};

struct blocks;

/* False: this file's blocks tell nothing. */
bool blocks_volume(int fd, struct blocks_volume *volume);

/* NULL: no memory.  `fd` stays the caller's. */
struct blocks *blocks_open(int fd);
void blocks_close(struct blocks **blocks);

/*
 * At `offset`: is it shared, and where is it?  *length: for how many bytes the
 * answer holds.  What the file system cannot say is not shared.
 */
bool blocks_find(struct blocks *blocks, uint64_t offset, uint64_t *at, uint64_t *length);

#endif
