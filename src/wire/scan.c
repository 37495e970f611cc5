// SPDX-License-Identifier: BSD-3-Clause
#include "wire/scan.h"

#include "wire/limits.h"

struct cursor {
    const uint8_t *at, *end;
};

static uint64_t take_be(struct cursor *c, unsigned n)
{
    uint64_t v = 0;
    while (n--)
        v = v << 8 | *c->at++;
    return v;
}

/*
 * One head byte: how many bytes of length or value follow it, and whether that
 * number then counts data bytes ('d'), list items ('l'), map pairs ('m') or is
 * the value itself ('v').
 */
struct head {
    char kind;          /* 0: not allowed */
    uint8_t nbytes;
    uint8_t small;      /* the count when nbytes is 0 */
};

static struct head head_of(uint8_t b)
{
    if (b <= 0x7f || b >= 0xe0)
        return (struct head){ 'v', 0, 0 };
    if (b <= 0x8f)
        return (struct head){ 'm', 0, b & 0x0f };
    if (b <= 0x9f)
        return (struct head){ 'l', 0, b & 0x0f };
    if (b <= 0xbf)
        return (struct head){ 'd', 0, b & 0x1f };
    switch (b) {
    case 0xc0: case 0xc2: case 0xc3:            return (struct head){ 'v', 0, 0 };
    case 0xc4: case 0xd9:                       return (struct head){ 'd', 1, 0 };
    case 0xc5: case 0xda:                       return (struct head){ 'd', 2, 0 };
    case 0xc6: case 0xdb:                       return (struct head){ 'd', 4, 0 };
    case 0xcc: case 0xd0:                       return (struct head){ 'v', 1, 0 };
    case 0xcd: case 0xd1:                       return (struct head){ 'v', 2, 0 };
    case 0xca: case 0xce: case 0xd2:            return (struct head){ 'v', 4, 0 };
    case 0xcb: case 0xcf: case 0xd3:            return (struct head){ 'v', 8, 0 };
    case 0xdc:                                  return (struct head){ 'l', 2, 0 };
    case 0xdd:                                  return (struct head){ 'l', 4, 0 };
    case 0xde:                                  return (struct head){ 'm', 2, 0 };
    case 0xdf:                                  return (struct head){ 'm', 4, 0 };
    default:                                    return (struct head){ 0, 0, 0 };
    }
}

const char *wire_scan(const uint8_t *bytes, size_t nbytes)
{
    struct cursor c = { bytes, bytes + nbytes };
    uint64_t open[WIRE_DEPTH + 1] = { 1 };     /* values still to come at each depth */
    unsigned depth = 0, objects = 0;
    for (;;) {
        while (!open[depth]) {
            if (!depth)
                return c.at == c.end ? NULL : "bytes behind the message";
            depth--;
        }
        open[depth]--;
        if (++objects > WIRE_OBJECTS)
            return "too many values";
        if (c.at == c.end)
            return "truncated";
        struct head head = head_of(*c.at++);
        if (!head.kind)
            return "a type that is not allowed";
        size_t left = (size_t)(c.end - c.at);
        if (left < head.nbytes)
            return "truncated";
        uint64_t n = head.nbytes ? take_be(&c, head.nbytes) : head.small;
        if (head.kind == 'v')
            continue;
        left -= head.nbytes;
        if (head.kind == 'm')
            n *= 2;
        if (n > left)
            return "a count that is larger than the message";
        if (head.kind == 'd') {
            c.at += n;
            continue;
        }
        if (depth == WIRE_DEPTH)
            return "nested too deeply";
        open[++depth] = n;
    }
}
