// SPDX-License-Identifier: BSD-3-Clause
/*
 * An image file that is not raw: a qemu-nbd is started for it, and read from.
 *
 * Nothing of it outlives us; nor does the qemu-img that is asked before
 * (program.c).  All connections are made before qemu-nbd is started, through a
 * socket that has its name for a moment only, in a directory that is ours; they
 * wait in its queue.  So nobody else can connect, there is no race at the start,
 * no file to be left behind; and qemu-nbd, which is not told to persist, ends
 * when the last connection does, however we end.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "image/chain.h"
#include "image/program.h"

#define CONNECTIONS_MAX (1 + IMAGE_LANES_MAX)
#define EXPLAIN_MS      1000        /* a qemu-nbd that has closed its connections is about to end */
#define STOP_MS         2000

struct qemu {
    struct program program;
    char *path;
};

/* --------------------------------------------------------------- sockets */

struct sockets {
    int listener, fds[CONNECTIONS_MAX];
};

static void sockets_close(struct sockets *s)
{
    cleanup_fd(&s->listener);
    for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
        cleanup_fd(&s->fds[i]);
}

static int connect_all(struct sockets *s, const struct sockaddr_un *address, unsigned n)
{
    s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->listener < 0 || bind(s->listener, (const struct sockaddr *)address, sizeof *address) < 0 || listen(s->listener, CONNECTIONS_MAX) < 0)
        return -errno;
    for (unsigned i = 0; i < n; i++) {
        s->fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (s->fds[i] < 0 || connect(s->fds[i], (const struct sockaddr *)address, sizeof *address) < 0)
            return -errno;
    }
    return 0;
}

static int make_sockets_in(struct sockets *s, const char *place, unsigned n)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    char directory[sizeof address.sun_path];
    int length = snprintf(directory, sizeof directory, "%s/dirtyferry-XXXXXX", place);
    if (length < 0 || (size_t)length + sizeof "/nbd" > sizeof directory)
        return -ENAMETOOLONG;
    if (!mkdtemp(directory))
        return -errno;
    memcpy(address.sun_path, directory, (size_t)length);
    memcpy(address.sun_path + length, "/nbd", sizeof "/nbd");
    int r = connect_all(s, &address, n);
    unlink(address.sun_path);
    rmdir(directory);
    return r;
}

/* In the first of these places where it can be done. */
static int make_sockets(struct sockets *s, unsigned n, struct df_error *err)
{
    const char *const places[] = { getenv("TMPDIR"), getenv("XDG_RUNTIME_DIR"), "/tmp" };
    int r = -ENOENT;
    for (unsigned i = 0; i < sizeof places / sizeof *places && r < 0; i++)
        if (places[i] && *places[i]) {
            sockets_close(s);
            memset(s, -1, sizeof *s);
            r = make_sockets_in(s, places[i], n);
        }
    return r < 0 ? error_errno(err, r, "cannot make a socket for qemu-nbd in TMPDIR, XDG_RUNTIME_DIR or /tmp") : 0;
}

/* -------------------------------------------------------------- qemu-nbd */

static void explain(void *opaque, struct df_error *err)
{
    struct qemu *qemu = opaque;
    /* One that is silent is still there; and the words of one that answers wrongly are not about that. */
    if (err->code == -ECONNRESET && program_wait(&qemu->program, EXPLAIN_MS) && (qemu->program.status || *qemu->program.said))
        program_explain(&qemu->program, "qemu-nbd", qemu->path, err);
}

static void qemu_close(void *opaque)
{
    struct qemu *qemu = opaque;
    program_stop(&qemu->program, STOP_MS);
    free(qemu->path);
    free(qemu);
}

static void qemu_discard(struct qemu **qemu)
{
    if (*qemu)
        qemu_close(steal(qemu));
}

static int start(struct qemu *qemu, const char *options, struct sockets *sockets, unsigned n, struct df_error *err)
{
    char shared[32];
    const char *const argv[] = { "qemu-nbd", "--read-only", "--allocation-depth", shared, "--image-opts", options, NULL };
    snprintf(shared, sizeof shared, "--shared=%u", n);
    int r = program_start(&qemu->program, argv, sockets->listener, -1, err);
    /* Else connections would wait for a qemu-nbd that is not there any more. */
    close(steal_fd(&sockets->listener));
    return r;
}

/* QEMU takes names with a colon for something else, unless they are paths for sure. */
static char *path_for_qemu(const char *path)
{
    size_t nbytes = strlen(path) + sizeof "./";
    char *copy = malloc(nbytes);
    if (copy)
        snprintf(copy, nbytes, "%s%s", path[0] == '/' || !strncmp(path, "./", 2) ? "" : "./", path);
    return copy;
}

int image_qemu_open(const char *path, const struct image_how *how, struct image **image, struct df_error *err)
{
    CLEANUP(sockets_close) struct sockets sockets;
    CLEANUP(cleanup_free) char *safe = path_for_qemu(path);
    CLEANUP(chain_release) struct chain chain = { 0 };
    CLEANUP(qemu_discard) struct qemu *qemu = calloc(1, sizeof *qemu);
    unsigned n = 1 + how->lanes;
    memset(&sockets, -1, sizeof sockets);
    if (!qemu || !safe || !(qemu->path = strdup(path)))
        return error_errno(err, -ENOMEM, "cannot read '%.1024s'", path);
    int r = chain_read(safe, how->format, &chain, err);
    if (!r)
        r = make_sockets(&sockets, n, err);
    if (!r)
        r = start(qemu, chain.options, &sockets, n, err);
    if (r < 0)
        return r;
    const struct nbd_image_how nbd = {
        .name = path, .fds = sockets.fds, .lanes = how->lanes, .timeout_ms = how->timeout_ms,
        .layers = chain.layers, .nlayers = chain.nlayers, .keeper = { explain, qemu_close, qemu },
    };
    r = nbd_image_open(&nbd, image, err);
    if (r < 0) {
        if (err)
            explain(qemu, err);
        return err ? err->code : r;
    }
    (*image)->identity = chain.identity;
    steal(&qemu);
    return 0;
}
