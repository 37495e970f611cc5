// SPDX-License-Identifier: BSD-3-Clause
/* The numbers of the format, for qcow2write.c and qcow2read.c.  All integers of a qcow2 image are big-endian. */
#ifndef IMAGE_QCOW2FORMAT_H
#define IMAGE_QCOW2FORMAT_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define QCOW2_MAGIC         UINT32_C(0x514649fb)    /* "QFI\xfb" */
#define QCOW2_EXTENSION     UINT32_C(0x23852875)    /* type of the header extension for bitmaps */
#define QCOW2_HEADER_BYTES  104u
#define QCOW2_EXTENSION_BYTES 24u
#define QCOW2_ENTRY_BYTES   24u                     /* of the directory, without the name */
#define QCOW2_SECTOR        512u
#define QCOW2_L1_BYTES      (UINT64_C(32) << 20)    /* the largest that QEMU opens */

enum { QCOW2_CLUSTER_BITS_MIN = 9, QCOW2_CLUSTER_BITS = 16, QCOW2_CLUSTER_BITS_MAX = 21 };
enum { QCOW2_GRANULARITY_BITS_MIN = 9, QCOW2_GRANULARITY_BITS_MAX = 31 };

/* Offsets in the header. */
enum {
    QCOW2_AT_VERSION = 4, QCOW2_AT_BACKING = 8, QCOW2_AT_CLUSTER_BITS = 20, QCOW2_AT_SIZE = 24, QCOW2_AT_L1_SIZE = 36, QCOW2_AT_L1 = 40,
    QCOW2_AT_REFCOUNTS = 48, QCOW2_AT_REFCOUNT_CLUSTERS = 56, QCOW2_AT_INCOMPATIBLE = 72, QCOW2_AT_AUTOCLEAR = 88,
    QCOW2_AT_REFCOUNT_ORDER = 96, QCOW2_AT_HEADER_BYTES = 100,
};

#define QCOW2_CORRUPT       UINT64_C(2)             /* incompatible features */
#define QCOW2_KNOWN         UINT64_C(0x1f)          /* dirty, corrupt, external data file, compression type, extended L2 entries */
#define QCOW2_CURRENT       UINT64_C(1)             /* autoclear feature: the bitmaps fit to the data */

/* Flags of a bitmap, entries of its table. */
enum { QCOW2_IN_USE = 1, QCOW2_AUTO = 2 };
enum { QCOW2_ALL_ZEROES = 0, QCOW2_ALL_ONES = 1 };
#define QCOW2_TYPE_DIRTY    1u

static inline void qcow2_put32(uint8_t *to, uint32_t v)
{
    v = htobe32(v);
    memcpy(to, &v, sizeof v);
}

static inline void qcow2_put64(uint8_t *to, uint64_t v)
{
    v = htobe64(v);
    memcpy(to, &v, sizeof v);
}

static inline uint32_t qcow2_get16(const uint8_t *from)
{
    return (uint32_t)from[0] << 8 | from[1];
}

static inline uint32_t qcow2_get32(const uint8_t *from)
{
    uint32_t v;
    memcpy(&v, from, sizeof v);
    return be32toh(v);
}

static inline uint64_t qcow2_get64(const uint8_t *from)
{
    uint64_t v;
    memcpy(&v, from, sizeof v);
    return be64toh(v);
}

#endif
