// SPDX-License-Identifier: BSD-3-Clause
/*
 * Starting and ending programs.
 *
 * The pipe of the error output does not block the writer: one that says more
 * than a pipe holds loses the rest.  Its end is the program's end, for which one
 * can wait with a timeout.
 *
 * Between fork and exec only what may be called there: other threads may have
 * held any lock.
 */
#include "image/program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"

#define NOT_THERE       127
#define STATUS_UNKNOWN  0xff00      /* as of one that exits with 255 */

extern char **environ;

/* ------------------------------------------------------------------ start */

/* Ours, but for the language and what systemd gave to us; `pid` is filled in by the child. */
static char **make_environment(char *pid)
{
    static const char *const replaced[] = { "LC_ALL=", "LANGUAGE=", "LISTEN_PID=", "LISTEN_FDS=", "LISTEN_FDNAMES=" };
    size_t n = 0, used = 0;
    while (environ && environ[n])
        n++;
    char **copy = calloc(n + 4, sizeof *copy);
    for (size_t i = 0; copy && i < n; i++) {
        bool keep = true;
        for (unsigned k = 0; k < sizeof replaced / sizeof *replaced; k++)
            keep &= strncmp(environ[i], replaced[k], strlen(replaced[k])) != 0;
        if (keep)
            copy[used++] = environ[i];
    }
    if (!copy)
        return NULL;
    copy[used++] = "LC_ALL=C";
    copy[used++] = pid;
    copy[used++] = "LISTEN_FDS=1";
    return copy;
}

static void print_pid(char *to)
{
    char digits[16];
    unsigned n = 0;
    for (unsigned pid = (unsigned)getpid(); pid; pid /= 10)
        digits[n++] = (char)('0' + pid % 10);
    while (n)
        *to++ = digits[--n];
    *to = '\0';
}

struct child {
    const char *const *argv;
    char **environment, *pid;
    int fds[4];         /* what becomes 0 to 3; -1: nothing */
    pid_t parent;       /* 0: the program outlives it */
};

_Noreturn static void become(const struct child *child)
{
    sigset_t none;
    int high[4];
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    if (child->parent && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != child->parent))
        _exit(NOT_THERE);
    /* Out of the way first: one of them may have the number of another. */
    for (int i = 0; i < 4; i++)
        high[i] = child->fds[i] < 0 ? -1 : fcntl(child->fds[i], F_DUPFD_CLOEXEC, 4);
    for (int i = 0; i < 4; i++)
        if (high[i] >= 0)
            dup2(high[i], i);
    print_pid(child->pid);
    execvpe(child->argv[0], (char *const *)child->argv, child->environment);
    _exit(NOT_THERE);
}

static int start(struct program *program, const char *const *argv, int listener, int output, pid_t parent, struct df_error *err)
{
    char pid[32] = "LISTEN_PID=";
    CLEANUP(cleanup_free) char **environment = make_environment(pid);
    CLEANUP(cleanup_fd) int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    int ends[2] = { -1, -1 };
    *program = (struct program){ .error_output = -1 };
    if (!environment || nothing < 0 || pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return error_errno(err, environment ? -errno : -ENOMEM, "cannot start '%s'", argv[0]);
    const struct child child = { argv, environment, pid + strlen(pid), { nothing, output < 0 ? nothing : output, ends[1], listener }, parent };
    program->pid = fork();
    if (!program->pid)
        become(&child);
    int code = -errno;
    close(ends[1]);
    if (program->pid < 0) {
        program->pid = 0;
        close(ends[0]);
        return error_errno(err, code, "cannot start '%s'", argv[0]);
    }
    program->error_output = ends[0];
    return 0;
}

int program_start(struct program *program, const char *const *argv, int listener, int output, struct df_error *err)
{
    return start(program, argv, listener, output, 0, err);
}

/* -------------------------------------------------------------------- end */

/* "qemu-img: Could not open 'a'\nIs another..." becomes one line, without the name. */
static void keep_words(struct program *program, char *words)
{
    size_t n = strlen(words);
    while (n && strchr("\n .", words[n - 1]))
        words[--n] = '\0';
    for (char *c = words; *c; c++)
        if (*c == '\n')
            *c = ' ';
    char *colon = strncmp(words, "qemu-", 5) ? NULL : strstr(words, ": ");
    snprintf(program->said, sizeof program->said, "%s", colon ? colon + 2 : words);
}

static void reap(struct program *program)
{
    char words[PROGRAM_SAID_BYTES];
    pid_t r;
    while ((r = waitpid(program->pid, &program->status, 0)) < 0 && errno == EINTR)
        ;
    ssize_t n = read(program->error_output, words, sizeof words - 1);
    words[n > 0 ? n : 0] = '\0';
    if (r < 0) {
        program->status = STATUS_UNKNOWN;
        snprintf(words, sizeof words, "how it ended is not known: start this program without SIGCHLD ignored");
    }
    keep_words(program, words);
    program->pid = 0;
    close(steal_fd(&program->error_output));
}

bool program_wait(struct program *program, int wait_ms)
{
    int64_t deadline = clock_ms() + wait_ms;
    struct pollfd p = { .fd = program->error_output };
    while (program->pid) {
        int64_t left = deadline - clock_ms();
        int n = poll(&p, 1, left > 0 ? (int)left : 0);
        if (n > 0)
            reap(program);
        else if (left <= 0)
            return false;
    }
    return true;
}

void program_stop(struct program *program, int wait_ms)
{
    if (!program->pid)
        return;
    kill(program->pid, SIGTERM);
    if (program_wait(program, wait_ms))
        return;
    kill(program->pid, SIGKILL);
    reap(program);
}

/* -------------------------------------------------------------------- run */

/* All of it is read, so that the writer can go on; a limit of it is kept. */
static char *read_output(int fd)
{
    CLEANUP(cleanup_free) char *bytes = malloc(PROGRAM_OUTPUT_BYTES);
    char rest[4096];
    size_t used = 0;
    if (!bytes)
        return NULL;
    for (;;) {
        size_t room = PROGRAM_OUTPUT_BYTES - 1 - used;
        ssize_t n = read(fd, room ? bytes + used : rest, room ? room : sizeof rest);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        if (room)
            used += (size_t)n;
    }
    bytes[used] = '\0';
    return steal(&bytes);
}

int program_run(struct program *program, const char *const *argv, char **output, struct df_error *err)
{
    CLEANUP(cleanup_fd) int from = -1;
    int ends[2] = { -1, -1 };
    if (output && pipe2(ends, O_CLOEXEC) < 0)
        return error_errno(err, -errno, "cannot start '%s'", argv[0]);
    from = ends[0];
    /* It may wait for ever (a backing file on a server that is silent), and the thread that started it waits here: so it ends with that. */
    int r = start(program, argv, -1, ends[1], getpid(), err);
    if (ends[1] >= 0)
        close(ends[1]);
    if (r < 0)
        return r;
    char *bytes = output ? read_output(from) : NULL;
    reap(program);
    if (output && !bytes)
        return error_errno(err, -ENOMEM, "cannot read what '%s' says", argv[0]);
    if (output)
        *output = bytes;
    return 0;
}

int program_explain(const struct program *program, const char *argv0, const char *path, struct df_error *err)
{
    int status = program->status;
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_THERE && !*program->said)
        return error_set(err, -ENOENT, "cannot read '%.1024s': that needs '%s', which is not there: install it (package qemu-utils, or qemu-img)", path, argv0);
    if (WIFSIGNALED(status))
        return error_set(err, -ECONNRESET, "cannot read '%.1024s': '%s' was ended by signal %d", path, argv0, WTERMSIG(status));
    if (strstr(program->said, "Failed to get") && strstr(program->said, "lock"))
        return error_set(err, -EBUSY, "cannot read '%.1024s': another program has it open for writing (%s): read it by the NBD server of that program", path, program->said);
    return error_set(err, -EIO, "cannot read '%.1024s': %s", path, *program->said ? program->said : "qemu has ended without a reason");
}
