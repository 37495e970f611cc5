// SPDX-License-Identifier: BSD-3-Clause
/*
 * no_new_privs        a program that the process became would gain nothing by
 *                     set-user-ID bits or file capabilities
 * not dumpable        keys are in the memory: no core dumps, and processes of
 *                     the same user can neither trace it nor read /proc/PID/mem
 * no capabilities     none is needed.  Root without them is a user who owns files
 *
 * System calls are filtered by whoever starts the daemon: contrib/systemd has
 * the filter for systemd.
 */
#include "daemon/privilege.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/error.h"

static bool holds_capabilities(void)
{
    for (unsigned i = 0; i <= CAP_LAST_CAP; i++)
        if (capng_have_capability(CAPNG_PERMITTED, i) || capng_have_capability(CAPNG_INHERITABLE, i))
            return true;
    return false;
}

/*
 * Without CAP_SETPCAP the bounding set cannot be changed; under no_new_privs it
 * gives nothing.  A process that holds none makes no system call that a filter
 * might refuse.
 */
static int drop_capabilities(struct df_error *err)
{
    if (capng_get_caps_process() != 0)
        return error_set(err, -EIO, "cannot find out which capabilities dirtyferryd has: is /proc mounted?");
    if (!holds_capabilities())
        return 0;
    bool bounds = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);
    capng_clear(CAPNG_SELECT_ALL);
    int r = capng_apply(bounds ? CAPNG_SELECT_ALL : CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT);
    return r == 0 ? 0 : error_set(err, -EPERM, "cannot give up capabilities (libcap-ng: %d): start dirtyferryd without any, as a user of its own", r);
}

int privilege_drop(const char *state_dir, struct df_error *err)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_errno(err, -errno, "cannot set no_new_privs");
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return error_errno(err, -errno, "cannot keep the memory out of core dumps");
    int r = drop_capabilities(err);
    if (!r && faccessat(AT_FDCWD, state_dir, R_OK | W_OK | X_OK, AT_EACCESS) < 0)
        r = error_errno(err, -errno, "user %u may not use the state directory '%s', and dirtyferryd keeps no right of root: start it as the owner of the directory, or change the owner (chown -R)",
                        (unsigned)geteuid(), state_dir);
    return r;
}
