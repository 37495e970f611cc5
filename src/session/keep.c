// SPDX-License-Identifier: BSD-3-Clause
#include "session/keep.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "net/socket.h"

struct keeper {
    pthread_t thread;
    void *worker, *control;
    _Atomic bool stop;          /* goes by what is queued; nothing else is read by it: relaxed */
};

static void *run(void *opaque)
{
    struct keeper *keeper = opaque;
    struct chore *chore;
    for (;;) {
        int n = zmq_recv(keeper->worker, &chore, sizeof chore, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n != sizeof chore || atomic_load_explicit(&keeper->stop, memory_order_relaxed))
            break;      /* the word to stop, or the context is shut down */
        chore->work(chore);
        zmq_send(keeper->worker, &chore, sizeof chore, 0);
    }
    net_close(&keeper->worker);
    return NULL;
}

int keeper_start(const struct net *net, const char *endpoint, struct keeper **out, struct df_error *err)
{
    struct keeper *keeper = calloc(1, sizeof *keeper);
    if (!keeper)
        return error_errno(err, -ENOMEM, "cannot start the thread of '%s'", endpoint);
    int r = net_socket(net, ZMQ_PAIR, 0, -1, &keeper->worker, err);
    if (!r)
        r = net_socket(net, ZMQ_PAIR, 0, -1, &keeper->control, err);
    if (!r)
        r = net_bind_inproc(keeper->worker, endpoint, err);
    if (!r)
        r = net_connect_inproc(keeper->control, endpoint, err);
    if (!r && (r = -pthread_create(&keeper->thread, NULL, run, keeper)) < 0)
        error_errno(err, r, "cannot start the thread of '%s'", endpoint);
    if (r < 0) {
        net_close(&keeper->worker);
        net_close(&keeper->control);
        free(keeper);
        return r;
    }
    *out = keeper;
    return 0;
}

void keeper_stop(struct keeper **keeperp)
{
    struct keeper *keeper = steal(keeperp);
    if (!keeper)
        return;
    atomic_store_explicit(&keeper->stop, true, memory_order_relaxed);
    zmq_send(keeper->control, "", 0, 0);
    pthread_join(keeper->thread, NULL);
    net_close(&keeper->control);
    free(keeper);
}

void *keeper_socket(struct keeper *keeper)
{
    return keeper->control;
}

void keeper_send(struct keeper *keeper, struct chore *chore)
{
    zmq_send(keeper->control, &chore, sizeof chore, 0);
}

void keeper_receive(struct keeper *keeper)
{
    for (;;) {
        struct chore *chore;
        int n = zmq_recv(keeper->control, &chore, sizeof chore, ZMQ_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n != sizeof chore)
            return;
        chore->done(chore);
    }
}
