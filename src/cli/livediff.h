// SPDX-License-Identifier: BSD-3-Clause
/* What `bitmap diff` reads: the contents of a disk that is in use, and a backup of it. */
#ifndef CLI_LIVEDIFF_H
#define CLI_LIVEDIFF_H

#include "cli/cli.h"
#include "image/image.h"

struct live_inputs {
    const char *disk;
    uint64_t size;                                  /* of the disk */
    bool is_qemu;
    const char *against, *against_format;           /* the backup */
    const char *data, *data_format;                 /* the contents; NULL: nobody knows where they are */
    struct image *old, *new;
    char label[4097], stamp[256];                   /* of the backup: for people, and what tells it from another one of that name */
};

int live_inputs_open(struct cli *cli, struct live_inputs *in);
void live_inputs_close(struct live_inputs *in);

#endif
