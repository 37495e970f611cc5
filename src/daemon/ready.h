// SPDX-License-Identifier: BSD-3-Clause
/* That the daemon serves: a line for who started it, a datagram for a service manager. */
#ifndef DAEMON_READY_H
#define DAEMON_READY_H

#include <dirtyferry/error.h>

int ready_tell(const char *control, const char *data, const char *events, struct df_error *err);

#endif
