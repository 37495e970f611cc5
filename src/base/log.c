// SPDX-License-Identifier: BSD-3-Clause
/* A line is built first and written by one write(), so that lines of threads do not mix. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static enum log_level threshold = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
    threshold = level;
}

/* Under systemd the journal wants the level as "<3>"; a person wants a word. */
static const char *prefix(enum log_level level)
{
    int journal = getenv("JOURNAL_STREAM") != NULL;
    switch (level) {
    case LOG_LEVEL_ERROR:   return journal ? "<3>" : "error: ";
    case LOG_LEVEL_WARNING: return journal ? "<4>" : "warning: ";
    case LOG_LEVEL_INFO:    return journal ? "<6>" : "";
    case LOG_LEVEL_DEBUG:   return journal ? "<7>" : "debug: ";
    }
    return "";
}

void log_line(enum log_level level, const char *format, ...)
{
    if (level > threshold)
        return;
    char line[4096];
    int n = snprintf(line, sizeof line, "%s", prefix(level));
    va_list ap;
    va_start(ap, format);
    n += vsnprintf(line + n, sizeof line - (size_t)n - 1, format, ap);
    va_end(ap);
    if ((size_t)n > sizeof line - 2)
        n = sizeof line - 2;
    /* Names that others chose may be quoted in it: a message stays one line. */
    for (char *c = line; c < line + n; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    line[n++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, (size_t)n);
    (void)ignored;
}
