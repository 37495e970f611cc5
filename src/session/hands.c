// SPDX-License-Identifier: BSD-3-Clause
/*
 * What is finished goes onto a list under the mutex, which also orders the
 * memory of a chore between its thread and the control thread; the eventfd only
 * says that somebody should look.
 */
#include "session/hands.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"

struct task {
    struct task *next;
    struct hands *hands;
    struct chore *chore;
};

struct hands {
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    unsigned running;
    struct task *finished;      /* newest first */
    int fd;
};

/* The last thing that a thread does with the hands: behind the unlock they may be gone. */
static void finish(struct task *task)
{
    struct hands *hands = task->hands;
    pthread_mutex_lock(&hands->mutex);
    task->next = hands->finished;
    hands->finished = task;
    hands->running--;
    eventfd_write(hands->fd, 1);
    pthread_cond_signal(&hands->ended);
    pthread_mutex_unlock(&hands->mutex);
}

static void *run(void *opaque)
{
    struct task *task = opaque;
    task->chore->work(task->chore);
    finish(task);
    return NULL;
}

int hands_start(struct hands **out, struct df_error *err)
{
    struct hands *hands = calloc(1, sizeof *hands);
    if (!hands)
        return error_errno(err, -ENOMEM, "cannot start threads for other processes");
    hands->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (hands->fd < 0) {
        int r = error_errno(err, -errno, "cannot start threads for other processes");
        free(hands);
        return r;
    }
    pthread_mutex_init(&hands->mutex, NULL);
    pthread_cond_init(&hands->ended, NULL);
    *out = hands;
    return 0;
}

static struct task *take_finished(struct hands *hands)
{
    pthread_mutex_lock(&hands->mutex);
    struct task *list = steal(&hands->finished);
    pthread_mutex_unlock(&hands->mutex);
    return list;
}

void hands_stop(struct hands **handsp)
{
    struct hands *hands = steal(handsp);
    if (!hands)
        return;
    pthread_mutex_lock(&hands->mutex);
    while (hands->running)
        pthread_cond_wait(&hands->ended, &hands->mutex);
    pthread_mutex_unlock(&hands->mutex);
    for (struct task *task = take_finished(hands), *next; task; task = next) {
        next = task->next;
        free(task->chore);      /* the first member of what was allocated */
        free(task);
    }
    close(hands->fd);
    pthread_cond_destroy(&hands->ended);
    pthread_mutex_destroy(&hands->mutex);
    free(hands);
}

void hands_send(struct hands *hands, struct chore *chore)
{
    struct task *task = calloc(1, sizeof *task);
    pthread_t thread;
    if (!task)
        abort();    /* nothing works without memory */
    task->hands = hands;
    task->chore = chore;
    pthread_mutex_lock(&hands->mutex);
    hands->running++;
    pthread_mutex_unlock(&hands->mutex);
    int r = -pthread_create(&thread, NULL, run, task);
    if (!r) {
        pthread_detach(thread);
        return;
    }
    chore->r = error_errno(&chore->err, r, "cannot start a thread for another process");
    finish(task);
}

int hands_fd(const struct hands *hands)
{
    return hands->fd;
}

void hands_receive(struct hands *hands)
{
    eventfd_t n;
    eventfd_read(hands->fd, &n);
    for (struct task *task = take_finished(hands), *next; task; task = next) {
        next = task->next;
        task->chore->done(task->chore);
        free(task);
    }
}
