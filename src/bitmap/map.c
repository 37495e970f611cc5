// SPDX-License-Identifier: BSD-3-Clause
/*
 * Map files: create, open, close.
 *
 * Creation allocates the header and the summary (at most 8 MiB, for 2^41 bits)
 * and leaves the leaf a hole.  Leaf blocks get their storage in map_reserve,
 * where a full file system is an error and not a SIGBUS.
 */
#include "bitmap/map.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <dirtyferry/bitmap.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/files.h"

static const char map_magic[8] = { 'd', 'f', 'm', 'a', 'p', 0, 0, 1 };

static uint64_t summary_bytes(uint64_t nbits)
{
    return map_round_up(map_round_up(map_round_up(nbits, MAP_BLOCK_BITS), 64) * 8, MAP_BLOCK_BYTES) * MAP_BLOCK_BYTES;
}

uint64_t map_file_bytes(uint64_t nbits)
{
    return MAP_HEADER_BYTES + summary_bytes(nbits) + map_round_up(nbits, MAP_BLOCK_BITS) * MAP_BLOCK_BYTES;
}

/* *fd < 0: anonymous memory; else the map owns the descriptor from now on. */
static int map_attach(int *fd, uint64_t nbits, const char *file, struct map **out, struct df_error *err)
{
    CLEANUP(map_close) struct map *map = calloc(1, sizeof *map);
    if (!map)
        return error_errno(err, -ENOMEM, "cannot map '%s'", file);
    map->fd = -1;       /* until it is ours: a caller that fails closes it */
    map->nbits = nbits;
    map->nwords = map_round_up(nbits, 64);
    map->nblocks = map_round_up(map->nwords, MAP_BLOCK_WORDS);
    map->last_mask = ~UINT64_C(0) >> (63 - (nbits - 1) % 64);
    map->mapped_bytes = map_file_bytes(nbits);
    int flags = *fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    char *base = mmap(NULL, map->mapped_bytes, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, *fd, 0);
    if (base == MAP_FAILED)
        return error_errno(err, -errno, "cannot map %zu bytes of '%s'", map->mapped_bytes, file);
    map->header = (struct map_header *)base;
    map->summary = (_Atomic uint64_t *)(base + MAP_HEADER_BYTES);
    map->leaf = (_Atomic uint64_t *)(base + MAP_HEADER_BYTES + summary_bytes(nbits));
    bool shared = *fd >= 0;
    map->fd = steal_fd(fd);
    if (shared && fault_add(base, map->mapped_bytes, &map->broken, &map->fault) < 0)
        return error_errno(err, -ENOMEM, "cannot catch faults of the mapping of '%s'", file);
    *out = steal(&map);
    return 0;
}

static int check_nbits(uint64_t nbits, struct df_error *err)
{
    if (nbits < 1 || nbits > DF_BITMAP_BITS_MAX)
        return error_set(err, -EFBIG, "a bitmap of %" PRIu64 " bits is out of range: 1 to %" PRIu64 " bits are possible",
                         nbits, DF_BITMAP_BITS_MAX);
    return 0;
}

int map_create_anonymous(uint64_t nbits, struct map **map, struct df_error *err)
{
    int r = check_nbits(nbits, err);
    int none = -1;
    return r < 0 ? r : map_attach(&none, nbits, "memory", map, err);
}

int map_create(int dirfd, const char *file, uint64_t nbits, struct map **out, struct df_error *err)
{
    int r = check_nbits(nbits, err);
    if (r < 0)
        return r;
    CLEANUP(cleanup_fd) int fd = openat(dirfd, file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_errno(err, -errno, "cannot create the map '%s'", file);
    r = ftruncate(fd, (off_t)map_file_bytes(nbits)) < 0 ? -errno : 0;
    /* EOPNOTSUPP: such a file system cannot promise space; a full one is then a SIGBUS. */
    if (!r && fallocate(fd, 0, 0, (off_t)(MAP_HEADER_BYTES + summary_bytes(nbits))) < 0 && errno != EOPNOTSUPP)
        r = -errno;
    if (r < 0)
        error_errno(err, r, "cannot make the map '%s' %" PRIu64 " bytes long", file, map_file_bytes(nbits));
    else
        r = map_attach(&fd, nbits, file, out, err);
    if (r < 0) {
        unlinkat(dirfd, file, 0);
        return r;
    }
    (*out)->header->nbits = htole64(nbits);
    memcpy((*out)->header->magic, map_magic, sizeof map_magic);
    return 0;
}

/* Whoever owns the directory may own the map. */
static int directory_owner(int dirfd, const char *file, uid_t *owner)
{
    char directory[PATH_MAX];
    struct stat st;
    const char *name;
    int r = files_split(file, directory, sizeof directory, &name);
    if (r < 0)
        return r;
    if (fstatat(dirfd, directory, &st, 0) < 0)
        return -errno;
    *owner = st.st_uid;
    return 0;
}

int map_open(int dirfd, const char *file, uint64_t nbits, struct map **out, struct df_error *err)
{
    CLEANUP(cleanup_fd) int fd = -1;
    struct stat st;
    const char *why = NULL;
    uid_t owner;
    int r = directory_owner(dirfd, file, &owner);
    if (!r)
        r = files_open_shared(dirfd, file, owner, &fd, &st, &why);
    if (why)
        return error_set(err, r, "the map '%s' %s: it is damaged", file, why);
    if (r < 0)
        return error_errno(err, r, "cannot open the map '%s'", file);
    r = check_nbits(nbits, err);
    if (r < 0)
        return r;
    if ((uint64_t)st.st_size != map_file_bytes(nbits))
        return error_set(err, -EPROTO, "the map '%s' is not a file of %" PRIu64 " bytes: it is damaged", file, map_file_bytes(nbits));
    CLEANUP(map_close) struct map *map = NULL;
    r = map_attach(&fd, nbits, file, &map, err);
    if (r < 0)
        return r;
    if (memcmp(map->header->magic, map_magic, sizeof map_magic) || le64toh(map->header->nbits) != nbits)
        return error_set(err, -EPROTO, "the map '%s' does not begin like a map of %" PRIu64 " bits: it is damaged", file, nbits);
    *out = steal(&map);
    return 0;
}

void map_close(struct map **mapp)
{
    struct map *map = steal(mapp);
    if (!map)
        return;
    fault_drop(&map->fault);
    if (map->broken)        /* others must know, also when the file has its old length again */
        files_pwrite(map->fd, &(uint32_t){ 1 }, sizeof(uint32_t), offsetof(struct map_header, damaged));
    if (map->header)
        munmap(map->header, map->mapped_bytes);
    if (map->fd >= 0)
        close(map->fd);
    free(map);
}
