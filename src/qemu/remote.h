// SPDX-License-Identifier: BSD-3-Clause
/* The disks of QEMU for backend_set_remote() (backend/backend.h); all else is in qemu.h. */
#ifndef QEMU_REMOTE_H
#define QEMU_REMOTE_H

#include "backend/backend.h"

int qemu_remote_open(const char *state_dir, const char *disk, struct remote **remote, struct df_error *err);

#endif
