// SPDX-License-Identifier: BSD-3-Clause
/*
 * Mappings with a page on each side that nobody may touch: ASan does not look
 * at mappings.  Links with --wrap=mmap and --wrap=munmap.
 */
#ifndef FUZZ_GUARDS_H
#define FUZZ_GUARDS_H

#include <sys/mman.h>

#include "fuzz.h"

#define GUARD_BYTES 4096u

void *__real_mmap(void *at, size_t nbytes, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t nbytes);
void *__wrap_mmap(void *at, size_t nbytes, int prot, int flags, int fd, off_t offset);
int __wrap_munmap(void *at, size_t nbytes);

static inline size_t guards_round(size_t nbytes)
{
    return (nbytes + GUARD_BYTES - 1) / GUARD_BYTES * GUARD_BYTES;
}

void *__wrap_mmap(void *at, size_t nbytes, int prot, int flags, int fd, off_t offset)
{
    size_t whole = guards_round(nbytes) + 2 * GUARD_BYTES;
    if (flags & MAP_FIXED)      /* inside of one that is there */
        return __real_mmap(at, nbytes, prot, flags, fd, offset);
    char *base = __real_mmap(at, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return base;
    void *inside = __real_mmap(base + GUARD_BYTES, nbytes, prot, flags | MAP_FIXED, fd, offset);
    if (inside == MAP_FAILED)
        __real_munmap(base, whole);
    return inside;
}

int __wrap_munmap(void *at, size_t nbytes)
{
    return __real_munmap((char *)at - GUARD_BYTES, guards_round(nbytes) + 2 * GUARD_BYTES);
}

#endif
