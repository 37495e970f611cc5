// SPDX-License-Identifier: BSD-3-Clause
/*
 * A map: the bits of one bitmap in a sparse file that many processes share.
 *
 *     header   one page: magic, version, nbits, damaged flag
 *     summary  one bit for each block of leaves
 *     leaf     the bits; 64-bit words, little-endian on every machine, so that
 *              the bytes of the leaf are what the wire, SHA-256 and qcow2 want
 *
 * A block is 4 KiB of leaf: what the machine allocates and faults in anyway.
 * A block whose summary bit is clear has never been written and must not even
 * be read (on tmpfs a read would allocate it).
 *
 * Invariants
 *  - While a map is shared its bits are only ever set.  Clearing a bitmap gives
 *    it a new map.  That is why a writer may skip a bit that it sees set.
 *    (One exception: the parent of a running transfer, which only the receiver
 *    writes, by map_write.)
 *  - A leaf bit that is visible has its summary bit (order of stores in mark.c).
 *  - Bits at and beyond nbits are never set by us.  Another process may set
 *    them: whoever counts, copies, hashes or sends masks the last word
 *    (map_bits), whoever looks for a bit stops at nbits.
 *  - The geometry is computed from nbits, which the caller knows from the disk;
 *    nothing read from the shared file is used as an index.
 *  - Another process may change any bit at any time: what was read is a value,
 *    and reading it again may give another one.
 */
#ifndef BITMAP_MAP_H
#define BITMAP_MAP_H

#include <endian.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dirtyferry/error.h>

#include "bitmap/fault.h"

#define MAP_BLOCK_BYTES   UINT64_C(4096)
#define MAP_BLOCK_WORDS   (MAP_BLOCK_BYTES / 8)
#define MAP_BLOCK_BITS    (MAP_BLOCK_BYTES * 8)
#define MAP_HEADER_BYTES  UINT64_C(4096)

struct map_header {
    char magic[8];              /* "dfmap\0\0\1": the last byte is the version */
    uint64_t nbits;             /* little-endian, as all here */
    _Atomic uint32_t damaged;   /* a bit could not be stored: the map may lack bits */
};

struct map {
    uint64_t nbits;
    uint64_t nwords;            /* words that hold bits: ceil(nbits / 64) */
    uint64_t nblocks;           /* ceil(nwords / MAP_BLOCK_WORDS) */
    struct map_header *header;
    _Atomic uint64_t *summary;  /* ceil(nblocks / 64) words, little-endian */
    _Atomic uint64_t *leaf;     /* nblocks * MAP_BLOCK_WORDS words, little-endian */
    uint64_t last_mask;         /* the bits of the last word that are below nbits */
    size_t mapped_bytes;
    int fd;                     /* of the file, -1 for anonymous memory */
    struct fault_slot *fault;
    _Atomic bool broken;        /* the file was cut, zeroes are mapped in its place */
};

/* O(1) in nbits.  The file must not exist. */
int map_create(int dirfd, const char *file, uint64_t nbits, struct map **map, struct df_error *err);
/* -EPROTO: there is something else than a map of nbits bits that we may trust. */
int map_open(int dirfd, const char *file, uint64_t nbits, struct map **map, struct df_error *err);
/* A private map without a file, for the bookkeeping of one process. */
int map_create_anonymous(uint64_t nbits, struct map **map, struct df_error *err);
void map_close(struct map **map);

/* The length of a map's file: what it takes when every bit is set. */
uint64_t map_file_bytes(uint64_t nbits);

/* To be asked after reading: what was read is worth nothing then (fault.h). */
static inline bool map_is_broken(const struct map *map)
{
    return fault_is_broken(&map->broken);
}

static inline bool map_is_damaged(const struct map *map)
{
    return atomic_load_explicit(&map->header->damaged, memory_order_relaxed) != 0 || map_is_broken(map);
}

/* ---- mark.c: setting.  0, or -ENOSPC (the map is then damaged). */

int map_set(struct map *map, uint64_t first_bit, uint64_t nbits);
/* Make sure that writing blocks [first, first + n) cannot fail, and set their summary bits. */
int map_reserve(struct map *map, uint64_t first_block, uint64_t n);
/* Make sure that map_set() of these bits cannot fail.  -ENOSPC leaves the map as good as before: nothing was lost yet. */
int map_make_room(struct map *map, uint64_t first_bit, uint64_t nbits);
/* map_set() for the only writer of a map that nobody else writes; others may read meanwhile. */
int map_set_alone(struct map *map, uint64_t first_bit, uint64_t nbits);
/* Set those that are set in `bytes`, of the leaf from `offset` on (a multiple of 8).  What lies beyond nbits is left out. */
int map_set_bytes_alone(struct map *map, uint64_t offset, const uint8_t *bytes, uint64_t nbytes);

/* ---- write.c: for the receiver, the only writer of a parent that is being filled */

/*
 * The leaf's bytes from `offset` on become `bytes`.  Blocks that are clean and
 * stay so are not touched.  -ENOSPC leaves the map as good as before: some of
 * the bytes are written, and the call may be repeated.
 */
int map_write(struct map *map, uint64_t offset, const uint8_t *bytes, uint64_t nbytes);
/* The same with zeroes. */
int map_write_zeroes(struct map *map, uint64_t offset, uint64_t nbytes);
/* All bits are set.  Others may set bits meanwhile; the words are the same whoever comes last. */
int map_write_ones(struct map *map);

/* ---- iterate.c: looking.  Cost: what is dirty in the range, and the summary. */

bool map_test(const struct map *map, uint64_t bit);
/* First set (clear) bit at or after `bit`, or nbits. */
uint64_t map_next_set(const struct map *map, uint64_t bit);
uint64_t map_next_clear(const struct map *map, uint64_t bit);
/* First block at or after `block` whose summary bit is set, or nblocks. */
uint64_t map_next_block(const struct map *map, uint64_t block);
/* The same within [block, end), or `end` (at most nblocks). */
uint64_t map_next_block_before(const struct map *map, uint64_t block, uint64_t end);
uint64_t map_count(const struct map *map);

/* ---- merge.c */

/* dst |= src, both of the same nbits.  Safe while others set bits in either. */
int map_merge(struct map *dst, const struct map *src);
/* The same for different granularities (2^shift bytes a bit) of one disk, outwards. */
int map_merge_scaled(struct map *dst, unsigned dst_shift, const struct map *src, unsigned src_shift);

/* ---- scale.c */

/* What the bits of a map stand for. */
struct geometry {
    uint64_t size;              /* of the disk, in bytes */
    uint64_t granularity;       /* bytes for each bit, a power of two */
};

static inline uint64_t geometry_bits(const struct geometry *g)
{
    return g->size / g->granularity + (g->size % g->granularity != 0);
}

static inline bool geometry_is_same(const struct geometry *a, const struct geometry *b)
{
    return a->size == b->size && a->granularity == b->granularity;
}

int granularity_check(uint64_t granularity, struct df_error *err);

/*
 * For the receiver, as map_write(): what is dirty in `src` is dirty in `dst`,
 * outwards, and so is what lies behind the end of its disk.  `to` is not the
 * smaller disk; `dst` is clean, or has what an earlier call with the same bits
 * has written.  -ENOSPC as map_write().
 */
int map_write_scaled(struct map *dst, const struct geometry *to, const struct map *src, const struct geometry *from);

/* ---- digest.c */

/*
 * A map is cut into at most MAP_SEGMENTS segments of whole blocks, a power of
 * two.  The digest of a segment is the sum modulo 2^64 of XXH3-64 of each of
 * its blocks that holds a set bit, seeded with the number of the block.
 * Documented in proto/dirtyferry.md; independent of the chunk size.
 */
#define MAP_SEGMENTS 1024
uint64_t map_segment_blocks(uint64_t nblocks);
uint64_t map_digest(const struct map *map, uint64_t first_block, uint64_t nblocks);
/* One block's part of the sum, from its MAP_BLOCK_BYTES bytes; 0 if no bit is set. */
uint64_t map_digest_block(const uint8_t *bytes, uint64_t block);
void map_sha256(const struct map *map, char hex[65]);

/* ---- shared by the files above */

static inline bool map_has_block(const struct map *map, uint64_t block, memory_order order)
{
    uint64_t w = atomic_load_explicit(&map->summary[block / 64], order);
    return le64toh(w) >> (block % 64) & 1;
}

static inline uint64_t map_word(const struct map *map, uint64_t word)
{
    return le64toh(atomic_load_explicit(&map->leaf[word], memory_order_relaxed));
}

/* The same without what may be set beyond nbits; `word` is below nwords. */
static inline uint64_t map_bits(const struct map *map, uint64_t word, memory_order order)
{
    uint64_t v = le64toh(atomic_load_explicit(&map->leaf[word], order));
    return word + 1 == map->nwords ? v & map->last_mask : v;
}

/* Behind the last word of a block that holds bits. */
static inline uint64_t map_block_end(const struct map *map, uint64_t block)
{
    uint64_t end = (block + 1) * MAP_BLOCK_WORDS;
    return end < map->nwords ? end : map->nwords;
}

static inline uint64_t map_round_up(uint64_t n, uint64_t unit)
{
    return n / unit + (n % unit != 0);
}

#endif
