// SPDX-License-Identifier: BSD-3-Clause
/*
 * What was refused, in the log: who and what, one line for each such pair every
 * REFUSALS_MS and not more than REFUSALS_LINES of them all together, so that
 * nobody fills a disk by being refused.  What is passed over is counted.
 *
 * Any thread may call.
 */
#ifndef NET_REFUSALS_H
#define NET_REFUSALS_H

#include <pthread.h>
#include <stdint.h>

#define REFUSALS_MS     10000
#define REFUSALS_LINES  32      /* in REFUSALS_MS */
#define REFUSALS_KNOWN  64      /* pairs that are told apart */

struct refusals {
    pthread_mutex_t mutex;
    struct {
        uint64_t pair;          /* hash */
        int64_t until_ms;       /* silent before */
        uint64_t passed_over;
    } known[REFUSALS_KNOWN];
    int64_t window_ms;          /* when the count of lines begins anew */
    unsigned lines;
    uint64_t passed_over;       /* because there were too many lines */
};

#define REFUSALS_INIT { .mutex = PTHREAD_MUTEX_INITIALIZER }

void refusals_note(struct refusals *refusals, const char *who, const char *what);

#endif
