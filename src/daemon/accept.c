// SPDX-License-Identifier: BSD-3-Clause
/*
 * accept4(2) as libzmq gets it in this program, in place of libc's.
 *
 * When no descriptor is left libzmq 4.3.4 aborts the process if the connection
 * comes to an ipc socket, and otherwise asks again and again without a pause.
 * The guard (net/guard.h) keeps the number of connections far below the limit,
 * but hears of each only after it was accepted: a burst may be faster.  So
 * "no descriptor" becomes "nobody there", after a moment: the connection waits
 * in the kernel until the guard has made room.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

#define PAUSE_MS 5      /* of the I/O thread: all its connections wait so long, and only while no descriptor is left */

int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    int accepted = (int)syscall(SYS_accept4, fd, address, length, flags);
    if (accepted < 0 && (errno == EMFILE || errno == ENFILE)) {
        clock_sleep_ns(PAUSE_MS * NS_PER_MS);
        errno = EAGAIN;
    }
    return accepted;
}
