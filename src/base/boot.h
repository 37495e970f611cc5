// SPDX-License-Identifier: BSD-3-Clause
/* Which boot of the host this is: the kernel draws a random id at each. */
#ifndef BASE_BOOT_H
#define BASE_BOOT_H

#include <stdint.h>

#include <dirtyferry/error.h>

#define BOOT_ID_BYTES 16

/* Read from the kernel once a process. */
int boot_id(uint8_t id[BOOT_ID_BYTES], struct df_error *err);

#endif
