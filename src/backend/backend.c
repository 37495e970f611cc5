// SPDX-License-Identifier: BSD-3-Clause
#include "backend/backend.h"

#include <errno.h>
#include <inttypes.h>

#include "base/cleanup.h"
#include "base/error.h"

static remote_opener *open_remote;

void backend_set_remote(remote_opener *opener)
{
    open_remote = opener;
}

int backend_open(const char *state_dir, const char *disk, struct backend **backend, struct df_error *err)
{
    struct backend *opened = NULL;
    int r = native_open(state_dir, disk, &opened, err);
    if (!r && open_remote)
        r = open_remote(state_dir, disk, &opened->remote, err);
    if (r < 0)
        backend_close(&opened);
    else
        *backend = opened;
    return r;
}

void backend_close(struct backend **backendp)
{
    struct backend *backend = steal(backendp);
    if (backend && backend->remote)
        backend->remote->ops->close(backend->remote);
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
