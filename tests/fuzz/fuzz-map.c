// SPDX-License-Identifier: BSD-3-Clause
/*
 * Map files that somebody else writes to: header, summary and leaf may say
 * anything at any time between two calls.
 *
 * Input: nbits (3 bytes), how much coarser a second map is (1 byte), then
 * steps: a byte each, and their operands.
 */
#include <fcntl.h>

#include "base/cleanup.h"
#include "bitmap/map.h"
#include "guards.h"

#define BITS    (66 * MAP_BLOCK_BITS)       /* at most: the summary has two words */
#define SHIFT   9u                          /* of the first map */
#define WALK    1024u                       /* stretches that are looked at */
#define STEPS   32

struct world {
    int dirfd, fd;
    uint64_t nbits, nbytes;
    unsigned shift;             /* of the second map */
    struct map *map, *other;    /* `map` may be closed */
    struct input in;
};

/* ------------------------------------------------------------------- steps */

static void scribble(struct world *w)
{
    uint64_t offset = input_take(&w->in, 3) % w->nbytes;
    size_t n = input_take(&w->in, 1);
    const uint8_t *bytes = input_bytes(&w->in, &n);
    if (n > w->nbytes - offset)
        n = w->nbytes - offset;
    CHECK(pwrite(w->fd, bytes, n, (off_t)offset) == (ssize_t)n);
}

static void scribble_one_byte(struct world *w)
{
    static uint8_t bytes[3 * MAP_BLOCK_BYTES];
    uint64_t offset = input_take(&w->in, 3) % w->nbytes, n = input_take(&w->in, 2) % sizeof bytes;
    memset(bytes, (int)input_take(&w->in, 1), sizeof bytes);
    if (n > w->nbytes - offset)
        n = w->nbytes - offset;
    CHECK(pwrite(w->fd, bytes, n, (off_t)offset) == (ssize_t)n);
}

static void reopen(struct world *w)
{
    struct df_error err = { 0 };
    map_close(&w->map);
    int r = map_open(w->dirfd, "map", w->nbits, &w->map, &err);
    CHECK(r == err.code && (r == 0) == (w->map != NULL));
}

/* Nobody writes meanwhile: what is found is there. */
static void walk(struct world *w)
{
    const struct map *m = w->map;
    uint64_t bit = input_take(&w->in, 3) % m->nbits;
    for (unsigned i = 0; i < WALK && bit < m->nbits; i++) {
        uint64_t first = map_next_set(m, bit), end = map_next_clear(m, first);
        CHECK(first >= bit && first <= m->nbits && end <= m->nbits && (first == m->nbits || end > first));
        CHECK(first == m->nbits || (map_test(m, first) && map_test(m, end - 1)));
        CHECK(end == m->nbits || !map_test(m, end));
        bit = end;
    }
}

static void sums(struct world *w)
{
    char hex[65];
    uint64_t blocks = map_segment_blocks(w->map->nblocks), first = input_take(&w->in, 1);
    input_read(&(uint64_t){ map_digest(w->map, first * blocks, blocks) }, sizeof(uint64_t));
    CHECK(map_count(w->map) <= w->map->nblocks * MAP_BLOCK_BITS);
    map_is_damaged(w->map);
    if (w->map->nblocks > 2)
        return;
    map_sha256(w->map, hex);
    CHECK(strlen(hex) == 64);
}

static void set(struct world *w, int (*call)(struct map *map, uint64_t first, uint64_t nbits))
{
    uint64_t first = input_take(&w->in, 3) % w->nbits, n = input_take(&w->in, 2) % (w->nbits - first) + 1;
    CHECK(call(w->map, first, n) == 0);
    CHECK(map_test(w->map, first) && map_test(w->map, first + n - 1));
}

static void write_bytes(struct world *w)
{
    uint64_t bytes = (w->nbits + 7) / 8, offset = input_take(&w->in, 3) % bytes;
    size_t n = input_take(&w->in, 2);
    const uint8_t *from = input_bytes(&w->in, &n);
    if (n > bytes - offset)
        n = bytes - offset;
    if (n)
        CHECK(map_write(w->map, offset, from, n) == 0);
}

static void write_zeroes(struct world *w)
{
    uint64_t bytes = (w->nbits + 7) / 8, offset = input_take(&w->in, 3) % bytes;
    CHECK(map_write_zeroes(w->map, offset, input_take(&w->in, 3) % (bytes - offset) + 1) == 0);
}

static void merge(struct world *w, bool out)
{
    CHECK(out ? map_merge_scaled(w->other, w->shift, w->map, SHIFT) == 0 : map_merge_scaled(w->map, SHIFT, w->other, w->shift) == 0);
}

static void step(struct world *w)
{
    enum { SCRIBBLE, SCRIBBLE_ONE_BYTE, REOPEN, WALKS, SUMS, SET, SET_ALONE, WRITE, ZEROES, ONES, MERGE_OUT, MERGE_IN, KINDS };
    unsigned what = (unsigned)input_take(&w->in, 1) % KINDS;
    if (what == REOPEN || !w->map)
        reopen(w);
    if (what == SCRIBBLE)
        scribble(w);
    if (what == SCRIBBLE_ONE_BYTE)
        scribble_one_byte(w);
    if (!w->map)
        return;
    switch (what) {
    case WALKS:     walk(w); break;
    case SUMS:      sums(w); break;
    case SET:       set(w, map_set); break;
    case SET_ALONE: set(w, map_set_alone); break;
    case WRITE:     write_bytes(w); break;
    case ZEROES:    write_zeroes(w); break;
    case ONES:      CHECK(map_write_ones(w->map) == 0); break;
    case MERGE_OUT: merge(w, true); break;
    case MERGE_IN:  merge(w, false); break;
    default:        break;
    }
}

/* --------------------------------------------------------------------- run */

static void start(struct world *w)
{
    static int dirfd = -1;
    struct df_error err;
    if (dirfd < 0)
        dirfd = open(fuzz_dir_make(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    w->dirfd = dirfd;
    w->nbits = input_take(&w->in, 3) % BITS + 1;
    w->shift = SHIFT + (unsigned)input_take(&w->in, 1) % 23;
    uint64_t size = w->nbits << SHIFT;
    CHECK(map_create(dirfd, "map", w->nbits, &w->map, &err) == 0);
    CHECK(map_create_anonymous(((size - 1) >> w->shift) + 1, &w->other, &err) == 0);
    w->nbytes = w->map->mapped_bytes;
    w->fd = openat(dirfd, "map", O_RDWR | O_CLOEXEC);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nbytes)
{
    struct world w = { .in = { bytes, bytes + nbytes } };
    start(&w);
    for (unsigned i = 0; i < STEPS && input_left(&w.in); i++)
        step(&w);
    map_close(&w.map);
    map_close(&w.other);
    unlinkat(w.dirfd, "map", 0);
    close(w.fd);
    return 0;
}
