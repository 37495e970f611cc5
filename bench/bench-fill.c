// SPDX-License-Identifier: BSD-3-Clause
/*
 * bench-fill STATE-DIR DISK BITMAP half|PER-MILLE: sets random bits of a bitmap
 * straight in its map, for benchmarks of bitmaps that would take hours to dirty
 * by writes.  "half": every bit with probability 1/2 (incompressible).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bitmap/disk.h"

static uint64_t seed = 42;

static uint64_t next_random(void)
{
    uint64_t z = (seed += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void fill_half(struct map *map)
{
    for (uint64_t b = 0; b < map->nblocks; b++) {
        uint64_t words[MAP_BLOCK_WORDS];
        uint64_t left = map->nwords - b * MAP_BLOCK_WORDS;
        for (unsigned i = 0; i < MAP_BLOCK_WORDS; i++)
            words[i] = next_random();
        map_write(map, b * MAP_BLOCK_BYTES, (const uint8_t *)words, 8 * (left < MAP_BLOCK_WORDS ? left : MAP_BLOCK_WORDS));
    }
}

int main(int argc, char **argv)
{
    static const uint8_t session[DF_SESSION_BYTES] = { 1 };
    struct df_disk *disk = NULL;
    struct map_ref *ref = NULL;
    struct df_error err;
    if (argc != 5)
        return 2;
    if (df_disk_open(argv[1], argv[2], &disk, &err) < 0 || df_bitmap_take(disk, argv[3], session, &err) < 0 ||
        disk_get_map(disk, argv[3], session, &ref, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    if (!strcmp(argv[4], "half"))
        fill_half(ref->map);
    else
        for (uint64_t i = 0, n = (uint64_t)((double)ref->map->nbits * atof(argv[4]) / 1000); i < n; i++)
            map_set(ref->map, next_random() % ref->map->nbits, 1);
    printf("%llu\n", (unsigned long long)map_count(ref->map));
    disk_put_map(disk, &ref);
    df_bitmap_give_back(disk, argv[3], session, NULL);
    df_disk_close(&disk);
    return 0;
}
