// SPDX-License-Identifier: BSD-3-Clause
/*
 * sd_notify(3) without libsystemd: NOTIFY_SOCKET is the address of a datagram
 * socket, a path or (from @ on) an abstract name, that wants to hear READY=1.
 */
#include "daemon/ready.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/error.h"

static int notify(const char *address, struct df_error *err)
{
    static const char message[] = "READY=1";
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    size_t n = strlen(address);
    if ((address[0] != '/' && address[0] != '@') || n >= sizeof to.sun_path)
        return error_set(err, -EINVAL, "NOTIFY_SOCKET '%s' is no address: a path or @NAME, at most %zu bytes, is expected", address, sizeof to.sun_path - 1);
    memcpy(to.sun_path, address, n);
    if (address[0] == '@')
        to.sun_path[0] = '\0';
    CLEANUP(cleanup_fd) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || sendto(fd, message, sizeof message - 1, MSG_NOSIGNAL, (struct sockaddr *)&to,
                         (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
        return error_errno(err, -errno, "cannot tell the service manager at NOTIFY_SOCKET '%s' that the daemon serves", address);
    return 0;
}

int ready_tell(const char *control, const char *data, const char *events, struct df_error *err)
{
    printf("ready control=%s data=%s events=%s\n", control, data, events);
    fflush(stdout);
    const char *address = getenv("NOTIFY_SOCKET");
    return address && address[0] ? notify(address, err) : 0;
}
