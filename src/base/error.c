// SPDX-License-Identifier: BSD-3-Clause
/* Error sentences and the names under which error codes travel. */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    int code;
    const char *name;
} codes[] = {
    { -EIO, "failed" },            /* first: what an unknown code becomes */
    { -EINVAL, "invalid" },
    { -ENOENT, "not-found" },
    { -EEXIST, "exists" },
    { -EBUSY, "busy" },
    { -EROFS, "read-only" },
    { -ENOSPC, "full" },
    { -EFBIG, "too-big" },
    { -EPERM, "refused" },
    { -EACCES, "denied" },
    { -EPROTO, "protocol" },
    { -ETIMEDOUT, "timeout" },
    { -ESTALE, "stale" },
    { -ECANCELED, "cancelled" },
    { -ENOTSUP, "unsupported" },
    { -EAGAIN, "again" },
};

static void format(struct df_error *err, int code, int with_errno, const char *fmt, va_list ap)
{
    if (!err)
        return;
    err->code = code;
    int n = vsnprintf(err->message, sizeof err->message, fmt, ap);
    if (with_errno && n >= 0 && (size_t)n < sizeof err->message)
        snprintf(err->message + n, sizeof err->message - (size_t)n, ": %s", strerror(-code));
    /* Names that users chose may be quoted in it: a message stays one line. */
    for (char *c = err->message; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
}

int error_set(struct df_error *err, int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    format(err, code, 0, fmt, ap);
    va_end(ap);
    return code;
}

int error_errno(struct df_error *err, int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    format(err, code, 1, fmt, ap);
    va_end(ap);
    return code;
}

const char *error_code_at(unsigned i)
{
    return i < sizeof codes / sizeof *codes ? codes[i].name : NULL;
}

const char *error_code_name(int code)
{
    for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].code == code)
            return codes[i].name;
    return codes[0].name;
}

int error_code_from_name(const char *name)
{
    for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++)
        if (!strcmp(codes[i].name, name))
            return codes[i].code;
    return codes[0].code;
}
