// SPDX-License-Identifier: BSD-3-Clause
/*
 * An image file and the files behind it, as qemu-img knows them: what is
 * damaged is refused, and where in them the bytes of a disk are kept.
 */
#ifndef IMAGE_CHAIN_H
#define IMAGE_CHAIN_H

#include "image/nbdimage.h"

struct chain {
    struct nbd_layer *layers;   /* from the image down */
    unsigned nlayers;
    uint64_t identity;          /* of all of them, see struct image */
    char *options;              /* for QEMU to open it with, as --image-opts */
};

/* `path` begins with '/' or './'. */
int chain_read(const char *path, const char *format, struct chain *chain, struct df_error *err);
void chain_release(struct chain *chain);

#endif
