// SPDX-License-Identifier: BSD-3-Clause
/* Unaligned little-endian words, bits in bytes, and counting bits with the machine's own instruction where it has one. */
#ifndef BASE_BITS_H
#define BASE_BITS_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t bits_load(const uint8_t *bytes)
{
    uint64_t v;
    memcpy(&v, bytes, sizeof v);
    return le64toh(v);
}

/* Set n bits from `first` on; bit 0 is the lowest one of the first byte. */
static inline void bits_set(uint8_t *bytes, uint64_t first, uint64_t n)
{
    uint64_t end = first + n;
    for (; first < end && first % 8; first++)
        bytes[first / 8] |= (uint8_t)(1u << first % 8);
    memset(bytes + first / 8, 0xff, (end - first) / 8);
    for (first += (end - first) / 8 * 8; first < end; first++)
        bytes[first / 8] |= (uint8_t)(1u << first % 8);
}

/*
 * Would listing these words cost more than `limit` bytes, whichever way?  A set
 * bit costs at least one byte as a position, a run at least two; so more than
 * `limit` set bits and more than limit / 2 runs.  Stops as soon as it is sure,
 * and says no after an eighth that is nearly empty: then listing is the way to
 * find out, and it stops by itself when there is no room.
 */
#define BITS_DENSE_BODY                                                     \
    uint64_t set = 0, edges = 0, carry = 0;                                 \
    for (uint64_t i = 0; i < nwords; i++) {                                 \
        uint64_t v = bits_load(bytes + 8 * i);                              \
        set += (uint64_t)__builtin_popcountll(v);                           \
        edges += (uint64_t)__builtin_popcountll(v & ~(v << 1 | carry));     \
        carry = v >> 63;                                                    \
        if (set > limit && 2 * edges > limit)                               \
            return true;                                                    \
        if (i == nwords / 8 && 16 * set < limit)                            \
            return false;                                                   \
    }                                                                       \
    return false;

#ifdef __x86_64__
__attribute__((target("popcnt"), unused))
static bool bits_dense_popcnt(const uint8_t *bytes, uint64_t nwords, uint64_t limit)
{
    BITS_DENSE_BODY
}
#endif

__attribute__((unused))
static bool bits_dense_plain(const uint8_t *bytes, uint64_t nwords, uint64_t limit)
{
    BITS_DENSE_BODY
}

static inline bool bits_dense(const uint8_t *bytes, uint64_t nwords, uint64_t limit)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("popcnt"))
        return bits_dense_popcnt(bytes, nwords, limit);
#endif
    return bits_dense_plain(bytes, nwords, limit);
}

#endif
