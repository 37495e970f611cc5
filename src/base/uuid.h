// SPDX-License-Identifier: BSD-3-Clause
/* Session names: random UUIDs (version 4), 16 bytes in memory, 36 characters as text. */
#ifndef BASE_UUID_H
#define BASE_UUID_H

#include <stdbool.h>
#include <stdint.h>

#define UUID_BYTES 16
#define UUID_TEXT_BYTES 37

void uuid_generate(uint8_t uuid[UUID_BYTES]);
const char *uuid_format(const uint8_t uuid[UUID_BYTES], char text[UUID_TEXT_BYTES]);
bool uuid_parse(const char *text, uint8_t uuid[UUID_BYTES]);

#endif
