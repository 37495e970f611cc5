// SPDX-License-Identifier: BSD-3-Clause
/* Files in the test's own directory, with text and mode to the letter; the log as one of them. */
#ifndef TESTS_UNIT_FILES_H
#define TESTS_UNIT_FILES_H

#include "unit.h"

/* The second of two is not overwritten by the first: a few paths may be used in one expression. */
static inline const char *in_dir(const char *name)
{
    static char paths[4][1000];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", unit_dir, name);
    return path;
}

static inline void put_bytes(const char *path, const void *bytes, size_t n, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fchmod(fd, mode), 0);
    ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
    close(fd);
}

static inline void put_text(const char *path, const char *text, mode_t mode)
{
    put_bytes(path, text, strlen(text), mode);
}

/* A file of another user, which only root can make. */
static inline bool give_away(const char *path)
{
    if (geteuid() == 0 && chown(path, 65534, (gid_t)-1) == 0)
        return true;
    printf("not tried, only root can give files away: %s\n", path);
    return false;
}

/* What is logged from now on is in a file. */
static inline void log_to_file(void)
{
    int fd = open(in_dir("log"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    dup2(fd, STDERR_FILENO);
    close(fd);
}

/* How many lines of the log have both in them. */
static inline unsigned logged_both(const char *a, const char *b)
{
    char line[8192];
    unsigned n = 0;
    FILE *f = fopen(in_dir("log"), "re");
    while (fgets(line, sizeof line, f))
        n += strstr(line, a) && strstr(line, b);
    fclose(f);
    return n;
}

static inline unsigned logged(const char *text)
{
    return logged_both(text, "");
}

#endif
