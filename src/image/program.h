// SPDX-License-Identifier: BSD-3-Clause
/*
 * A program that is started for an image: qemu-img, qemu-nbd.
 *
 * It has nothing of the user's terminal (no input, a session of its own), speaks
 * English, and does not wait for us to read what it says on its error output:
 * of that only the beginning is kept.
 */
#ifndef IMAGE_PROGRAM_H
#define IMAGE_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <dirtyferry/error.h>

#define PROGRAM_OUTPUT_BYTES (1 << 20)
#define PROGRAM_SAID_BYTES   1024

struct program {
    pid_t pid;                      /* 0: none */
    int error_output;               /* what it writes there; at its end when it has ended */
    int status;                     /* as of waitpid(), when it has ended */
    char said[PROGRAM_SAID_BYTES];  /* one line, without its name in front; when it has ended */
};

/*
 * Start argv[0], which is looked for in PATH.  `listener`, or -1: a listening
 * socket that it is given in the way of systemd.  `output`, or -1: where its
 * output goes.  That there is no such program is known when it has ended.
 */
int program_start(struct program *program, const char *const *argv, int listener, int output, struct df_error *err);

/* Wait for its end, at most so long.  True: it has ended, `status` and `said` are there. */
bool program_wait(struct program *program, int wait_ms);
/* Tell it to end, and after so long kill it. */
void program_stop(struct program *program, int wait_ms);

/* Run one to its end; *output, if not NULL, becomes what it wrote, to be freed. */
int program_run(struct program *program, const char *const *argv, char **output, struct df_error *err);

/* For a program that has ended, and not well: why it does not open `path`. */
int program_explain(const struct program *program, const char *argv0, const char *path, struct df_error *err);

#endif
