// SPDX-License-Identifier: BSD-3-Clause
#include "backend/backend.h"

#include <errno.h>
#include <inttypes.h>

#include "base/cleanup.h"
#include "base/error.h"

int backend_open(const char *state_dir, const char *disk, struct backend **backend, struct df_error *err)
{
    return native_open(state_dir, disk, backend, err);
}

void backend_close(struct backend **backendp)
{
    struct backend *backend = steal(backendp);
    if (backend)
        backend->ops->close(backend);
}

int backend_check_map(const struct backend *backend, const char *bitmap, const struct backend_map *map, uint64_t nbits, struct df_error *err)
{
    if (map->map->nbits == nbits)
        return 0;
    return error_set(err, -EPROTO, "bitmap '%s' of disk '%s' has %" PRIu64 " bits and had %" PRIu64 " before: the disk is damaged, remove it and add it anew",
                     bitmap, backend->disk, map->map->nbits, nbits);
}
