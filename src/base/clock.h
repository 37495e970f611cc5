// SPDX-License-Identifier: BSD-3-Clause
/* Monotonic time.  Every variable says its unit: _ns, _us, _ms. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S  INT64_C(1000000000)

static inline int64_t clock_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static inline int64_t clock_ms(void)
{
    return clock_ns() / NS_PER_MS;
}

static inline void clock_sleep_ns(int64_t ns)
{
    struct timespec ts = { .tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S };
    clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
}

#endif
