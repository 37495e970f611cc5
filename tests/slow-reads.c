// SPDX-License-Identifier: BSD-3-Clause
/*
 * A command line that reads as a test likes: linked with --wrap=pread into
 * tests/dirtyferry-slow, which is otherwise dirtyferry.  It maps nothing that is
 * to be read (image/file.c).  For what is read in pieces of 4 KiB and more:
 *
 * DF_SLOW_US=N          each takes so many microseconds longer
 * DF_HOLD=OFFSET:FIFO   at OFFSET and behind it waits until somebody opens FIFO for writing and closes it
 * DF_EIO=OFFSET         the piece with the byte at OFFSET cannot be read
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#define PIECE_MIN 4096

ssize_t __real_pread(int fd, void *bytes, size_t nbytes, off_t offset);
ssize_t __wrap_pread(int fd, void *bytes, size_t nbytes, off_t offset);
bool __wrap_fault_is_on(void);

bool __wrap_fault_is_on(void)
{
    return false;
}

static void wait_for(const char *fifo)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static int opened;
    pthread_mutex_lock(&mutex);
    if (!opened) {
        int fd = open(fifo, O_RDONLY);      /* waits for the other end */
        if (fd >= 0)
            close(fd);
        opened = 1;
    }
    pthread_mutex_unlock(&mutex);
}

ssize_t __wrap_pread(int fd, void *bytes, size_t nbytes, off_t offset)
{
    const char *us = getenv("DF_SLOW_US"), *hold = getenv("DF_HOLD"), *eio = getenv("DF_EIO");
    char fifo[256];
    long long at;
    if (nbytes >= PIECE_MIN && us)
        usleep((useconds_t)atoi(us));
    if (nbytes >= PIECE_MIN && hold && sscanf(hold, "%lld:%255s", &at, fifo) == 2 && offset >= at)
        wait_for(fifo);
    if (nbytes >= PIECE_MIN && eio && offset <= atoll(eio) && atoll(eio) < offset + (off_t)nbytes) {
        errno = EIO;
        return -1;
    }
    return __real_pread(fd, bytes, nbytes, offset);
}
