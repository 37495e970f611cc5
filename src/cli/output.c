// SPDX-License-Identifier: BSD-3-Clause
/*
 * A file that is whole or not there: written under another name beside it,
 * synced, renamed onto it.  What a signal ends leaves nothing behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/files.h"
#include "cli/cli.h"

static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };

/* What the handler removes: set before it is installed, and its name is never used twice. */
static char doomed[sizeof ((struct output *)0)->temporary];

static void remove_and_die(int number)
{
    unlink(doomed);
    signal(number, SIG_DFL);
    raise(number);
}

static void catch_signals(void (*handler)(int), void (*instead_of)(int))
{
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction old;
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler == instead_of)
            signal(signals[i], handler);
    }
}

int output_open(struct cli *cli, struct output *o, const char *name, mode_t mode)
{
    struct stat st;
    *o = (struct output){ .name = name };
    if (stat(name, &st) == 0 && !S_ISREG(st.st_mode))
        return error_set(&cli->err, -EEXIST, "cannot write '%.1024s': it is there and is not a regular file", name);
    if (snprintf(o->temporary, sizeof o->temporary, "%s.%08" PRIx32, name, (uint32_t)client_new_id()) >= (int)sizeof o->temporary)
        return error_set(&cli->err, -ENAMETOOLONG, "the file name '%.64s...' is too long", name);
    CLEANUP(cleanup_fd) int fd = open(o->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0) {
        o->temporary[0] = 0;
        return error_errno(&cli->err, -errno, "cannot write '%.1024s'", name);
    }
    memcpy(doomed, o->temporary, sizeof doomed);
    catch_signals(remove_and_die, SIG_DFL);
    o->file = fdopen(fd, "w");
    if (!o->file)
        return error_errno(&cli->err, -errno, "cannot write '%.1024s'", name);
    steal_fd(&fd);
    return 0;
}

static int sync_directory(const char *name)
{
    char directory[sizeof ((struct output *)0)->temporary];
    const char *base;
    int r = files_split(name, directory, sizeof directory, &base);
    if (r < 0)
        return r;
    CLEANUP(cleanup_fd) int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int output_commit(struct cli *cli, struct output *o)
{
    FILE *file = steal(&o->file);
    errno = 0;
    int failed = fflush(file) || ferror(file) || fsync(fileno(file)) < 0, r = failed ? -(errno ? errno : EIO) : 0;
    if (fclose(file) && !r)
        r = -errno;
    if (!r && rename(o->temporary, o->name) < 0)
        r = -errno;
    if (r < 0) {
        output_discard(o);
        return error_errno(&cli->err, r, "cannot write '%.1024s'", o->name);
    }
    catch_signals(SIG_DFL, remove_and_die);
    o->temporary[0] = 0;
    r = sync_directory(o->name);
    return r < 0 ? error_errno(&cli->err, r, "'%.1024s' is written, and cannot be made durable", o->name) : 0;
}

void output_discard(struct output *o)
{
    FILE *file = steal(&o->file);
    if (file)
        fclose(file);
    if (o->temporary[0])
        unlink(o->temporary);
    o->temporary[0] = 0;
    catch_signals(SIG_DFL, remove_and_die);
}
