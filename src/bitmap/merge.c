// SPDX-License-Identifier: BSD-3-Clause
/*
 * OR of one map into another while writers record.  The destination gets its
 * bits by the same atomic ORs that writers use, so neither loses any.
 *
 * A merger that has just bumped the disk's epoch must see every mark that was
 * made under the old epoch: the seq_cst fence pairs with the writer's seq_cst
 * OR and its second look at the epoch (writer.c).
 */
#include "bitmap/map.h"

int map_merge(struct map *dst, const struct map *src)
{
    atomic_thread_fence(memory_order_seq_cst);
    for (uint64_t b = map_next_block(src, 0); b < src->nblocks; b = map_next_block(src, b + 1)) {
        bool reserved = false;
        for (uint64_t w = b * MAP_BLOCK_WORDS, end = map_block_end(src, b); w < end; w++) {
            uint64_t v = htole64(map_bits(src, w, memory_order_acquire));
            if (!v)
                continue;
            if (!reserved) {
                int r = map_reserve(dst, b, 1);
                if (r < 0)
                    return r;
                reserved = true;
            }
            if ((atomic_load_explicit(&dst->leaf[w], memory_order_relaxed) & v) != v)
                atomic_fetch_or_explicit(&dst->leaf[w], v, memory_order_seq_cst);
        }
    }
    return 0;
}

int map_merge_scaled(struct map *dst, unsigned dst_shift, const struct map *src, unsigned src_shift)
{
    if (dst_shift == src_shift)
        return map_merge(dst, src);
    atomic_thread_fence(memory_order_seq_cst);
    for (uint64_t bit = map_next_set(src, 0); bit < src->nbits;) {
        uint64_t end = map_next_clear(src, bit);
        if (end <= bit)             /* somebody has cleared it meanwhile, which nobody may: the walk must end all the same */
            end = bit + 1;
        uint64_t first = bit << src_shift >> dst_shift;
        uint64_t last = ((end << src_shift) - 1) >> dst_shift;
        if (last >= dst->nbits)     /* the last bit of src may reach beyond the disk's end */
            last = dst->nbits - 1;
        int r = map_set(dst, first, last - first + 1);
        if (r < 0)
            return r;
        bit = map_next_set(src, end);
    }
    return 0;
}
