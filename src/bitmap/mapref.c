// SPDX-License-Identifier: BSD-3-Clause
/*
 * The maps that this process has mapped: each once, counted.  Callers hold
 * disk->mutex.  A map is of one size: who asks for the same id with another
 * granularity was told so by a table or list that somebody has written to.
 */
#include "bitmap/disk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/error.h"

const char *mapref_file(uint64_t id, char file[MAP_FILE_BYTES])
{
    snprintf(file, MAP_FILE_BYTES, "map-%016" PRIx64, id);
    return file;
}

int mapref_get(struct df_disk *disk, uint64_t id, unsigned granularity_shift, struct map_ref **out, struct df_error *err)
{
    char file[MAP_FILE_BYTES];
    for (struct map_ref *ref = disk->maps; ref; ref = ref->next)
        if (ref->id == id) {
            if (ref->map->nbits != disk_nbits(disk, granularity_shift))
                return error_set(err, -EPROTO, "the map '%s' of disk '%s' has another granularity than it had: the disk is damaged", mapref_file(id, file), disk->name);
            ref->refs++;
            *out = ref;
            return 0;
        }
    CLEANUP(cleanup_free) struct map_ref *ref = calloc(1, sizeof *ref);
    if (!ref)
        return error_errno(err, -ENOMEM, "cannot map a bitmap of disk '%s'", disk->name);
    int r = map_open(disk->dirfd, mapref_file(id, file), disk_nbits(disk, granularity_shift), &ref->map, err);
    if (r < 0)
        return r;
    ref->id = id;
    ref->refs = 1;
    ref->next = disk->maps;
    disk->maps = ref;
    *out = steal(&ref);
    return 0;
}

void mapref_put(struct df_disk *disk, struct map_ref **refp)
{
    struct map_ref *ref = steal(refp);
    if (!ref || --ref->refs)
        return;
    struct map_ref **link = &disk->maps;
    while (*link != ref)
        link = &(*link)->next;
    *link = ref->next;
    map_close(&ref->map);
    free(ref);
}
