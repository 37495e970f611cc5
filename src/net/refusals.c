// SPDX-License-Identifier: BSD-3-Clause
#include "net/refusals.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include <xxhash.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

static unsigned find(struct refusals *r, uint64_t pair)
{
    unsigned oldest = 0;
    for (unsigned i = 0; i < REFUSALS_KNOWN; i++) {
        if (r->known[i].pair == pair)
            return i;
        if (r->known[i].until_ms < r->known[oldest].until_ms)
            oldest = i;
    }
    r->passed_over += r->known[oldest].passed_over;
    r->known[oldest].pair = pair;
    r->known[oldest].until_ms = 0;
    r->known[oldest].passed_over = 0;
    return oldest;
}

/* A line may be written: of all pairs not too many were. */
static bool take_line(struct refusals *r, int64_t now_ms)
{
    if (now_ms >= r->window_ms) {
        r->window_ms = now_ms + REFUSALS_MS;
        r->lines = 0;
    }
    return r->lines < REFUSALS_LINES && ++r->lines;
}

void refusals_note(struct refusals *r, const char *who, const char *what)
{
    int64_t now_ms = clock_ms();
    LOCK_SCOPE(&r->mutex);
    unsigned i = find(r, XXH3_64bits_withSeed(who, strlen(who), XXH3_64bits(what, strlen(what))));
    if (now_ms < r->known[i].until_ms || !take_line(r, now_ms)) {
        r->known[i].passed_over++;
        return;
    }
    uint64_t more = r->known[i].passed_over;
    r->known[i].until_ms = now_ms + REFUSALS_MS;
    r->known[i].passed_over = 0;
    if (r->lines == 1 && r->passed_over) {
        log_warning("%" PRIu64 " refusals of many kinds were not logged", r->passed_over);
        r->passed_over = 0;
    }
    if (more)
        log_warning("refused: %s: %s (and %" PRIu64 " times more before)", who, what, more);
    else
        log_warning("refused: %s: %s", who, what);
}
