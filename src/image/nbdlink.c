// SPDX-License-Identifier: BSD-3-Clause
/*
 * The connection to an NBD server.  "%.1024s" and "%.512s" in the sentences bound
 * what users and servers give.
 */
#include "image/nbdlink.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"

#define STOP_MS 100             /* how late `stop` may be noticed */

const char *nbd_link_why(void)
{
    const char *why = nbd_get_error();
    const char *colon = why && !strncmp(why, "nbd_", 4) ? strstr(why, ": ") : NULL;
    return colon ? colon + 2 : why ? why : "no reason is known";
}

int nbd_link_code(int otherwise)
{
    int error = nbd_get_errno();
    return error > 0 ? -error : otherwise;
}

/* -------------------------------------------------------------- waiting */

bool nbd_link_is_over(const struct nbd_link *link)
{
    return nbd_aio_is_dead(link->nbd) == 1 || nbd_aio_is_closed(link->nbd) == 1;
}

int nbd_link_lost(const struct nbd_link *link, struct df_error *err)
{
    return error_set(err, -ECONNRESET, "the NBD server of '%.1024s' has ended the connection, or sends what is not NBD (%.512s): see what it says, and read again",
                     link->name, nbd_link_why());
}

int nbd_link_step(struct nbd_link *link, int64_t deadline_ms, const _Atomic bool *stop, struct df_error *err)
{
    if (stop && atomic_load_explicit(stop, memory_order_relaxed))
        return error_set(err, -ECANCELED, "reading '%.1024s' was stopped", link->name);
    int64_t left = deadline_ms - clock_ms();
    if (left <= 0)
        return error_set(err, -ETIMEDOUT, "the NBD server of '%.1024s' has not answered for %d ms: is it stopped, or the network slow?", link->name, link->timeout_ms);
    unsigned direction = nbd_aio_get_direction(link->nbd);
    struct pollfd p = { .fd = nbd_aio_get_fd(link->nbd) };
    if (p.fd < 0)
        return nbd_link_lost(link, err);
    p.events = (short)((direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) | (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0));
    int n = poll(&p, 1, (int)(left < STOP_MS ? left : STOP_MS));
    if (n < 0 && errno != EINTR)
        return error_errno(err, -errno, "cannot wait for the NBD server of '%.1024s'", link->name);
    if (n <= 0)
        return 0;
    bool readable = direction & LIBNBD_AIO_DIRECTION_READ && p.revents & (POLLIN | POLLHUP | POLLERR);
    int r = readable ? nbd_aio_notify_read(link->nbd) : nbd_aio_notify_write(link->nbd);
    return r < 0 || nbd_link_is_over(link) ? nbd_link_lost(link, err) : 0;
}

/* ---------------------------------------------------------- negotiating */

static int on_answer(void *opaque, int *error)
{
    struct nbd_link *link = opaque;
    link->answered = true;
    link->error = *error;
    if (*error)
        snprintf(link->why, sizeof link->why, "%s", nbd_link_why());
    return 1;
}

static int on_context(void *opaque, const char *name)
{
    struct nbd_link *link = opaque;
    size_t used = strlen(link->offered), room = sizeof link->offered - used;
    if (strlen(name) + sizeof ", ''" > room)
        return 0;
    snprintf(link->offered + used, room, "%s'%s'", used ? ", " : "", name);
    for (char *c = link->offered + used; *c; c++)
        if (*c < 0x20 || *c > 0x7e)
            *c = '?';
    return 0;
}

static nbd_completion_callback answer_to(struct nbd_link *link)
{
    link->answered = false;
    return (nbd_completion_callback){ .callback = on_answer, .user_data = link };
}

static int await_answer(struct nbd_link *link, struct df_error *err)
{
    int64_t deadline = clock_ms() + link->timeout_ms;
    int r = 0;
    while (!r && !link->answered)
        r = nbd_link_step(link, deadline, NULL, err);
    return !r && nbd_link_is_over(link) ? nbd_link_lost(link, err) : r;
}

static int connect_to(struct nbd_link *link, const char *uri, int fd, struct df_error *err)
{
    int64_t deadline = clock_ms() + link->timeout_ms;
    nbd_set_debug(link->nbd, false);       /* LIBNBD_DEBUG would print */
    nbd_set_opt_mode(link->nbd, true);
    /* The server's smallest block is about reads and writes: bitmaps may be finer. */
    nbd_set_strict_mode(link->nbd, LIBNBD_STRICT_MASK & ~LIBNBD_STRICT_ALIGN);
    int r = uri ? nbd_aio_connect_uri(link->nbd, uri) : nbd_aio_connect_socket(link->nbd, fd);
    if (r < 0 && uri)
        return error_set(err, nbd_link_code(-EIO), "cannot connect to '%.1024s': %.512s: is that a URI as nbd+unix:///EXPORT?socket=PATH or nbd://HOST/EXPORT, and does the server run?",
                         uri, nbd_link_why());
    if (r < 0)
        return nbd_link_lost(link, err);
    while (!r && nbd_aio_is_connecting(link->nbd) == 1)
        r = nbd_link_step(link, deadline, NULL, err);
    link->negotiates = !r && nbd_aio_is_negotiating(link->nbd) == 1;
    return r;
}

int nbd_link_open(struct nbd_link *link, const char *name, const char *uri, int fd, int timeout_ms, struct df_error *err)
{
    *link = (struct nbd_link){ .timeout_ms = timeout_ms };
    if (!(link->name = strdup(name)) || !(link->nbd = nbd_create())) {
        if (fd >= 0)
            close(fd);
        return error_errno(err, -ENOMEM, "cannot connect to '%.1024s'", name);
    }
    return connect_to(link, uri, fd, err);
}

void nbd_link_close(struct nbd_link *link)
{
    nbd_close(steal(&link->nbd));
    free(steal(&link->name));
}

int nbd_link_list(struct nbd_link *link, struct df_error *err)
{
    if (!link->negotiates)
        return 0;
    if (nbd_aio_opt_list_meta_context(link->nbd, (nbd_context_callback){ .callback = on_context, .user_data = link }, answer_to(link)) < 0)
        return nbd_link_is_over(link) ? nbd_link_lost(link, err) : 0;
    return await_answer(link, err);
}

int nbd_link_go(struct nbd_link *link, const char *const *contexts, unsigned ncontexts, struct df_error *err)
{
    if (!link->negotiates)
        return 0;
    int r = 0;
    for (unsigned i = 0; i < ncontexts && !r; i++)
        r = nbd_add_meta_context(link->nbd, contexts[i]);
    if (r < 0 || nbd_aio_opt_go(link->nbd, answer_to(link)) < 0)
        return nbd_link_is_over(link) ? nbd_link_lost(link, err) : error_set(err, nbd_link_code(-EINVAL), "cannot open '%.1024s': %.512s", link->name, nbd_link_why());
    r = await_answer(link, err);
    if (!r && link->error)
        return error_set(err, -link->error, "the NBD server does not open '%.1024s': %s", link->name, link->why);
    return r;
}
