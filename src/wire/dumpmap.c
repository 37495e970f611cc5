// SPDX-License-Identifier: BSD-3-Clause
/*
 * The maps of a dump: the header in block 0 and the digests in the last block.
 *
 * What a reader refuses the writer does not make: both call check_header().
 */
#include "wire/dump.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "wire/message.h"
#include "wire/out.h"

/* ------------------------------------------------------------------ fields */

static const struct field header_item[] = {
    { "disk", FIELD_TEXT, false, 1, DF_DISK_NAME_MAX, 0 },
    { "bitmap", FIELD_TEXT, false, 1, DF_BITMAP_NAME_MAX, 0 },
    { "size", FIELD_U64, false, 1, DF_DISK_SIZE_MAX, 0 },
    { "granularity", FIELD_U64, false, DF_GRANULARITY_MIN, DF_GRANULARITY_MAX, 0 },
    { "enabled", FIELD_BOOL, false, 0, 0, 0 },
    { "persistent", FIELD_BOOL, false, 0, 0, 0 },
    { 0 }
};
const struct field dump_header_fields[] = {
    { "v", FIELD_U64, false, DUMP_VERSION, DUMP_VERSION, 0 },
    { "id", FIELD_U64, false, 1, UINT64_MAX, 0 },
    { "content", FIELD_TEXT, false, 6, 7, 0 },
    { "session", FIELD_UUID, false, 0, 0, 0 },
    { "epoch", FIELD_U64, false, 1, WIRE_EPOCH_MAX, 0 },
    { "chunk_size", FIELD_U64, false, WIRE_CHUNK_BYTES_MIN, DUMP_CHUNK_BYTES_MAX, 0 },
    { "bitmaps", FIELD_MAPS, false, 1, WIRE_SESSION_BITMAPS, header_item },
    { 0 }
};

static const struct field end_item[] = {
    { "digests", FIELD_BIN, false, 8, 8 * WIRE_SEGMENTS, 0 },
    { 0 }
};
const struct field dump_end_fields[] = {
    { "blocks", FIELD_U64, false, 1, UINT64_MAX, 0 },
    { "bitmaps", FIELD_MAPS, false, 1, WIRE_SESSION_BITMAPS, end_item },
    { 0 }
};

static const char *const contents[] = { [DUMP_BITMAP] = "bitmap", [DUMP_SESSION] = "session" };
#define NCONTENTS (sizeof contents / sizeof *contents)

/* ---------------------------------------------------------------- geometry */

uint64_t dump_new_id(void)
{
    uint8_t uuid[UUID_BYTES];
    uuid_generate(uuid);
    return bits_load(uuid);     /* never 0: the UUID's version is in these bytes */
}

uint32_t dump_chunk_bytes(uint32_t session_chunk_bytes)
{
    return session_chunk_bytes < DUMP_CHUNK_BYTES_MAX ? session_chunk_bytes : DUMP_CHUNK_BYTES_MAX;
}

struct chunking dump_chunking(const struct dump_header *h, size_t bitmap)
{
    const struct dump_bitmap *b = &h->bitmaps[bitmap];
    return (struct chunking){ (b->size - 1) / b->granularity + 1, h->chunk_bytes };
}

/* Section 9 of the protocol. */
size_t dump_segments(uint64_t nbits)
{
    uint64_t segment_bits = 8 * 4096;
    while ((nbits - 1) / segment_bits + 1 > WIRE_SEGMENTS)
        segment_bits *= 2;
    return (size_t)((nbits - 1) / segment_bits + 1);
}

/* ------------------------------------------------------------------ header */

static int check_name(const char *what, const char *name, size_t max, struct df_error *err)
{
    size_t n = strnlen(name, max + 1);
    if (!n || n > max)
        return error_set(err, -EINVAL, "the name of a %s has %zu bytes or more, possible are 1 to %zu", what, n, max);
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)name[i] < 0x20 || name[i] == 0x7f)
            return error_set(err, -EINVAL, "the name of a %s has a control character in it", what);
    return 0;
}

static int check_bitmap(const struct dump_header *h, size_t i, struct df_error *err)
{
    const struct dump_bitmap *b = &h->bitmaps[i];
    int r = check_name("disk", b->disk, DF_DISK_NAME_MAX, err);
    if (!r)
        r = check_name("bitmap", b->name, DF_BITMAP_NAME_MAX, err);
    if (r < 0)
        return r;
    if (!b->size || b->size > DF_DISK_SIZE_MAX)
        return error_set(err, -EINVAL, "size %" PRIu64 " is out of range: 1 to %" PRIu64 " bytes are possible", b->size, DF_DISK_SIZE_MAX);
    if (b->granularity < DF_GRANULARITY_MIN || b->granularity > DF_GRANULARITY_MAX || b->granularity & (b->granularity - 1))
        return error_set(err, -EINVAL, "granularity %" PRIu64 " is out of range: a power of two from %u to %" PRIu32 " bytes is possible",
                         b->granularity, DF_GRANULARITY_MIN, DF_GRANULARITY_MAX);
    struct chunking c = dump_chunking(h, i);
    if (c.nbits > DF_BITMAP_BITS_MAX)
        return error_set(err, -EINVAL, "a bitmap has %" PRIu64 " bits: %" PRIu64 " are possible", c.nbits, DF_BITMAP_BITS_MAX);
    for (size_t j = 0; j < i; j++)
        if (!strcmp(b->disk, h->bitmaps[j].disk) && !strcmp(b->name, h->bitmaps[j].name))
            return error_set(err, -EINVAL, "bitmap '%s' of disk '%s' stands twice in it", b->name, b->disk);
    return chunking_check(&c, err);     /* the chunk size is one, and not too small for this bitmap */
}

static int check_header(const struct dump_header *h, struct df_error *err)
{
    uint8_t uuid[UUID_BYTES];
    if (!h->id)
        return error_set(err, -EINVAL, "its id is 0");
    if ((unsigned)h->content >= NCONTENTS || !uuid_parse(h->session, uuid))
        return error_set(err, -EINVAL, "its content or session is not one");
    if (!h->epoch || h->epoch > WIRE_EPOCH_MAX || (h->content == DUMP_BITMAP && h->epoch != 1))
        return error_set(err, -EINVAL, "epoch %" PRIu64 " is out of range: 1 to %u are possible, and 1 only without a session", h->epoch, WIRE_EPOCH_MAX);
    if (h->chunk_bytes > DUMP_CHUNK_BYTES_MAX)
        return error_set(err, -EINVAL, "chunk size %" PRIu32 " is out of range: up to %u bytes are possible in a dump", h->chunk_bytes, DUMP_CHUNK_BYTES_MAX);
    if (!h->nbitmaps || h->nbitmaps > WIRE_SESSION_BITMAPS)
        return error_set(err, -EINVAL, "it has %zu bitmaps: 1 to %u are possible", h->nbitmaps, WIRE_SESSION_BITMAPS);
    int r = 0;
    for (size_t i = 0; !r && i < h->nbitmaps; i++)
        r = check_bitmap(h, i, err);
    return r;
}

static int read_content(const char *text, enum dump_content *content, struct df_error *err)
{
    for (size_t i = 0; i < NCONTENTS; i++)
        if (!strcmp(text, contents[i])) {
            *content = (enum dump_content)i;
            return 0;
        }
    return error_set(err, -EINVAL, "content '%s' is not known", text);
}

/* Fields that the schema let pass fit into their arrays. */
static void read_bitmap(const node *item, struct dump_bitmap *b)
{
    strcpy(b->disk, node_text(item, "disk"));
    strcpy(b->name, node_text(item, "bitmap"));
    b->size = node_u64(item, "size", 0);
    b->granularity = node_u64(item, "granularity", 0);
    b->enabled = node_bool(item, "enabled");
    b->persistent = node_bool(item, "persistent");
}

int dump_unpack_header(const uint8_t *block, size_t nbytes, struct dump_header *h, struct df_error *err)
{
    CLEANUP(message_free) struct message *m = NULL;
    struct df_error why = { 0 };
    memset(h, 0, sizeof *h);
    if (message_decode_map(block + DUMP_HEAD_BYTES, nbytes - DUMP_HEAD_BYTES, dump_header_fields, &m, &why) < 0 ||
        read_content(node_text(m->root, "content"), &h->content, &why) < 0)
        return dump_broken(0, &why, err);
    const node *items = node_list(m->root, "bitmaps", &h->nbitmaps);
    h->id = node_u64(m->root, "id", 0);
    h->epoch = node_u64(m->root, "epoch", 0);
    h->chunk_bytes = (uint32_t)node_u64(m->root, "chunk_size", 0);
    strcpy(h->session, node_text(m->root, "session"));
    for (size_t i = 0; i < h->nbitmaps; i++)
        read_bitmap(&items[i], &h->bitmaps[i]);
    return check_header(h, &why) < 0 ? dump_broken(0, &why, err) : 0;
}

static int pack_map(struct dump_block *b, struct out *out, enum dump_kind kind, uint64_t index, uint64_t id, struct df_error *err)
{
    const uint8_t *bytes;
    size_t n;
    if (!out_finish(out, &bytes, &n))
        return error_errno(err, -ENOMEM, "cannot make block %" PRIu64 " of the dump", index);
    return dump_block_pack(b, kind, index, id, bytes, n, err);
}

int dump_pack_header(struct dump_block *block, const struct dump_header *h, struct df_error *err)
{
    struct df_error why = { 0 };
    if (check_header(h, &why) < 0)
        return error_set(err, -EINVAL, "a dump cannot be made: %s", why.message);
    CLEANUP(out_destroy) struct out out;
    out_init(&out);
    out_u64(&out, "v", DUMP_VERSION);
    out_u64(&out, "id", h->id);
    out_text(&out, "content", contents[h->content]);
    out_text(&out, "session", h->session);
    out_u64(&out, "epoch", h->epoch);
    out_u64(&out, "chunk_size", h->chunk_bytes);
    out_list(&out, "bitmaps");
    for (const struct dump_bitmap *b = h->bitmaps; b < h->bitmaps + h->nbitmaps; b++) {
        out_map(&out, NULL);
        out_text(&out, "disk", b->disk);
        out_text(&out, "bitmap", b->name);
        out_u64(&out, "size", b->size);
        out_u64(&out, "granularity", b->granularity);
        out_bool(&out, "enabled", b->enabled);
        out_bool(&out, "persistent", b->persistent);
        out_close(&out);
    }
    out_close(&out);
    return pack_map(block, &out, DUMP_HEADER, 0, 0, err);
}

int dump_pack_end(struct dump_block *block, uint64_t index, uint64_t id, const struct dump_digests *digests, size_t n, struct df_error *err)
{
    CLEANUP(out_destroy) struct out out;
    out_init(&out);
    out_u64(&out, "blocks", index);
    out_list(&out, "bitmaps");
    for (size_t i = 0; i < n; i++) {
        out_map(&out, NULL);
        out_bin(&out, "digests", digests[i].bytes, digests[i].nbytes);
        out_close(&out);
    }
    out_close(&out);
    return pack_map(block, &out, DUMP_END, index, id, err);
}

/* Digests are read in place: msgpack-c leaves bytes where they lie in the message's copy of the payload. */
static struct dump_digests in_block(const struct message *m, const node *item, const uint8_t *payload)
{
    struct dump_digests d;
    const uint8_t *copy = node_bin(item, "digests", &d.nbytes);
    d.bytes = payload + (copy - (const uint8_t *)m->bytes);
    return d;
}

static int check_end(const struct message *m, uint64_t index, const struct dump_header *h, const struct dump_place *place, struct df_error *err)
{
    uint64_t blocks = node_u64(m->root, "blocks", 0);
    size_t n;
    node_list(m->root, "bitmaps", &n);
    if (place->bitmap < h->nbitmaps)
        return error_set(err, -EINVAL, "it is the end, and chunk %" PRIu64 " of bitmap %zu has not come", place->chunk, place->bitmap + 1);
    if (blocks != index)
        return error_set(err, -EINVAL, "it says that there are %" PRIu64 " blocks before it", blocks);
    if (n != h->nbitmaps)
        return error_set(err, -EINVAL, "it has digests of %zu bitmaps and the header has %zu bitmaps", n, h->nbitmaps);
    return 0;
}

int dump_unpack_end(const uint8_t *block, size_t nbytes, const struct dump_header *h, const struct dump_place *place,
                    struct dump_digests digests[WIRE_SESSION_BITMAPS], struct df_error *err)
{
    CLEANUP(message_free) struct message *m = NULL;
    struct df_error why = { 0 };
    uint64_t index = dump_block_index(block);
    const uint8_t *payload = block + DUMP_HEAD_BYTES;
    if (message_decode_map(payload, nbytes - DUMP_HEAD_BYTES, dump_end_fields, &m, &why) < 0 || check_end(m, index, h, place, &why) < 0)
        return dump_broken(index, &why, err);
    size_t n;
    const node *items = node_list(m->root, "bitmaps", &n);
    for (size_t i = 0; i < n; i++) {
        digests[i] = in_block(m, &items[i], payload);
        size_t segments = dump_segments(dump_chunking(h, i).nbits);
        if (digests[i].nbytes == 8 * segments)
            continue;
        error_set(&why, -EINVAL, "%zu bytes of digests are there for the %zu segments of bitmap %zu", digests[i].nbytes, segments, i + 1);
        return dump_broken(index, &why, err);
    }
    return 0;
}
