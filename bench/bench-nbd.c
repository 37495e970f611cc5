// SPDX-License-Identifier: BSD-3-Clause
/* bench-nbd URI CONTEXT GRANULARITY-SHIFT: reads a bitmap from an NBD server; prints how many bits are set. */
#include <stdio.h>
#include <stdlib.h>

#include "image/nbd.h"

int main(int argc, char **argv)
{
    struct nbd_source *source = NULL;
    struct map *map = NULL;
    struct df_error err;
    if (argc != 4)
        return 2;
    unsigned shift = (unsigned)atoi(argv[3]);
    if (nbd_source_open(argv[1], argv[2], 60000, &source, &err) < 0 ||
        map_create_anonymous(map_round_up(nbd_source_size(source), UINT64_C(1) << shift), &map, &err) < 0 ||
        nbd_source_read(source, shift, map, NULL, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    printf("%llu\n", (unsigned long long)map_count(map));
    map_close(&map);
    nbd_source_close(&source);
    return 0;
}
