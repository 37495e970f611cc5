// SPDX-License-Identifier: BSD-3-Clause
#include "base/uuid.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void uuid_generate(uint8_t uuid[UUID_BYTES])
{
    if (getrandom(uuid, UUID_BYTES, 0) != UUID_BYTES)
        abort();    /* 16 bytes are never short once the pool is up, and it is */
    uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40);
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

const char *uuid_format(const uint8_t u[UUID_BYTES], char text[UUID_TEXT_BYTES])
{
    snprintf(text, UUID_TEXT_BYTES,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
             u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7],
             u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
    return text;
}

bool uuid_parse(const char *text, uint8_t uuid[UUID_BYTES])
{
    if (strlen(text) != UUID_TEXT_BYTES - 1)
        return false;
    unsigned nibble = 0;
    for (unsigned i = 0; text[i]; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (text[i] != '-')
                return false;
            continue;
        }
        int c = tolower((unsigned char)text[i]);
        if (!isxdigit(c))
            return false;
        unsigned v = (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
        uuid[nibble / 2] = (uint8_t)(nibble % 2 ? (uuid[nibble / 2] << 4) | v : v);
        nibble++;
    }
    return true;
}
