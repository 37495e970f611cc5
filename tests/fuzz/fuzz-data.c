// SPDX-License-Identifier: BSD-3-Clause
/*
 * Frames of the data socket, into a small parent, against a naive decoder.
 *
 * Input: chunk size (1 byte: the exponent above 32 bytes, top bit: a huge
 * bitmap), nbits (6 bytes), then frames, each behind its length (2 bytes; top
 * bit: what was gathered is written first).
 *
 * A huge bitmap has no parent: its frames are only taken apart and put together
 * again.
 */
#include "base/cleanup.h"
#include "intakes.h"

/* ------------------------------------------------------------ naive decoder */

struct naive {
    uint64_t fields[5];         /* handle, epoch, first, count, encoding */
    const uint8_t *payload;
    size_t nbytes;
};

/* One value: 0xcc to 0xcf and small integers, or with `bin` 0xc4 to 0xc6. */
static bool naive_value(struct input *in, bool bin, uint64_t *value)
{
    unsigned least = bin ? 0xc4 : 0xcc, widths = bin ? 3 : 4;
    unsigned head = (unsigned)input_take(in, 1);
    *value = head;
    if (head <= 0x7f && !bin)
        return true;
    if (head < least || head >= least + widths)
        return false;
    *value = 0;
    for (unsigned n = 1u << (head - least); n; n--) {
        if (!input_left(in))
            return false;
        *value = *value * 256 + *in->at++;
    }
    return true;
}

static bool naive_unpack(const uint8_t *bytes, size_t nbytes, struct naive *f)
{
    static const uint64_t most[5] = { 65535, 255, UINT64_C(4294967295), 65535, 4 };
    struct input in = { bytes, bytes + nbytes };
    uint64_t n;
    if (!nbytes || input_take(&in, 1) != 0x96)
        return false;
    for (unsigned i = 0; i < 5; i++)
        if (!input_left(&in) || !naive_value(&in, false, &f->fields[i]) || f->fields[i] > most[i])
            return false;
    if (!input_left(&in) || !naive_value(&in, true, &n) || n != input_left(&in))
        return false;
    f->payload = in.at;
    f->nbytes = n;
    return true;
}

static bool naive_varint(struct input *in, uint64_t *value)
{
    *value = 0;
    for (unsigned i = 0; i < 6; i++) {
        if (!input_left(in))
            return false;
        uint8_t b = *in->at++;
        *value += (uint64_t)(b % 128) << (7 * i);
        if (b < 128)
            return i == 0 || b != 0;
    }
    return false;
}

/* ------------------------------------------------------------------- model */

#define CHUNKS (INTAKE_BITS / (8 * WIRE_CHUNK_BYTES_MIN))

/* A byte for each 8 bits of the parent, and one for each chunk: it was here; it may wait to be written. */
static uint8_t bits[INTAKE_BITS / 8], arrived[CHUNKS], gathered[CHUNKS];

static void put(uint64_t from, uint64_t n, bool set)
{
    for (; n && (from % 8 || n < 8); from++, n--)
        bits[from / 8] = (uint8_t)(set ? bits[from / 8] | 1 << from % 8 : bits[from / 8] & ~(1 << from % 8));
    memset(bits + from / 8, set ? 0xff : 0, n / 8);
    if (n % 8)
        put(from + n / 8 * 8, n % 8, set);
}

/* Set bits of a listed frame of nbits, from `base` on if the model is `drawn`; false: damaged. */
static bool naive_listed(const struct naive *f, uint64_t base, uint64_t nbits, bool drawn)
{
    struct input in = { f->payload, f->payload + f->nbytes };
    uint64_t bit = 0, clear, set = 1;
    bool runs = f->fields[4] == FRAME_RUNS;
    if (!f->nbytes)
        return false;
    for (bool first = true; input_left(&in); first = false) {
        if (!naive_varint(&in, &clear) || (runs && !naive_varint(&in, &set)))
            return false;
        if (runs && (!set || (!clear && !first)))
            return false;
        if (bit + clear + set > nbits)      /* none is above 2^42 */
            return false;
        if (drawn)
            put(base + bit + clear, set, true);
        bit += clear + set;
    }
    return true;
}

static bool naive_raw(const struct naive *f, uint64_t nbits)
{
    if (f->fields[3] != 1 || f->nbytes != (nbits + 7) / 8)
        return false;
    for (uint64_t i = nbits; i < 8 * f->nbytes; i++)
        if (f->payload[i / 8] >> i % 8 & 1)
            return false;
    return true;
}

/* Is it a frame for such a bitmap?  Then, if `drawn`, it is put into the model. */
static bool naive_take(const struct naive *f, const struct chunking *c, bool drawn)
{
    uint64_t per = 8 * (uint64_t)c->chunk_bytes, chunks = (c->nbits + per - 1) / per;
    uint64_t first = f->fields[2], count = f->fields[3], base = first * per;
    if (!count || first + count > chunks || f->nbytes > c->chunk_bytes)
        return false;
    uint64_t n = base + count * per > c->nbits ? c->nbits - base : count * per;
    bool listed = f->fields[4] == FRAME_POSITIONS || f->fields[4] == FRAME_RUNS;
    if (listed ? !naive_listed(f, base, n, false) : f->fields[4] == FRAME_RAW ? !naive_raw(f, n) : f->nbytes != 0)
        return false;
    if (!drawn)
        return true;
    memset(arrived + first, 1, count);
    put(base, n, f->fields[4] == FRAME_ONES);
    if (listed)
        naive_listed(f, base, n, true);
    if (f->fields[4] == FRAME_RAW)
        memcpy(bits + base / 8, f->payload, f->nbytes);
    return true;
}

/* ----------------------------------------------------------------- compare */

static void compare(const struct intake *in)
{
    const struct map *map = in->map;
    uint64_t chunks = chunk_count(&in->chunking), n = 0;
    for (uint64_t b = 0; b < map->nblocks; b++) {
        const uint8_t *want = bits + b * MAP_BLOCK_BYTES;
        bool there = map_has_block(map, b, memory_order_relaxed);
        CHECK(there ? !memcmp((const void *)&map->leaf[b * MAP_BLOCK_WORDS], want, MAP_BLOCK_BYTES) : !want[0] && !memcmp(want, want + 1, MAP_BLOCK_BYTES - 1));
        CHECK(fill_digest(in, b, 1) == map_digest_block(want, b));
    }
    for (uint64_t i = 0; i < chunks; i++) {
        CHECK(map_test(in->received, i) == arrived[i]);
        n += arrived[i];
    }
    CHECK(!in->failed && atomic_load_explicit(&in->chunks_done, memory_order_relaxed) == n);
}

/* A frame that is valid: its runs ascend and end within it; packed again it is the same. */
static void look(const struct frame *f, const struct chunking *c)
{
    struct frame_runs runs;
    struct frame again;
    uint64_t first, n, at = 0;
    CLEANUP(cleanup_free) uint8_t *packed = malloc(WIRE_ENVELOPE_BYTES + f->nbytes);
    size_t size = frame_pack(f, packed);
    CHECK(size == frame_bytes(f) && size <= WIRE_ENVELOPE_BYTES + f->nbytes);
    CHECK(!frame_unpack(packed, size, &again) && !frame_check(&again, c));
    CHECK(again.handle == f->handle && again.epoch == f->epoch && again.first == f->first && again.count == f->count);
    CHECK(again.encoding == f->encoding && again.nbytes == f->nbytes && !memcmp(again.payload, f->payload, f->nbytes));
    if (f->encoding == FRAME_RAW)
        return;
    for (frame_runs_begin(&runs, f, c); frame_runs_next(&runs, &first, &n); at = first + n)
        CHECK(n && first >= at && first + n <= frame_bits(f, c));
}

/* --------------------------------------------------------------------- run */

/* All frames of one source say the same bits, so their order means nothing (fill.h).  Here they do not: it is kept. */
static void keep_order(struct fill *fill, const struct frame *f, const struct chunking *c)
{
    if (memchr(gathered + f->first, 1, f->count)) {
        fill_flush(fill, NULL);
        memset(gathered, 0, chunk_count(c));
    }
    if (f->encoding == FRAME_RAW)
        gathered[f->first] = 1;
}

static void run_frame(struct fill *fill, struct intake *in, const struct chunking *c, const uint8_t *bytes, size_t nbytes)
{
    CLEANUP(cleanup_free) uint8_t *copy = input_copy(bytes, nbytes);
    struct frame frame;
    struct naive naive;
    bool drawn = in->map != NULL;
    bool ok = !frame_unpack(copy, nbytes, &frame);
    CHECK(ok == naive_unpack(copy, nbytes, &naive));
    if (!ok)
        return;
    ok = !frame_check(&frame, c);
    CHECK(ok == naive_take(&naive, c, drawn));
    if (!ok)
        return;
    look(&frame, c);
    if (drawn) {
        keep_order(fill, &frame, c);
        fill_frame(fill, in, &frame);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nbytes)
{
    struct input at = { bytes, bytes + nbytes };
    struct intake in = { 0 };
    struct fill *fill = intake_fill();
    uint64_t head = input_take(&at, 1), number = input_take(&at, 6);
    bool huge = head & 0x80;
    struct chunking c = { number % (huge ? DF_BITMAP_BITS_MAX : INTAKE_BITS) + 1, WIRE_CHUNK_BYTES_MIN << (head & 15) };
    if (chunking_check(&c, NULL) < 0)
        return 0;
    if (!huge) {
        memset(bits, 0, map_round_up(c.nbits, MAP_BLOCK_BITS) * MAP_BLOCK_BYTES);
        memset(arrived, 0, chunk_count(&c));
        memset(gathered, 0, chunk_count(&c));
        intake_open(&in, &c);
    }
    while (input_left(&at)) {
        uint64_t length = input_take(&at, 2);
        size_t n = length & 0x7fff;
        const uint8_t *frame = input_bytes(&at, &n);
        if (length & 0x8000)
            fill_flush(fill, NULL);
        run_frame(fill, &in, &c, frame, n);
    }
    if (huge)
        return 0;
    fill_flush(fill, NULL);
    compare(&in);
    intake_close(&in);
    return 0;
}
