// SPDX-License-Identifier: BSD-3-Clause
/*
 * A connection to an NBD server: connecting, the questions of the negotiation,
 * and waiting, each with a deadline, and a sentence when it fails.
 *
 * libnbd works in nbd_link_step(), and a little in each call that asks for
 * something: nowhere else callbacks are called.  Only nbd_link_step() waits.
 * The server is not trusted; nothing is printed.  A link belongs to one thread
 * at a time.
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
 * Wait a moment for the server to send or take something, and let libnbd work on
 * that.  -ETIMEDOUT: the deadline is over; -ECANCELED: `stop`, or NULL, is true.
 */
int nbd_link_step(struct nbd_link *link, int64_t deadline_ms, const _Atomic bool *stop, struct df_error *err);

/* The connection has ended: libnbd may notice that in any call, and ends what is in flight with errors of its own. */
bool nbd_link_is_over(const struct nbd_link *link);
/* The sentence for that. */
int nbd_link_lost(const struct nbd_link *link, struct df_error *err);

/* libnbd's words for its last failure in this thread, without the function's name, and its code. */
const char *nbd_link_why(void);
int nbd_link_code(int otherwise);

#endif
