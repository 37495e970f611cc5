// SPDX-License-Identifier: BSD-3-Clause
/*
 * A target whose disk is slow: linked with --wrap=pwrite into tests/dirtyferryd-slow,
 * which is otherwise the daemon.  Every pwrite(2) of 512 bytes and more, which
 * fills a parent, takes DF_SLOW_US microseconds longer.
 */
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

ssize_t __real_pwrite(int fd, const void *bytes, size_t nbytes, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *bytes, size_t nbytes, off_t offset);

ssize_t __wrap_pwrite(int fd, const void *bytes, size_t nbytes, off_t offset)
{
    const char *us = getenv("DF_SLOW_US");
    if (us && nbytes >= 512 && gettid() != getpid())    /* the control thread writes journals */
        usleep((useconds_t)atoi(us));
    return __real_pwrite(fd, bytes, nbytes, offset);
}
