// SPDX-License-Identifier: BSD-3-Clause
/*
 * An NBD server in a thread that serves one connection on a unix socket and
 * does what its script says: for the tests of src/image/nbd.c and nbdimage.c,
 * which want answers that no real server gives.
 *
 * The script's functions run in the thread; the test looks at what they left
 * after nbd_server_end().
 */
#ifndef TESTS_NBD_SERVER_H
#define TESTS_NBD_SERVER_H

#include <endian.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "unit.h"

#define OFFERED "qemu:dirty-bitmap:b"
#define NBD_URI "nbd+unix:///e?socket=nbd"
#define NBD_REQUESTS_MAX 64

struct nbd_request {
    uint64_t cookie, offset;
    uint32_t length;
    bool is_read;               /* else it is one for block status */
};

struct nbd_server;
/* Answers the requests that are there, or does something else.  false: hang up. */
typedef bool nbd_script(struct nbd_server *server, struct nbd_request *requests, size_t n);

struct nbd_server {
    /* what it offers */
    uint64_t size;
    uint32_t block;             /* the smallest that may be read; 0: it does not say */
    bool no_structured, no_export, endless_list, garbage;
    bool reads;                 /* it answers reads */
    const char *contexts[3];
    nbd_script *script;
    void *model;
    /* bytes that it sends before it hangs up (or, if silent, sends no more); 0: no limit */
    uint64_t budget;
    bool silent;
    /* itself */
    uint64_t sent;
    int listener, fd;
    pthread_t thread;
};

/* -------------------------------------------------------------------- bytes */

static inline bool nbd_put(struct nbd_server *s, const void *bytes, size_t n)
{
    size_t allowed = s->budget && s->budget - s->sent < n ? s->budget - s->sent : n;
    for (size_t done = 0; done < allowed;) {
        ssize_t r = send(s->fd, (const char *)bytes + done, allowed - done, MSG_NOSIGNAL);
        if (r <= 0)
            return false;
        done += (size_t)r;
        s->sent += (size_t)r;
    }
    return allowed == n;
}

static inline bool nbd_get(struct nbd_server *s, void *bytes, size_t n)
{
    return !n || recv(s->fd, bytes, n, MSG_WAITALL) == (ssize_t)n;
}

struct nbd_bytes {
    size_t n;
    uint8_t bytes[256];
};

static inline void nbd_add(struct nbd_bytes *b, uint64_t value, unsigned nbytes)
{
    while (nbytes--)
        b->bytes[b->n++] = (uint8_t)(value >> 8 * nbytes);
}

/* -------------------------------------------------------------- negotiation */

static inline bool nbd_answer_option(struct nbd_server *s, uint32_t option, uint32_t type, const void *data, uint32_t n)
{
    struct nbd_bytes b = { 0 };
    nbd_add(&b, UINT64_C(0x3e889045565a9), 8);
    nbd_add(&b, option, 4);
    nbd_add(&b, type, 4);
    nbd_add(&b, n, 4);
    return nbd_put(s, b.bytes, b.n) && (!n || nbd_put(s, data, n));
}

static inline bool nbd_answer_context(struct nbd_server *s, uint32_t option, uint32_t id, const char *name)
{
    struct nbd_bytes b = { 0 };
    nbd_add(&b, id, 4);
    memcpy(b.bytes + 4, name, strlen(name));
    return nbd_answer_option(s, option, 4, b.bytes, 4 + (uint32_t)strlen(name));
}

/* Lists all, or selects the one that the query at the end of `data` names. */
static inline bool nbd_answer_contexts(struct nbd_server *s, uint32_t option, const char *data, uint32_t n)
{
    while (option == 9 && s->endless_list)
        if (!nbd_answer_context(s, option, 0, "qemu:dirty-bitmap:again-and-again"))
            return false;
    for (unsigned i = 0; i < 3 && s->contexts[i]; i++) {
        size_t length = strlen(s->contexts[i]);
        bool asked = n > length && !memcmp(data + n - length, s->contexts[i], length);
        if ((option == 9 || asked) && !nbd_answer_context(s, option, option == 9 ? 0 : i + 1, s->contexts[i]))
            return false;
    }
    return nbd_answer_option(s, option, 1, NULL, 0);
}

static inline bool nbd_answer_go(struct nbd_server *s)
{
    struct nbd_bytes b = { 0 };
    if (s->no_export)
        return nbd_answer_option(s, 7, UINT32_C(0x80000006), NULL, 0);
    nbd_add(&b, 0, 2);
    nbd_add(&b, s->size, 8);
    nbd_add(&b, 1, 2);
    if (!nbd_answer_option(s, 7, 3, b.bytes, (uint32_t)b.n))
        return false;
    b.n = 0;
    nbd_add(&b, 3, 2);
    nbd_add(&b, s->block, 4);
    nbd_add(&b, s->block, 4);
    nbd_add(&b, 32 * MiB, 4);
    return (!s->block || nbd_answer_option(s, 7, 3, b.bytes, (uint32_t)b.n)) && nbd_answer_option(s, 7, 1, NULL, 0);
}

/* True: the client has opened the export. */
static inline bool nbd_negotiate(struct nbd_server *s)
{
    char flags[4], head[16], data[4096];
    if (!nbd_put(s, s->garbage ? "HTTP/1.1 400 Bad" : "NBDMAGICIHAVEOPT", 16) || !nbd_put(s, "\0\3", 2) || !nbd_get(s, flags, 4))
        return false;
    for (;;) {
        uint32_t option, length;
        if (!nbd_get(s, head, 16))
            return false;
        memcpy(&option, head + 8, 4);
        memcpy(&length, head + 12, 4);
        option = be32toh(option);
        length = be32toh(length);
        bool ok = length <= sizeof data && nbd_get(s, data, length);
        if (option == 8)
            ok = ok && nbd_answer_option(s, option, s->no_structured ? UINT32_C(0x80000001) : 1, NULL, 0);
        else if (option == 9 || option == 10)
            ok = ok && nbd_answer_contexts(s, option, data, length);
        else if (option == 7)
            ok = ok && nbd_answer_go(s);
        else
            ok = ok && nbd_answer_option(s, option, UINT32_C(0x80000001), NULL, 0);
        if (!ok)
            return false;
        if (option == 7 && !s->no_export)
            return true;
    }
}

/* ------------------------------------------------------------- transmission */

static inline bool nbd_send_chunk(struct nbd_server *s, uint64_t cookie, bool done, unsigned type, const void *data, uint32_t n)
{
    struct nbd_bytes b = { 0 };
    nbd_add(&b, UINT32_C(0x668e33ef), 4);
    nbd_add(&b, done, 2);
    nbd_add(&b, type, 2);
    nbd_add(&b, cookie, 8);
    nbd_add(&b, n, 4);
    return nbd_put(s, b.bytes, b.n) && nbd_put(s, data, n);
}

/* n extents as pairs of a length and flags. */
static inline bool nbd_send_extents(struct nbd_server *s, uint64_t cookie, bool done, uint32_t id, const uint32_t *pairs, size_t n)
{
    uint32_t *data = malloc(4 + 8 * n);
    data[0] = htobe32(id);
    for (size_t i = 0; i < 2 * n; i++)
        data[1 + i] = htobe32(pairs[i]);
    bool ok = nbd_send_chunk(s, cookie, done, 5, data, (uint32_t)(4 + 8 * n));
    free(data);
    return ok;
}

/* A reply of the old kind. */
static inline bool nbd_send_simple(struct nbd_server *s, uint64_t cookie, uint32_t error, const void *data, uint32_t n)
{
    struct nbd_bytes b = { 0 };
    nbd_add(&b, UINT32_C(0x67446698), 4);
    nbd_add(&b, error, 4);
    nbd_add(&b, cookie, 8);
    return nbd_put(s, b.bytes, b.n) && nbd_put(s, data, n);
}

static inline bool nbd_take_request(struct nbd_server *s, struct nbd_request *r)
{
    uint8_t head[28];
    if (!nbd_get(s, head, sizeof head) || (head[7] != 7 && !(s->reads && head[7] == 0)))
        return false;
    r->is_read = head[7] == 0;
    memcpy(&r->cookie, head + 8, 8);
    memcpy(&r->offset, head + 16, 8);
    memcpy(&r->length, head + 24, 4);
    r->cookie = be64toh(r->cookie);
    r->offset = be64toh(r->offset);
    r->length = be32toh(r->length);
    return true;
}

/* Waits for a request; takes those that are there already, too. */
static inline void nbd_transmit(struct nbd_server *s)
{
    struct nbd_request requests[NBD_REQUESTS_MAX];
    for (;;) {
        size_t n = 0;
        char byte;
        do
            if (!nbd_take_request(s, &requests[n++]))
                return;
        while (n < NBD_REQUESTS_MAX && recv(s->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1);
        if (!s->script(s, requests, n))
            return;
    }
}

static inline void *nbd_serve(void *opaque)
{
    struct nbd_server *s = opaque;
    char byte;
    s->fd = accept(s->listener, NULL, NULL);
    if (s->fd < 0)
        return NULL;
    if (nbd_negotiate(s))
        nbd_transmit(s);
    while (s->silent && recv(s->fd, &byte, 1, 0) > 0)
        ;
    close(s->fd);
    return NULL;
}

static inline void nbd_server_begin(struct nbd_server *s)
{
    /* Relative: a socket's path has 107 bytes, TMPDIR may have more. */
    struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "nbd" };
    ck_assert_int_eq(chdir(unit_dir), 0);
    unlink(address.sun_path);
    s->sent = 0;
    s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(s->listener, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(s->listener, 1), 0);
    ck_assert_int_eq(pthread_create(&s->thread, NULL, nbd_serve, s), 0);
}

/* The client is gone by now, or never came. */
static inline void nbd_server_end(struct nbd_server *s)
{
    shutdown(s->listener, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->listener);
}

/* Answers for scripts. */

static inline bool answer_garbage(struct nbd_server *s, struct nbd_request *requests, size_t n)
{
    uint8_t bytes[64];
    (void)requests, (void)n;
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)unit_random();
    return nbd_put(s, bytes, sizeof bytes);
}

static inline bool hang_up(struct nbd_server *s, struct nbd_request *requests, size_t n)
{
    (void)s, (void)requests, (void)n;
    return false;
}

#endif
