// SPDX-License-Identifier: BSD-3-Clause
/*
 * Somebody who may write to a disk's files and means no good: one scribble after
 * the other, from a seed.  At random places, at those that say something, with
 * and without a checksum that is right, and now and then all is put back as it
 * was, so that whoever uses the disk gets on.
 */
#ifndef TESTS_SCRIBBLE_H
#define TESTS_SCRIBBLE_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/files.h"
#include "bitmap/disk.h"

#define SCRIBBLE_MAPS 64

struct scribbler {
    uint64_t random;
    int dirfd;
    bool cuts;                              /* truncates, too: whoever is not guarded dies of that */
    struct disk_shared *disk, *saved;
    unsigned nmaps;
    struct { int fd; char *at; size_t nbytes; off_t full; } maps[SCRIBBLE_MAPS];
};

static inline uint64_t scribble_random(struct scribbler *s)
{
    uint64_t z = s->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* A number, often one that means something. */
static inline uint64_t scribble_value(struct scribbler *s)
{
    static const uint64_t values[] = { 0, 1, 2, 3, 9, 31, 32, 63, 64, 255, 256, 257, 4095, 4096, UINT32_MAX, INT64_MAX, UINT64_MAX - 1, UINT64_MAX };
    uint64_t r = scribble_random(s);
    return r & 1 ? r : values[r / 2 % (sizeof values / sizeof *values)];
}

static inline int scribble_map_file(void *opaque, const char *name)
{
    struct scribbler *s = opaque;
    struct stat st;
    if (strncmp(name, "map-", 4) || s->nmaps == SCRIBBLE_MAPS)
        return 0;
    int fd = openat(s->dirfd, name, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < 4096)
        return 0;
    size_t nbytes = (size_t)st.st_size < (1u << 20) ? (size_t)st.st_size : 1u << 20;
    char *at = mmap(NULL, nbytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        close(fd);
        return 0;
    }
    s->maps[s->nmaps].fd = fd;
    s->maps[s->nmaps].at = at;
    s->maps[s->nmaps].full = st.st_size;
    s->maps[s->nmaps++].nbytes = nbytes;
    return 0;
}

/* The maps that are there now, in place of those that were. */
static inline void scribble_look(struct scribbler *s)
{
    while (s->nmaps) {
        s->nmaps--;
        munmap(s->maps[s->nmaps].at, s->maps[s->nmaps].nbytes);
        close(s->maps[s->nmaps].fd);
    }
    files_list(s->dirfd, scribble_map_file, s);
}

static inline int scribble_open(struct scribbler *s, const char *state_dir, const char *name, uint64_t seed, bool cuts)
{
    char path[4096];
    *s = (struct scribbler){ .random = seed, .cuts = cuts };
    snprintf(path, sizeof path, "%s/disks/%s", state_dir, name);
    s->dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = s->dirfd < 0 ? -1 : openat(s->dirfd, "disk", O_RDWR | O_CLOEXEC);
    s->saved = malloc(sizeof *s->saved);
    if (fd < 0 || !s->saved)
        return -1;
    s->disk = mmap(NULL, sizeof *s->disk, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (s->disk == MAP_FAILED || pread(fd, s->saved, sizeof *s->saved, 0) != sizeof *s->saved)
        return -1;
    close(fd);
    scribble_look(s);
    return 0;
}

static inline void scribble_bytes(struct scribbler *s, void *at, size_t room)
{
    uint64_t v = scribble_value(s);
    memcpy((char *)at + scribble_random(s) % (room - 7), &v, sizeof v);
}

static inline void scribble_table(struct scribbler *s)
{
    struct table *t = &s->disk->tables[atomic_load(&s->disk->epoch) >> 1 & 1];
    struct record *r = &t->records[scribble_random(s) % 4];
    uint64_t v = scribble_value(s);
    switch (scribble_random(s) % 12) {
    case 0: r->map = v; break;
    case 1: r->child = v; break;
    case 2: r->state = (uint8_t)(v % 6); break;
    case 3: r->flags = (uint8_t)(v % 9); break;
    case 4: r->granularity_shift = (uint8_t)(v % 40); break;
    case 5: r->name[v % sizeof r->name] = (char)scribble_random(s); break;
    case 6: memset(r->session, (int)(v & 1), sizeof r->session); break;
    case 7: t->next_map = v; break;
    case 8: t->nrecords = (uint32_t)v; break;
    case 9: t->nrecords = (uint32_t)(v % 5); break;
    case 10: t->number = v; break;
    case 11: t->fence ^= 1; break;
    }
    if (t->nrecords <= DF_DISK_BITMAPS && scribble_random(s) % 4)
        table_seal(t, t->number, t->fence);
}

static inline void scribble_section(struct scribbler *s)
{
    struct section *section = &s->disk->sections[scribble_random(s) % (scribble_random(s) & 1 ? 4 : DF_DISK_WRITERS)];
    atomic_store(&section->offset, scribble_value(s) % (s->saved->size + 3));
    atomic_store(&section->length, scribble_value(s) % (s->saved->size + 3));
    atomic_store(&section->open, scribble_value(s));
    atomic_store(&s->disk->nsections, scribble_value(s));
}

static inline void scribble_active(struct scribbler *s)
{
    struct active *active = &s->disk->active[scribble_random(s) & 1];
    unsigned i = (unsigned)(scribble_random(s) % 4);
    if (scribble_random(s) & 1)
        atomic_store(&active->n, scribble_value(s) % 5);
    atomic_store(&active->maps[i].map, scribble_value(s));
    atomic_store(&active->maps[i].granularity_shift, scribble_value(s) % 40);
}

/* Our own mapping is of what was there: only the descriptor is used. */
static inline void scribble_cut(struct scribbler *s)
{
    unsigned i = (unsigned)(scribble_random(s) % (s->nmaps + 1));
    off_t to = (off_t)(scribble_random(s) % 3 * 4096);
    int fd = i == s->nmaps ? openat(s->dirfd, "disk", O_RDWR | O_CLOEXEC) : s->maps[i].fd;
    off_t full = i == s->nmaps ? (off_t)sizeof *s->disk : s->maps[i].full;
    if (fd >= 0 && (ftruncate(fd, to) < 0 || ftruncate(fd, full) < 0))
        abort();
    if (i == s->nmaps)
        close(fd);
}

static inline void scribble_once(struct scribbler *s)
{
    unsigned i = (unsigned)(scribble_random(s) % (s->nmaps ? s->nmaps : 1));
    unsigned kind = (unsigned)(scribble_random(s) % 16);
    switch (kind) {
    case 0: scribble_bytes(s, s->disk, 4096); break;
    case 1: scribble_bytes(s, s->disk, sizeof *s->disk); break;
    case 2: atomic_fetch_add(&s->disk->epoch, scribble_random(s) % 5); break;
    case 3: atomic_store(&s->disk->closed, (uint32_t)scribble_value(s)); break;
    case 4: scribble_active(s); break;
    case 5: scribble_section(s); break;
    case 6: case 7: scribble_table(s); break;
    case 8: if (s->cuts) scribble_cut(s); break;
    default:
        if (s->nmaps)
            scribble_bytes(s, s->maps[i].at, s->maps[i].nbytes);
    }
    if (kind < 9 && scribble_random(s) % 16)
        memcpy(s->disk, s->saved, sizeof *s->disk);
    for (volatile uint64_t rest = scribble_random(s) % 4096 * 8; rest; rest--)
        ;
}

#endif
