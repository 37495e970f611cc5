// SPDX-License-Identifier: BSD-3-Clause
#include "base/size.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static const char units[] = "KMGTPE";

/* Behind the digits: a unit, then "iB" or "B" or nothing.  Returns the shift in bits, or -1. */
static int unit_shift(const char *s)
{
    int shift = 0;
    if (*s) {
        const char *u = strchr(units, toupper((unsigned char)*s));
        if (u) {
            shift = 10 * (int)(u - units + 1);
            s++;
            if (*s == 'i')
                s++;
        }
        if (*s == 'B')
            s++;
    }
    return *s ? -1 : shift;
}

int size_parse(const char *text, const char *what, uint64_t *bytes, struct df_error *err)
{
    char *end;
    errno = 0;
    uint64_t whole = isdigit((unsigned char)*text) ? strtoull(text, &end, 10) : (end = (char *)text, 0);
    uint64_t fraction = 0, unit = 1;    /* fraction / unit, at most 9 digits of it */
    int ok = end != text && !errno;
    if (ok && *end == '.' && isdigit((unsigned char)end[1]))
        for (end++; isdigit((unsigned char)*end); end++)
            if (unit < UINT64_C(1000000000)) {
                fraction = fraction * 10 + (uint64_t)(*end - '0');
                unit *= 10;
            }
    int shift = ok ? unit_shift(end) : -1;
    if (shift < 0)
        return error_set(err, -EINVAL, "%s '%s' is not a size: write a number of bytes, or one with K, M, G, T, P or E", what, text);
    if (shift && whole > UINT64_MAX >> shift)
        return error_set(err, -EINVAL, "%s '%s' does not fit into 64 bits", what, text);
    if (fraction > 0 && !shift)
        return error_set(err, -EINVAL, "%s '%s' is a fraction of a byte", what, text);
    /* fraction < unit: below one unit of the size, so the sum does not overflow.  128 bits hold the product. */
    *bytes = (whole << shift) + (uint64_t)(((unsigned __int128)fraction << shift) / unit);
    return 0;
}

const char *size_format(uint64_t bytes, char text[SIZE_TEXT_BYTES])
{
    int unit = 0;
    while (unit < 6 && bytes >> (10 * (unit + 1)))
        unit++;
    if (!unit)
        snprintf(text, SIZE_TEXT_BYTES, "%" PRIu64, bytes);
    else if (!(bytes & ((UINT64_C(1) << (10 * unit)) - 1)))
        snprintf(text, SIZE_TEXT_BYTES, "%" PRIu64 "%c", bytes >> (10 * unit), units[unit - 1]);
    else
        snprintf(text, SIZE_TEXT_BYTES, "%.2f%c", (double)bytes / (double)(UINT64_C(1) << (10 * unit)), units[unit - 1]);
    return text;
}
