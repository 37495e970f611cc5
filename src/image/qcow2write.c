// SPDX-License-Identifier: BSD-3-Clause
/*
 * An image of bitmaps and nothing else.  Clusters are handed out in order:
 *
 *     header | L1 table | for each bitmap its data, then its table | directory | refcount blocks | refcount table
 *
 * The L1 table is all zero and stays a hole.  The header is written last.
 * Every cluster has refcount 1.
 *
 * A cluster of bits beyond nbits holds zeroes, so the last one is all ones only
 * if nothing of it lies behind the end: an all-ones entry there leaves garbage
 * behind the end in QEMU.
 */
#include "image/qcow2.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/files.h"
#include "image/qcow2format.h"

struct writer {
    int fd;
    const char *path;
    uint64_t size;
    unsigned cluster_bits;
    uint64_t cluster_bytes;
    uint64_t next;              /* first byte behind the clusters that are handed out */
    uint8_t *cluster;           /* one to work with */
};

/* Clusters for that many bytes. */
static uint64_t take(struct writer *w, uint64_t nbytes)
{
    uint64_t offset = w->next;
    w->next += map_round_up(nbytes, w->cluster_bytes) * w->cluster_bytes;
    return offset;
}

static int put(const struct writer *w, uint64_t offset, const void *bytes, uint64_t nbytes, struct df_error *err)
{
    int r = files_pwrite(w->fd, bytes, nbytes, (off_t)offset);
    return r < 0 ? error_errno(err, r, "cannot write '%.1024s'", w->path) : 0;
}

/* ------------------------------------------------------------------ limits */

static uint64_t l1_entries(const struct writer *w)
{
    return map_round_up(w->size, UINT64_C(1) << (2 * w->cluster_bits - 3));
}

/* Larger clusters only where the L1 table would be too long with the usual ones. */
static int choose_clusters(struct writer *w, struct df_error *err)
{
    if (!w->size || w->size > QCOW2_SIZE_MAX)
        return error_set(err, -EFBIG, "cannot write '%.1024s': a size of %" PRIu64 " bytes is out of range, 1 to %" PRIu64 " are possible in qcow2", w->path, w->size, QCOW2_SIZE_MAX);
    w->size = map_round_up(w->size, QCOW2_SECTOR) * QCOW2_SECTOR;
    w->cluster_bits = QCOW2_CLUSTER_BITS;
    while (l1_entries(w) * 8 > QCOW2_L1_BYTES)
        w->cluster_bits++;
    w->cluster_bytes = UINT64_C(1) << w->cluster_bits;
    return 0;
}

static int check_source(const struct writer *w, const struct qcow2_source *s, struct df_error *err)
{
    uint64_t g = s->granularity;
    size_t n = strlen(s->name);
    if (!n || n > QCOW2_NAME_BYTES)
        return error_set(err, -EINVAL, "cannot write bitmap '%.64s' to '%.1024s': its name has %zu bytes, 1 to %u are possible in qcow2", s->name, w->path, n, QCOW2_NAME_BYTES);
    if (!g || g & (g - 1) || g >> QCOW2_GRANULARITY_BITS_MIN == 0 || g >> QCOW2_GRANULARITY_BITS_MAX > 1)
        return error_set(err, -EINVAL, "cannot write bitmap '%s' to '%.1024s': granularity %" PRIu64 " is none of the powers of two from 512 to 2^31 that are possible in qcow2",
                         s->name, w->path, g);
    uint64_t nbits = map_round_up(w->size, g);
    if (s->map && s->map->nbits != nbits)
        return error_set(err, -EINVAL, "cannot write bitmap '%s' to '%.1024s': it has %" PRIu64 " bits and the image %" PRIu64, s->name, w->path, s->map->nbits, nbits);
    if (nbits > QCOW2_BITMAP_BYTES * 8)
        return error_set(err, -EFBIG, "cannot write bitmap '%s' to '%.1024s': it has %" PRIu64 " bits, qcow2 takes up to 512 MiB (%" PRIu64 " bits); choose a larger granularity, or merge it into a bitmap that has one",
                         s->name, w->path, nbits, QCOW2_BITMAP_BYTES * 8);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int check_names(const struct writer *w, const struct qcow2_source *sources, size_t n, struct df_error *err)
{
    CLEANUP(cleanup_free) const char **names = calloc(n + 1, sizeof *names);
    if (!names)
        return error_errno(err, -ENOMEM, "cannot write '%.1024s'", w->path);
    for (size_t i = 0; i < n; i++)
        names[i] = sources[i].name;
    qsort(names, n, sizeof *names, by_name);
    for (size_t i = 1; i < n; i++)
        if (!strcmp(names[i - 1], names[i]))
            return error_set(err, -EEXIST, "cannot write bitmaps to '%.1024s': '%s' is there twice", w->path, names[i]);
    return 0;
}

static uint64_t entry_bytes(const struct qcow2_source *s)
{
    return map_round_up(QCOW2_ENTRY_BYTES + strlen(s->name), 8) * 8;
}

static int check_sources(const struct writer *w, const struct qcow2_source *sources, size_t n, uint64_t *directory_bytes, struct df_error *err)
{
    int r = 0;
    *directory_bytes = 0;
    if (n > QCOW2_BITMAPS)
        return error_set(err, -EFBIG, "cannot write %zu bitmaps to '%.1024s': qcow2 takes up to %u", n, w->path, QCOW2_BITMAPS);
    for (size_t i = 0; !r && i < n; i++) {
        r = check_source(w, &sources[i], err);
        *directory_bytes += entry_bytes(&sources[i]);
    }
    if (!r && *directory_bytes > QCOW2_DIRECTORY_BYTES)
        return error_set(err, -EFBIG, "cannot write bitmaps to '%.1024s': their names are longer than the 64 MiB that qcow2 has for them; choose shorter ones", w->path);
    return r < 0 ? r : check_names(w, sources, n, err);
}

/* ----------------------------------------------------------------- bitmaps */

/* The bits of data cluster k, in w->cluster. */
static void load_cluster(struct writer *w, const struct map *map, uint64_t k)
{
    uint64_t blocks = w->cluster_bytes / MAP_BLOCK_BYTES, first = k * blocks, end = first + blocks < map->nblocks ? first + blocks : map->nblocks;
    memset(w->cluster, 0, w->cluster_bytes);
    for (uint64_t b = map_next_block_before(map, first, end); b < end; b = map_next_block_before(map, b + 1, end)) {
        uint8_t *to = w->cluster + (b - first) * MAP_BLOCK_BYTES;
        for (uint64_t word = b * MAP_BLOCK_WORDS, last = map_block_end(map, b); word < last; word++, to += 8) {
            uint64_t v = htole64(map_bits(map, word, memory_order_relaxed));
            memcpy(to, &v, sizeof v);
        }
    }
}

/* What the table says of the cluster, as the file has it; its bits are in the file then, if they must be. */
static int put_cluster(struct writer *w, uint64_t *entry, struct df_error *err)
{
    bool uniform = !memcmp(w->cluster, w->cluster + 1, w->cluster_bytes - 1);
    if (uniform && (w->cluster[0] == 0 || w->cluster[0] == 0xff)) {
        qcow2_put64((uint8_t *)entry, w->cluster[0] ? QCOW2_ALL_ONES : QCOW2_ALL_ZEROES);
        return 0;
    }
    uint64_t offset = take(w, w->cluster_bytes);
    qcow2_put64((uint8_t *)entry, offset);
    return put(w, offset, w->cluster, w->cluster_bytes, err);
}

/* Entries, one for each cluster of a bitmap's bits, as the file has them. */
struct table {
    uint64_t *entries, n;
    uint64_t offset;            /* in the file */
};

static void free_table(struct table *t)
{
    free(t->entries);
}

static int make_table(const struct writer *w, const struct qcow2_source *s, struct table *t, struct df_error *err)
{
    t->n = map_round_up(map_round_up(w->size, s->granularity), w->cluster_bytes * 8);
    t->entries = calloc(t->n, sizeof *t->entries);
    return t->entries ? 0 : error_errno(err, -ENOMEM, "cannot write bitmap '%s' to '%.1024s'", s->name, w->path);
}

static int put_table(struct writer *w, struct table *t, struct df_error *err)
{
    t->offset = take(w, t->n * sizeof *t->entries);
    return put(w, t->offset, t->entries, t->n * sizeof *t->entries, err);
}

static int put_bitmap(struct writer *w, const struct qcow2_source *s, struct table *t, struct df_error *err)
{
    const struct map *map = s->map;
    uint64_t blocks = w->cluster_bytes / MAP_BLOCK_BYTES;
    int r = make_table(w, s, t, err);
    for (uint64_t k = 0, b; !r && (b = map_next_block(map, k * blocks)) < map->nblocks; k++) {
        k = b / blocks;
        load_cluster(w, map, k);
        r = put_cluster(w, &t->entries[k], err);
    }
    if (!r && map_is_broken(map))
        r = error_set(err, -EPROTO, "cannot write bitmap '%s' to '%.1024s': its file was cut while it was read, its disk is damaged", s->name, w->path);
    return r < 0 ? r : put_table(w, t, err);
}

static void fill_entry(uint8_t *at, const struct qcow2_source *s, const struct table *t)
{
    size_t length = strlen(s->name);
    qcow2_put64(at, t->offset);
    qcow2_put32(at + 8, (uint32_t)t->n);
    qcow2_put32(at + 12, s->recording ? QCOW2_AUTO : 0);
    at[16] = QCOW2_TYPE_DIRTY;
    at[17] = (uint8_t)__builtin_ctzll(s->granularity);
    at[18] = (uint8_t)(length >> 8);
    at[19] = (uint8_t)length;
    memcpy(at + QCOW2_ENTRY_BYTES, s->name, length);
}

static int put_bitmaps(struct writer *w, const struct qcow2_source *sources, size_t n, uint64_t directory_bytes, uint64_t *directory, struct df_error *err)
{
    CLEANUP(cleanup_free) uint8_t *bytes = calloc(directory_bytes + 1, 1);
    uint8_t *at = bytes;
    int r = bytes ? 0 : error_errno(err, -ENOMEM, "cannot write '%.1024s'", w->path);
    for (const struct qcow2_source *s = sources; !r && s < sources + n; at += entry_bytes(s++)) {
        CLEANUP(free_table) struct table table = { 0 };
        r = put_bitmap(w, s, &table, err);
        fill_entry(at, s, &table);
    }
    *directory = take(w, directory_bytes);
    return r < 0 ? r : put(w, *directory, bytes, directory_bytes, err);
}

/* ------------------------------------------------- refcounts, header, image */

/* For all clusters up to w->next and for their own. */
static int put_refcounts(struct writer *w, uint64_t *table_offset, uint64_t *table_clusters, struct df_error *err)
{
    uint64_t used = w->next / w->cluster_bytes, in_block = w->cluster_bytes / 2, blocks = 0, clusters = 0;
    for (uint64_t before = 1; blocks + clusters != before;) {
        before = blocks + clusters;
        blocks = map_round_up(used + before, in_block);
        clusters = map_round_up(blocks * 8, w->cluster_bytes);
    }
    CLEANUP(cleanup_free) uint64_t *table = calloc(blocks, sizeof *table);
    if (!table)
        return error_errno(err, -ENOMEM, "cannot write '%.1024s'", w->path);
    for (uint64_t i = 0; i < w->cluster_bytes; i++)
        w->cluster[i] = i & 1;
    int r = 0;
    uint64_t left = used + blocks + clusters;
    for (uint64_t i = 0; !r && i < blocks; i++, left -= in_block) {
        uint64_t offset = take(w, w->cluster_bytes);
        table[i] = htobe64(offset);
        r = put(w, offset, w->cluster, 2 * (left < in_block ? left : in_block), err);
    }
    *table_clusters = clusters;
    *table_offset = take(w, clusters * w->cluster_bytes);
    return r < 0 ? r : put(w, *table_offset, table, blocks * sizeof *table, err);
}

struct places {
    uint64_t l1, directory, directory_bytes, refcounts, refcount_clusters;
};

static int put_header(const struct writer *w, const struct places *p, size_t n, struct df_error *err)
{
    uint8_t h[QCOW2_HEADER_BYTES + 8 + QCOW2_EXTENSION_BYTES + 8] = { 0 };
    uint8_t *extension = h + QCOW2_HEADER_BYTES;
    qcow2_put32(h, QCOW2_MAGIC);
    qcow2_put32(h + QCOW2_AT_VERSION, 3);
    qcow2_put32(h + QCOW2_AT_CLUSTER_BITS, w->cluster_bits);
    qcow2_put64(h + QCOW2_AT_SIZE, w->size);
    qcow2_put32(h + QCOW2_AT_L1_SIZE, (uint32_t)l1_entries(w));
    qcow2_put64(h + QCOW2_AT_L1, p->l1);
    qcow2_put64(h + QCOW2_AT_REFCOUNTS, p->refcounts);
    qcow2_put32(h + QCOW2_AT_REFCOUNT_CLUSTERS, (uint32_t)p->refcount_clusters);
    qcow2_put32(h + QCOW2_AT_REFCOUNT_ORDER, 4);
    qcow2_put32(h + QCOW2_AT_HEADER_BYTES, QCOW2_HEADER_BYTES);
    if (n) {
        qcow2_put64(h + QCOW2_AT_AUTOCLEAR, QCOW2_CURRENT);
        qcow2_put32(extension, QCOW2_EXTENSION);
        qcow2_put32(extension + 4, QCOW2_EXTENSION_BYTES);
        qcow2_put32(extension + 8, (uint32_t)n);
        qcow2_put64(extension + 16, p->directory_bytes);
        qcow2_put64(extension + 24, p->directory);
    }
    return put(w, 0, h, sizeof h, err);
}

static int begin(struct writer *w, struct places *p, const struct qcow2_source *sources, size_t n, struct df_error *err)
{
    int r = choose_clusters(w, err);
    if (!r)
        r = check_sources(w, sources, n, &p->directory_bytes, err);
    if (r < 0)
        return r;
    w->cluster = malloc(w->cluster_bytes);
    if (!w->cluster)
        return error_errno(err, -ENOMEM, "cannot write '%.1024s'", w->path);
    take(w, w->cluster_bytes);      /* the header's */
    p->l1 = take(w, l1_entries(w) * 8);
    return 0;
}

static int end(struct writer *w, struct places *p, size_t n, struct df_error *err)
{
    int r = put_refcounts(w, &p->refcounts, &p->refcount_clusters, err);
    if (!r && ftruncate(w->fd, (off_t)w->next) < 0)     /* what is behind the last byte of a cluster is part of the file too */
        r = error_errno(err, -errno, "cannot write '%.1024s'", w->path);
    return r < 0 ? r : put_header(w, p, n, err);
}

int qcow2_write(int fd, const char *path, uint64_t size, const struct qcow2_source *sources, size_t n, struct df_error *err)
{
    struct writer w = { .fd = fd, .path = path, .size = size };
    struct places p = { 0 };
    int r = begin(&w, &p, sources, n, err);
    if (!r)
        r = put_bitmaps(&w, sources, n, p.directory_bytes, &p.directory, err);
    if (!r)
        r = end(&w, &p, n, err);
    free(w.cluster);
    return r;
}

/* ------------------------------------------------------------------ stream */

struct qcow2_stream {
    struct writer writer;       /* its cluster: bits of entry `at` */
    struct places places;
    struct qcow2_source source;
    struct table table;
    uint64_t at;                /* table.n: none yet */
};

void qcow2_stream_close(struct qcow2_stream **streamp)
{
    struct qcow2_stream *s = steal(streamp);
    if (!s)
        return;
    free_table(&s->table);
    free(s->writer.cluster);
    free(s);
}

int qcow2_stream_open(int fd, const char *path, uint64_t size, const struct qcow2_source *source, struct qcow2_stream **stream, struct df_error *err)
{
    CLEANUP(qcow2_stream_close) struct qcow2_stream *s = calloc(1, sizeof *s);
    if (!s)
        return error_errno(err, -ENOMEM, "cannot write '%.1024s'", path);
    s->writer = (struct writer){ .fd = fd, .path = path, .size = size };
    s->source = *source;
    s->source.map = NULL;
    int r = begin(&s->writer, &s->places, &s->source, 1, err);
    if (!r)
        r = make_table(&s->writer, &s->source, &s->table, err);
    if (r < 0)
        return r;
    s->at = s->table.n;
    *stream = steal(&s);
    return 0;
}

static int store_cluster(struct qcow2_stream *s, struct df_error *err)
{
    return s->at == s->table.n ? 0 : put_cluster(&s->writer, &s->table.entries[s->at], err);
}

int qcow2_stream_set(struct qcow2_stream *s, uint64_t first_bit, uint64_t nbits, struct df_error *err)
{
    uint64_t of_cluster = s->writer.cluster_bytes * 8, last = first_bit + nbits;
    for (uint64_t bit = first_bit, upto; bit < last; bit = upto) {
        uint64_t k = bit / of_cluster;
        upto = (k + 1) * of_cluster < last ? (k + 1) * of_cluster : last;
        if (k != s->at) {
            int r = store_cluster(s, err);
            if (r < 0)
                return r;
            memset(s->writer.cluster, 0, s->writer.cluster_bytes);
            s->at = k;
        }
        bits_set(s->writer.cluster, bit % of_cluster, upto - bit);
    }
    return 0;
}

int qcow2_stream_end(struct qcow2_stream *s, struct df_error *err)
{
    CLEANUP(cleanup_free) uint8_t *entry = calloc(entry_bytes(&s->source), 1);
    if (!entry)
        return error_errno(err, -ENOMEM, "cannot write '%.1024s'", s->writer.path);
    int r = store_cluster(s, err);
    if (!r)
        r = put_table(&s->writer, &s->table, err);
    if (r < 0)
        return r;
    fill_entry(entry, &s->source, &s->table);
    s->places.directory = take(&s->writer, s->places.directory_bytes);
    r = put(&s->writer, s->places.directory, entry, s->places.directory_bytes, err);
    return r < 0 ? r : end(&s->writer, &s->places, 1, err);
}
