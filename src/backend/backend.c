// SPDX-License-Identifier: BSD-3-Clause
#include "backend/backend.h"

#include "base/cleanup.h"

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
