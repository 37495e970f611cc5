// SPDX-License-Identifier: BSD-3-Clause
#include "base/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/uuid.h"

#define BOOT_ID_FILE "/proc/sys/kernel/random/boot_id"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint8_t this_boot[BOOT_ID_BYTES];
static int result;

static void read_id(void)
{
    char text[UUID_TEXT_BYTES] = "";
    CLEANUP(cleanup_fd) int fd = open(BOOT_ID_FILE, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n < 0)
        result = -errno;
    else if (!uuid_parse(text, this_boot))
        result = -EPROTO;
}

int boot_id(uint8_t id[BOOT_ID_BYTES], struct df_error *err)
{
    pthread_once(&once, read_id);
    if (result < 0)
        return error_errno(err, result, "cannot learn which boot of the host this is: reading '" BOOT_ID_FILE "' failed");
    memcpy(id, this_boot, BOOT_ID_BYTES);
    return 0;
}
