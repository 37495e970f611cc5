// SPDX-License-Identifier: BSD-3-Clause
/*
 * What the daemon may do beyond what its user may: nothing, once it has its
 * state directory.  Whatever takes a capability (a state directory of another
 * user, ports below 1024) is therefore done before, or not at all.
 */
#ifndef DAEMON_PRIVILEGE_H
#define DAEMON_PRIVILEGE_H

#include <dirtyferry/error.h>

/*
 * Gives up all capabilities for good, and keeps other processes and core dumps
 * away from the memory.  Before the first thread: they belong to a thread.
 * -EACCES: what is left is too little for the state directory.
 */
int privilege_drop(const char *state_dir, struct df_error *err);

#endif
