// SPDX-License-Identifier: BSD-3-Clause
/*
 * From maps that stand still to the blocks of a dump (wire/dump.h) and to a
 * file.  A block is made from its place alone, so it may be asked for twice.
 */
#include "session/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/files.h"

/* ---------------------------------------------------------------- blocks */

static int end_block(const struct still *still, const struct dump_cursor *at, struct dump_block *block, struct df_error *err)
{
    struct dump_digests digests[WIRE_SESSION_BITMAPS];
    size_t n = still->header.nbitmaps;
    CLEANUP(cleanup_free) uint64_t *numbers = calloc(n * WIRE_SEGMENTS, sizeof *numbers);
    if (!numbers)
        return error_errno(err, -ENOMEM, "cannot finish a dump");
    for (size_t i = 0; i < n; i++)
        digests[i] = feed_dump_digests(still->maps[i], numbers + i * WIRE_SEGMENTS);
    return dump_pack_end(block, at->index, still->header.id, digests, n, err);
}

int still_block(const struct still *still, struct dump_cursor *at, struct dump_block *block, bool *last, struct df_error *err)
{
    if (at->handle < 1 || at->handle > still->header.nbitmaps + 1)
        return error_set(err, -EINVAL, "a dump of %zu bitmaps has no bitmap %u", still->header.nbitmaps, at->handle);
    *last = at->index && at->handle > still->header.nbitmaps;
    if (at->index && !*last)
        return feed_block(&still->header, still->maps[at->handle - 1], at, block, err);
    int r = *last ? end_block(still, at, block, err) : dump_pack_header(block, &still->header, err);
    at->index++;
    return r;
}

/* ------------------------------------------------------------------ file */

static int write_blocks(int fd, const struct still *still, struct df_error *err)
{
    CLEANUP(dump_block_destroy) struct dump_block block = { 0 };
    struct dump_cursor at = { 0, 1, 0 };
    off_t offset = 0;
    int r = 0;
    for (bool last = false; !r && !last; offset += (off_t)block.nbytes) {
        r = still_block(still, &at, &block, &last, err);
        if (!r && (r = files_pwrite(fd, block.bytes, block.nbytes, offset)) < 0)
            error_errno(err, r, "cannot write the dump of session %s", still->header.session);
    }
    for (size_t i = 0; !r && i < still->header.nbitmaps; i++)
        if (map_is_broken(still->maps[i]))
            r = error_set(err, -EPROTO, "cannot write the dump of session %s: the file of a bitmap was cut, its disk is damaged", still->header.session);
    if (!r && (r = files_sync(fd)) < 0)
        error_errno(err, r, "cannot make the dump of session %s durable", still->header.session);
    return r;
}

/*
 * Whole under its name, or not there: written aside, synced, renamed, and the
 * directory synced.  What has the name and is no file of ours is not replaced.
 */
int still_write(const struct still *still, int dirfd, const char *name, struct df_error *err)
{
    char fresh[80];
    if (files_look(dirfd, name) == -EPROTO)
        return error_set(err, -EPROTO, "cannot write the dump of session %s: '%s' in STATE/dumps is not a file of this daemon: move it away", still->header.session, name);
    snprintf(fresh, sizeof fresh, "%s.new", name);
    files_remove(dirfd, fresh);
    CLEANUP(cleanup_fd) int fd = openat(dirfd, fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_errno(err, -errno, "cannot write the dump of session %s", still->header.session);
    int r = write_blocks(fd, still, err);
    if (!r) {
        r = renameat(dirfd, fresh, dirfd, name) < 0 ? -errno : files_sync_directory(dirfd);
        if (r < 0)
            error_errno(err, r, "cannot write the dump of session %s", still->header.session);
    }
    if (r < 0)
        unlinkat(dirfd, fresh, 0);
    return r;
}
