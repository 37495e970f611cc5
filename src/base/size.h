// SPDX-License-Identifier: BSD-3-Clause
/* Sizes as people write them: 512, 64K, 1.5T; units are powers of 1024. */
#ifndef BASE_SIZE_H
#define BASE_SIZE_H

#include <stdint.h>

#include <dirtyferry/error.h>

/* Digits, an optional fraction, one of K M G T P E, an optional "iB" or "B".  `what` names the value in the error. */
int size_parse(const char *text, const char *what, uint64_t *bytes, struct df_error *err);

/* "64K", "1.5T": exact where that is short, else rounded to two digits behind the point. */
#define SIZE_TEXT_BYTES 32
const char *size_format(uint64_t bytes, char text[SIZE_TEXT_BYTES]);

#endif
