// SPDX-License-Identifier: BSD-3-Clause
/*
 * The look at a message before msgpack-c sees it.
 *
 * msgpack-c believes the counts that a message declares: five bytes can make it
 * reserve gigabytes.  This scan is not recursive, allocates nothing and accepts
 * only one whole object with nothing behind it, at most WIRE_DEPTH deep, no
 * count larger than the bytes that are left, at most WIRE_OBJECTS values, no
 * extension types.
 */
#ifndef WIRE_SCAN_H
#define WIRE_SCAN_H

#include <stddef.h>
#include <stdint.h>

/* NULL if the bytes are fit to be unpacked, else what is wrong with them. */
const char *wire_scan(const uint8_t *bytes, size_t nbytes);

#endif
