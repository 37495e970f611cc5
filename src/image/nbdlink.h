// SPDX-License-Identifier: BSD-3-Clause
/*
 * A connection to an NBD server: connecting, the questions of the negotiation,
 * and waiting, each with a deadline, and a sentence when it fails.
 *
 * libnbd runs only in nbd_link_step(), nbd_link_open() and nbd_link_go(): only
 * there callbacks are called.  The server is not trusted; nothing is printed.
 * A link belongs to one thread at a time.
 */
#ifndef IMAGE_NBDLINK_H
#define IMAGE_NBDLINK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <libnbd.h>

#include <dirtyferry/error.h>

struct nbd_link {
    struct nbd_handle *nbd;
    char *name;                 /* of the server, in sentences */
    int timeout_ms;
    bool negotiates;            /* a server of the oldest kind does not */
    char offered[512];          /* contexts, as far as there is room */
    /* a question of the negotiation */
    bool answered;
    int error;                  /* the server's, a positive errno */
    char why[256];              /* libnbd's words for it */
};

/*
 * Connect to `uri`, or by `fd`, a connected socket that is closed with the link,
 * and be ready to ask for contexts.  Each question takes at most timeout_ms.
 * Also a link that could not be opened is to be closed.
 */
int nbd_link_open(struct nbd_link *link, const char *name, const char *uri, int fd, int timeout_ms, struct df_error *err);
void nbd_link_close(struct nbd_link *link);

/* What the server offers, into `offered`.  It need not answer that. */
int nbd_link_list(struct nbd_link *link, struct df_error *err);
/* Open the export, with those of these contexts that the server has. */
int nbd_link_go(struct nbd_link *link, const char *const *contexts, unsigned ncontexts, struct df_error *err);

/*
 * Wait until the server sends or takes something, and let libnbd work on that;
 * not beyond STOP_MS, and with -ECANCELED once `stop`, which may be NULL, is true.
 */
int nbd_link_step(struct nbd_link *link, int64_t deadline_ms, const _Atomic bool *stop, struct df_error *err);

/* The sentences: the connection is of no more use. */
int nbd_link_lost(const struct nbd_link *link, struct df_error *err);

/* libnbd's words for its last failure in this thread, without the function's name, and its code. */
const char *nbd_link_why(void);
int nbd_link_code(int otherwise);

#endif
