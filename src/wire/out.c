// SPDX-License-Identifier: BSD-3-Clause
#include "wire/out.h"

#include <string.h>

#define PLACE_BYTES 3   /* head byte and 16-bit count, shortened at the close */

static void key_of(struct out *out, const char *key)
{
    if (out->depth)
        out->open[out->depth - 1].n++;
    if (!key)
        return;
    size_t n = strlen(key);
    out->failed |= msgpack_pack_str(&out->packer, n) < 0 || msgpack_pack_str_body(&out->packer, key, n) < 0;
}

static void open_container(struct out *out, const char *key, bool is_list)
{
    static const char place[PLACE_BYTES];
    if (out->failed || out->depth == WIRE_DEPTH) {
        out->failed = true;
        return;
    }
    key_of(out, key);
    out->open[out->depth].at = out->buffer.size;
    out->open[out->depth].n = 0;
    out->open[out->depth].is_list = is_list;
    out->depth++;
    out->failed |= msgpack_sbuffer_write(&out->buffer, place, PLACE_BYTES) < 0;
}

void out_init(struct out *out)
{
    memset(out, 0, sizeof *out);
    msgpack_sbuffer_init(&out->buffer);
    msgpack_packer_init(&out->packer, &out->buffer, msgpack_sbuffer_write);
    open_container(out, NULL, false);
}

void out_destroy(struct out *out)
{
    msgpack_sbuffer_destroy(&out->buffer);
}

void out_u64(struct out *out, const char *key, uint64_t value)
{
    key_of(out, key);
    out->failed |= msgpack_pack_uint64(&out->packer, value) < 0;
}

void out_bool(struct out *out, const char *key, bool value)
{
    key_of(out, key);
    out->failed |= (value ? msgpack_pack_true(&out->packer) : msgpack_pack_false(&out->packer)) < 0;
}

void out_text(struct out *out, const char *key, const char *text)
{
    size_t n = strlen(text);
    key_of(out, key);
    out->failed |= msgpack_pack_str(&out->packer, n) < 0 || msgpack_pack_str_body(&out->packer, text, n) < 0;
}

void out_bin(struct out *out, const char *key, const void *bytes, size_t nbytes)
{
    key_of(out, key);
    out->failed |= msgpack_pack_bin(&out->packer, nbytes) < 0 || msgpack_pack_bin_body(&out->packer, bytes, nbytes) < 0;
}

void out_map(struct out *out, const char *key)
{
    open_container(out, key, false);
}

void out_list(struct out *out, const char *key)
{
    open_container(out, key, true);
}

void out_close(struct out *out)
{
    if (!out->depth || out->failed)
        return;
    out->depth--;
    size_t at = out->open[out->depth].at;
    uint32_t n = out->open[out->depth].n;
    bool is_list = out->open[out->depth].is_list;
    uint8_t *head = (uint8_t *)out->buffer.data + at;
    if (n < 16) {
        head[0] = (uint8_t)((is_list ? 0x90 : 0x80) | n);
        memmove(head + 1, head + PLACE_BYTES, out->buffer.size - at - PLACE_BYTES);
        out->buffer.size -= PLACE_BYTES - 1;
    } else if (n <= UINT16_MAX) {
        head[0] = is_list ? 0xdc : 0xde;
        head[1] = (uint8_t)(n >> 8);
        head[2] = (uint8_t)n;
    } else {
        out->failed = true;
    }
}

bool out_finish(struct out *out, const uint8_t **bytes, size_t *nbytes)
{
    while (out->depth && !out->failed)
        out_close(out);
    *bytes = (const uint8_t *)out->buffer.data;
    *nbytes = out->buffer.size;
    return !out->failed;
}
