// SPDX-License-Identifier: BSD-3-Clause
/*
 * Scoped ownership: CLEANUP(f) calls f(&variable) when the variable leaves its
 * scope.  A destructor takes T **, does nothing on NULL and clears the pointer,
 * so that ownership is handed on by steal().
 */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(f) __attribute__((cleanup(f)))

static inline void cleanup_free(void *p)
{
    free(*(void **)p);
}

static inline void cleanup_fd(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void cleanup_unlock(pthread_mutex_t **m)
{
    if (*m)
        pthread_mutex_unlock(*m);
}

#define LOCK_SCOPE(m)                                                                   \
    CLEANUP(cleanup_unlock) __attribute__((unused)) pthread_mutex_t *lock_scope_ = (m); \
    pthread_mutex_lock(lock_scope_)

#define steal(p)                     \
    __extension__({                  \
        __typeof__(*(p)) v_ = *(p);  \
        *(p) = (__typeof__(v_))0;    \
        v_;                          \
    })

static inline int steal_fd(int *fd)
{
    int v = *fd;
    *fd = -1;
    return v;
}

#endif
