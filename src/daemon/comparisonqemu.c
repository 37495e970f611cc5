// SPDX-License-Identifier: BSD-3-Clause
/*
 * A comparison of a bitmap of QEMU (qemu/compare.c), beside what
 * comparisonwork.c does with every one.  Its bits are gathered in the disk of
 * that name here, in a bitmap that QEMU's is staged as; so reports, kills and
 * restarts of the host are as with other disks, and QEMU is visited at both ends:
 *
 *     begin    compare - file, at 0 - bitmap COMPARED - watch - reply
 *     the last fill - file, `filled` - withdraw - bitmap IDLE, gone - file, complete - reply
 *     cancel   withdraw - bitmap IDLE, gone - file, cancelled - reply
 *
 * A daemon that is killed in between does it again when it is asked again: fill
 * may be repeated as long as the child is there.  Where watch or fill do not find
 * it, QEMU was started anew: the comparison is cancelled, and who goes on begins
 * another one, so that nobody's report counts that was read before.
 */
#include <errno.h>
#include <string.h>

#include "backend/backend.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"
#include "bitmap/disk.h"
#include "daemon/comparison.h"

static int visit(const struct engine *engine, const struct comparison *c, enum remote_step step, bool recorded, struct df_error *err)
{
    CLEANUP(backend_close) struct backend *backend = NULL;
    struct remote_job job = { .bitmap = c->bitmap, .session = c->uuid, .recorded = recorded };
    int r = backend_open(engine->state_dir, c->disk, &backend, err);
    if (!r && !backend->remote)
        r = error_set(err, -ENOENT, "disk '%s' is not QEMU's any more", c->disk);
    if (!r && step != REMOTE_COMPARE && step != REMOTE_WITHDRAW)
        r = backend->ops->info(backend, c->bitmap, &job.info, err);
    job.backend = backend;
    return r < 0 ? r : backend->remote->ops->run(step, &job, 1, err);
}

/* A QEMU that is not there any more has taken what we had in it along, but for what is in an image. */
static int withdraw(const struct engine *engine, const struct comparison *c, struct df_error *err)
{
    char text[UUID_TEXT_BYTES];
    int r = visit(engine, c, REMOTE_WITHDRAW, false, err);
    if (r != -ENOTCONN)
        return r;
    log_warning("comparison %s of bitmap '%s' of disk '%s': %s; if a bitmap 'dirtyferry-%s-...' comes back with it, remove that", uuid_format(c->uuid, text),
                c->bitmap, c->disk, err->message, text);
    return 0;
}

int comparison_stage(const struct engine *engine, struct df_disk *disk, const struct comparison *c, struct df_error *err)
{
    struct df_bitmap_info info;
    if (df_bitmap_get_info(disk, c->bitmap, &info, NULL) == 0 && info.busy)
        return error_set(err, -EBUSY, "bitmap '%s' of disk '%s' is busy and cannot be compared: a session is moving it; wait for it or cancel it", c->bitmap, c->disk);
    return visit(engine, c, REMOTE_COMPARE, false, err);
}

int comparison_watch(const struct engine *engine, const struct comparison *c, bool goes_on, struct df_error *err)
{
    struct df_error why;
    int r = visit(engine, c, REMOTE_WATCH, goes_on, &why);
    if (r == -ENODATA)
        return error_set(err, r, "%s", why.message);
    return r < 0 ? error_set(err, r, "%.3072s; bitmap '%s' of disk '%s' stays busy: the same command goes on, --cancel gives it up", why.message, c->bitmap, c->disk) : 0;
}

int comparison_fill(const struct engine *engine, int dirfd, struct comparison *c, struct df_error *err)
{
    struct comparison next = *c;
    int r = c->filled ? 0 : visit(engine, c, REMOTE_FILL, true, err);
    if (!r && !c->filled) {
        next.filled = true;
        r = comparison_write(dirfd, &next, err);
    }
    if (r < 0)
        return r;
    *c = next;
    return withdraw(engine, c, err);
}

int comparison_withdraw(const struct engine *engine, const struct comparison *c, struct df_error *err)
{
    return c->qemu ? withdraw(engine, c, err) : 0;
}

/* What is left when this fails is dropped when the next one is staged (qemu_drop_staged). */
void comparison_drop_staged(struct df_disk *disk, const struct comparison *c)
{
    struct df_error err;
    int r = c->qemu ? df_bitmap_remove(disk, c->bitmap, &err) : 0;
    if (r < 0 && r != -ENOENT)
        log_warning("%s", err.message);
}
