// SPDX-License-Identifier: BSD-3-Clause
/*
 * What nbdimage.c, nbdextent.c and qemunbd.c share: an image that an NBD server
 * exports.
 *
 * Locks: `lock` of a lane guards its connection; `lost_lock` guards `lost`, and
 * is taken last.
 */
#ifndef IMAGE_NBDIMAGE_H
#define IMAGE_NBDIMAGE_H

#include <pthread.h>

#include "image/image.h"
#include "image/nbdlink.h"

#define NBD_EXTENTS_MAX 65536   /* that are kept of an answer, for each context */

/* A file of a backing chain; allocation depth 1 is the first. */
struct nbd_layer {
    struct place place;         /* of its first byte */
    uint64_t size;              /* of its disk: the place of what lies behind is not known */
};

/* Who started the server, if we did. */
struct nbd_keeper {
    /* The server was lost: if it is known why, put that into `err` in place of what is there. */
    void (*explain)(void *opaque, struct df_error *err);
    /* All connections are closed. */
    void (*close)(void *opaque);
    void *opaque;
};

struct nbd_image_how {
    const char *name;
    const char *uri;            /* or NULL: */
    int *fds;                   /* `lanes` + 1 connected sockets, -1 when they are taken; the server takes them all */
    unsigned lanes;
    int timeout_ms;
    const struct nbd_layer *layers;     /* a copy is made */
    unsigned nlayers;
    struct nbd_keeper keeper;           /* taken if the open succeeds */
};

/* The answer about one context. */
struct nbd_status {
    unsigned n;
    struct {
        uint64_t end;
        uint32_t value;
    } extents[NBD_EXTENTS_MAX];
};

enum { NBD_ALLOCATION, NBD_DEPTH, NBD_CONTEXTS };

/* What is known about the part of the disk from `from` to `to`. */
struct nbd_window {
    uint64_t from, to;
    bool has[NBD_CONTEXTS];
    struct nbd_status *status[NBD_CONTEXTS];
    /* the request */
    uint64_t size;
    bool answered;
    int error;                  /* the server's, a positive errno */
    const char *wrong;          /* with the answer */
};

struct nbd_lane {
    pthread_mutex_t lock;
    struct nbd_link link;
    uint8_t *bounce;            /* of the first read that is not aligned on */
};

struct nbd_image {
    struct image image;
    char *name;
    struct nbd_lane lanes[1 + IMAGE_LANES_MAX];     /* the first is for extents, and for everything if it is alone */
    unsigned nlanes;
    uint32_t block_bytes;       /* offsets and lengths of requests are multiples of it, but for the end */
    uint32_t request_bytes;     /* the longest read */
    struct nbd_window window;
    struct nbd_layer *layers;
    unsigned nlayers;
    struct nbd_keeper keeper;
    _Atomic bool is_lost;       /* set with release after `lost`: who sees it by acquire may read that */
    pthread_mutex_t lost_lock;
    struct df_error lost;
};

extern const char *const nbd_contexts[NBD_CONTEXTS];

int nbd_image_open(const struct nbd_image_how *how, struct image **image, struct df_error *err);

/* If the image was lost, its sentence. */
int nbd_image_check(struct nbd_image *image, struct df_error *err);
/* The server can no longer be used, for the reason in `err`: that is the sentence of all calls from now on. */
int nbd_image_lose(struct nbd_image *image, struct df_error *err);

/* nbdextent.c */
int nbd_image_extent(struct image *image, uint64_t offset, struct extent *extent, struct df_error *err);

#endif
