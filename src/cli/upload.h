// SPDX-License-Identifier: BSD-3-Clause
/*
 * The blocks of a dump into a daemon, wherever they come from: for load and
 * import.
 */
#ifndef CLI_UPLOAD_H
#define CLI_UPLOAD_H

#include "cli/cli.h"
#include "wire/dump.h"

struct upload {
    const struct dump_header *header;
    /* From the first block on; again if the daemon was restarted in the middle. */
    int (*begin)(struct cli *cli, void *opaque);
    /* 1: a block, which stays until the next call; 0: that was the last one. */
    int (*next)(struct cli *cli, void *opaque, const uint8_t **block, size_t *nbytes);
    void *opaque;
};

/*
 * Send them all.  0: *reply has the status of the session, which is `filled` or `operative`.  What
 * came of a bitmap's dump is removed when it does not come to its end.
 */
int cli_upload(struct cli *cli, const struct upload *upload, struct message **reply);

#endif
